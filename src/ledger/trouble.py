"""Trouble with a store that passes: reported once, not at every attempt, and met with growing pauses."""

from __future__ import annotations

import asyncio
import logging

import asyncpg
import redis.asyncio as redis

_log = logging.getLogger(__name__)

_PAUSE_S = (0.1, 2.0)  # after a failed attempt: first, longest

# What a store or the way to it can do to us.  Anything else is a mistake of this program and ends it.
TROUBLE = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when a connection is lost between two statements
    redis.RedisError,
    OSError,
    TimeoutError,
)


class Condition:
    """Whether some work goes well, told once when it changes.

    Args:
        work: What the messages begin with.
    """

    def __init__(self, work: str) -> None:
        self._work = work
        self._is_well: bool | None = None
        self._pause_s = 0.0

    def well(self) -> None:
        """Note that an attempt went well."""
        if not self._is_well:
            _log.info("%s: at work", self._work)
        self._is_well = True

    def ill(self, error: Exception) -> float:
        """Note that an attempt failed; return how many seconds to wait before the next."""
        if self._is_well is not False:
            _log.warning("%s: interrupted, trying again: %s: %s", self._work, type(error).__name__, error)
            self._pause_s = _PAUSE_S[0]
        else:
            self._pause_s = min(2 * self._pause_s, _PAUSE_S[1])
        self._is_well = False
        return self._pause_s


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but wake at once when stopped."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
