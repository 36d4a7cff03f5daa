"""Names that people choose: tidied, compared by their looks, and kept from imitating others.

Two names are the same if their skeletons are: what is left when case, accents, separators and
look-alikes (Cyrillic, Greek, fullwidth, digits for letters) are taken away. A skeleton is for
comparison, never for show.

What the table of look-alikes misses is caught elsewhere: a word that mixes alphabets is refused.

Pure. Bounds: a name has `MAX_NAME_CHARS`, and `_MAX_RAW_CHARS` before it is tidied; `skeleton`
remembers `_CACHED` answers. May import: `edge.chat.tables`.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from edge.chat.tables import DIGITS, LOOK_ALIKES, SIGNS

MAX_NAME_CHARS: Final = 25
"""Characters of a name, once it is tidied."""

_MAX_RAW_CHARS: Final = 4 * MAX_NAME_CHARS
_MAX_MARKS: Final = 3  # that stand on one letter: as many as any language needs
_CACHED: Final = 4096

RESERVED: Final = (
    *("admin", "administrator", "moderator", "mod", "system", "server"),
    *("broadcaster", "streamer", "headrace"),
)
"""Names that no guest may take, in any room."""

BLANK_LETTERS: Final = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols to Unicode, nothing to the eye: Hangul fillers, the empty Braille cell."""

_LEET: Final = {**SIGNS, ord("!"): "i", ord("|"): "i"}
_ACCENTS: Final = re.compile(  # not those that make another letter, as in Hindi or Japanese
    "[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
    "\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef]"
)
_FORBIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ALPHABETS: Final = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")


class BadName(ValueError):
    """A name that cannot be taken; the text says why, to the person."""


def normalise_name(raw: str) -> str:
    """Tidy a name: NFKC, no blanks around it, one at a time within.

    Returns:
        1 to `MAX_NAME_CHARS` characters with a letter or a digit among them.

    Raises:
        BadName: It is empty, too long, without a letter or digit, has characters that nobody
            sees, or mixes alphabets within a word.
    """
    if len(raw) > _MAX_RAW_CHARS:
        raise BadName(f"a name has at most {MAX_NAME_CHARS} characters")
    name = unicodedata.normalize("NFKC", raw).strip()
    if any(unicodedata.category(char) in _FORBIDDEN or char in BLANK_LETTERS for char in name):
        raise BadName("a name may not have invisible characters")
    name = " ".join(name.split())
    if not name:
        raise BadName("a name may not be empty")
    if len(name) > MAX_NAME_CHARS:
        raise BadName(f"a name has at most {MAX_NAME_CHARS} characters")
    if not any(char.isalnum() for char in name):
        raise BadName("a name needs a letter or a digit")
    if not name.isascii():
        _check_marks(name)
        _check_alphabets(name)
    return name


@lru_cache(maxsize=_CACHED)
def skeleton(name: str) -> str:
    """Return what is left of a name when only its looks count.

    Letters and digits only, in lower case; "" if it has none. Idempotent.
    """
    text = plain(name).translate(LOOK_ALIKES)
    text = "".join(char for char in text if _is_kept(char)).translate(DIGITS)
    return text.replace("rn", "m").replace("vv", "w")


def is_reserved(name: str, reserved: Iterable[str] = ()) -> bool:
    """Tell whether a name looks like one that is kept: `RESERVED`, and those given.

    Here digits and signs that are read as letters count as those too ("m0der4t0r").
    """
    taken = {skeleton(name), skeleton(name.translate(_LEET))} - {""}
    return any(skeleton(one) in taken for one in (*RESERVED, *reserved))


def plain(text: str) -> str:
    """Fold a text for comparison: compatibility forms, case and accents are gone."""
    if text.isascii():
        return text.casefold()
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", text))


def alphabet_of(char: str) -> str | None:
    """Name the alphabet of a letter, if it is one of those that look like each other."""
    if not char.isalpha():
        return None
    name = unicodedata.name(char, "")
    return next((one for one in _ALPHABETS if name.startswith(one)), None)


def _is_kept(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char)[0] == "M"  # vowels of Hindi, Thai, ...


def _check_marks(name: str) -> None:
    run = 0
    for char in name:
        run = run + 1 if unicodedata.combining(char) else 0
        if run > _MAX_MARKS:
            raise BadName("a name may not have that many marks on one letter")


def _check_alphabets(name: str) -> None:
    for word in name.split():
        if len({alphabet_of(char) for char in word} - {None}) > 1:
            raise BadName("a name may not mix alphabets within a word")
