"""The report of a rehearsal on one page, in Chinese, for somebody who was not there (压测报告)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from loadtest.locust import charts, words
from loadtest.locust.figures import INTENDED, Figures
from loadtest.locust.slo import Judged

_STYLE = Path(__file__).with_suffix(".css")
_OUTCOMES = {
    "WON": ("抢到", "#1a7f37"),
    "SOLD_OUT": ("抢光", "#8b95a1"),
    "REPEATED": ("重复领取，同一张券", "#4c8bf5"),
    "NOT_STARTED": ("未开始", "#e0a100"),
    "FREQUENCY_LIMIT_EXCEED": ("限流 429", "#d9673a"),
    "PENDING": ("处理中", "#8e5bd0"),
}
_OTHER = ("其他", "#c62828")
_CLAIMS = ("claim ", "claim again ", "bot ")
_BEFORE_S, _AFTER_S = 5, 60


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Everything that the report tells.

    Attributes:
        title: The campaign's name.
        held_at: When, in words.
        opens_s: The opening, in seconds since 1970.
        circumstances: Name and value of what it was run with.
        figures: What the people measured.
        judged: The service levels.
        stocks: The picture of the stocks afterwards.
        audit: The audit's verdict, empty if it could not be run.
    """

    title: str
    held_at: str
    opens_s: int
    circumstances: Mapping[str, str]
    figures: Figures
    judged: Sequence[Judged]
    stocks: Sequence[Mapping[str, Any]] = field(default=())
    audit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether every service level was reached and every invariant holds."""
        return bool(self.audit.get("ok")) and all(each.is_good for each in self.judged)

    def page(self) -> str:
        """Return the page; it needs no other file."""
        parts = (
            self._head(),
            _section("结论", f"<p>{escape(self.conclusion())}</p>"),
            _section("服务等级", _levels(self.judged)),
            _section("审计（账实核对）", _audit(self.audit)),
            _section("批次", _stocks(self.stocks)),
            _section("每秒抢券答复（开抢时刻为 0 秒）", self._answers()),
            _section("延迟（毫秒，从“应按下”算起）", self._latencies()),
            _section("全部结果", _rows(self.figures)),
            _section("怎样读", _NOTES),
        )
        return (
            '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>压测报告 {escape(self.title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>"
            f"<body>{''.join(parts)}</body></html>\n"
        )

    def conclusion(self) -> str:
        """Return in one paragraph what happened and what it means, for who reads nothing else."""
        quantity = sum(int(each["quantity"]) for each in self.stocks)
        claimed = sum(int(each["claimed"] or 0) for each in self.stocks)
        gone = [each for each in self.stocks if each["remaining"] == 0]
        said = [f"{self.figures.people:,} 名模拟用户参加，{quantity:,} 张券领走 {claimed:,} 张"]
        said += [f"{len(gone)} 个批次抢光" if gone else "没有批次抢光"]
        row = self.figures.row(f"claim {INTENDED}")
        if row is not None:
            said += [f"从按下到最终答复，一半人在 {_seconds(row.p50_ms)} 秒内，99% 的人在 {_seconds(row.p99_ms)} 秒内"]
        failures = self.figures.total("failures")
        said += [f"失败 {failures:,} 次" if failures else "没有一次失败"]
        if self.audit.get("ok"):
            audit = f"审计 {len(self.audit['invariants'])} 项不变式全部成立：没有超发，没有一人多券，账实相符"
        else:
            broken = [each["id"] for each in self.audit.get("invariants", ()) if not each["ok"]]
            audit = f"审计未通过（{'、'.join(broken) or '未能运行'}），结果不可采信，须先查明原因"
        missed = [each.level.name for each in self.judged if not each.is_good]
        levels = f"未达标的服务等级：{'；'.join(missed)}" if missed else f"{len(self.judged)} 项服务等级全部达标"
        return f"{'，'.join(said)}。{audit}。{levels}。" + ("演练通过。" if self.is_good else "演练不通过。")

    def sheet(self) -> str:
        """Return the figures as CSV, a line a row."""
        into = io.StringIO()
        writer = csv.writer(into)
        writer.writerow(("结果", "row", "次数", "失败", "p50_ms", "p95_ms", "p99_ms", "max_ms"))
        for row in self.figures.rows:
            shares = (row.p50_ms, row.p95_ms, row.p99_ms, row.max_ms)
            writer.writerow((words.of_row(row.name), row.name, row.requests, row.failures, *shares))
        return into.getvalue()

    def _head(self) -> str:
        missed = sum(not each.is_good for each in self.judged)
        is_sound = bool(self.audit.get("ok"))
        reasons = [f"{missed} 项服务等级未达标"] * bool(missed) + ["审计未通过"] * (not is_sound)
        verdict, kind = ("不通过：" + "，".join(reasons), "bad") if reasons else ("通过", "good")
        facts = {"开抢时间": self.held_at, "参与人数": f"{self.figures.people:,}", **self.circumstances}
        return (
            f"<h1>压测报告 · {escape(self.title)}</h1>"
            f'<p class="verdict {kind}">{verdict}</p>{_table((), facts.items())}'
        )

    def _answers(self) -> str:
        counts: dict[str, dict[int, int]] = {name: {} for name in (*_OUTCOMES, "")}
        for row in self.figures.rows:
            prefix = next((each for each in sorted(_CLAIMS, key=len)[::-1] if row.name.startswith(each)), None)
            if prefix is None or not row.is_request:
                continue
            outcome = row.name.removeprefix(prefix)
            into = counts[outcome if outcome in _OUTCOMES else ""]
            for at, count in row.per_second.items():
                into[at] = into.get(at, 0) + count
        named = {**_OUTCOMES, "": _OTHER}
        series = {named[name][0]: (named[name][1], found) for name, found in counts.items() if found}
        last = max((at for _, found in series.values() for at in found), default=self.opens_s)
        seconds = range(self.opens_s - _BEFORE_S, min(last, self.opens_s + _AFTER_S) + 1)
        drawn = charts.stacked("每秒抢券答复", seconds, series, self.opens_s)
        return charts.legend({name: colour for name, (colour, _) in series.items()}) + drawn

    def _latencies(self) -> str:
        wanted = {"全部抢券": f"claim {INTENDED}", "抢到者": f"claim WON {INTENDED}", "核销": "redeem WON"}
        colours = {"p50": "#9ec5fe", "p95": "#4c8bf5", "p99": "#1d4fa3"}
        groups = {
            name: {share: (colour, getattr(row, f"{share}_ms")) for share, colour in colours.items()}
            for name, each in wanted.items()
            if (row := self.figures.row(each)) is not None
        }
        return charts.legend(colours) + charts.columns("延迟", groups)


_NOTES = (
    '<p class="note">“没抢到”是正常结果，不算失败；失败是 5xx、断线和与承诺不符的答复。'
    "“从应按下算起”的行从用户本应按下按钮的时刻算起，排队等待和重试都计在内。"
    "“核对”各行不是请求，其失败数即违背承诺的次数。p50、p95、p99 是 50%、95%、99% 的答复不超过的时间。"
    "“入账最多落后”是观察到的闸口已领取而账本尚未写入的最多张数；抢到的答复要等入账之后才发出。"
    "机器人是同一身份每秒点 50 次，理应被限流且至多得一张券。"
    "压测人群与服务在同一台机器上争用处理器时，延迟主要是排队；换机器后数字不同，审计结果必须相同。</p>"
)


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{title}</h2>{inner}</section>"


def _levels(judged: Sequence[Judged]) -> str:
    rows = []
    for each in judged:
        level, unit = each.level, " ms" if each.level.measure.endswith("_ms") else ""
        bounds = [
            f"{sign} {bound:,g}{unit}"
            for sign, bound in (("≤", level.at_most), ("≥", level.at_least))
            if bound is not None
        ]
        reached = "无数据" if each.reached is None else f"{each.reached:,.6g}{unit}"
        rows.append((level.name, "，".join(bounds), reached, each.is_good))
    return _table(("要求", "界限", "实测", "结论"), rows)


def _audit(audit: Mapping[str, Any]) -> str:
    if not audit:
        return '<p class="verdict bad">审计未能运行</p>'
    rows = [
        (
            each["id"],
            words.of_invariant(each["id"], each.get("name", "")),
            each.get("detail") or "无异常",
            bool(each["ok"]),
        )
        for each in audit["invariants"]
    ]
    return _table(("编号", "不变式", "发现", "结论"), rows)


def _stocks(stocks: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            each.get("name") or each["stock_id"],
            each["quantity"],
            each["claimed"],
            each["booked"],
            each["remaining"],
            _sold_out_after(each),
            each.get("lag_max"),
        )
        for each in stocks
    ]
    return _table(("批次", "发放数量", "已领取", "已入账", "剩余", "抢光用时", "入账最多落后"), rows)


def _sold_out_after(stock: Mapping[str, Any]) -> str | None:
    """Return how long after the opening the last voucher went, None if some are left."""
    if not stock.get("sold_out_at"):
        return None
    opened, gone = (datetime.fromisoformat(stock[name]) for name in ("opens_at", "sold_out_at"))
    return f"{(gone - opened).total_seconds():.2f} 秒"


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f}"


def _rows(figures: Figures) -> str:
    rows = [
        (
            words.of_row(row.name),
            row.requests,
            row.failures,
            round(row.p50_ms),
            round(row.p95_ms),
            round(row.p99_ms),
            round(row.max_ms),
        )
        for row in figures.rows
    ]
    errors = "".join(f"<li>{escape(each)}</li>" for each in figures.errors[:10])
    busy = (
        '<p class="note">压测端处理器曾超过 90%，延迟包含压测端自身的等待。</p>' if figures.generator_was_busy else ""
    )
    return _table(("结果", "次数", "失败", "p50 ms", "p95 ms", "p99 ms", "最大 ms"), rows) + busy + f"<ul>{errors}</ul>"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    top = f"<tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>" if head else ""
    return f"<table>{top}{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return '<td class="good">✓ 达标</td>' if value else '<td class="bad">✗ 未达</td>'
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{escape(str(value if value is not None else '—'))}</td>"
