"""What a message contains: links, blocked words, emoji; and what of it is fit to be shown.

Filters find what is meant, not what is written: fullwidth letters, accents, look-alikes, "e x a m"
and "example dot com" are undone first. They err on the side of finding: what they find is held or
refused, and its author may say it otherwise.

Pure. Every pass is linear: split, translate, look up, and patterns whose repeats are bounded or
possessive. The caller bounds the text (`edge.chat.rules`: 2,000 characters). May import:
`edge.chat.names`, `edge.chat.tables`.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from edge.chat.names import BLANK_LETTERS, alphabet_of, plain
from edge.chat.tables import CYRILLIC, DOTS, ENDS, LOOK_ALIKES, PLAIN_ENDS, SIGNS

# -- what is fit to be shown

MAX_LINE_BREAKS: Final = 2
"""Line breaks of a message; with more of them, each becomes a blank."""

MAX_MARKS: Final = 4
"""Combining marks on one letter; the rest are dropped."""

_JOINERS: Final = "\u200c\u200d"  # Persian and emoji need them
_UNSEEN: Final = re.compile(
    f"[\\s{_JOINERS}\\ufe00-\\ufe0f\\U000e0000-\\U000e0fff\\u034f\\u20e3]*+"
)
_BREAKS: Final = re.compile("\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")


def clean_content(raw: str) -> str:
    """Take away what must not be on a screen: control, format and bidi characters, heaps of marks.

    Returns:
        NFC, trimmed; "" if nothing is left to see.
    """
    text = _BREAKS.sub("\n", raw).replace("\t", " ")
    if text.isascii():
        text = "".join(char for char in text if char.isprintable() or char == "\n")
    else:
        text = unicodedata.normalize("NFC", "".join(_shown(text)))
    text = text.strip()
    if text.count("\n") > MAX_LINE_BREAKS:
        text = " ".join(text.split())
    return "" if _UNSEEN.fullmatch(text) else text


def _shown(text: str) -> Iterator[str]:
    marks = 0
    for char in text:
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if marks > MAX_MARKS or kind in ("Cs", "Co"):
            continue
        if kind == "Cc" and char != "\n":
            continue
        if kind == "Cf" and char not in _JOINERS and not "\U000e0020" <= char <= "\U000e007f":
            continue
        yield " " if char in BLANK_LETTERS else char


# -- emoji

_PICTURE: Final = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23fa\u24c2"
    "\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50"
    "\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001f0ff\U0001f170\U0001f171\U0001f17e\U0001f17f"
    "\U0001f18e\U0001f191-\U0001f19a\U0001f1e6-\U0001f1ff\U0001f201-\U0001f251"
    "\U0001f300-\U0001f6ff\U0001f7e0-\U0001f7f0\U0001f900-\U0001faff]"
)
_EMOJI: Final = f"(?:[0-9#*]\ufe0f?\u20e3|{_PICTURE}[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*+)"
_ONLY_EMOJI: Final = re.compile(f"(?:\\s|{_EMOJI}[\U000e0020-\U000e007f]*+(?:\u200d{_EMOJI})*+)++")


def is_only_emoji(text: str) -> bool:
    """Tell whether a text is emoji and blanks, with at least one emoji."""
    return _ONLY_EMOJI.fullmatch(text) is not None and not text.isspace()


# -- links

_PLAIN_ENDS: Final = frozenset(PLAIN_ENDS.split())
_PLAIN: Final = PLAIN_ENDS.replace(" ", "|")
_DOT: Final = "dot|punkt|punto|point|\u0442\u043e\u0447\u043a\u0430"
_SPELT_DOTS: Final = (
    re.compile(rf"(?<=\w)[\s(\[{{<*_\-]{{1,3}}(?:{_DOT})[\s)\]}}>*_\-]{{1,3}}(?=(?:{_PLAIN})\b)"),
    re.compile(rf"(?<=\w)\s?[(\[{{<]\s?(?:{_DOT}|\.)\s?[)\]}}>]\s?(?=\w)"),
    re.compile(rf"(?<=\w)\s{{1,3}}\.\s{{0,3}}(?=(?:{_PLAIN})\b)"),
    re.compile(r"(?<=\w)(?:\.\s{1,3}|,)(?=c[o0]m(?:/|\s{0,3}$))"),
)
_HTTP: Final = re.compile(r"\bh(?:tt|xx)ps?\s?:\s?[/\\]\s?[/\\]\s?")
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]"
)
_BETWEEN: Final = re.compile(r"[\s,;|<>\"'`(){}]+")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+\-]{0,15}:)?[/\\]{2,}")
_AUTHORITY_END: Final = re.compile(r"[/\\?#]")
_PATH: Final = re.compile(r"(?::\d{0,5})?[/\\?#]")
_BARE: Final = re.compile(r"(?<![\w\-])[\w\-]{1,63}(?:\.[\w\-]{1,63})+")
_BARE_ADDRESS: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?=:\d|/)")


def find_links(text: str) -> list[str]:
    """Return the hosts that a text links to or names, in lower case, each once.

    Found are hosts behind a scheme ("hxxp" too) or "www.", bare domains whose end is known, and
    dots written as words or apart. What stands in a link's path is not looked at.
    """
    text = unicodedata.normalize("NFKC", text).casefold().translate(DOTS)
    text = _HTTP.sub("https://", _INVISIBLE.sub("", text))
    for pattern in _SPELT_DOTS:
        text = pattern.sub(".", text)
    hosts: dict[str, None] = {}
    for token in _BETWEEN.split(text):
        if "." in token or "/" in token or "\\" in token:
            hosts.update(dict.fromkeys(_hosts_of(token)))
    return list(hosts)


def has_foreign_link(text: str, allowed_hosts: Iterable[str]) -> bool:
    """Tell whether a text links to a host that is none of those allowed, nor below one."""
    hosts = find_links(text)
    if not hosts:
        return False
    allowed = {host.casefold().strip(".") for host in allowed_hosts} - {""}
    return not all(any(above in allowed for above in _and_above(host)) for host in hosts)


def _and_above(host: str) -> Iterator[str]:
    """Yield a host and every domain that it is in."""
    while host:
        yield host
        host = host.partition(".")[2]


def _hosts_of(token: str) -> Iterator[str]:
    before, *others = _SCHEME.split(token)
    yield from _bare_hosts(before)
    for scheme, rest in zip(others[::2], others[1::2], strict=True):
        if scheme is None:
            yield from _bare_hosts(rest)
            continue
        # Browsers take what stands before an "@" for a user's name.
        authority = _AUTHORITY_END.split(rest, 1)[0].rpartition("@")[2]
        if authority.startswith("["):
            yield authority.partition("]")[0] + "]"
        elif host := authority.partition(":")[0].strip(".!*_~]"):
            yield host


def _bare_hosts(text: str) -> Iterator[str]:
    yield from (found[0] for found in _BARE_ADDRESS.finditer(text))
    for found in _BARE.finditer(text):
        host = _as_host(found[0].strip("-_"))
        if host:
            yield host
            if _PATH.match(text, found.end()):
                return


def _as_host(text: str) -> str:
    """Return the host that dotted words are, "" if they are none."""
    if text.startswith("www."):
        return text
    labels = text.split(".")
    is_known = labels[-1] in ENDS or labels[-1].startswith("xn--")
    while not is_known and len(labels) > 2:  # "example.com.and so on"
        labels.pop()
        is_known = labels[-1] in _PLAIN_ENDS
    if not is_known or (labels[-2].isdigit() and labels[-1] not in _PLAIN_ENDS):
        return ""
    return ".".join(labels)


# -- blocked words

_WORD: Final = re.compile(r"[^\W_]+")
_SPUN_OUT: Final = re.compile(r"(.)\1\1")
_UNSPACED: Final = re.compile(  # Thai, Lao, Burmese, Khmer, kana, Chinese, Korean
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]"
)
_MARKERS: Final = "@$!|"
_LEET: Final = {**SIGNS, ord("0"): "o"}
_LEET_I: Final = {**_LEET, **dict.fromkeys(map(ord, "1!|"), "i")}
_LEET_L: Final = {**_LEET, **dict.fromkeys(map(ord, "1!|"), "l")}
_AMBIGUOUS: Final = re.compile(r"[0134578@$!|]|[^\x00-\x7f]")
_TO_CYRILLIC: Final = {ord(latin): chr(cyrillic) for cyrillic, latin in reversed(CYRILLIC.items())}
_AROUND: Final = "!?.,:;\u2026"
_SHORTEST_SPELT: Final = 3


class WordFilter:
    """Words and phrases that a text may not contain, compiled.

    Found as whole words, in any case and with or without accents; with digits, signs or letters of
    other alphabets for the letters they look like; with signs or blanks between the letters; with
    letters spun out (three times or more). Words of scripts that do not part them by blanks are
    found anywhere.

    Args:
        words: As moderators wrote them. Their number and length are the settings' to bound.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words: dict[str, str] = {}
        self._squeezed: dict[str, list[tuple[tuple[int, ...], str]]] = {}
        self._phrases: dict[tuple[str, ...], str] = {}
        self._unspaced: dict[str, str] = {}
        self._literal: dict[str, str] = {}
        for word in words:
            self._add(word)
        self._is_empty = not (self._words or self._phrases or self._unspaced or self._literal)
        self._phrase_lengths = sorted({len(phrase) for phrase in self._phrases})
        self._word_lengths = sorted({len(word) for word in self._words} - {1, 2})

    def _add(self, word: str) -> None:
        chunks = _chunks(word)
        folded = " ".join(
            _spelt(chunk, _LEET_I) if any(sign in chunk for sign in _MARKERS) else chunk
            for chunk in chunks
        )
        tokens = tuple(_WORD.findall(folded))
        letters = "".join(tokens)
        if not chunks:
            return
        if len(letters) < 2 and letters != folded:  # "c++", or an emoji
            self._literal.setdefault(" ".join(chunks), word)
        elif _UNSPACED.search(letters):
            self._unspaced.setdefault(letters, word)
        elif len(tokens) > 1:
            self._phrases.setdefault(tokens, word)
        else:
            self._words.setdefault(letters, word)
            squeezed, runs = _squeeze(letters)
            self._squeezed.setdefault(squeezed, []).append((runs, word))

    def find(self, text: str) -> str | None:
        """Return the first blocked word of a text, as it was given; None: it has none."""
        if self._is_empty:
            return None
        chunks = _chunks(text)
        flat = " ".join(chunks)
        for literal, word in self._literal.items():
            if literal in flat:
                return word
        seen: list[list[str]] = []
        for reading in _readings(chunks):
            if reading not in seen:
                seen.append(reading)
                if found := self._find(reading):
                    return found
        return None

    def _find(self, chunks: list[str]) -> str | None:
        tokens: list[str] = []
        for chunk in chunks:
            parts = _WORD.findall(chunk)
            tokens += parts
            if len(parts) > 1 and (found := self._word("".join(parts))):
                return found
        for token in tokens:
            if found := self._word(token):
                return found
        return self._phrase(tokens) or self._spelt_out(tokens) or self._anywhere(tokens)

    def _word(self, token: str) -> str | None:
        found = self._words.get(token)
        if found is None and _SPUN_OUT.search(token):
            squeezed, runs = _squeeze(token)
            for wanted, word in self._squeezed.get(squeezed, ()):
                if all(
                    run == least or run >= max(3, least)
                    for run, least in zip(runs, wanted, strict=True)
                ):
                    return word
        return found

    def _phrase(self, tokens: list[str]) -> str | None:
        for length in self._phrase_lengths:
            for start in range(len(tokens) - length + 1):
                if found := self._phrases.get(tuple(tokens[start : start + length])):
                    return found
        return None

    def _spelt_out(self, tokens: list[str]) -> str | None:
        """Look through letters that stand alone ("b a d")."""
        for is_single, group in groupby(tokens, key=lambda token: len(token) == 1):
            if not is_single:
                continue
            letters = "".join(group)
            for length in self._word_lengths:
                for start in range(len(letters) - length + 1):
                    if found := self._words.get(letters[start : start + length]):
                        return found
        return None

    def _anywhere(self, tokens: list[str]) -> str | None:
        letters = "".join(tokens)
        return next((word for key, word in self._unspaced.items() if key in letters), None)


