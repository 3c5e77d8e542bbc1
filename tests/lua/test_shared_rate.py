"""One limit for all processes, with the real gate: who goes round them is held up by each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from grab_service.admission import Rate
from grab_service.keys import ASKED
from grab_service.shared_rate import SharedRate
from tests.lua.conftest import Shelf
from tests.support.wait import wait_until

_LIMIT = 8


@pytest.fixture
async def share(shelf: Shelf) -> AsyncIterator[Callable[[Rate], None]]:
    """Let a rate be shared with others until the end of the test."""
    tasks: list[asyncio.Task[None]] = []
    yield lambda rate: tasks.append(asyncio.create_task(SharedRate(shelf.gate, rate).run()))
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _ask(rate: Rate, user: str, own_s: float) -> None:
    """Ask as much as is answered in two seconds, from an instant of the rate's own clock on."""
    for now_s in (own_s, own_s + 1.0):
        for _ in range(_LIMIT):
            rate.is_exceeded(user, now_s)


async def test_who_asks_of_one_process_what_it_answers_is_not_held_up(
    shelf: Shelf, campaign_id: str, share: Callable[[Rate], None]
) -> None:
    """Two seconds at the limit are in order."""
    rate = Rate(_LIMIT)
    _ask(rate, campaign_id, 1.0)
    share(rate)

    async def is_told() -> bool:
        return await shelf.client.hget(ASKED, campaign_id) == str(2 * _LIMIT)

    await wait_until(is_told, "the gate has been told")
    assert rate.is_exceeded(campaign_id, 4.0) is False


async def test_who_asks_the_same_of_two_processes_is_held_up_by_both(
    campaign_id: str, share: Callable[[Rate], None]
) -> None:
    """Until he asks less; others are not."""
    rates = [Rate(_LIMIT), Rate(_LIMIT)]
    for rate in rates:
        share(rate)
    own_s = 1.0

    def are_held_up() -> bool:
        nonlocal own_s
        for rate in rates:
            _ask(rate, campaign_id, own_s)
        own_s += 3.0  # each look is in a second of its own, in which the rate itself has nothing against the user
        return all(rate.is_exceeded(campaign_id, own_s - 1.0) for rate in rates)

    await wait_until(are_held_up, "both hold the user up")
    assert rates[0].is_exceeded("another", own_s) is False
