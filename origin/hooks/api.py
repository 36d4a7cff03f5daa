"""Operations on hooks: made, shown, changed, tested, removed; what was not delivered to them.

May import: control, edge, origin.hooks.
"""

from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import structlog

from control import StoreError, TooManyError
from control.hook_model import Delivery, DeliveryStatus, Hook
from edge.api.operation import Asked, Need, Operation
from edge.api.times import iso8601
from edge.errors import Unavailable
from edge.http.messages import HttpError
from edge.http.response import Response, json_response, make_response
from edge.posting import check_url
from origin.hooks.catalog import PATTERNS, Pattern
from origin.hooks.service import Hooks, HookState, TestResult

MAX_TESTS: Final = 4
"""At one time; each takes 15 s at the most."""

_Url = Annotated[
    str,
    msgspec.Meta(
        max_length=2000,
        pattern=r"^https?://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
        r"(:[0-9]{1,5})?(/[!-~]*)?\Z",
    ),
]
_Patterns = Annotated[list[Pattern], msgspec.Meta(min_length=1, max_length=len(PATTERNS))]
_StreamId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-z]{12}\Z")]
_Text = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")]

T = TypeVar("T")

log = structlog.get_logger("hooks")


class HookInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A hook, and how it fares."""

    id: str
    url: str
    events: list[Pattern]
    stream_id: str | None
    """Only this stream's events; null: every one's."""
    enabled: bool
    """If not, nothing is kept for it, and what waits does so until it is enabled again."""
    description: str
    created_at: str
    """ISO 8601, UTC."""
    status: Literal["ok", "failing", "disabled"]
    """Failing: the last attempts did not succeed."""
    pending: int
    """Deliveries that wait."""
    dead: int
    """That were given up; see its deliveries."""
    dropped: int
    """That were lost because too many waited."""
    last_failure: str
    """Of the last attempt; empty if it succeeded."""
    last_success_at: str | None
    """ISO 8601, UTC; null: none since the server began."""


class NewHook(HookInfo, rename="camel", frozen=True, kw_only=True):
    """The answer to a creation or a new secret: the only time that the secret is shown."""

    secret: str

    def __repr__(self) -> str:
        return f"NewHook(id={self.id!r})"  # a repr goes into logs


class HookList(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """All hooks, oldest first."""

    hooks: list[HookInfo]


class HookRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A new hook."""

    url: _Url
    """Where events are sent by POST."""
    events: _Patterns
    """Types, or patterns such as "alert.*". "*" is all but chat."""
    stream_id: _StreamId | None = None
    """Only this stream's events."""
    enabled: bool = True
    description: _Text = ""


