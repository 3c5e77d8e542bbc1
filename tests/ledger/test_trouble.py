"""Trouble is reported when it begins and when it is over, not at every attempt."""

from __future__ import annotations

import asyncio

import pytest

from ledger.trouble import Condition, pause


def test_only_changes_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Ten failures in a row are one message, ten successes another."""
    caplog.set_level("INFO", "ledger.trouble")
    condition = Condition("the work")
    for _ in range(2):
        for _ in range(10):
            condition.well()
        for _ in range(10):
            condition.ill(ConnectionError("away"))
    assert (
        caplog.messages
        == [
            "the work: at work",
            "the work: interrupted, trying again: ConnectionError: away",
        ]
        * 2
    )


def test_pauses_grow_within_a_bound_and_begin_anew() -> None:
    """The pauses double up to the longest; after a success the next trouble begins with the shortest."""
    condition = Condition("the work")
    pauses_s = [condition.ill(OSError()) for _ in range(10)]
    assert pauses_s[:3] == [0.1, 0.2, 0.4]
    assert set(pauses_s[5:]) == {2.0}
    condition.well()
    assert condition.ill(OSError()) == 0.1


async def test_a_stop_ends_a_pause_at_once() -> None:
    """Nobody waits for a worker that is waiting."""
    stop = asyncio.Event()
    pausing = asyncio.create_task(pause(stop, 3600))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(pausing, 1)
