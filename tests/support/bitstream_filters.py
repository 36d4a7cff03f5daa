"""FFmpeg's bitstream filters as judges: they read parameter sets by the letter, and write them."""

import io

import av
from av.bitstream import BitStreamFilterContext

_ENCODERS = {"hevc": "libx265", "av1": "libsvtav1"}


def rewritten(codec: str, data: bytes, **options: object) -> bytes:
    """Return ``data`` as FFmpeg's ``<codec>_metadata`` filter writes it.

    It takes every unit apart and puts it together again, so without options equal bytes mean that
    FFmpeg reads them as legal, and a syntax error is `av.error.InvalidDataError`.

    Args:
        codec: "hevc" or "av1".
        data: Annex B, or a temporal unit.
        options: What the filter shall change, such as ``tick_rate="50"``.
    """
    with av.open(io.BytesIO(), "w", format="matroska") as container:
        stream = container.add_stream(_ENCODERS[codec], rate=30)
        settings = ":".join(f"{name}={value}" for name, value in options.items())
        name = f"{codec}_metadata"
        judge = BitStreamFilterContext(f"{name}={settings}" if settings else name, stream)
        (packet,) = judge.filter(av.Packet(data))
        return bytes(packet)
