"""Turns of the event loop: a slice each, in order, and who cannot be served learns it at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from grab_service.api.instruments import Answered
from grab_service.api.reply import Reply
from grab_service.api.turns import REFUSALS, SLICE, WAITING_MAX, Turns
from grab_service.places import Places

_REPLY = Reply(201, b"{}")


def _uncounted(answered: Iterable[Answered], now_s: float) -> None:
    """Count nothing."""
    del answered, now_s


class _Kept:
    """Keeps what it is told to go on with."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bool]] = []

    def go_on(self, data: bytes, since_s: float, *, is_too_much: bool) -> None:
        assert since_s == 1.5
        self.seen.append((data, is_too_much))


def _comes(turns: Turns, kept: _Kept, data: bytes) -> bool:
    """Let a claim come as a connection does; return whether it is refused at once."""
    if turns.take(kept, data, 1.5):
        return False
    kept.go_on(data, 1.5, is_too_much=True)
    return True


async def test_a_turn_carries_a_slice_and_the_next_ones_the_rest_in_order() -> None:
    """200 come in one turn: each further turn lets a slice in, those who wait before newcomers."""
    turns, kept = Turns(Places(10_000), _uncounted), _Kept()
    assert not any(_comes(turns, kept, b"%d" % number) for number in range(200))
    assert kept.seen == []
    await asyncio.sleep(0)
    assert len(kept.seen) == SLICE
    assert not _comes(turns, kept, b"200")
    while len(kept.seen) < 201:
        before = len(kept.seen)
        await asyncio.sleep(0)
        assert len(kept.seen) - before <= SLICE
    assert kept.seen == [(b"%d" % number, False) for number in range(201)]


class _Wire:
    """Keeps what is sent."""

    def __init__(self, *, is_closed: bool = False) -> None:
        self.sent: list[bytes] = []
        self._is_closed = is_closed

    def is_closing(self) -> bool:
        return self._is_closed

    def write(self, data: bytes) -> None:
        self.sent.append(data)


async def test_answers_are_sent_and_counted_together_in_their_order_when_the_turn_is_over() -> None:
    """Or before, when somebody asks for it; a connection that has ended is passed over, its claim is counted."""
    counted: list[str] = []

    def count(answered: Iterable[Answered], now_s: float) -> None:
        assert now_s >= began_s
        counted.extend(request_id for request_id, *_ in answered)

    turns, wire, ended = Turns(Places(1), count), _Wire(), _Wire(is_closed=True)
    began_s = time.monotonic()
    for transport, name in ((wire, "a"), (ended, "b"), (wire, "c")):
        turns.answer(transport, name.encode(), (name, "stock", _REPLY, began_s))
    assert (wire.sent, counted) == ([], [])
    await asyncio.sleep(0)
    assert (wire.sent, ended.sent) == ([b"a", b"c"], [])
    assert counted == ["a", "b", "c"]
    turns.answer(wire, b"d", ("d", "stock", _REPLY, began_s))
    turns.send()
    assert wire.sent == [b"a", b"c", b"d"]
    await asyncio.sleep(0)
    turns.answer(wire, b"e", ("e", "stock", _REPLY, began_s))
    await asyncio.sleep(0)
    assert wire.sent == [b"a", b"c", b"d", b"e"]
    assert counted == ["a", "b", "c", "d", "e"]


async def test_without_places_a_turn_carries_more_for_they_are_refusals() -> None:
    """All places taken: a turn's refusals go out at once, and the rest in the next turns."""
    places, kept = Places(1), _Kept()
    places.take("stock")
    turns = Turns(places, _uncounted)
    assert sum(_comes(turns, kept, b"") for _ in range(2 * REFUSALS)) == REFUSALS
    await asyncio.sleep(0)
    assert len(kept.seen) == 2 * REFUSALS
    assert all(is_too_much for _, is_too_much in kept.seen)


async def test_who_is_one_too_many_of_those_who_wait_is_refused_at_once() -> None:
    """Places are free, but too many wait: the next ones are refused before those who wait are served."""
    turns, kept = Turns(Places(10_000), _uncounted), _Kept()
    refused = [_comes(turns, kept, b"") for _ in range(WAITING_MAX + 10)]
    assert refused == [False] * WAITING_MAX + [True] * 10
    assert turns.are_full
    await asyncio.sleep(0)
    assert not turns.are_full
    assert [is_too_much for _, is_too_much in kept.seen[10:]] == [False] * SLICE