class HookChanges(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What is to be otherwise; what is left out stays as it is."""

    url: _Url | msgspec.UnsetType = msgspec.UNSET
    events: _Patterns | msgspec.UnsetType = msgspec.UNSET
    stream_id: _StreamId | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    description: _Text | msgspec.UnsetType = msgspec.UNSET


class DeliveryInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """An event that a hook was not told of yet."""

    id: str
    status: Literal["pending", "dead"]
    event_id: str
    type: str
    stream_id: str
    at: str
    """ISO 8601, UTC: when it happened."""
    attempts: int
    """That have failed."""
    reason: str
    """Of the last failure."""
    event: msgspec.Raw
    """What is sent."""


class DeliveryPage(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Some deliveries, oldest first."""

    deliveries: list[DeliveryInfo]
    next: str | None = None
    """For `after` in the next call; null: these were the last."""


class DeliveriesQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Which deliveries."""

    status: Literal["pending", "dead"] = "dead"
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    after: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}\Z")] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    """`next` of the call before."""


class HooksApi:
    """The handlers.

    Args:
        hooks: The hooks.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._tests = 0

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows."""
        every, one = "/api/hooks", "/api/hooks/{hookId}"
        common: dict[str, Any] = {"tag": "hooks", "need": Need.ADMIN, "scope": "hooks"}
        return (
            Operation(
                name="createHook", method="POST", path=every, handler=self._create,
                summary="Have a program told of events", body=HookRequest, status=201,
                answer=NewHook, errors=(409,),
                description="Each event is POSTed as JSON, signed with the `secret` of this "
                "answer, at least once, and in order by stream.", **common,
            ),
            Operation(
                name="listHooks", method="GET", path=every, handler=self._list,
                summary="List the hooks", answer=HookList, **common,
            ),
            Operation(
                name="getHook", method="GET", path=one, handler=self._get,
                summary="Show a hook and how it fares", answer=HookInfo, errors=(404,), **common,
            ),
            Operation(
                name="changeHook", method="PATCH", path=one, handler=self._change,
                summary="Change a hook", body=HookChanges, answer=HookInfo, errors=(404,),
                description="What waits is sent where the hook points now, at once.", **common,
            ),
            Operation(
                name="deleteHook", method="DELETE", path=one, handler=self._delete,
                summary="Remove a hook and what waits for it", status=204, errors=(404,),
                **common,
            ),
            Operation(
                name="rotateHookSecret", method="POST", path=f"{one}/secret",
                handler=self._rotate, summary="Give a hook a new secret", answer=NewHook,
                errors=(404,), description="The old one signs nothing any more.", **common,
            ),
            Operation(
                name="testHook", method="POST", path=f"{one}/test", handler=self._test,
                summary="Send a hook.test event at once and say what came of it",
                answer=TestResult, errors=(404, 503), description="Past all that waits. If it is "
                "delivered, what waits is sent too.", **common,
            ),
            Operation(
                name="listDeliveries", method="GET", path=f"{one}/deliveries",
                handler=self._deliveries, summary="List what was not delivered, oldest first",
                query=DeliveriesQuery, answer=DeliveryPage, errors=(404,), **common,
            ),
            Operation(
                name="retryDelivery", method="POST",
                path=f"{one}/deliveries/{{deliveryId}}/retry", handler=self._retry,
                summary="Let a dead delivery wait again", answer=DeliveryInfo, status=202,
                errors=(404,), description="Behind what waits now, under a new id.", **common,
            ),
        )  # fmt: skip

    async def _create(self, asked: Asked) -> Response:
        wanted: HookRequest = asked.body
        _check(wanted.url)
        try:
            state = await _stored(
                self._hooks.add(
                    url=wanted.url,
                    events=list(dict.fromkeys(wanted.events)),
                    stream_id=wanted.stream_id,
                    enabled=wanted.enabled,
                    description=wanted.description,
                )
            )
        except TooManyError as error:
            raise HttpError(409, str(error), code="tooMany") from None
        place = f"/api/hooks/{state.hook.id}"
        return json_response(201, self._with_secret(state), extra={"Location": place})

    async def _list(self, _asked: Asked) -> Response:
        return json_response(
            200, HookList(hooks=[HookInfo(**_info(state)) for state in self._hooks.states()])
        )

    async def _get(self, asked: Asked) -> Response:
        return json_response(200, HookInfo(**_info(self._find(asked))))

    async def _change(self, asked: Asked) -> Response:
        given = {
            name: value
            for name, value in msgspec.structs.asdict(asked.body).items()
            if value is not msgspec.UNSET
        }
        state = self._find(asked)
        if "url" in given:
            _check(given["url"])
        if "events" in given:
            given["events"] = tuple(dict.fromkeys(given["events"]))
        await self._put(state, msgspec.structs.replace(state.hook, **given))
        return json_response(200, HookInfo(**_info(state)))

    async def _delete(self, asked: Asked) -> Response:
        if not await _stored(self._hooks.delete(asked.params["hookId"])):
            raise _unknown()
        return make_response(204)

    async def _rotate(self, asked: Asked) -> Response:
        state = self._find(asked)
        hook = state.hook
        await self._put(state, msgspec.structs.replace(hook, generation=hook.generation + 1))
        return json_response(200, self._with_secret(state))

    async def _test(self, asked: Asked) -> Response:
        state = self._find(asked)
        if self._tests >= MAX_TESTS:
            raise HttpError(503, "too many tests at once", Retry_After="15")
        self._tests += 1
        try:
            return json_response(200, await self._hooks.test(state))
        finally:
            self._tests -= 1

    async def _deliveries(self, asked: Asked) -> Response:
        state = self._find(asked)
        query: DeliveriesQuery = asked.query
        rows = await _stored(
            self._hooks.list_deliveries(
                state.hook.id,
                DeliveryStatus(query.status),
                after=0 if query.after is msgspec.UNSET else int(query.after),
                limit=query.limit + 1,
            )
        )
        shown = rows[: query.limit]
        more = str(shown[-1].number) if len(rows) > len(shown) else None
        return json_response(
            200, DeliveryPage(deliveries=[_delivery(row) for row in shown], next=more)
        )

    async def _retry(self, asked: Asked) -> Response:
        state = self._find(asked)
        text = asked.params["deliveryId"]
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0
        delivery = await _stored(self._hooks.revive(state, number))
        if delivery is None:
            raise HttpError(404, "the hook has no such dead delivery", code="noSuchDelivery")
        return json_response(202, _delivery(delivery))

    def _find(self, asked: Asked) -> HookState:
        state = self._hooks.find(asked.params["hookId"])
        if state is None:
            raise _unknown()
        return state

    async def _put(self, state: HookState, hook: Hook) -> None:
        if not await _stored(self._hooks.change(state, hook)):
            raise _unknown()

    def _with_secret(self, state: HookState) -> NewHook:
        return NewHook(**_info(state), secret=self._hooks.secret(state.hook))


def _check(url: str) -> None:
    try:
        check_url(url)
    except ValueError as error:
        raise HttpError(400, f"url: {error}") from None


def _unknown() -> HttpError:
    return HttpError(404, "no such hook", code="noSuchHook")


async def _stored(asking: Awaitable[T]) -> T:
    try:
        return await asking
    except StoreError as error:
        log.error("cannot ask the store", reason=str(error))
        raise Unavailable from None


def _info(state: HookState) -> dict[str, Any]:
    hook = state.hook
    status = "failing" if state.lanes.is_down else "ok"
    return {
        "id": hook.id,
        "url": hook.url,
        "events": list(hook.events),
        "stream_id": hook.stream_id,
        "enabled": hook.enabled,
        "description": hook.description,
        "created_at": iso8601(hook.created_at),
        "status": status if hook.enabled else "disabled",
        "pending": state.pending,
        "dead": state.dead,
        "dropped": state.dropped,
        "last_failure": state.last_failure,
        "last_success_at": iso8601(state.last_success_s),
    }


def _delivery(row: Delivery) -> DeliveryInfo:
    return DeliveryInfo(
        id=str(row.number),
        status=row.status.value,
        event_id=row.event_id,
        type=row.type,
        stream_id=row.stream_id,
        at=str(iso8601(row.at)),
        attempts=row.attempts,
        reason=row.reason,
        event=msgspec.Raw(row.body),
    )
