"""FLV and Enhanced RTMP tag headers: any bytes give a tag or `FlvError`.

Further invariants: a body is a tail of the payload, and never empty in what is to be decoded; the
composition time fits 24 signed bits.

Input: byte 0 even: video, odd: audio; the rest is the payload.
"""

from rtmpcore import FlvError, TagKind, parse_audio, parse_video


def test_one_input(data: bytes) -> None:
    if not data:
        return
    payload = data[1:]
    try:
        if data[0] & 1:
            kind, _, body = parse_audio(payload)
        else:
            kind, _, _, composition_time_ms, body = parse_video(payload)
            assert -0x800000 <= composition_time_ms <= 0x7FFFFF
    except FlvError:
        return
    assert payload.endswith(bytes(body))
    assert len(body) > 0 or kind in (TagKind.END, TagKind.OTHER)


if __name__ == "__main__":
    import sys

    import atheris  # type: ignore[import-untyped]

    atheris.instrument_all()
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
