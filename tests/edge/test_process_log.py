"""The log: readable, one line per event whatever peers send, and no secret in it."""

import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any, Literal

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from edge.process.log import (
    MAX_EXCEPTION_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    configure_logging,
    redact,
    start_apart,
)

KEY = "live_0123456789abcdef0123456789abcdef"
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_x"
ADMIN = "admin_0123456789abcdef0123456789abcdef"

Format = Literal["text", "json"]

any_text = st.text(st.characters(exclude_categories=()))  # surrogates and controls too

pytestmark = pytest.mark.usefixtures("logging_restored")


def written(log_format: Format, write: Callable[[Any], object], *, level: str = "debug") -> str:
    stream = io.StringIO()
    configure_logging(log_format, level, stream=stream)
    write(structlog.get_logger())
    return stream.getvalue()


def fields(write: Callable[[Any], object]) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(written("json", write))
    return decoded


def test_a_text_line_is_time_level_event_and_pairs() -> None:
    line = written("text", lambda log: log.info("listening", http="127.0.0.1:8080", rtmp="[::1]:1"))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z info    "
        r"listening http=127\.0\.0\.1:8080 rtmp=\[::1\]:1\n",
        line,
    )


@pytest.mark.parametrize(
    ("value", "written_as"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("Grüße", '"Grüße"'),
        ("a\r\nb", r'"a\r\nb"'),
        ("\x1b[31mred", r'"\u001b[31mred"'),
        ("\x9b31m", r'"\u009b31m"'),
        ("\u202egnp.exe", r'"\u202egnp.exe"'),
        ("\u2028", r'"\u2028"'),
        (3, "3"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (10**400, "1" + "0" * 400),
        (True, "true"),
        (None, "null"),
        (b"x", "b'x'"),
        (["a", 1], "\"['a', 1]\""),
    ],
)
def test_values_as_text(value: object, written_as: str) -> None:
    assert written("text", lambda log: log.info("e", v=value)).endswith(f" e v={written_as}\n")


def test_a_json_line_is_an_object_with_the_same_facts() -> None:
    found = fields(lambda log: log.warning("slow", ms=5, ratio=0.5, who=None, odd=float("inf")))
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "level": "warning",
        "event": "slow",
        "ms": 5,
        "ratio": 0.5,
        "who": None,
        "odd": "inf",
    }


def test_json_begins_with_what_a_reader_looks_for() -> None:
    line = written("json", lambda log: log.bind(a=1).info("e"))
    assert list(json.loads(line)) == ["timestamp", "level", "event", "a"]


def test_less_severe_lines_are_dropped() -> None:
    assert written("text", lambda log: log.info("e"), level="warning") == ""
    assert written("text", lambda log: log.warning("e"), level="warning") != ""


