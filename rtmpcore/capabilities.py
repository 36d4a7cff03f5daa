"""What two ends of a connection tell each other in `connect` and its answer that they can do.

Enhanced RTMP adds four properties to the command object of connect, and to the first object of the
`_result` that accepts it: fourCcList (codecs, the form of version 1), videoFourCcInfoMap and
audioFourCcInfoMap (codecs, each with its uses), capsEx (features, as bits). They are a hint: ffmpeg
names codecs when it is told to, OBS none, and both send what they like. So what is of the wrong
type counts as not said, and unknown bits are dropped.

Is not: a check of the codecs that come. Bounded by `Limits.max_amf_values`, as the command is.
May import: amf. Spec: Enhanced RTMP v2, "Enhancing NetConnection connect Command".
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from rtmpcore.amf import AmfValue


class Feature(enum.Flag):
    """The bits of capsEx."""

    #: Understands `ReconnectRequest`.
    RECONNECT = 1
    #: Several tracks in one message.
    MULTITRACK = 2
    #: Modifiers (ModEx) in front of a tag.
    MODIFIERS = 4
    #: The modifier that adds nanoseconds to a timestamp.
    NANOSECONDS = 8


NO_FEATURE: Final = Feature(0)


class CodecUse(enum.Flag):
    """The bits of an entry of the codec maps."""

    DECODE = 1
    ENCODE = 2
    #: Passes it on as it is: what a relay does.
    FORWARD = 4


ANY_CODEC: Final = "*"
"""Stands for every codec, where a FourCC is expected."""

PROPERTIES: Final = ("fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx")
"""The names of the properties that `read_capabilities` reads."""

_FlagT = TypeVar("_FlagT", bound=enum.Flag)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one end says of itself; empty when it says nothing."""

    codecs: frozenset[str] = frozenset()
    """FourCCs, such as ``hvc1``, that it takes; or `ANY_CODEC`."""

    video: Mapping[str, CodecUse] = field(default_factory=dict)
    """Uses by the FourCC of the video codec, or by `ANY_CODEC`."""

    audio: Mapping[str, CodecUse] = field(default_factory=dict)
    """Uses by the FourCC of the audio codec, or by `ANY_CODEC`."""

    features: Feature = NO_FEATURE

    def properties(self) -> dict[str, AmfValue]:
        """Return the properties that say this; none for what is empty."""
        values: tuple[AmfValue, ...] = (
            sorted(self.codecs),
            {codec: uses.value for codec, uses in self.video.items()},
            {codec: uses.value for codec, uses in self.audio.items()},
            self.features.value,
        )
        return {name: value for name, value in zip(PROPERTIES, values, strict=True) if value}


UNSAID: Final = Capabilities()
"""Of an end that says nothing: all before Enhanced RTMP."""


def read_capabilities(sent: Mapping[str, AmfValue]) -> Capabilities:
    """Read the capabilities among the properties of an object that the peer sent."""
    codecs, video, audio, features = (sent.get(name) for name in PROPERTIES)
    return Capabilities(
        codecs=frozenset(codec for codec in codecs if isinstance(codec, str))
        if isinstance(codecs, list)
        else frozenset(),
        video=_uses(video),
        audio=_uses(audio),
        features=_flags(Feature, features),
    )


def _uses(sent: AmfValue) -> dict[str, CodecUse]:
    if not isinstance(sent, Mapping):
        return {}
    return {codec: _flags(CodecUse, bits) for codec, bits in sent.items()}


def _flags(kind: type[_FlagT], sent: AmfValue) -> _FlagT:
    """Return the bits of a number that we know; AMF numbers may be infinite or none at all."""
    known = sum(flag.value for flag in kind)
    return kind(int(sent) & known if isinstance(sent, float) and 0 <= sent < 2**32 else 0)
