"""Audio configurations and frames: any bytes give a configuration or `MediaError`, frames a length.

Further invariants: rate and channels are there and bounded; the codec string is printable ASCII
that begins with the sample entry's name; the same record gives an equal configuration; an init
segment can be built of it. A frame's length never raises, and is 0 or at most some tens of
thousands of samples: what the segmenter adds up.

Input: byte 0 modulo 5 is the codec (AAC, Opus, FLAC, AC-3, E-AC-3), byte 1 the size of the record,
which follows; the rest is a frame.
"""

from hls import MediaError
from hls.audio import parse_audio_config
from hls.init_segment import build_init_segment

FOURCCS = (b"mp4a", b"Opus", b"fLaC", b"ac-3", b"ec-3")
MAX_RATE = 192_000
MAX_CHANNELS = 255
MAX_FRAME_SAMPLES = 65_536


def test_one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    fourcc, size = FOURCCS[data[0] % len(FOURCCS)], data[1]
    record, frame = data[2 : 2 + size], data[2 + size :]
    try:
        config = parse_audio_config(fourcc, record)
    except MediaError:
        return
    assert 1000 <= config.sample_rate <= MAX_RATE
    assert 1 <= config.channels <= MAX_CHANNELS
    assert 1 <= config.samples_per_frame <= MAX_FRAME_SAMPLES
    assert config.codec_string.isascii()
    assert config.codec_string.isprintable()
    assert config.codec_string.startswith(fourcc.decode())
    assert config == parse_audio_config(fourcc, record)
    assert 0 <= config.samples_in(frame) <= MAX_FRAME_SAMPLES
    assert fourcc in build_init_segment(None, config)
