"""What a forgery is, and the list of all that are registered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.chaos.world import World, honest_world


@dataclass(frozen=True)
class Forgery:
    """A change of the evidence, and the invariants that it breaks."""

    name: str
    breaks: frozenset[str]
    forge: Callable[[World], None]

    def world(self) -> World:
        """Return an honest world that is forged."""
        world = honest_world()
        self.forge(world)
        return world


_FORGERIES: list[Forgery] = []


def registered() -> Sequence[Forgery]:
    """Return every forgery that was registered until now."""
    return tuple(_FORGERIES)


def forges(*breaks: str) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """Register a forgery that breaks exactly these invariants."""

    def register(forge: Callable[[World], None]) -> Callable[[World], None]:
        _FORGERIES.append(Forgery(forge.__name__.lstrip("_"), frozenset(breaks), forge))
        return forge

    return register
