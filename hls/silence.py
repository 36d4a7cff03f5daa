"""One AAC frame of silence, for a publisher whose audio stops while its video goes on.

A muxed player needs both tracks: it stalls where either of them ends. So where no audio comes, the
packager puts frames in that say nothing. No encoder is needed for them: a frame without scale
factor bands (max_sfb = 0) has no spectral data, whatever the sample rate, the bit rate and the
length of a frame, and a decoder fades into it and out of it by itself. With SBR or parametric
stereo, which it does not carry, a decoder just takes the core's silence up.

Pure. Spec: ISO/IEC 14496-3, 4.4.2.1 (raw_data_block, tables 4.3 to 4.6 and 4.50), table 1.19
(channel configurations), 4.5.2.1.1.
"""

from typing import Final

# Elements of a raw_data_block: identity (3 bits), element_instance_tag (4) to be put behind it, and
# what follows: global_gain (8), ics_info (1 reserved, 2 window_sequence, 1 window_shape, 6 max_sfb,
# 1 predictor_data_present), and flags for pulse, TNS and gain control. All of it is zero but for
# common_window of a pair, which has ics_info and ms_mask_present (2) once for its two channels.
_CHANNEL: Final = "0" * (8 + 11 + 3)
_SINGLE: Final = ("000", _CHANNEL)
_PAIR: Final = ("001", "1" + "0" * (11 + 2) + 2 * "0" * (8 + 3))
_LOW: Final = ("011", _CHANNEL)
_END: Final = "111"

# Table 1.19. Configuration 0 has a program config element, and layouts without end.
_LAYOUTS: Final = {
    1: (_SINGLE,),
    2: (_PAIR,),
    3: (_SINGLE, _PAIR),
    4: (_SINGLE, _PAIR, _SINGLE),
    5: (_SINGLE, _PAIR, _PAIR),
    6: (_SINGLE, _PAIR, _PAIR, _LOW),
    7: (_SINGLE, _PAIR, _PAIR, _PAIR, _LOW),
    11: (_SINGLE, _PAIR, _PAIR, _SINGLE, _LOW),
    12: (_SINGLE, _PAIR, _PAIR, _PAIR, _LOW),
    14: (_SINGLE, _PAIR, _PAIR, _LOW, _PAIR),
}


def silent_frame(channel_configuration: int) -> bytes:
    """Return a raw AAC frame of silence, at most 25 bytes.

    Args:
        channel_configuration: That of the AudioSpecificConfig.

    Returns:
        The frame; empty where the layout is not known from the number alone (0).
    """
    layout = _LAYOUTS.get(channel_configuration)
    if layout is None:
        return b""
    text = ""
    met: dict[str, int] = {}
    for identity, body in layout:
        tag = met[identity] = met.get(identity, -1) + 1
        text += f"{identity}{tag:04b}{body}"
    text += _END
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")
