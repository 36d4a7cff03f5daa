"""The table of the conversation, swept: every state, every event, every sender."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from rtmpcore import Event, LocalProtocolError, Role, State
from rtmpcore.state import (
    ANSWER_STATES,
    FIRST_STATE,
    HANDSHAKE,
    MEDIA,
    MEDIA_STATE,
    SENDER,
    TRANSITIONS,
    advance,
    sender_of,
)

EVENTS: tuple[type[Event], ...] = get_args(Event)


@given(st.sampled_from(State), st.sampled_from(EVENTS), st.sampled_from(Role))
def test_any_step_gives_a_state_or_a_protocol_error(
    state: State, event: type[Event], sender: Role
) -> None:
    try:
        after = advance(state, event, sender)
    except LocalProtocolError:
        return
    assert isinstance(after, State)
    assert sender is sender_of(event, state)


def test_the_table_knows_every_state_and_every_event() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(SENDER) | set(MEDIA) == set(EVENTS)
    assert not set(SENDER) & set(MEDIA)
    assert {event for row in TRANSITIONS.values() for event in row} == set(EVENTS)


def test_every_state_can_be_reached() -> None:
    reached = set(FIRST_STATE.values()) | {State.ERROR}
    while True:
        steps = {HANDSHAKE[state] for state in reached & set(HANDSHAKE)}
        steps |= {after for state in reached for after in TRANSITIONS[state].values()}
        if steps <= reached:
            break
        reached |= steps
    assert reached == set(State)


def test_media_flows_to_the_one_side_that_a_state_names() -> None:
    for state, row in TRANSITIONS.items():
        senders = {sender_of(event, state) for event in row if event in MEDIA}
        receivers = {role for role, receives in MEDIA_STATE.items() if receives is state}
        assert {sender.peer for sender in senders} == receivers


def test_the_ends_are_final() -> None:
    assert TRANSITIONS[State.CLOSED] == TRANSITIONS[State.ERROR] == {}


def test_only_the_server_speaks_where_it_owes_an_answer() -> None:
    for state in ANSWER_STATES:
        assert {SENDER[event] for event in TRANSITIONS[state]} == {Role.SERVER}


def test_peer() -> None:
    assert Role.SERVER.peer is Role.CLIENT
    assert Role.CLIENT.peer is Role.SERVER
