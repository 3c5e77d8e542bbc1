"""The gate's settings that the promise rests on, read back from the server itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import redis.asyncio as redis

# Why each: without the append-only file, or with a lazier fsync, a yes can be lost; any policy but noeviction may
# forget who holds a voucher; skipping fsync during a rewrite loses what was acknowledged meanwhile.
REQUIRED: Mapping[str, str] = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}


@dataclass(frozen=True, slots=True)
class WrongSetting:
    """A setting that is not what the promise needs."""

    name: str
    found: str
    needed: str

    def __str__(self) -> str:
        return f"{self.name} is {self.found or 'unknown'} and must be {self.needed}"


async def wrong_settings(gate: redis.Redis) -> list[WrongSetting]:
    """Return the settings of the gate's server that are not what the promise needs.

    Raises:
        redis.RedisError: The server does not answer.
    """
    found = cast("Mapping[str, str]", await gate.config_get(*REQUIRED))
    return [
        WrongSetting(name, found.get(name, ""), needed)
        for name, needed in REQUIRED.items()
        if found.get(name) != needed
    ]
