"""The bench's pure parts: ratios and their spread, the budget, tables, the plot, processes as ``/proc`` tells them."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from loadtest.bench import ours
from loadtest.bench.budget import SOLD_OUT, WON, cpu_us, verdicts
from loadtest.bench.cpu import Cores, Stat, cpu_us_of, exact_cpu_us_of, processes, rss_bytes_of, tree_of
from loadtest.bench.figures import Line, Spread, Verdict, column, known, ratios, table
from loadtest.bench.gate_limit import report as gate_report
from loadtest.bench.growth import plot_of, report_of
from loadtest.bench.peers.roster import FASTAPI, FASTIFY, NGINX, POSTGRES, TUNED, Peer, roster
from loadtest.bench.servers import report as servers_report
from loadtest.bench.servers import variants
from loadtest.bench.svg import Curve, ceiling_of, plot

BENCH = Path(ours.__file__).parent


def figures(server_us: float, store_us: float) -> dict[str, Any]:
    """Return what a measurement gives."""
    return {"cpu_us": {"server": server_us, "store": store_us, "vault": 1000.0}}


def size(holders: int, claim_us: float) -> dict[str, Any]:
    """Return what the growth gives for one number of holders."""
    weights = {"holder_bytes": 71.0, "entry_bytes": 44.0}
    claims_us = [claim_us, claim_us * 2, claim_us * 3]
    return {"holders": holders, "claim_us": claim_us, "claims_us": claims_us, "repeat_us": 1.0} | weights


def test_a_spread_is_the_median_with_the_least_and_the_greatest() -> None:
    """One wild turn moves the spread, not the median."""
    spread = Spread.of([0.6, 9.0, 0.5])
    assert spread == Spread(0.6, 0.5, 9.0, 3)
    assert spread is not None
    assert spread.text() == "0.60 (0.50 to 9.00)"
    assert Spread.of([]) is None


def test_ratios_are_taken_turn_by_turn() -> None:
    """A turn in which one side is missing, or is nothing, gives no ratio."""
    assert ratios([1.0, 2.0, None, 3.0], [2.0, 8.0, 1.0, 0.0]) == [0.5, 0.25]
    assert ratios([1.0, 3.0], [None, 2.0]) == [1.5]


def test_a_column_has_a_gap_where_a_turn_has_not_measured() -> None:
    """What was voided is missing in its turn, not shifted."""
    turns = [{"a": {"x": 1.0}}, {}, {"a": {"x": 3.0}}]
    assert column(turns, lambda turn: turn["a"]["x"]) == [1.0, None, 3.0]
    assert known([1.0, None, 3.0]) == [1.0, 3.0]


@pytest.mark.parametrize(("value", "met"), [(0.5, "aim"), (0.55, "aim"), (0.7, "must"), (0.75, "must"), (0.76, "NO")])
def test_a_line_of_the_budget_says_what_is_met(value: float, met: str) -> None:
    """Bounds are inclusive."""
    cells = Verdict(Line("x", 0.75, 0.55), Spread.of([value])).cells()
    assert cells == ("x", f"{value:.2f} ({value:.2f} to {value:.2f})", "≤ 0.75", "≤ 0.55", met)


def test_a_lower_bound_is_kept_from_above() -> None:
    """The worker's share of COPY is to be large."""
    line = Line("x", 0.5, 0.8, at_least=True)
    assert [Verdict(line, Spread.of([value])).cells()[-1] for value in (0.4, 0.5, 0.9)] == ["NO", "must", "aim"]


def test_what_was_not_measured_is_told_with_the_reason() -> None:
    """A line without figures is never taken for a good one."""
    verdict = Verdict(Line("x", 1, 1), None, "nginx is not installed")
    assert verdict.cells()[1] == "not measured: nginx is not installed"
    assert verdict.to_json()["met"] == "–"


def test_the_budget_compares_server_and_store_with_each_peer() -> None:
    """Neither the vault nor the worker stands on one side of a ratio only."""
    turn = {
        ours.NAME: {SOLD_OUT: figures(20, 4), WON: figures(40, 10)},
        NGINX: {SOLD_OUT: figures(40, 8), WON: figures(40, 10)},
    }
    found = {verdict.line.what: verdict for verdict in verdicts([turn, {}], {FASTAPI: "gone"})}
    assert cpu_us(figures(20, 4)) == 24
    by_line = {what: verdict.measured.median for what, verdict in found.items() if verdict.measured}
    assert by_line == {
        f"sold-out answer, CPU of server + store against {NGINX}": 0.5,
        f"claim won (confirmed), CPU of server + store against {NGINX}": 1.0,
    }
    assert found[f"sold-out answer, CPU of server + store against {FASTAPI}"].why == "gone"


def test_a_table_has_columns() -> None:
    """Each column is as wide as its widest cell; lines end without blanks."""
    assert table([("a", "b"), ("long", "c"), ("x", "")]) == "a     b\n----  -\nlong  c\nx"


def test_a_process_is_read_whatever_its_name() -> None:
    """The name may hold blanks and parentheses; the times of children that have ended are counted."""
    tick_us = 1_000_000 / os.sysconf("SC_CLK_TCK")
    line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 3 4 20 0 1 0 5 6 7"
    assert Stat.parse(line) == Stat(7, 37 * tick_us)


def test_a_tree_is_a_process_with_all_its_descendants() -> None:
    """Grandchildren belong to it, others do not; a process that has ended has no tree."""
    known_ = {1: Stat(0, 0), 2: Stat(1, 0), 3: Stat(2, 0), 4: Stat(3, 0), 5: Stat(1, 0)}
    assert tree_of(2, known_) == {2, 3, 4}
    assert tree_of(9, known_) == set()


