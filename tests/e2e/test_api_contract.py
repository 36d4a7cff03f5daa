"""The OpenAPI document against a live origin: a stranger (schemathesis) asks what it says, and not.

What the document promises must hold for whatever fits it and whatever does not: statuses, types,
schemas, refused credentials, no 500. `HEADRACE_API_EXAMPLES` asks for more of each operation.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_rows import every_row
from origin_process import CreatedStream, Origin, running_origin

from edge.api.operation import ALL_SCOPES, Need, Operation

pytestmark = pytest.mark.e2e

EXAMPLES = os.environ.get("HEADRACE_API_EXAMPLES", "10")
SEED = "1"
SCHEMATHESIS = str(Path(sys.executable).with_name("st"))
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with running_origin(tmp_path_factory.mktemp("api"), "--ladder", "none") as origin:
        yield origin


@pytest.mark.hard_cap(85)
def test_what_the_document_says_holds(origin: Origin, tmp_path: Path) -> None:
    token = origin.admin_token()
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", str(CONFIG), "run"),
            f"http://{origin.http}/api/openapi.json",
            *("--header", f"Authorization: Bearer {token}", "--max-examples", EXAMPLES),
            *("--seed", SEED, "--generation-database", "none", "--no-color"),
            *("--suppress-health-check", "all"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert " passed" in done.stdout or "No issues found" in done.stdout, done.stdout[-2000:]


def test_every_row_is_in_the_document(origin: Origin) -> None:
    paths = origin.get("/api/openapi.json").json()["paths"]
    told = {one["operationId"] for methods in paths.values() for one in methods.values()}
    assert told == {row.name for row in every_row()}


# -- who may: every operation, with every kind of credential

BODIES: dict[str, Any] = {
    "createStream": {"broadcasterId": "b", "title": "t"},
    "changeStream": {"title": "t"},
    "createMarker": {},
    "setRelays": {},
    "createKey": {"label": "l"},
    "beatViewer": {"viewerId": "somebody-1"},
    "reportAudience": {"reporter": "0" * 16, "streams": []},
    "setPlayback": {"policy": "public"},
    "createToken": {"name": "n", "scopes": ["read"]},
    "postMessage": {"content": "hello"},
    "createChatToken": {"userId": "ann", "username": "Ann"},
    "changeChatSettings": {},
    "createHook": {"url": "http://127.0.0.1:9/", "events": ["stream.*"]},
    "changeHook": {},
}
"""A body for each operation that needs one."""

MISSING = dict.fromkeys(
    (
        *("keyId", "tokenId", "messageId", "userId", "quality", "name", "hookId"),
        *("recordingId", "fileName"),
    ),
    "zzzzzzzzzzzz",
) | {"deliveryId": "1"}
"""Names of what is not there: who may ask learns that (404)."""

LET_IN = {200, 201, 202, 204, 404, 409, 426, 429}
"""What who may ask is answered; 426: who asks for a WebSocket has to say so; 429: slow mode, and
what was just said."""


Mint = Callable[[Iterable[str]], str]


@pytest.fixture(scope="module")
def mint(origin: Origin) -> Mint:
    """Makes an admin token of some scopes, or gives the one made before: there are 100 at most."""
    made: dict[frozenset[str], str] = {}

    def mint_token(scopes: Iterable[str]) -> str:
        wanted = frozenset(scopes)
        if wanted not in made:
            made[wanted] = origin.create_token(sorted(wanted))
        return made[wanted]

    return mint_token


@pytest.fixture
def streams(origin: Origin) -> tuple[CreatedStream, CreatedStream]:
    return origin.create_stream("ours"), origin.create_stream("theirs")


def ask(origin: Origin, row: Operation, stream_id: str, token: str) -> int:
    """The status of an answer."""
    path = row.path.replace("{streamId}", stream_id)
    for name, value in MISSING.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, "a parameter that this test does not know"
    method = "HEAD" if row.take else row.method  # what has no end has a head
    return origin.call(method, path, BODIES.get(row.name), token=token).status


@pytest.mark.parametrize("row", every_row(), ids=lambda row: row.name)
def test_who_may_and_who_may_not(
    row: Operation, origin: Origin, mint: Mint, streams: tuple[CreatedStream, CreatedStream]
) -> None:
    ours, theirs = streams
    anybody, wrong = "", "live_" + "0" * 32
    lacking, scoped = mint(ALL_SCOPES - {row.scope}), mint({row.scope})
    in_stream = "{streamId}" in row.path
    expected = {
        Need.ANYBODY: ({anybody, wrong, theirs.key, ours.key, lacking, scoped}, {}),
        Need.STREAM: ({ours.key}, {anybody: 401, wrong: 401, theirs.key: 401, lacking: 403}),
        Need.CHAT: ({ours.key}, {anybody: 401, wrong: 401, theirs.key: 401, lacking: 403}),
        Need.ADMIN: (
            set(),
            {
                anybody: 401,
                wrong: 401,
                theirs.key: 401,
                ours.key: 403 if in_stream else 401,
                lacking: 403,
            },
        ),
    }
    let_in, refused = expected[row.need]
    if row.stream_of is not None and row.need is Need.STREAM:
        # Of what is not there no stream is known, so no key opens it; of a recording that is there,
        # tests/origin/recording/test_api.py has the table.
        let_in, refused = set(), {**refused, ours.key: 401}
    for token, status in refused.items():
        assert ask(origin, row, ours.id, token) == status, token[:5]
    for token in let_in:
        assert ask(origin, row, ours.id, token) in LET_IN, token[:5]
    if row.name != "createToken":  # it gives no more than it has, and these have one scope each
        assert ask(origin, row, ours.id, scoped) in LET_IN
    if in_stream and row.need is not Need.ANYBODY:
        assert ask(origin, row, ours.id, origin.admin_token()) in LET_IN