def find_blocked(text: str, words: Sequence[str]) -> str | None:
    """Do what `WordFilter` does, once."""
    return WordFilter(words).find(text)


def _chunks(text: str) -> list[str]:
    return plain(_INVISIBLE.sub("", text)).split()


def _readings(chunks: list[str]) -> Iterator[list[str]]:
    """Yield the ways in which a text can be read: as it is, and with signs for letters."""
    yield chunks
    if not any(_AMBIGUOUS.search(chunk) for chunk in chunks):
        return
    yield [_spelt(chunk, _LEET_I) for chunk in chunks]
    yield [_spelt(chunk, _LEET_L) for chunk in chunks]
    yield [_in_cyrillic(chunk) for chunk in chunks]


def _spelt(chunk: str, signs: Mapping[int, str]) -> str:
    """Put letters for what looks like one; a number stays a number."""
    if not any(char.isalpha() for char in chunk.translate(LOOK_ALIKES)):
        return chunk
    return chunk.strip(_AROUND).translate(LOOK_ALIKES).translate(signs)


def _in_cyrillic(chunk: str) -> str:
    """Put Cyrillic letters for Latin ones in a word that has both."""
    is_cyrillic = not chunk.isascii() and any(alphabet_of(char) == "CYRILLIC" for char in chunk)
    return chunk.translate(_TO_CYRILLIC) if is_cyrillic else chunk


def _squeeze(word: str) -> tuple[str, tuple[int, ...]]:
    """Return a word with each run of a letter as one, and how long the runs were."""
    runs = [(letter, len(list(group))) for letter, group in groupby(word)]
    return "".join(letter for letter, _ in runs), tuple(length for _, length in runs)
