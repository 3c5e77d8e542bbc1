"""The rules of a campaign file that no single value can break alone.

They read the file's own values, each of them only where its shape is right.  So one mistake
neither hides another nor is reported twice, and one check reports all there are.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from grab_service.toml_lines import Place, name_of, value_at

_SETTLED_WITHIN_MONTHS = 2


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
        place: Where in the file.
        fault: What is wrong with it and what to do; the predicate of a sentence whose subject is the place.
    """

    place: Place
    fault: str


def broken_rules(document: Mapping[str, Any], unsound: Collection[Place]) -> Iterator[Finding]:
    """Find every broken rule.

    Args:
        document: The file as ``tomllib`` reads it.
        unsound: The places whose shape is wrong; rules leave them alone.
    """
    facts = _Facts(document, unsound)
    yield from _names_are_distinct(facts)
    yield from _discounts_are_below_thresholds(facts)
    yield from _quantities_are_of_declared_tiers(facts)
    yield from _budgets_add_up(facts)
    yield from _windows_are_in_order(facts)
    yield from _rounds_do_not_overlap(facts)


@dataclass(frozen=True, slots=True)
class _Facts:
    """The values of a file, of which some have the wrong shape.

    Attributes:
        document: The file.
        unsound: Where a shape is wrong.
    """

    document: Mapping[str, Any]
    unsound: Collection[Place]

    def at(self, *place: str | int) -> Any:
        """Return the value at ``place``; None if it or a part of it is absent or has the wrong shape."""
        if any(place[: len(wrong)] == wrong[: len(place)] for wrong in self.unsound):
            return None
        return value_at(self.document, place)

    def below(self, *place: str | int) -> list[Place]:
        """Return the places of all entries of the list or table at ``place``, whatever their shape."""
        container = value_at(self.document, place)
        if isinstance(container, list):
            return [(*place, index) for index in range(len(container))]
        return [(*place, key) for key in container] if isinstance(container, dict) else []

    def tiers(self) -> list[Place]:
        """Return the places of all tiers of all classes."""
        return [tier for each in self.below("classes") for tier in self.below(*each, "tiers")]


def _names_are_distinct(facts: _Facts) -> Iterator[Finding]:
    classes, rounds = facts.below("classes"), facts.below("rounds")
    namesakes = [
        [(*each, "class_code") for each in classes],
        [(*each, "name") for each in classes],
        [(*each, "round_id") for each in rounds],
        [(*each, "name") for each in rounds],
        facts.below("eligible_regions"),
        facts.below("merchants", "accepts"),
        facts.below("merchants", "towns"),
    ]
    for each in classes:
        namesakes.append([(*tier, "tier") for tier in facts.below(*each, "tiers")])
        namesakes.append(facts.below(*each, "merchant_categories"))
    for group in namesakes:
        seen = set()
        for place in group:
            value = facts.at(*place)
            if value in seen:
                yield Finding(place, f"is {value!r} for the second time: rename it or remove it")
            elif value is not None:
                seen.add(value)


def _discounts_are_below_thresholds(facts: _Facts) -> Iterator[Finding]:
    for each in facts.tiers():
        threshold, discount = facts.at(*each, "threshold_fen"), facts.at(*each, "discount_fen")
        if threshold and discount and discount >= threshold:
            yield Finding(
                (*each, "discount_fen"),
                f"is {discount:,}, not below the threshold of {threshold:,}: lower it or raise the threshold",
            )


def _quantities_are_of_declared_tiers(facts: _Facts) -> Iterator[Finding]:
    discounts = _discounts(facts)
    for each in facts.below("rounds"):
        for place in facts.below(*each, "quantities"):
            if discounts and place[-1] not in discounts:
                known = ", ".join(discounts)
                yield Finding(place, f"is no declared class and tier ({known}): correct it or declare the tier")


def _budgets_add_up(facts: _Facts) -> Iterator[Finding]:
    total = 0
    for each in facts.below("rounds"):
        budget, cost = facts.at(*each, "budget_fen"), _cost(facts, facts.below(*each, "quantities"))
        if budget and cost and budget != cost:
            yield Finding(
                (*each, "budget_fen"),
                f"is {budget:,}, but the sum of quantity × discount is {cost:,}: correct it or the quantities",
            )
        total += budget or 0
    fund = facts.at("fund_fen")
    if fund and total > fund:
        yield Finding(
            ("fund_fen",), f"is {fund:,}, but the budgets of the rounds are {total:,}: raise it or lower the budgets"
        )


def _discounts(facts: _Facts) -> dict[str, int | None]:
    """Return the discount of each ``{class}-{tier}``; nothing while not all tiers can be named."""
    discounts = {}
    for each in facts.tiers():
        class_code, tier = facts.at(*each[:2], "class_code"), facts.at(*each, "tier")
        if class_code is None or tier is None:
            return {}
        discounts[f"{class_code}-{tier}"] = facts.at(*each, "discount_fen")
    return discounts


def _cost(facts: _Facts, quantities: list[Place]) -> int | None:
    """Return Σ quantity × discount of a round; None while one of them is not known."""
    discounts = _discounts(facts)
    cost = 0
    for place in quantities:
        quantity, discount = facts.at(*place), discounts.get(str(place[-1]))
        if quantity is None or discount is None:
            return None
        cost += quantity * discount
    return cost


def _windows_are_in_order(facts: _Facts) -> Iterator[Finding]:
    lapse, settle_by = facts.at("available_until"), facts.at("settle_by")
    for each in facts.below("rounds"):
        opens, closes = facts.at(*each, "opens_at"), facts.at(*each, "closes_at")
        if opens and closes and closes <= opens:
            yield Finding((*each, "closes_at"), "is not after opens_at: close the round later or open it earlier")
        if lapse and closes and closes > lapse:
            yield Finding(
                (*each, "closes_at"),
                "is after available_until, when the vouchers lapse: close the round earlier or let them lapse later",
            )
    if lapse and settle_by and settle_by <= lapse:
        yield Finding(("settle_by",), "is not after available_until: settle once the last voucher has lapsed")
    openings = [opens for each in facts.below("rounds") if (opens := facts.at(*each, "opens_at"))]
    if settle_by and openings and settle_by > (latest := _two_months_after(min(openings))):
        yield Finding(
            ("settle_by",), f"is more than two months after the first opening: write {latest.isoformat()} or earlier"
        )


def _two_months_after(opening: datetime) -> datetime:
    """Return the end of the day two calendar months after an opening: 綦商务发〔2023〕80号 wants it settled by then."""
    year, month = divmod(opening.year * 12 + opening.month - 1 + _SETTLED_WITHIN_MONTHS, 12)
    day = min(opening.day, monthrange(year, month + 1)[1])
    return datetime(year, month + 1, day, tzinfo=opening.tzinfo) + timedelta(days=1)


def _rounds_do_not_overlap(facts: _Facts) -> Iterator[Finding]:
    windows = []
    for each in facts.below("rounds"):
        opens, closes = facts.at(*each, "opens_at"), facts.at(*each, "closes_at")
        if opens and closes and opens < closes:
            windows.append((opens, closes, each))
    windows.sort()
    for index, (opens, _, each) in enumerate(windows):
        running = next((earlier for _, closes, earlier in windows[:index] if closes > opens), None)
        if running:
            yield Finding(
                (*each, "opens_at"), f"is before {name_of(running)} closes: rounds must not overlap, move one"
            )
