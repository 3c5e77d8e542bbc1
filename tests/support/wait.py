"""Waiting for a fact instead of sleeping for luck."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

_POLL_S = 0.02


async def wait_until(is_so: Callable[[], bool | Awaitable[bool]], what: str, within_s: float = 15.0) -> None:
    """Return when ``is_so`` says yes; fail with ``what`` was waited for when the time is over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        answer = is_so()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        assert loop.time() < deadline, f"waited {within_s:g} s in vain until {what}"
        await asyncio.sleep(_POLL_S)
