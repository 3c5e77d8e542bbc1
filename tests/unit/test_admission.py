"""What a process knows of a stock by itself: never more than the gate would say, never for longer than stated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from grab_service.admission import Memory, Rate
from grab_service.crowd import Crowd
from grab_service.gate import Counts, Holding, Letter, StreamId

OPEN = Counts(
    is_open=True,
    epoch=3,
    now_ms=100_000,
    opens_ms=50_000,
    closes_ms=900_000,
    is_paused=False,
    sold_out_ms=0,
    free=2,
    held=1,
    entries=1,
    committed_epoch=3,
    committed=StreamId(60_000, 0),
    booked=1,
)
SOLD_OUT = replace(OPEN, free=0, held=3)
HOLDERS = {user: Holding(number, 3, StreamId(60_000, number)) for number, user in enumerate("abc", start=1)}


def memory() -> Memory:
    """Return a memory that lasts for 200 ms and holds two winners."""
    return Memory(0.2, 2)


def test_nothing_is_known_before_a_look_and_while_a_stock_is_being_sold() -> None:
    """Only the gate can say who wins."""
    known = memory()
    assert known.recall("a", 10.0) is None
    assert known.learn(OPEN, 10.0) is False
    assert known.recall("a", 10.1) is None


def test_before_the_opening_everyone_is_told_to_wait_until_the_very_instant() -> None:
    """The opening is reckoned from before the gate was asked, so it is never told too late that it is shut."""
    known = memory()
    known.learn(replace(OPEN, now_ms=49_900, held=0, free=3), 10.0)
    assert known.recall("a", 10.099) is Letter.NOT_STARTED
    assert abs(known.opens_in_s(10.06) - 0.04) < 1e-9
    assert known.recall("a", 10.101) is None


def test_a_round_that_was_moved_and_has_holders_is_left_to_the_gate() -> None:
    """A holder must be told of his voucher also before the opening."""
    known = memory()
    known.learn(replace(OPEN, now_ms=10_000), 10.0)
    assert known.recall("a", 10.0) is None


def test_sold_out_is_said_only_to_those_who_hold_nothing() -> None:
    """Once nothing is free the holders are read; until then the gate is asked."""
    known = memory()
    assert known.learn(SOLD_OUT, 10.0) is True
    assert known.recall("x", 10.1) is None
    known.remember(SOLD_OUT, HOLDERS)
    assert known.recall("x", 10.1) is Letter.SOLD_OUT
    assert known.recall("b", 10.1) == HOLDERS["b"]
    assert known.learn(SOLD_OUT, 10.1) is False


def test_holders_that_are_not_all_of_them_are_not_kept() -> None:
    """A recovery came between the look and the read."""
    known = memory()
    known.learn(SOLD_OUT, 10.0)
    known.remember(SOLD_OUT, {"a": HOLDERS["a"]})
    known.remember(replace(SOLD_OUT, epoch=2), HOLDERS)
    assert known.recall("x", 10.0) is None


def test_what_is_said_follows_pause_and_end() -> None:
    """As at the gate: ENDED before PAUSED before SOLD_OUT."""
    known = memory()
    known.learn(SOLD_OUT, 10.0)
    known.remember(SOLD_OUT, HOLDERS)
    known.learn(replace(SOLD_OUT, is_paused=True), 10.1)
    assert known.recall("x", 10.1) is Letter.PAUSED
    known.learn(replace(SOLD_OUT, is_paused=True, now_ms=900_000), 10.2)
    assert known.recall("x", 10.2) is Letter.ENDED
    assert known.recall("a", 10.2) == HOLDERS["a"]


def test_a_memory_lapses_without_a_look_in_time() -> None:
    """Whatever happened to the gate meanwhile, nobody is told an old no for longer than this."""
    known = memory()
    known.learn(SOLD_OUT, 10.0)
    known.remember(SOLD_OUT, HOLDERS)
    assert known.recall("x", 10.199) is Letter.SOLD_OUT
    assert known.recall("x", 10.2) is None


def test_another_epoch_or_a_closed_gate_forgets_everything() -> None:
    """After a recovery a number may be free again."""
    for after in (replace(SOLD_OUT, epoch=4, free=1, held=2), replace(SOLD_OUT, is_open=False)):
        known = memory()
        known.learn(SOLD_OUT, 10.0)
        known.remember(SOLD_OUT, HOLDERS)
        known.learn(after, 10.1)
        assert known.recall("x", 10.1) is None
        assert known.recall("a", 10.1) is None


def test_winners_are_remembered_up_to_a_bound() -> None:
    """Those of this process, of this epoch."""
    known = memory()
    known.learn(OPEN, 10.0)
    known.remember_winner("z", Holding(9, 2, StreamId(1, 1)))
    for user, holding in HOLDERS.items():
        known.remember_winner(user, holding)
    assert [known.recall(user, 10.1) for user in "abcz"] == [HOLDERS["a"], HOLDERS["b"], None, None]


def test_a_user_is_answered_so_often_a_second() -> None:
    """One user's haste costs the others nothing."""
    rate = Rate(2)
    assert [rate.is_exceeded("a", 1.0) for _ in range(3)] == [False, False, True]
    assert rate.is_exceeded("b", 1.0) is False
    assert rate.is_exceeded("a", 2.0) is False


