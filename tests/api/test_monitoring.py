"""Alerts and dashboard name only what the service tells, and each alert fires when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.core import CollectorRegistry
from prometheus_client.exposition import generate_latest

from ledger.exporter import Exporter
from ledger.worker import Worker
from tests.api.conftest import Site

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"

_PROMTOOL = shutil.which("promtool")
_OURS = re.compile(r"\b(?:grab|http|ledger|redis|pg)_\w+")
_TYPE_LINE = re.compile(r"^# TYPE (\S+) (\w+)$", re.MULTILINE)


def _named(text: str) -> set[str]:
    return set(_OURS.findall(re.sub(r'"[^"]*"', "", text)))


def _told(exposition: str) -> set[str]:
    names: set[str] = set()
    for name, kind in _TYPE_LINE.findall(exposition):
        names |= {f"{name}_{end}" for end in ("bucket", "count", "sum")} if kind == "histogram" else {name}
    return names


def _expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


async def test_rules_and_dashboard_name_only_metrics_that_are_told(site: Site) -> None:
    """Every name of ours in them is told by the API or by the ledger worker, and all that is told is on the board."""
    client = await site.serve()
    api = _told((await client.get("/metrics")).text)
    exporter = Exporter(Worker("", ""), "", "", 0)
    exporter._memory = (1, 2)
    registry = CollectorRegistry()
    registry.register(exporter)
    ledger = _told(generate_latest(registry).decode())
    rules = re.findall(r"expr: >-\n\s+(.*)", RULES.read_text(encoding="utf-8"))
    assert len(rules) > 10
    in_rules, on_board = _named("\n".join(rules)), _named("\n".join(_expressions()))
    assert in_rules | on_board <= api | ledger
    assert {name for name in api | ledger if not name.endswith(("_sum", "_count", "_created"))} <= on_board


def test_each_alert_names_a_section_of_the_runbook() -> None:
    """With a summary in Chinese."""
    text = RULES.read_text(encoding="utf-8")
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    alerts = text.count("- alert:")
    sections = re.findall(r"runbook_url: 'docs/runbook.md#([\w-]+)'", text)
    assert len(sections) == alerts == len(re.findall(r"summary: '[^'\n]*[\u4e00-\u9fff]", text))
    assert [each for each in sections if f"\n## {each}\n" not in runbook] == []


def test_the_dashboard_has_a_row_for_each_part() -> None:
    """Its panels have different ids, and their data source is chosen when it is loaded."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert [panel["title"] for panel in board["panels"] if panel["type"] == "row"] == ["抢券", "库存", "账本", "资源"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert {panel["datasource"]["uid"] for panel in board["panels"] if "datasource" in panel} == {"${DS_PROMETHEUS}"}


@pytest.mark.skipif(_PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("arguments", [("test", "rules", "rules_test.yml"), ("check", "config", "prometheus.yml")])
def test_promtool_finds_that_each_alert_fires_in_its_trouble_and_is_silent_before(arguments: tuple[str, ...]) -> None:
    """The real promtool runs the tests beside the rules; every alert has one."""
    assert _PROMTOOL is not None
    done = subprocess.run([_PROMTOOL, *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tested = set(re.findall(r"alertname: (\w+)", (RULES.parent / "rules_test.yml").read_text(encoding="utf-8")))
    assert tested == set(re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8")))
