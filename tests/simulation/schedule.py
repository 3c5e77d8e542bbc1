"""Schedules: made by a seed, repeated from a list, and shrunk while they still fail."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.simulation.checks import Violation
from tests.simulation.rest import Rest
from tests.simulation.rules import Rule
from tests.simulation.scheduler import Request
from tests.simulation.world import APIS, KEEPER, OPERATOR, WORKERS, World

_STEPS = 260  # before the world is left in peace
_HELD_STEPS_MAX = 80

# How often a mishap comes, and of which kind; each schedule has its own mix.
_RATES = (0.01, 0.03, 0.06, 0.12)
_MISHAPS = (
    "cut",
    "lose",
    "crash",
    "freeze",
    "kill-gate",
    "damage",
    "fail-over",
    "cut-vault",
    "recover",
    "hang-up",
    "wait",
)


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a schedule.

    Attributes:
        steps: The steps that were taken before the world was left in peace.
        violation: What was violated, None if nothing.
        peace: The steps that followed.
        epochs: Epoch at the end.
    """

    steps: tuple[str, ...]
    violation: Violation | None
    peace: tuple[str, ...]
    epochs: int


@contextmanager
def _world(broken: frozenset[Rule]) -> Iterator[World]:
    world = World(broken)
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with world.actors.at_work():
            world.begin()
            yield world
            world.end()
    finally:
        logging.disable(disabled)


def run_seed(seed: int, broken: frozenset[Rule] = frozenset(), focus: Sequence[str] = ()) -> Run:
    """Run the schedule of a seed; ``focus`` chooses the kinds of its mishaps."""
    chance = random.Random(seed)  # noqa: S311  it must be repeatable, not secret
    with _world(broken) as world:
        dice = _Dice(world, chance, focus)
        taken: list[str] = []
        while len(taken) < _STEPS and world.violation is None:
            text = dice.next()
            if world.step(text):
                taken.append(text)
        return _finish(world, taken)


def run_steps(steps: Sequence[str], broken: frozenset[Rule] = frozenset()) -> Run:
    """Run a schedule from its list; steps that are not possible are passed over."""
    with _world(broken) as world:
        taken = []
        for text in steps:
            if world.violation is not None:
                break
            if world.step(text):
                taken.append(text)
        return _finish(world, taken)


def _finish(world: World, taken: Sequence[str]) -> Run:
    peace = Rest(world).settle() if world.violation is None else []
    return Run(tuple(taken), world.violation, tuple(peace), world.vault.epoch)


class _Dice:
    """Picks the next step of a world.

    Now and then a request is held up for long, while all others go on: what overtakes it is where races are.
    """

    def __init__(self, world: World, chance: random.Random, focus: Sequence[str]) -> None:
        self._world = world
        self._chance = chance
        self._rate = chance.choice(_RATES)
        self._slow = chance.choice((0.0, 0.1, 0.3))
        self._tick = chance.choice((0.02, 0.1))
        self._ask = chance.choice((0.05, 0.2))
        self._hold = chance.choice((0.0, 0.05, 0.2))
        self._kinds = focus or chance.sample(_MISHAPS, chance.choice((1, 2, 2, 3, 4, len(_MISHAPS))))
        self._held: dict[Request, int] = {}
        self._turn = 0

    def next(self) -> str:
        """Return a step; it may turn out to be impossible."""
        chance, dice = self._chance, self._chance.random()
        self._turn += 1
        if dice < self._rate:
            return self._mishap()
        if dice < self._rate + self._ask:
            return f"ask {chance.randrange(10)} {chance.choice(APIS)}"
        pending = self._world.pending
        if not pending or dice > 1 - self._tick:
            return "tick"
        request = chance.choice(pending)
        if self._held.get(request, 0) > self._turn:
            return "tick" if chance.random() < self._tick else self._of_another(request)
        if request not in self._held and chance.random() < self._hold:
            self._held[request] = self._turn + chance.randint(5, _HELD_STEPS_MAX)
            return self._of_another(request)
        return self._step_of(request)

    def _of_another(self, held: Request) -> str:
        others = [each for each in self._world.pending if self._held.get(each, 0) <= self._turn]
        return self._step_of(self._chance.choice(others) if others else held)

    def _step_of(self, request: Request) -> str:
        if request.outcome is not None:
            return f"answer {request.label}"
        return f"{'slow' if self._chance.random() < self._slow else 'serve'} {request.label}"

    def _mishap(self) -> str:
        chance, world = self._chance, self._world
        kind = chance.choice(self._kinds)
        somebody = chance.choice((*APIS, *WORKERS, *WORKERS, KEEPER, OPERATOR))
        if kind in ("cut", "lose"):
            return f"{kind} {chance.choice(world.pending).label}" if world.pending else "tick"
        if kind == "freeze":
            process = world.processes.get(somebody)
            return f"{'thaw' if process is not None and process.is_frozen else 'freeze'} {somebody}"
        if kind == "fail-over":
            return f"move {somebody}" if world.old_gate is not None else f"fail-over {chance.randrange(6)}"
        if kind == "damage":
            return "flush-gate"
        if kind == "kill-gate":
            unseen = chance.choice(("", " unseen"))
            return f"kill-gate {chance.choice(('whole', 'whole', 'half', 'wipe', '1', '2', '3', '5', '8'))}{unseen}"
        if kind == "cut-vault":
            return chance.choice(("cut-vault", f"cut-vault {somebody}"))
        if kind == "hang-up":
            return f"hang-up {chance.randrange(10)}"
        return f"crash {somebody}" if kind == "crash" else kind
