"""How a simulated world comes to rest once nothing goes wrong any more."""

from __future__ import annotations

from tests.simulation.scheduler import Request
from tests.simulation.world import APIS, KEEPER, OPERATOR, WORKERS, World

_REST_TICKS_MAX = 240  # a minute of the world's time
_TICK_ROUNDS_MAX = 200  # a process that never waits must not stop the time


class Rest:
    """Leaves a world in peace: nobody has a hand on it, and every user asks until it knows.

    Args:
        world: The world.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._taken: list[str] = []

    def settle(self) -> list[str]:
        """Let the world come to rest by itself, while users ask until they know; return the steps taken."""
        for name in (*APIS, *WORKERS, KEEPER, OPERATOR):
            self._take(f"thaw {name}")
            self._take(f"move {name}")
        for user in self._world.users.values():
            user.is_refused = False
        for turn in range(_REST_TICKS_MAX):
            for key in filter(self._wants, self._world.users):
                self._take(f"ask {key} {APIS[(turn + int(key)) % 2]}")
            self._serve_all()
            if self._world.violation is not None or self._is_at_rest():
                break
            self._take("tick")
        if self._world.violation is None:
            self._look_at_rest()
        return self._taken

    def _take(self, text: str) -> bool:
        is_taken = self._world.violation is None and self._world.step(text)
        if is_taken:
            self._taken.append(text)
        return is_taken

    def _serve_all(self) -> None:
        for _ in range(_TICK_ROUNDS_MAX):
            if not sum(self._take(_next_of(request)) for request in self._world.pending[:]):
                return

    def _look_at_rest(self) -> None:
        waiting = [key for key in self._world.users if self._is_waiting(key)]
        refused = [key for key, user in self._world.users.items() if user.is_refused]
        self._world.checks.at_rest(self._world.gate, refused, waiting)
        if not self._is_at_rest():
            self._world.checks.violate(
                "I-9", f"no rest; gate {self._world.gate.epoch}, ledger {self._world.vault.epoch}"
            )

    def _is_at_rest(self) -> bool:
        is_open = self._world.gate.epoch == self._world.vault.epoch
        is_drained = len(self._world.gate.data.holders) == len(self._world.vault.claims)
        return is_open and is_drained and not any(map(self._is_waiting, self._world.users))

    def _is_waiting(self, key: str) -> bool:
        """Whether a user still has to learn something."""
        user = self._world.users[key]
        return user.ref not in self._world.checks.yes and not user.is_refused

    def _wants(self, key: str) -> bool:
        return self._is_waiting(key) and self._world.users[key].question is None


def _next_of(request: Request) -> str:
    return f"{'serve' if request.outcome is None else 'answer'} {request.label}"
