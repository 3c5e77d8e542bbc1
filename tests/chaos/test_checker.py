"""The checker of chaos runs finds every forgery, under its name, and never accuses an honest run."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loadtest.chaos import check_answers, check_gate, check_ledger, checker
from loadtest.chaos.checker import PROMISES, TOLD_MAX

from tests.chaos.forged import FORGERIES
from tests.chaos.forgery import Forgery
from tests.chaos.world import CUT, FULL, LATE, PART, TOLD, World, honest_world
from tests.tidy.project import ROOT, tree_of

CHAOS = ROOT / "loadtest" / "chaos"
CHECKER = [*sorted(CHAOS.glob("check*.py")), CHAOS / "history.py"]

_USER = st.sampled_from([f"user{number}" for number in range(8)])
_STOCK = st.sampled_from([FULL, PART])
_FEW = st.integers(0, 3)
_MS = st.integers(0, 200)
# What may happen in a run of a service that keeps its promises.
STEPS = st.one_of(
    st.builds(
        lambda user, stock_id, fate, lead_ms, lag_ms: (
            lambda world: world.ask(user, stock_id, fate, lead_ms=lead_ms, lag_ms=lag_ms)
        ),
        _USER,
        _STOCK,
        st.sampled_from([TOLD, TOLD, LATE, CUT]),
        _MS,
        _MS,
    ),
    st.builds(lambda user, stock_id: lambda world: world.turn_away(user, stock_id), _USER, _STOCK),
    st.builds(lambda lost, fenced: lambda world: world.recover(lost=lost, fenced=fenced), _FEW, _FEW),
    st.builds(lambda user, stock_id: lambda world: world.dream(user, stock_id), _USER, _STOCK),
    st.sampled_from([World.record, World.look_early]),
)


def _accusations() -> Iterator[tuple[ModuleType, int]]:
    for module in (check_answers, check_gate, check_ledger):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Yield):
                yield module, node.lineno


ACCUSATIONS = list(_accusations())


def test_an_honest_world_keeps_every_promise() -> None:
    """A run with a recovery, lost answers, a fenced entry and a stock that sells out is not accused of anything."""
    assert [str(verdict) for verdict in honest_world().judge() if not verdict.ok] == []


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forgery_is_reported_as_what_it_breaks(forgery: Forgery) -> None:
    """Exactly the promises that a forgery breaks are reported, each with a sentence."""
    verdicts = [verdict for verdict in forgery.world().judge() if not verdict.ok]
    assert {verdict.id for verdict in verdicts} == forgery.breaks, "\n".join(map(str, verdicts))
    assert all(verdict.faults and verdict.count >= len(verdict.faults) for verdict in verdicts)


def test_each_promise_has_a_forgery_that_breaks_it() -> None:
    """No promise is judged by a rule that nothing has ever broken."""
    assert set().union(*(forgery.breaks for forgery in FORGERIES)) == {promise.id for promise in PROMISES}


@pytest.mark.parametrize(("module", "line"), ACCUSATIONS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_each_accusation_is_needed(module: ModuleType, line: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that keeps silent where it would accuse, at any one place, lets a forgery pass."""
    rules = vars(_silenced(module, line))
    promises = [
        replace(
            one, rules=tuple(rules[rule.__name__] if rule.__module__ == module.__name__ else rule for rule in one.rules)
        )
        for one in PROMISES
    ]
    monkeypatch.setattr(checker, "PROMISES", promises)
    assert any(forgery.world().broken() != forgery.breaks for forgery in FORGERIES)