async def test_of_a_crowd_only_strangers_are_answered() -> None:
    """Holders that are too many to be known by name are asked about; all others are told that it is over."""

    async def holders() -> AsyncIterator[str]:
        for user in HOLDERS:
            yield user

    known = memory()
    known.learn(SOLD_OUT, 10.0)
    known.remember(SOLD_OUT, await Crowd.of(holders()))
    assert known.is_complete
    assert known.recall("x", 10.1) is Letter.SOLD_OUT
    assert known.recall("a", 10.1) is None
    known.learn(replace(SOLD_OUT, epoch=4, free=1, held=2), 10.1)
    assert known.recall("x", 10.1) is None


def test_who_asks_too_often_is_found_among_a_bounded_number_of_users() -> None:
    """Those who come after as many others are not held up, and not remembered."""
    rate = Rate(1, users_max=2)
    assert [rate.is_exceeded(user, 1.0) for user in "aabbcc"] == [False, True, False, True, False, False]


def test_who_asks_often_is_told_of_with_what_was_answered() -> None:
    """From a quarter of the limit on, each claim once, none that was one too many; then it begins anew."""
    rate = Rate(8)
    for user in ["a"] * 10 + ["b"] + ["c"] * 2:
        rate.is_exceeded(user, 1.0)
    assert rate.hasty(1000) == {"a": 8, "c": 2}
    assert rate.hasty(1000) == {}
    for now_s in (1.5, 2.0, 2.0, 2.0):
        rate.is_exceeded("c", now_s)
    assert rate.hasty(1000) == {"c": 4}
    for user in "aaabbb":
        rate.is_exceeded(user, 3.0)
    rate.is_exceeded("b", 3.0)
    assert rate.hasty(1) == {"b": 4}


def test_who_is_barred_is_not_answered_and_told_of_all_the_same() -> None:
    """Until the instant, each his own; so he is barred for as long as he goes on."""
    rate = Rate(8)
    rate.bar(["a"], 1.0, 2.0)
    assert [rate.is_exceeded(user, 1.0) for user in "aaac"] == [True, True, True, False]
    assert rate.hasty(1000) == {"a": 3}
    rate.bar(["b"], 1.5, 3.0)
    assert [rate.is_exceeded(user, 1.9) for user in "ab"] == [True, True]
    assert [rate.is_exceeded(user, 2.1) for user in "ab"] == [False, True]
    rate.bar(["c"], 2.1, 4.0)
    assert [rate.is_exceeded(user, 2.2) for user in "abc"] == [False, True, True]


def test_a_no_of_the_gate_itself_renews_what_is_known() -> None:
    """A claim that was asked after the last look lets the memory last from then on; of another epoch it does not."""
    known = memory()
    known.learn(SOLD_OUT, 10.0)
    known.renew(3, 10.1)
    assert known.recall("x", 10.1) is None
    known.remember(SOLD_OUT, HOLDERS)
    known.renew(3, 10.15)
    known.renew(4, 10.3)
    known.renew(3, 10.05)
    assert known.recall("x", 10.34) is Letter.SOLD_OUT
    assert known.recall("x", 10.35) is None
    known.learn(replace(SOLD_OUT, is_paused=True), 10.4)
    known.renew(3, 10.5)
    assert known.recall("x", 10.61) is None
    known.forget()
    known.renew(3, 10.7)
    assert known.recall("x", 10.71) is None
