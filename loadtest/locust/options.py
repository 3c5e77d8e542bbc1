"""What the suite can be told on the command line, beside locust's own options."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from locust.env import Environment

from grab_service.data_dir import DEFAULT, DataDir
from locust import events

SLO_FILE = Path(__file__).parents[1] / "slo.toml"


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # locust says no types
def add_options(parser: ArgumentParser, **_: Any) -> None:
    """Add the suite's options."""
    group = parser.add_argument_group("grab-service")
    group.add_argument(
        "--data-dir", default=os.environ.get("GRAB_DATA_DIR", str(DEFAULT)), help="the rehearsal's directory"
    )
    group.add_argument("--people", type=int, default=400, help="people of every kind together")
    group.add_argument("--tail-s", type=float, default=30.0, help="how long people stay after the opening")
    group.add_argument("--slo", default=str(SLO_FILE), help="the service levels that are to be met")
    group.add_argument("--figures", default="", help="write the figures there, as JSON")


def options_of(environment: Environment) -> Namespace:
    """Return what was said on the command line."""
    assert environment.parsed_options is not None  # noqa: S101  the suite is run from the command line only
    options: Namespace = environment.parsed_options
    return options


def data_dir_of(environment: Environment) -> DataDir:
    """Return the data directory of the rehearsal under load."""
    return DataDir(Path(options_of(environment).data_dir).resolve())