def test_bound_and_context_fields_are_treated_alike() -> None:
    with structlog.contextvars.bound_contextvars(peer=f"x{KEY}"):
        line = written("text", lambda log: log.bind(stream=f"y{KEY}").info("e"))
    assert "peer=xlive_[redacted]" in line
    assert "stream=ylive_[redacted]" in line


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (KEY, "live_[redacted]"),
        (f"rtmp://h/live/{KEY}?x=1", "rtmp://h/live/live_[redacted]?x=1"),
        (KEY.upper(), "LIVE_[redacted]"),
        (KEY.replace("_", "%5F"), "live%5F[redacted]"),
        (KEY[:20], "live_[redacted]"),  # cut by some other limit
        (KEY + KEY, "live_[redacted]live_[redacted]"),
        (f"x{KEY}yz", "xlive_[redacted]yz"),
        (ADMIN, "admin_[redacted]"),
        ("Authorization: Bearer abc.DEF-1==", "Authorization: Bearer [redacted]"),
        ("bearer\tabc", "bearer [redacted]"),
        ("{'authorization': 'Bearer abc'}", "{'authorization': 'Bearer [redacted]'}"),
        ("the live_edge of live_abc", "the live_edge of live_abc"),
        ("a bearer", "a bearer"),
        (KEY.replace("live_", "hrt_"), "hrt_[redacted]"),
        (KEY.replace("live_", "whsec_"), "whsec_[redacted]"),
        (f"/api/streams/1/~{JWT}/master.m3u8", "/api/streams/1/~[redacted]/master.m3u8"),
        ("/api/streams/1/~opaque/source/x.m4s", "/api/streams/1/~[redacted]/source/x.m4s"),
        ("/api/streams/1/%7Eopaque/x", "/api/streams/1/%7E[redacted]/x"),
        ("/api/streams/1/~/x and ~tilde", "/api/streams/1/~/x and ~tilde"),
        (f"token={JWT}&x=1", "token=eyJ[redacted]&x=1"),
        (JWT.rpartition(".")[0], "eyJ[redacted]"),
        ("eyJust kidding.", "eyJust kidding."),
    ],
)
def test_secrets_are_cut_out(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize("log_format", ["text", "json"])
@given(before=any_text, after=any_text, name=any_text)
def test_a_key_never_leaves_whatever_is_around_it(
    log_format: Format, before: str, after: str, name: str
) -> None:
    secret = f"{before}{KEY}{after}"

    class Shown:
        def __repr__(self) -> str:
            return secret

    def write(log: Any) -> None:
        try:
            raise ValueError(secret)
        except ValueError:
            log.exception(
                secret,
                value=secret,
                nested={secret: [secret, (secret.encode("utf-8", "replace"), Shown())]},
                shown=Shown(),
                **{f"{name}-{secret}": 1},
            )

    output = written(log_format, write)
    assert KEY not in output
    assert KEY[5:] not in output


@pytest.mark.parametrize("log_format", ["text", "json"])
@given(texts=st.lists(any_text, min_size=3, max_size=3), number=st.integers() | st.floats())
def test_whatever_is_logged_makes_one_line(
    log_format: Format, texts: list[str], number: float
) -> None:
    event, name, value = texts
    output = written(log_format, lambda log: log.info(event, **{f"k{name}": value, "n": number}))
    assert len(output.splitlines()) == 1
    assert output[:-1].isprintable()
    output.encode()


@given(any_text)
def test_a_traceback_cannot_pass_for_a_line(text: str) -> None:
    def write(log: Any) -> None:
        try:
            raise ValueError(text)
        except ValueError:
            log.exception("crashed")

    first, *rest = written("text", write).rstrip("\n").split("\n")
    assert first.endswith("error   crashed")
    assert rest
    assert all(row.startswith("    | ") and row.isprintable() for row in rest)


def test_long_values_are_cut() -> None:
    found = fields(lambda log: log.info("e", v="x" * 10**6))
    assert found["v"] == "x" * (MAX_VALUE_CHARACTERS - 1) + "…"
    assert fields(lambda log: log.info("e", v="x" * MAX_VALUE_CHARACTERS))["v"].endswith("x")


@given(st.integers(MAX_VALUE_CHARACTERS - 50, MAX_VALUE_CHARACTERS + 10))
def test_a_key_across_the_cut_does_not_leave_in_part(position: int) -> None:
    value = fields(lambda log: log.info("e", v=" " * position + KEY + "y" * 900))["v"]
    assert "0123456" not in value


def test_long_tracebacks_keep_their_end() -> None:
    def write(log: Any) -> None:
        try:
            raise ValueError(KEY + "x" * 10**5 + "the end")
        except ValueError:
            log.exception("crashed")

    exception = fields(write)["exception"]
    assert len(exception) == MAX_EXCEPTION_CHARACTERS
    assert exception.endswith("the end")


def test_exception_groups_are_shown_in_full() -> None:
    group = ExceptionGroup("both", [ValueError("one"), OSError("two")])
    line = written("text", lambda log: log.error("crashed", exc_info=group))
    assert "ValueError: one" in line
    assert "OSError: two" in line


def test_a_value_that_cannot_be_shown_costs_nothing_else() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError

    assert " e a=1 b=<Broken> c=2\n" in written(
        "text", lambda log: log.info("e", a=1, b=Broken(), c=2)
    )


def test_a_lost_stderr_costs_nothing_else() -> None:
    stream = io.StringIO()
    configure_logging("text", stream=stream)
    stream.close()
    structlog.get_logger().info("nobody reads this")


def test_without_a_stream_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text")
    structlog.get_logger().info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("info    here\n")


def test_libraries_that_use_the_standard_library_are_treated_alike() -> None:
    line = written("text", lambda _: logging.getLogger("lib").warning("odd\n%s", KEY))
    assert line.endswith(r"warning odd\nlive_[redacted] logger=lib" + "\n")


@pytest.mark.parametrize(
    ("level", "name"), [(31, "warning"), (45, "error"), (99, "critical"), (30, "warning")]
)
def test_odd_levels_of_libraries_have_a_name(level: int, name: str) -> None:
    line = written("text", lambda _: logging.getLogger("lib").log(level, "x"))
    assert f"Z {name:<7} x" in line


def test_chatter_of_libraries_is_dropped_and_bad_arguments_are_survived() -> None:
    assert written("text", lambda _: logging.getLogger("lib").info("chatter")) == ""
    line = written("text", lambda _: logging.getLogger("lib").warning("%d", "x"))
    assert line.endswith(" %d logger=lib\n")


async def test_a_task_has_its_connection_and_what_outlives_it_has_not() -> None:
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    log = structlog.get_logger()

    async def say(what: str) -> None:
        await trio.lowlevel.checkpoint()
        log.info(what)

    async def serve(number: int, later: trio.Nursery) -> None:
        structlog.contextvars.bind_contextvars(connection=number, stream=f"s{number}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, f"part {number}")
            start_apart(later, say, f"apart {number}")
        await say(f"end {number}")

    async with trio.open_nursery() as nursery:
        structlog.contextvars.bind_contextvars(worker=7)
        for number in (1, 2):
            nursery.start_soon(serve, number, nursery)
    structlog.contextvars.clear_contextvars()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert sorted(
        (line["event"], line.get("connection"), line.get("stream"))
        for line in lines
        if not line["event"].startswith("apart")
    ) == [
        ("end 1", 1, "s1"),
        ("end 2", 2, "s2"),
        ("part 1", 1, "s1"),
        ("part 2", 2, "s2"),
    ]
    apart = [line for line in lines if line["event"].startswith("apart")]
    assert len(apart) == 2
    assert not any("connection" in line or "stream" in line for line in apart)
    assert all(line["worker"] == 7 for line in lines)
