"""The page of figures for a campaign's final report: one file that needs nothing else, to be printed or sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from grab_service import instants
from grab_service.templates import render
from ledger.figures import DayFigures, Figures, StockFigures, TownFigures


@dataclass(frozen=True, slots=True)
class Sum:
    """Figures of several stocks, added up; see ``StockFigures``."""

    label: str
    quantity: int
    issued: int
    used: int
    expired: int
    returned: int
    voided: int
    spent_fen: int
    subsidy_fen: int

    @classmethod
    def of(cls, label: str, stocks: Iterable[StockFigures]) -> Sum:
        """Add figures up."""
        names = ("quantity", "issued", "used", "expired", "returned", "voided", "spent_fen", "subsidy_fen")
        columns = zip(*([getattr(stock, name) for name in names] for stock in stocks), strict=True)
        return cls(label, *(sum(column) for column in columns))

    @property
    def open(self) -> int:
        """Claimed and still good: neither used nor lapsed nor void."""
        return self.issued - self.used - self.expired - self.voided

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self) | {"open": self.open}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart: parts beside or upon each other, by the colour's name."""

    label: str
    parts: Sequence[tuple[str, int]]
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the page shows.

    Attributes:
        total: Of the whole campaign.
        kinds: By class and tier.
        rounds: By round.
        towns: Every town of the campaign, those without any use at the end.
        days: Those on which anything happened.
    """

    total: Sum
    kinds: Sequence[Sum]
    rounds: Sequence[Sum]
    towns: Sequence[TownFigures]
    days: Sequence[DayFigures]

    @classmethod
    def of(cls, document: Mapping[str, Any], figures: Figures) -> Report:
        """Arrange the figures of a campaign by what its document says."""
        stocks = figures.stocks
        round_names = {each["round_id"]: each["name"] for each in document["rounds"]}
        kinds = {(stock.class_code, stock.tier): stock.name for stock in stocks}
        seen = {each.town for each in figures.towns}
        missing = [town for town in document["merchants"]["towns"] if town not in seen]
        return cls(
            total=Sum.of("合计", stocks),
            kinds=[Sum.of(name, [s for s in stocks if (s.class_code, s.tier) == kind]) for kind, name in kinds.items()],
            rounds=[Sum.of(name, [s for s in stocks if s.round_id == id_]) for id_, name in round_names.items()],
            towns=[
                *figures.towns,
                *(TownFigures(town=town, merchants=0, used=0, spent_fen=0, subsidy_fen=0) for town in missing),
            ],
            days=figures.days,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "total": self.total.to_json(),
            "kinds": [each.to_json() for each in self.kinds],
            "rounds": [each.to_json() for each in self.rounds],
            "towns": [asdict(each) for each in self.towns],
            "days": [asdict(each) | {"day": each.day.isoformat()} for each in self.days],
        }


def page_of(document: Mapping[str, Any], report: Report, at: datetime) -> str:
    """Return the page as HTML.

    Args:
        document: The campaign's.
        report: Its figures.
        at: The instant of the figures.
    """
    return render(
        "figures/page.html",
        campaign=document,
        report=report,
        at=instants.from_datetime(at)[:16].replace("T", " "),
        kind_bars=[
            Bar(
                each.label,
                [("used", each.used), ("open", each.open), ("lapsed", each.expired + each.returned + each.voided)],
                f"{each.used:,} / {each.quantity:,}",
            )
            for each in report.kinds
        ],
        town_bars=[Bar(each.town, [("spent", each.spent_fen)], f"{each.spent_fen // 100:,}") for each in report.towns],
        day_bars=[
            Bar(
                f"{each.day:%m-%d}",
                [("issued", each.issued), ("used", each.used), ("lapsed", each.lapsed)],
                f"领取 {each.issued:,}，核销 {each.used:,}，失效 {each.lapsed:,}",
            )
            for each in report.days
        ],
    )
