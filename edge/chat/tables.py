"""What characters look like, and what ends a host's name: tables for names and filters.

Our own, and small: Unicode's table of look-alikes (UTS 39) has six thousand entries, most of which
no name needs, and the list of top-level domains is as long, and changes.

Pure. May import: nothing of ours.
"""
# ruff: noqa: RUF001 - look-alikes are what this is about

from typing import Final


def _table(pairs: str) -> dict[int, str]:
    """Read pairs: a character, then what it looks like."""
    return {ord(pair[0]): pair[1] for pair in pairs.split()}


CYRILLIC: Final = _table(
    "аa вb сc ԁd еe ғf һh нh іi ϳj јj кk ӏl мm пn оo рp ԛq гr ѕs тt цu ѵv ԝw хx уy үy"
)
"""Cyrillic letters in lower case, and the Latin ones that they pass for."""

LOOK_ALIKES: Final = {
    **CYRILLIC,
    **_table("αa βb γy εe ηn ιi κk μu νv οo ρp σo τt υu χx ωw"),
    **_table("օo ոn սu հh զq յj"),
    **_table("ıi ɩi ɪi ɑa ɡg ɢg ʟl ʀr ɴn ʜh ʙb ʏy ᴀa ᴄc ᴅd ᴇe ꜰf ᴊj ᴋk ᴍm ᴏo ᴘp ꜱs ᴛt ᴜu ᴠv ᴡw ᴢz"),
    **_table("øo đd łl ħh ŧt ƅb ǀl"),
    # Letters in circles and squares that NFKC leaves alone, and those that make flags.
    **{
        start + place: chr(97 + place)
        for start in (0x1F150, 0x1F170, 0x1F1E6)
        for place in range(26)
    },
}
"""Characters in lower case, and the Latin letters that they pass for."""

DIGITS: Final = _table("0o 1l il")
"""Digits and letters that nobody tells apart, after `LOOK_ALIKES`."""

SIGNS: Final = _table("3e 4a 5s 7t 8b @a $s")
"""Digits and signs that people write for letters."""

DOTS: Final = _table("。. ｡. ．. ․. ∙. ·. •. ‧.")
"""Dots that are read as a full stop."""

PLAIN_ENDS: Final = (
    "com c0m net org info biz gg tv io ly xyz ru co app dev live online site shop top"
)
"""Ends of hosts that stand for one even where the dot is spelt out or stands apart."""

_COUNTRIES: Final = (
    "fo "  # codespell:ignore
    "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs "
    "bt bv bw by bz ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec "
    "ee eg er es et eu fi fj fk fm fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy "
    "hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz "
    "la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx "
    "my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re "
    "ro rs ru rw sa sb sc sd se sg sh si sj sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg th "
    "tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw "
    "рф бг укр срб бел қаз мкд ελ 中国 香港 台湾 한국 भारत"
)
_OTHERS: Final = (
    "com c0m net org info biz edu gov int mil name pro mobi aero asia cat coop jobs museum tel "
    "travel xxx app dev page web site online store shop blog club xyz top vip win bid loan men "
    "live stream video tube film movie music audio radio game games play fun lol wtf ninja guru "
    "chat social link links click click download zip mov cloud host hosting space tech digital "
    "media news press agency studio design art photo photos pics gallery world today life love "
    "email website network systems solutions services support software codes tools wiki zone "
    "money finance cash credit bank trade trading bet casino poker porn sex adult dating cam sexy "
    "webcam gift gifts deals sale discount market markets business company center group team "
    "community fan fans party rocks cool best one global earth city street house homes google "
    "youtube moe icu cyou monster quest rest bond sbs cfd buzz onion eth crypto nft"
)

ENDS: Final = frozenset(f"{PLAIN_ENDS} {_COUNTRIES} {_OTHERS}".split())
"""Ends of hosts. All countries': "youtu.be", "amzn.to" and "t.me" are what links look like. Of the
others those that people use, and those who spam."""
