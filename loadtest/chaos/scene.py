"""What a fault may touch, and what it leaves behind for the judgement."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.chaos.site import Site


@dataclass(slots=True)
class Scene:
    """What a fault may touch.

    Attributes:
        site: The service.
        dice: Decides the details; seeded.
        stock_ids: Of the round that is being sold.
        fsync: Controls the spoilt disk; None where there is no compiler.
        kills: How many processes were killed, by part.
        planted: Stock and stream id of each entry that was written by hand.
        two_gates: From when to when, in Unix milliseconds, two gates could be reached.
    """

    site: Site
    dice: random.Random
    stock_ids: Sequence[str]
    fsync: Path | None
    kills: dict[str, int] = field(default_factory=dict)
    planted: set[tuple[str, str]] = field(default_factory=set)
    two_gates: list[tuple[float, float]] = field(default_factory=list)

    def killed(self, part: str) -> None:
        """Count a process that was sent SIGKILL or that died of a fault."""
        self.kills[part] = self.kills.get(part, 0) + 1


Fault = Callable[[Scene], Awaitable[None]]
