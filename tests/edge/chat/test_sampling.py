"""Which messages of a lively room a crowd sees."""

from control.chat_model import ChatMessage, Role
from edge.chat.sampling import Sampler, Sampling


def batch(count: int, role: Role = Role.VIEWER) -> list[ChatMessage]:
    return [
        ChatMessage(
            id=f"{number:016x}",
            stream_id="s",
            user_id="u",
            username="U",
            content=str(number),
            timestamp=0,
            role=role,
        )
        for number in range(count)
    ]


def test_it_applies_above_a_size() -> None:
    sampler = Sampler(Sampling(above=10))
    assert [sampler.applies(members) for members in (0, 10, 11)] == [False, False, True]
    assert not Sampler(Sampling()).applies(10**6)


def test_so_many_pass_in_a_second_and_none_is_lost() -> None:
    sampler = Sampler(Sampling(above=1, per_s=4))
    shown, left = sampler.choose(batch(10), 1000)
    assert (len(shown), len(left)) == (4, 6)
    assert sorted(shown + left, key=lambda one: one.id) == batch(10)
    assert [len(side) for side in sampler.choose(batch(10), 1500)] == [2, 8]
    assert [len(side) for side in sampler.choose(batch(10), 1400)] == [0, 10]  # time went back
    assert [len(side) for side in sampler.choose(batch(10), 99_000)] == [4, 6]


def test_moderators_are_always_seen() -> None:
    sampler = Sampler(Sampling(above=1, per_s=0.1))
    assert len(sampler.choose(batch(5, Role.MODERATOR), 0)[0]) == 5


def test_a_rate_below_one_lets_one_pass_now_and_then() -> None:
    sampler = Sampler(Sampling(above=1, per_s=0.5))
    counts = [len(sampler.choose(batch(1), now_ms)[0]) for now_ms in range(0, 9000, 1000)]
    assert sum(counts) == 4
