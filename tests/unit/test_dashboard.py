"""The dashboard is one that Grafana can load, and its expressions are ones that Prometheus can evaluate."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard

BOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboard.json"
PROMTOOL = shutil.which("promtool")


def loaded(board: dict[str, Any]) -> dashboard.Dashboard:
    """Read a board with Grafana's own model of it, and of its panels and queries."""
    register_default_plugins()
    return dashboard.Dashboard.from_json(board)


def unknown(board: Any, told: Any, path: str = "board") -> Iterator[str]:
    """Yield what stands in the board and was not understood."""
    if isinstance(board, dict) and isinstance(told, dict):
        for name, value in board.items():
            yield from unknown(value, told.get(name), f"{path}.{name}")
    elif isinstance(board, list) and isinstance(told, list) and len(board) == len(told):
        for number, (value, other) in enumerate(zip(board, told, strict=True)):
            yield from unknown(value, other, f"{path}[{number}]")
    elif board != told:
        yield f"{path}: {board!r} became {told!r}"


def misfits(value: Any, kind: Any, path: str = "board") -> Iterator[str]:
    """Yield what has another type than Grafana's model says."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        if all(any(misfits(value, each)) for each in get_args(kind)):
            yield f"{path}: {value!r} is none of {kind}"
    elif origin is list and isinstance(value, list):
        for number, each in enumerate(value):
            yield from misfits(each, get_args(kind)[0], f"{path}[{number}]")
    elif origin is dict and isinstance(value, dict):
        for name, each in value.items():
            yield from misfits(each, get_args(kind)[1], f"{path}.{name}")
    elif not fits(value, kind):
        yield f"{path}: {value!r} is no {kind}"
    elif hasattr(value, "__dict__") and not isinstance(value, Enum):
        for name, hint in get_type_hints(type(value)).items():
            yield from misfits(getattr(value, name), hint, f"{path}.{name}")


def fits(value: Any, kind: Any) -> bool:
    """Say whether a value that holds no others is of a kind."""
    if kind in (Any, object):
        return True
    if not isinstance(kind, type):
        return value in get_args(kind)
    if issubclass(kind, Enum):
        return isinstance(value, kind) or value in {each.value for each in kind}
    return isinstance(value, int | float if kind is float else kind) and isinstance(value, bool) <= (kind is bool)


def test_the_dashboard_is_what_grafana_understands() -> None:
    """Read by Grafana's model and written again, nothing of it is lost, and every value has its type."""
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    model = loaded(board)
    assert list(unknown(board, json.loads(JSONEncoder().encode(model)))) == []
    assert list(misfits(model, dashboard.Dashboard)) == []


@pytest.mark.parametrize(
    "member", [{"tilte": "x"}, {"refresh": 5}, {"panels": [{"type": "stat", "gridPos": {"q": 1}}]}]
)
def test_a_broken_dashboard_is_noticed(member: dict[str, Any]) -> None:
    """A misspelt member, a number for a text, a member that a panel has not."""
    model = loaded(member)
    found = [*unknown(member, json.loads(JSONEncoder().encode(model))), *misfits(model, dashboard.Dashboard)]
    assert found != []


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_can_evaluate_every_panel(tmp_path: Path) -> None:
    """Each expression is a rule to the real promtool, with the variables of Grafana filled in."""
    assert PROMTOOL is not None
    panels = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(expressions)} rules found" in done.stdout
