"""``grab_asked``: what users ask of all processes together."""

from __future__ import annotations

import pytest
import redis.asyncio as redis

from tests.lua.conftest import Shelf
from tests.support.wait import wait_until


async def _asked(shelf: Shelf, key: str, most: int, window_ms: int, *pairs: str | int) -> list[str]:
    reply = await shelf.client.fcall("grab_asked", 1, key, most, window_ms, *pairs)
    assert isinstance(reply, list)
    return reply


async def test_what_processes_tell_is_summed_up(shelf: Shelf, campaign_id: str) -> None:
    """Above the most is told, at the most is in order, others are left alone."""
    key = f"grab:asked:{campaign_id}"
    assert await _asked(shelf, key, 10, 60_000, "a", 6, "b", 5) == []
    assert await _asked(shelf, key, 10, 60_000, "a", 5, "b", 5, "c", 1) == ["a"]
    assert await shelf.client.hgetall(key) == {"a": "11", "b": "10", "c": "1"}


async def test_sums_lapse_after_the_window_of_the_first(shelf: Shelf, campaign_id: str) -> None:
    """What is told later does not prolong it."""
    key = f"grab:asked:{campaign_id}"
    await _asked(shelf, key, 10, 60_000, "a", 6)
    await _asked(shelf, key, 10, 900_000, "a", 1)
    assert await shelf.client.pttl(key) <= 60_000
    await shelf.client.delete(key)
    await _asked(shelf, key, 10, 50, "a", 6)

    async def is_gone() -> bool:
        return not await shelf.client.exists(key)

    await wait_until(is_gone, "the sums have lapsed")


async def test_users_of_one_call_are_bounded(shelf: Shelf, campaign_id: str) -> None:
    """A thousand and no more; then nothing is added."""
    key, users = f"grab:asked:{campaign_id}", [part for number in range(1001) for part in (f"u{number}", 1)]
    with pytest.raises(redis.ResponseError, match="at most 1000 users"):
        await _asked(shelf, key, 10, 60_000, *users)
    assert not await shelf.client.exists(key)
    await _asked(shelf, key, 10, 60_000, *users[2:])
    assert await shelf.client.hlen(key) == 1000
