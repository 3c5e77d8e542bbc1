"""The campaign of a chaos run: rounds one after the other, each with a stormy part and a calm end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

CAMPAIGN_ID = "chaos"
CLASSES = ("general", "dining")
_DISCOUNT_FEN = 3_000
_CALM_S = 18.0  # the last fault may reach into it; what is left is sold before the round closes


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is divided.

    Attributes:
        rounds: How many rounds are sold.
        round_s: From one opening to the next.
        calm_s: The end of a round in which nothing is broken any more and the rest is sold.
        quantity: Vouchers of each of a round's two stocks.
        users: Users who come while things break; each claims both stocks, which last until it is calm.
        late_users: Users who come in the calm: demand is above the stock in the end.
    """

    rounds: int
    round_s: float
    calm_s: float
    quantity: int
    users: int
    late_users: int

    @classmethod
    def of(cls, minutes: float) -> Plan:
        """Divide so many minutes."""
        rounds = max(1, min(6, round(minutes * 60 / 45)))
        round_s = minutes * 60 / rounds
        storm_s = round_s - _CALM_S
        return cls(rounds, round_s, _CALM_S, int(storm_s * 35), int(storm_s * 28), int(storm_s * 10))

    @property
    def storm_s(self) -> float:
        """The part of a round in which things are broken."""
        return self.round_s - self.calm_s


def stocks_of(number: int) -> Sequence[str]:
    """Return the ids of a round's stocks; rounds count from 1."""
    return [f"{CAMPAIGN_ID}-r{number}-{name}-1" for name in CLASSES]


def document(plan: Plan) -> str:
    """Return the campaign file; its instants are moved by ``grab up --opens-in``."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    budget_fen = plan.quantity * _DISCOUNT_FEN * len(CLASSES)
    last = first + timedelta(seconds=plan.rounds * plan.round_s, days=1)
    lines = [
        f'campaign_id = "{CAMPAIGN_ID}"',
        'name = "chaos"\nsource = "chaos"\norganiser = "chaos"\nplatform = "chaos"',
        f"fund_fen = {budget_fen * plan.rounds}",
        f"available_until = {(last + timedelta(days=1)).isoformat()}",
        f"settle_by = {(last + timedelta(days=9)).isoformat()}",
        'limit_scope = "round"\neligible_regions = ["50"]',
        '[merchants]\naccepts = ["payment_code"]\ntowns = ["chaos"]',
    ]
    for name in CLASSES:
        lines += [
            f'[[classes]]\nclass_code = "{name}"\nname = "{name}"\nmerchant_categories = ["{name}"]',
            f"[[classes.tiers]]\ntier = 1\nthreshold_fen = 10_000\ndiscount_fen = {_DISCOUNT_FEN}",
        ]
    for number in range(1, plan.rounds + 1):
        opens = first + timedelta(seconds=(number - 1) * plan.round_s)
        closes = last if number == plan.rounds else first + timedelta(seconds=number * plan.round_s)
        lines += [
            f'[[rounds]]\nround_id = "r{number}"\nname = "r{number}"',
            f"opens_at = {opens.isoformat()}\ncloses_at = {closes.isoformat()}\nbudget_fen = {budget_fen}",
            "[rounds.quantities]",
            *(f"{name}-1 = {plan.quantity}" for name in CLASSES),
        ]
    return "\n".join(lines) + "\n"
