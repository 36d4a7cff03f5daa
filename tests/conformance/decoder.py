"""Decodes kept media with PyAV where it is installed (MF-09). The only module that needs it."""

import io


def decode(data: bytes, samples: int) -> tuple[int, int, str] | None:
    """Decode one fMP4 file.

    Returns:
        Frames of all tracks, samples given, and the error, if any; None without PyAV.
    """
    try:
        import av
    except ImportError:
        return None
    frames = 0
    try:
        options = {"err_detect": "explode"}
        with av.open(io.BytesIO(data), mode="r", options=options) as container:
            for packet in container.demux():
                frames += len(packet.decode())
    except Exception as error:  # whatever PyAV raises, the media does not decode
        return frames, samples, repr(error)
    return frames, samples, ""
