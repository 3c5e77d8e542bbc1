"""The rehearsal's parts: phases, outcomes, service levels, the smaller campaign and the report."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import pytest
from loadtest.locust import slo, words
from loadtest.locust.figures import Figures, Row
from loadtest.locust.outcomes import CLAIM_IN_ORDER, Answer, retry_after_s
from loadtest.locust.paper import Rehearsal
from loadtest.locust.slo import Level, SloInvalid, judge, read_levels
from loadtest.locust.timing import Phase, people_at, phase_at, reaction_s
from loadtest.rehearse import ROOT, merchants_of, scaled

from grab_service.merchant_list import read_list
from ledger.audit import NAMES

OPENS_S = 1_700_000_000
CAMPAIGN = (ROOT / "campaigns" / "qijiang-2023.toml").read_text(encoding="utf-8")


def a_row(name: str, **changes: Any) -> Row:
    """Return a row in which everything was answered."""
    facts: dict[str, Any] = {"method": "POST", "requests": 100, "failures": 0, "max_ms": 900.0}
    facts |= {"p50_ms": 100.0, "p95_ms": 400.0, "p99_ms": 800.0, "per_second": {OPENS_S: 60, OPENS_S + 1: 40}}
    return Row(name=name, **(facts | changes))


FIGURES = Figures(50, [a_row("claim WON"), a_row("claim (intended)", method="TIME", failures=1)])


@pytest.mark.parametrize(
    ("after_s", "phase"),
    [(-100, Phase.QUIET), (-15, Phase.GATHERING), (-0.01, Phase.GATHERING), (0, Phase.RUSH), (30, Phase.OVER)],
)
def test_everybody_gathers_before_the_opening_and_leaves_after_the_tail(after_s: float, phase: Phase) -> None:
    """Few are there before, all in the gathering and the rush."""
    assert phase_at(OPENS_S + after_s, opens_s=OPENS_S, tail_s=30) is phase
    assert people_at(phase, 400) == (20 if phase is Phase.QUIET else 400)


def test_nobody_presses_early_and_most_press_at_once() -> None:
    """Reactions are half-normal: about two thirds within one sigma."""
    reactions = [reaction_s(random.Random(n), 0.8) for n in range(2000)]  # noqa: S311  no secrets
    assert min(reactions) >= 0
    assert 0.62 < sum(each <= 0.8 for each in reactions) / 2000 < 0.74


@pytest.mark.parametrize(
    ("answer", "name", "waits_s"),
    [
        (Answer(201, {}), "WON", None),
        (Answer(200, {}), "REPEATED", None),
        (Answer(202, {}, 2.0), "PENDING", 2.0),
        (Answer(409, {"code": "SOLD_OUT"}), "SOLD_OUT", None),
        (Answer(409, {"code": "NOT_STARTED"}, 3.0), "NOT_STARTED", 3.0),
        (Answer(429, {"code": "FREQUENCY_LIMIT_EXCEED"}), "FREQUENCY_LIMIT_EXCEED", 1.0),
        (Answer(0, {}), "BROKEN", 1.0),
        (Answer(404, {"code": "RESOURCE_NOT_EXISTS"}), "RESOURCE_NOT_EXISTS", None),
    ],
)
def test_an_answer_has_a_name_and_says_when_to_ask_again(answer: Answer, name: str, waits_s: float | None) -> None:
    """Final answers are not asked again; others when the server says, or after a second."""
    assert (answer.name, answer.ask_again_in_s) == (name, waits_s)


def test_a_refusal_is_in_order_and_a_fault_is_not() -> None:
    """Sold out and too many are what a person must expect; 503 and a broken connection are not."""
    assert Answer(409, {}).is_in_order(CLAIM_IN_ORDER)
    assert Answer(429, {}).is_in_order(CLAIM_IN_ORDER)
    assert not Answer(503, {}).is_in_order(CLAIM_IN_ORDER)
    assert not Answer(0, {}).is_in_order(CLAIM_IN_ORDER)
    assert (retry_after_s("2"), retry_after_s(None), retry_after_s("Mon, 01 Jan")) == (2.0, None, None)


@pytest.mark.parametrize(
    ("level", "reached", "is_good"),
    [
        (Level("l", "claim (intended)", "p99_ms", at_most=800), 800.0, True),
        (Level("l", "claim (intended)", "p99_ms", at_most=799), 800.0, False),
        (Level("l", "claim WON", "requests", at_least=100), 100.0, True),
        (Level("l", "claim WON", "requests", at_least=101), 100.0, False),
        (Level("l", "*", "requests", at_least=1), 100.0, True),  # what is no request is not counted
        (Level("l", "*", "failure_share", at_most=0.001), 0.01, False),  # but its failures are
        (Level("l", "redeem WON", "p99_ms", at_most=800), None, False),  # nothing measured is not good
        (Level("l", "bot FREQUENCY_LIMIT_EXCEED", "requests", at_least=1), 0.0, False),
        (Level("l", "*", "generator_was_busy", at_most=0), 0.0, True),
    ],
)
def test_figures_are_held_against_service_levels(level: Level, reached: float | None, is_good: bool) -> None:
    """A level is reached within its bounds, both included."""
    (judged,) = judge([level], FIGURES)
    assert (judged.reached, judged.is_good) == (reached, is_good)


def test_the_service_levels_that_come_with_it_can_be_read() -> None:
    """Each has a name, and names a measure that there is."""
    levels = read_levels(ROOT / "loadtest" / "slo.toml")
    assert len({level.name for level in levels}) == len(levels) > 5


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no service level"),
        ("[[slo]", "Expected"),
        ('[[slo]]\nname = "l"\nrow = "r"\nmeasure = "p98_ms"\nat_most = 1', "p98_ms"),
        ('[[slo]]\nname = "l"\nrow = "*"\nmeasure = "p99_ms"\nat_most = 1', "name a row"),
        ('[[slo]]\nname = "l"\nrow = "r"\nmeasure = "p99_ms"', "neither"),
        ('[[slo]]\nname = "l"\nrow = "r"\nmeasure = "generator_was_busy"\nat_most = 0', "of a row"),
        ('[[slo]]\nname = "l"\nrow = "r"\nmeasure = "p99_ms"\nmax = 1', "max"),
    ],
)
def test_service_levels_that_are_not_understood_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    """A level that would never be judged is no level."""
    file = tmp_path / "slo.toml"
    file.write_text(text)
    with pytest.raises(SloInvalid, match=fault):
        read_levels(file)


def test_figures_survive_their_file(tmp_path: Path) -> None:
    """What is written is read back, seconds included."""
    FIGURES.write(tmp_path / "figures.json")
    assert Figures.read(tmp_path / "figures.json") == FIGURES


def test_a_smaller_campaign_keeps_its_rules_and_its_sums() -> None:
    """Vouchers and money are divided, thresholds and discounts are not, and each budget is still the sum."""
    whole, small = tomllib.loads(CAMPAIGN), tomllib.loads(scaled(CAMPAIGN, 10))
    assert small["fund_fen"] * 10 == whole["fund_fen"]
    assert small["classes"] == whole["classes"]
    discounts = {
        f"{each['class_code']}-{tier['tier']}": tier["discount_fen"]
        for each in small["classes"]
        for tier in each["tiers"]
    }
    for one in small["rounds"]:
        assert one["budget_fen"] == sum(one["quantities"][name] * fen for name, fen in discounts.items())


def test_the_merchants_of_a_rehearsal_are_a_list_that_can_be_imported(tmp_path: Path) -> None:
    """Every category has merchants, and the import's reader finds no fault in any row."""
    file = tmp_path / "merchants.csv"
    file.write_text(merchants_of(tomllib.loads(CAMPAIGN)), encoding="utf-8")
    rows = read_list(file)
    assert {row.texts["category"] for row in rows} == {
        "超市",
        "商场",
        "百货",
        "家电",
        "家具",
        "建材",
        "火锅消费周",
        "北渡鱼",
    }
    assert [row.faults for row in rows if row.faults] == []