def test_a_verdict_tells_some_faults_and_counts_all() -> None:
    """A run in which everything is wrong is told in a few sentences."""
    world = honest_world()
    world.stocks[PART] = replace(world.stocks[PART], quantity=50, minted=50)
    [verdict] = [one for one in world.judge() if one.id == "I-14"]
    assert (len(verdict.faults), verdict.count) == (TOLD_MAX, 45)
    assert str(verdict).startswith("I-14 is broken: agreement")
    assert str(verdict).endswith("; and 40 more")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_an_honest_run_is_never_accused(data: st.DataObject) -> None:
    """Whatever users, answers, recoveries and losses come together, a service that keeps its promises passes."""
    world = World({FULL: data.draw(st.integers(1, 4)), PART: 5}, step_ms=data.draw(st.sampled_from([0, 1, 20, 300])))
    for step in data.draw(st.lists(STEPS, max_size=40)):
        step(world)
    world.record()
    assert [str(verdict) for verdict in world.judge() if not verdict.ok] == []


def test_a_recovery_explains_a_win_after_sold_out() -> None:
    """A number that a recovery has freed may be won after SOLD_OUT; without the recovery that is a fault."""
    world = World({FULL: 1})
    world.ask("ann", FULL, LATE)
    world.ask("bob", FULL, LATE)
    world.recover(lost=1)
    world.ask("cid", FULL)
    assert world.broken() == set()
    world.recoveries.clear()
    assert world.broken() == {"I-8", "I-9"}


def test_a_lost_reservation_is_no_fault_only_where_something_may_be_lost() -> None:
    """Who was told to wait may be forgotten by a gate that has lost its file, and by no other."""
    world = World({FULL: 1})
    world.ask("ann", FULL, LATE)
    world.recover(lost=1)
    assert world.broken() == set()
    world.recoveries[0] = replace(world.recoveries[0], may_lose=False)
    assert world.broken() == {"I-9"}


def test_sold_out_is_judged_across_a_recovery_that_loses_nothing() -> None:
    """What was reserved when SOLD_OUT was said must be found after a recovery, unless that may have lost it."""
    world = World({FULL: 2})
    world.ask("ann", FULL)
    world.ask("bob", FULL, LATE)
    world.ask("cid", FULL, LATE)
    world.recover(lost=1)
    assert world.broken() == set()
    world.recoveries[0] = replace(world.recoveries[0], may_lose=False)
    assert world.broken() == {"I-8", "I-9"}


def test_an_entry_that_was_planted_is_not_held_against_the_service() -> None:
    """A second entry of a user that the run has written by hand is the run's, not the gate's."""
    world = honest_world()
    world.plant("gus", PART, 4)
    assert world.broken() == set()
    world.planted.clear()
    assert world.broken() == {"I-16"}


def test_clocks_that_disagree_a_little_break_nothing() -> None:
    """A claim may seem to be older than its request by as much as the clock may be wrong."""
    world = World({FULL: 1})
    world.ask("ann", FULL, lead_ms=-200, lag_ms=300)
    assert world.broken() == set()
    world.change_answer(0, at_start_ms=world.history[0].at_start_ms + 100)
    assert world.broken() == {"I-5"}


@pytest.mark.parametrize("path", [*CHECKER, CHAOS / "books.py"], ids=lambda path: path.stem)
def test_the_checker_shares_no_code_with_the_service(path: Path) -> None:
    """The checker, and what reads the stores for it, need Python and each other only; reading needs the drivers."""
    allowed = set(sys.stdlib_module_names) | ({"asyncpg", "redis"} if path.stem == "books" else set())
    own = {f"loadtest.chaos.{each.stem}" for each in CHECKER}
    assert {name for name in _imports(path) if name.split(".")[0] not in allowed and name not in own} == set()


def _silenced(module: ModuleType, line: int) -> ModuleType:
    """Return a copy of a module that says nothing where it accuses at a line."""

    class Silence(ast.NodeTransformer):
        def visit_Yield(self, node: ast.Yield) -> ast.expr:
            return ast.YieldFrom(ast.Tuple([], ast.Load())) if node.lineno == line else node

    tree = ast.fix_missing_locations(Silence().visit(ast.parse(inspect.getsource(module))))
    silenced = ModuleType(module.__name__)
    exec(compile(tree, str(module.__file__), "exec"), vars(silenced))  # noqa: S102  our own source, but for one line
    return silenced


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module == "loadtest.chaos" else [str(node.module)]
