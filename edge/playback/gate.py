"""The gate: whether a request for media is let in, by what stands in its path.

    /api/streams/{id}/~TOKEN/{file} --> judge --> until when, or the refusal

Pure decisions over a key set, with a memory of tokens whose signature was found good: a player asks
ten times a second, and a signature costs 340 us. Each answer is judged anew by time, stream and
address; only the signature is remembered.

What was never a good token is a guess, and counted by network (`edge.guesses`): who makes too many
gets 429, until the signature of a token that is known already lets them in. An expired token is no
guess, so that nobody locks out those with whom they share an address.

Bounds: `MAX_KNOWN` tokens; who came longest ago is forgotten first. May import: `edge.playback.
tokens`, `edge.guesses`, `edge.http`.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from edge.guesses import Guesses
from edge.http.messages import MAX_PASS_S, HttpError, Pass, Request, error_answer
from edge.http.response import Response
from edge.playback.tokens import LEEWAY_S, BadToken, Claims, KeySet, UnknownKey

MAX_KNOWN: Final = 20_000
"""Tokens whose signature is remembered: some 10 MB of them."""

MARK: Final = "~"
"""What a segment of a path begins with if a token follows."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """May watch."""

    until_s: float
    """UTC, seconds."""


@dataclass(frozen=True, slots=True)
class Refused:
    """May not."""

    error: HttpError
    """For who asked."""
    is_unknown_key: bool = False
    """The key that the token names may be one that has come meanwhile."""

    @property
    def answer(self) -> Response:
        """The error as a response."""
        return error_answer(self.error)


def _needed() -> HttpError:  # a new one each time: what is raised keeps what it has passed through
    return HttpError(
        401, "this stream needs a playback token", code="tokenNeeded", WWW_Authenticate="Bearer"
    )


NEEDED: Final = error_answer(_needed())
"""To who shows none."""


class Gate:
    """Judges tokens.

    Args:
        guesses: Counts what never was a good one.
        keys: The keys that tokens are checked with; changed by setting `keys`.
        clock: Gives UTC seconds since 1970.
        steady: Seconds, for the guesses.
    """

    def __init__(
        self,
        guesses: Guesses,
        keys: KeySet | None = None,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = trio.current_time,
    ) -> None:
        self._guesses = guesses
        self._keys = KeySet({}) if keys is None else keys
        self._clock = clock
        self._steady = steady
        self._known: OrderedDict[str, Claims] = OrderedDict()
        self.verdicts: Counter[str] = Counter()
        """Judgements so far: "admitted", or the code of the refusal."""

    def __len__(self) -> int:
        """How many tokens are remembered."""
        return len(self._known)

    @property
    def keys(self) -> KeySet:
        """The keys that tokens are checked with."""
        return self._keys

    @keys.setter
    def keys(self, keys: KeySet) -> None:
        if keys != self._keys:
            self._keys = keys
            self._known.clear()

    def judge(self, stream_id: str, token: str | None, client: str) -> Admitted | Refused:
        """Say whether somebody may watch a stream that not everybody may.

        Args:
            stream_id: The stream.
            token: What stood in the path, of any content; None: nothing did.
            client: Their IP address, as far as it is known; else "".
        """
        verdict = self._judge(stream_id, token, client)
        if isinstance(verdict, Admitted):
            self.verdicts["admitted"] += 1
        else:
            self.verdicts[verdict.error.code or "tooManyGuesses"] += 1
        return verdict

    def _judge(self, stream_id: str, token: str | None, client: str) -> Admitted | Refused:
        if token is None:
            return Refused(_needed())
        claims = self._known.get(token)
        try:
            if claims is None:
                if not self._guesses.may_try(client, self._steady()):
                    text = "too many wrong playback tokens from your address"
                    return Refused(HttpError(429, text, Retry_After="5"))
                claims = self._keys.verify(token)
            self._remember(token, claims)
            claims.check(stream_id=stream_id, address=client, now_s=self._clock())
        except BadToken as error:
            if error.is_guess:
                self._guesses.note_wrong(client, self._steady())
            refusal = HttpError(403, str(error), code=error.code)
            return Refused(refusal, isinstance(error, UnknownKey))
        return Admitted(claims.exp + LEEWAY_S)

    def seconds_left(self, stream_id: str, token: str, client: str) -> float | None:
        """How long a token that was judged good a moment ago still is; None: it is not, now."""
        claims = self._known.get(token)
        if claims is None:
            return None
        now_s = self._clock()
        try:
            claims.check(stream_id=stream_id, address=client, now_s=now_s)
        except BadToken:
            return None
        return claims.exp + LEEWAY_S - now_s

    def _remember(self, token: str, claims: Claims) -> None:
        self._known[token] = claims
        self._known.move_to_end(token)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def pass_of(self, request: Request) -> Pass | None:
        """See `edge.http.messages.Gatekeeper.pass_of`; for tokens that were judged here."""
        match request.path.split("/"):
            case ["", "api", "streams", stream_id, *rest]:
                token = split_token(rest)[1]
                left_s = (
                    None if token is None else self.seconds_left(stream_id, token, request.client)
                )
                if token is not None and left_s is not None:
                    until_s = self._steady() + min(left_s, MAX_PASS_S)
                    return Pass(stream_id, token.encode("ascii"), until_s)
        return None


def is_media(rest: Sequence[str]) -> bool:
    """Whether a path behind ``/api/streams/{id}/`` is of what players fetch, token or not."""
    match rest:
        case ["master.m3u8"] | [_, "master.m3u8"]:
            return True
        case [_, name] | [_, _, name] if "." in name:
            return len(rest) == 2 or rest[0].startswith(MARK)
    return False


def split_token(rest: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Take the token out of the segments of a path behind the stream's id, if one is there.

    Returns:
        The segments without it, and the token; None: there is none.
    """
    if len(rest) > 1 and rest[0].startswith(MARK):
        return rest[1:], rest[0][len(MARK) :]
    return rest, None
