"""What we tell a publisher that knows Enhanced RTMP of ourselves: what it may send.

The codecs are those that `hls` can package; a test holds the two lists together. A publisher may
send another one all the same, and is refused then.

May import rtmpcore. Spec: Enhanced RTMP v2, "Enhancing NetConnection connect Command".
"""

from typing import Final

from rtmpcore import Capabilities, CodecUse, Feature

_VIDEO: Final = ("avc1", "hvc1", "av01", "vp09")
_AUDIO: Final = ("mp4a", "Opus", "fLaC", "ac-3", "ec-3", ".mp3")
# Read, in order to package and transcode it, and passed on as it is to viewers and by relays.
_USES: Final = CodecUse.DECODE | CodecUse.FORWARD

INGESTED: Final = Capabilities(
    codecs=frozenset((*_VIDEO, *_AUDIO)),
    video=dict.fromkeys(_VIDEO, _USES),
    audio=dict.fromkeys(_AUDIO, _USES),
    features=Feature.RECONNECT | Feature.MULTITRACK | Feature.MODIFIERS | Feature.NANOSECONDS,
)
"""The answer to a connect."""