def a_rehearsal(**changes: Any) -> Rehearsal:
    """Return a rehearsal in which everything was in order."""
    facts: dict[str, Any] = {
        "title": "活动<1>",
        "held_at": "10:00",
        "opens_s": OPENS_S,
        "circumstances": {"处理器": "2 核"},
        "figures": FIGURES,
        "judged": judge([Level("等级", "claim WON", "p99_ms", at_most=900)], FIGURES),
        "stocks": [{"stock_id": "s", "quantity": 100, "claimed": 100, "booked": 100, "remaining": 0}],
        "audit": {"ok": True, "invariants": [{"id": "I-1", "name": "cap", "ok": True, "detail": ""}]},
    }
    return Rehearsal(**(facts | changes))


def test_the_report_tells_the_verdict_and_needs_nothing_else() -> None:
    """One page, nothing fetched, what others wrote escaped."""
    page = a_rehearsal().page()
    assert '<p class="verdict good">通过</p>' in page
    assert page.count("<svg") == 2
    assert "活动&lt;1&gt;" in page
    assert not any(each in page for each in ("<script", "src=", "href=", "url("))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"judged": judge([Level("等级", "claim WON", "p99_ms", at_most=1)], FIGURES)}, "1 项服务等级未达标"),
        ({"audit": {}}, "审计未通过"),
        ({"audit": {"ok": False, "invariants": [{"id": "I-1", "ok": False, "detail": "oversold"}]}}, "oversold"),
    ],
)
def test_the_report_says_why_it_is_not_passed(changes: dict[str, Any], reason: str) -> None:
    """A missed level, a broken invariant and an audit that was not run each fail the rehearsal."""
    report = a_rehearsal(**changes)
    assert not report.is_good
    assert "不通过" in report.page()
    assert reason in report.page()


