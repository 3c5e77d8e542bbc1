"""Turns of the event loop: a slice each, in order, and who cannot be served learns it at once."""

from __future__ import annotations

import asyncio

from grab_service.api.turns import REFUSALS, SLICE, WAITING_MAX, Turns
from grab_service.places import Places


class _Kept:
    """Keeps what it is told to go on with."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bool]] = []

    def go_on(self, data: bytes, since_s: float, *, is_too_much: bool) -> None:
        assert since_s == 1.5
        self.seen.append((data, is_too_much))


def _comes(turns: Turns, kept: _Kept, data: bytes) -> bool:
    """Let a claim come as a connection does; return whether it is through."""
    if not turns.refuses():
        return turns.take(kept, data, 1.5)
    kept.go_on(data, 1.5, is_too_much=True)
    return True


async def test_a_turn_carries_a_slice_and_the_next_ones_the_rest_in_order() -> None:
    """Of 200 in one turn a slice goes in at once; each further turn lets one in, those who wait before newcomers."""
    turns, kept = Turns(Places(10_000)), _Kept()
    at_once = [number for number in range(200) if _comes(turns, kept, b"%d" % number)]
    assert at_once == list(range(SLICE))
    await asyncio.sleep(0)
    assert not _comes(turns, kept, b"200")
    while len(kept.seen) < 201:
        before = len(kept.seen)
        await asyncio.sleep(0)
        assert len(kept.seen) - before <= SLICE
    assert kept.seen == [(b"%d" % number, False) for number in range(201)]
    await asyncio.sleep(0)
    assert _comes(turns, kept, b"again")


async def test_without_places_a_turn_carries_more_for_they_are_refusals() -> None:
    """All places taken: a turn's refusals go out at once, and the rest in the next turns."""
    places, kept = Places(1), _Kept()
    places.take("stock")
    turns = Turns(places)
    assert sum(_comes(turns, kept, b"") for _ in range(2 * REFUSALS)) == REFUSALS
    await asyncio.sleep(0)
    assert len(kept.seen) == 2 * REFUSALS
    assert all(is_too_much for _, is_too_much in kept.seen)


async def test_who_is_one_too_many_of_those_who_wait_is_refused_at_once() -> None:
    """Places are free, but too many wait: the next ones are refused before those who wait are served."""
    turns, kept = Turns(Places(10_000)), _Kept()
    for _ in range(SLICE + WAITING_MAX + 10):
        _comes(turns, kept, b"")
    assert [is_too_much for _, is_too_much in kept.seen] == [False] * SLICE + [True] * 10
    assert turns.are_full
    await asyncio.sleep(0)
    assert not turns.are_full
    assert [is_too_much for _, is_too_much in kept.seen[SLICE + 10 :]] == [False] * SLICE