def test_this_process_is_found_and_has_used_time() -> None:
    """``/proc`` is read as it is here."""
    own = processes()[os.getpid()]
    assert own.parent == os.getppid()
    assert cpu_us_of([os.getpid()]) >= own.cpu_us
    assert exact_cpu_us_of(os.getpid()) > 0
    assert Cores.of_this_machine().all <= os.sched_getaffinity(0)


def test_every_peer_is_on_the_roster_installed_or_not() -> None:
    """A peer that is missing says how to get it."""
    assert [peer.name for peer in roster()] == [NGINX, FASTIFY, FASTAPI, TUNED, POSTGRES]
    assert all(peer.missing is None or "install" in peer.missing for peer in roster())


@pytest.mark.parametrize("has_json_body", [True, False])
def test_a_peers_request_is_whole(has_json_body: bool) -> None:
    """Its length is the one that it names."""
    head, _, body = Peer("x", None, has_json_body).request("open", "user-1").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/stocks/open/claims HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"user-1" in head + body


def test_the_benchs_campaign_hands_out_the_real_round() -> None:
    """The four stocks are those of the scheme's first round."""
    bench = tomllib.loads(
        (BENCH / "campaign.toml").read_text(encoding="utf-8").replace("@BUDGET@", "1").replace("@WON@", "1")
    )
    real = tomllib.loads((BENCH.parents[1] / "campaigns" / "qijiang-2023.toml").read_text(encoding="utf-8"))
    quantities = real["rounds"][0]["quantities"]
    assert bench["rounds"][0]["quantities"] == quantities | {"bench-1": 1, "bench-2": 1}
    assert {f"bench-r1-{name}": quantity for name, quantity in quantities.items()} == ours.ROUND


@pytest.mark.parametrize(("value", "top"), [(0.7, 1), (1, 1), (1.2, 2), (4.9, 5), (60, 100), (200, 200)])
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    """1, 2 or 5 times a power of ten, not below the value."""
    assert ceiling_of(value) == pytest.approx(top)


def test_a_plot_is_a_document_with_a_mark_for_each_point() -> None:
    """Higher values stand higher, texts are escaped."""
    curves = [Curve("a < b", [(10, 1.0), (1000, 3.0)], bound=2.0), Curve("c", [(10, 5.0)])]
    root = ET.fromstring(plot(curves, "x"))  # noqa: S314  our own text
    marks = [element for element in root.iter() if element.tag.endswith("circle")]
    assert [len(curve.points) for curve in curves] == [2, 1]
    assert len(marks) == 3
    assert float(marks[0].attrib["cy"]) > float(marks[1].attrib["cy"])
    assert "a < b" in "".join(root.itertext())


def test_growth_is_held_against_the_smallest_stock() -> None:
    """The last size is compared with the first turn by turn; the weight is of a holder with its entry."""
    sizes = [size(10_000, 5.0), size(100_000, 9.0), size(1_000_000, 6.0)]
    recoveries = [{"quantity": 1_000_000, "holders": 500_000, "seconds": 2.5}]
    report = report_of(sizes, recoveries)
    assert "claim with 1,000,000 holders against 10,000, CPU of the gate" in report
    assert "1.20 (1.20 to 1.20)" in report
    assert "115 (115 to 115)" in report
    assert "1,000,000  500,000  2.50" in report
    assert plot_of(sizes, recoveries).count("<circle") == 7
    assert plot_of(sizes, []).count("<circle") == 6


def test_every_way_to_serve_is_there_with_each_number_of_processes() -> None:
    """Two numbers of processes give each way twice; a name narrows it."""
    every = variants([1, 2], [])
    assert len(every) == len({(variant.name, variant.workers) for variant in every})
    assert {variant.name for variant in every} >= {"uvicorn", "granian st asyncio", "granian mt rust"}
    assert [variant.workers for variant in variants([1, 2], ["uvicorn"])] == [1, 2]


def test_servers_are_compared_with_the_first_turn_by_turn() -> None:
    """What was void in a turn is missing there only; a ratio stands beside each figure."""
    each = figures(40, 2) | {"per_s": 1.0, "latency_ms": {"p99": 3.0}}
    turns: list[dict[str, Any]] = [
        {"uvicorn × 1": {"won": each, "rss_bytes": 9e7}, "granian × 1": {"won": each | figures(20, 2)}},
        {"uvicorn × 1": {"won": each}},
    ]
    text = servers_report(turns, Cores(0, 1))
    assert "0.50 (0.50 to 0.50)" in text
    assert "uvicorn × 1: 90 (90 to 90) MB resident" in text


def test_more_processes_than_cores_are_not_taken_for_scaling() -> None:
    """As long as a core is left for the rest each process has one of its own, and nothing is to be noted."""
    cores, many = Cores.of_this_machine(), len(os.sched_getaffinity(0))
    assert cores.of_servers(many) == os.sched_getaffinity(0)
    assert "say nothing about scaling" in cores.note_on(many)
    if many > 1:
        assert cores.of_servers(1) == {cores.server}
        assert cores.note_on(1) == ""


def test_memory_is_that_of_the_whole_tree() -> None:
    """This process alone holds some megabytes."""
    assert rss_bytes_of([os.getpid()]) > 1_000_000


def test_the_gates_limit_is_what_a_core_has_time_for() -> None:
    """A claim of 10 µs is a hundred thousand a second."""
    text = gate_report({256: [(8.0, 1.0), (10.0, 2.0), (12.0, 2.0)]}, {"a look": 3.0})
    line = text.splitlines()[2]
    assert text.endswith("a look: 3.0 µs of the gate")
    assert line.split()[:5] == ["256", "10.0", "(8.0", "to", "12.0)"]
    assert "100,000" in line
