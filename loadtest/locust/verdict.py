"""The end of a run: figures to a file, service levels to the exit code; only the master speaks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest.locust import slo
from loadtest.locust.figures import Figures
from loadtest.locust.options import options_of
from locust import events

_log = logging.getLogger(__name__)
_MISSED = 1


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # locust says no types
def judge_run(environment: Environment, **_: Any) -> None:
    """Write the figures and set the exit code: 0 every level was reached, 1 one was missed."""
    if isinstance(environment.runner, WorkerRunner) or environment.runner is None:
        return
    options = options_of(environment)
    stats = environment.runner.stats
    figures = Figures.of_entries(
        options.people,
        stats.entries.values(),
        [f"{each.occurrences} × {each.name}: {each.error}" for each in stats.errors.values()],
        was_busy=bool(
            environment.runner.cpu_warning_emitted or getattr(environment.runner, "worker_cpu_warning_emitted", False)
        ),
    )
    if options.figures:
        figures.write(Path(options.figures))
    judged = slo.judge(slo.read_levels(Path(options.slo)), figures)
    for each in judged:
        _log.info("%s %s: %s", "met   " if each.is_good else "MISSED", each.level.name, each.reached)
    environment.process_exit_code = 0 if all(each.is_good for each in judged) else _MISSED