def test_the_report_speaks_chinese() -> None:
    """Every invariant and every row that the suite makes has its words, and a name that is new stays as it is."""
    assert set(words.INVARIANTS) == set(NAMES)
    assert words.of_row("claim WON (intended)") == "抢券：成功（从应按下算起）"
    assert words.of_row("claim (intended)") == "抢券：全部（从应按下算起）"
    assert words.of_row("same voucher again") == "核对：重复抢券得到同一张券"
    assert words.of_row("claim TEAPOT") == "抢券：TEAPOT"
    assert words.of_row("something else") == "something else"


def test_the_conclusion_says_what_it_means() -> None:
    """One paragraph tells who came, what went, whether the books are right, and whether to go on."""
    assert a_rehearsal().conclusion() == (
        "50 名模拟用户参加，100 张券领走 100 张，1 个批次抢光，从按下到最终答复，一半人在 0.10 秒内，"
        "99% 的人在 0.80 秒内，失败 1 次。审计 1 项不变式全部成立：没有超发，没有一人多券，账实相符。"
        "1 项服务等级全部达标。演练通过。"
    )
    assert "演练不通过" in a_rehearsal(audit={}).conclusion()


def test_a_spreadsheet_gets_every_row() -> None:
    """The CSV has a line for each row, under its Chinese and its own name."""
    assert a_rehearsal().sheet().splitlines()[1] == "抢券：成功,claim WON,100,0,100.0,400.0,800.0,900.0"


def test_verdicts_are_written_for_programs_too() -> None:
    """Each level comes with its bounds, what was reached, and whether that is good."""
    (found,) = slo.to_json(a_rehearsal().judged)
    assert (found["reached"], found["at_most"], found["ok"]) == (800.0, 900, True)
