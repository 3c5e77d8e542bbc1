"""A lean connection to the gate: the client's own, but for what costs most in it.

The client packs a command in Python, argument by argument, where hiredis does it in C; and it starts a task with a
timer for each command that it sends, where the timeout of the answer bounds both.
"""

from __future__ import annotations

from typing import Any

import hiredis
import redis.asyncio as redis


class _Lean:
    """Takes the place of two methods of the client's connection."""

    is_connected: bool
    _writer: Any

    def pack_command(self, *args: Any) -> list[bytes]:
        """Return a command as it goes over the wire."""
        return [hiredis.pack_command((*args[0].encode().split(), *args[1:]))]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send; what cannot be sent shows in the answer that does not come in time."""
        if self.is_connected and isinstance(command, list):
            try:
                self._writer.writelines(command)
            except RuntimeError as error:  # uvloop's word for a transport that has just been closed
                raise redis.ConnectionError(str(error)) from error
        else:
            await super().send_packed_command(command, check_health)  # type: ignore[misc]  # the client's own, in place


def make_lean(client: redis.Redis) -> None:
    """Let the client make lean connections from now on."""
    pool = client.connection_pool
    kind = pool.connection_class
    pool.connection_class = type(f"Lean{kind.__name__}", (_Lean, kind), {})
