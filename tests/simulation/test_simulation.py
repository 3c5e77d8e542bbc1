"""The service's own code over model stores, under a seeded scheduler that can do its worst at every await.

``GRAB_SIM_SEED`` chooses the first seed and ``GRAB_SIM_SCHEDULES`` how many follow; a failure prints both.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.schedule import Run, run_seed, run_steps
from tests.simulation.shrink import shrink

_FIRST_SEED = int(os.environ.get("GRAB_SIM_SEED", "0"))
_SCHEDULES = int(os.environ.get("GRAB_SIM_SCHEDULES", "1500"))
_PARTS = 4  # so that test processes share the work


def _report(seed: int, run: Run) -> str:
    short = shrink(run)
    again = "GRAB_SIM_SCHEDULES=1 .venv/bin/pytest -n 0 tests/simulation/test_simulation.py"
    lines = [
        f"seed {seed} violates {run.violation}",
        f"repeat it with: GRAB_SIM_SEED={seed} {again}",
        f"shrunk from {len(run.steps)} to {len(short.steps)} steps, it violates {short.violation}:",
        *(f"    {step}" for step in short.steps),
        *(f"    (in peace) {step}" for step in short.peace[:40]),
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("part", range(_PARTS))
def test_no_schedule_violates_an_invariant(part: int) -> None:
    """Whatever dies, hangs, is cut off or comes late: every invariant holds, and nobody waits for ever."""
    for seed in range(_FIRST_SEED + part, _FIRST_SEED + _SCHEDULES, _PARTS):
        run = run_seed(seed)
        if run.violation is not None:
            pytest.fail(_report(seed, run), pytrace=False)


def test_a_schedule_can_be_repeated() -> None:
    """The same seed gives the same steps, and the list of the steps alone gives the same end."""
    runs = [run_seed(seed) for seed in range(_FIRST_SEED, _FIRST_SEED + 20)]
    assert [run_seed(seed) for seed in range(_FIRST_SEED, _FIRST_SEED + 20)] == runs
    assert [run_steps(run.steps) for run in runs] == runs


def test_schedules_reach_what_they_are_for() -> None:
    """Among some hundred schedules there are recoveries, one after the other, and users who were told yes and no."""
    runs = [run_seed(seed) for seed in range(_FIRST_SEED, _FIRST_SEED + 200)]
    assert max(run.epochs for run in runs) >= 4
    assert sum(run.epochs > 1 for run in runs) >= 50


def test_what_a_worker_had_read_when_it_died_is_read_again() -> None:
    """Reading leaves no trace: its successor goes on where the watermark is, and the winner learns of his voucher."""
    until_it_reads = [f"serve worker-1 {verb}" for verb in ("select_stocks", "count_claims", "grab_progress")]
    locked = ["serve worker-1 try_lock", "serve worker-1 try_lock", *until_it_reads]
    steps = [*locked, "ask 0 api-0", "serve api-0 grab_claim", "serve worker-1 read", "crash worker-1"]
    run = run_steps(steps)
    assert run.violation is None  # at rest everybody has learned what he holds
    assert run.steps[: len(steps)] == tuple(steps)


def test_a_gate_that_is_replaced_during_its_recovery_is_drained_first() -> None:
    """Found by a seed: the stream was read at one server and the stock rebuilt at its replica, which still had an entry
    that the first had been emptied of.  The entry was passed over: neither in the ledger nor refused.
    """
    steps = [
        *("ask 9 api-1", "serve api-1 grab_claim", "flush-gate"),
        *("serve keeper library", "slow keeper grab_counts", "answer keeper grab_counts", "serve keeper config"),
        *("serve keeper select_guards", "serve keeper try_lock", "serve keeper load", "serve keeper grab_probe"),
        *("flush-gate", "slow keeper load", "answer keeper load", "serve keeper grab_probe", "serve keeper info"),
        *("slow keeper select_stocks", "answer keeper select_stocks", "serve keeper hget", "serve keeper xrange"),
        *("serve keeper info", "serve keeper hget", "serve keeper raise_epoch", "fail-over 4"),
    ]
    run = run_steps(steps)
    assert run.violation is None
    assert "fail-over 4" in run.steps
    assert "serve keeper raise_epoch" in run.steps
