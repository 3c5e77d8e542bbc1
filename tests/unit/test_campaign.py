"""The real campaign: its figures, its stocks and its document."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from grab_service.campaign import Campaign, parse_campaign, read_campaign

FILE = Path(__file__).parents[2] / "campaigns" / "qijiang-2023.toml"
TEXT = FILE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    """The real campaign."""
    return read_campaign(FILE)


def test_each_round_of_the_real_campaign_hands_out_12_700_vouchers_for_500_000_yuan(campaign: Campaign) -> None:
    """The stocks of the two rounds add up to the figures of the scheme, and the rounds to the fund."""
    vouchers: dict[str, int] = defaultdict(int)
    cost_fen: dict[str, int] = defaultdict(int)
    for stock in campaign.stocks():
        vouchers[stock.round_id] += stock.quantity
        cost_fen[stock.round_id] += stock.quantity * stock.discount_fen

    assert vouchers == {"r1": 12_700, "r2": 12_700}
    assert cost_fen == {"r1": 50_000_000, "r2": 50_000_000}
    assert campaign.fund_fen == 100_000_000


def test_the_stocks_of_the_real_campaign_are_those_of_the_scheme(campaign: Campaign) -> None:
    """Two rounds of two classes of two tiers, in the order of the file, named as users know them."""
    stocks = list(campaign.stocks())

    assert [stock.stock_id for stock in stocks] == [
        "qijiang-2023-r1-general-1",
        "qijiang-2023-r1-general-2",
        "qijiang-2023-r1-dining-1",
        "qijiang-2023-r1-dining-2",
        "qijiang-2023-r2-general-1",
        "qijiang-2023-r2-general-2",
        "qijiang-2023-r2-dining-1",
        "qijiang-2023-r2-dining-2",
    ]
    assert [(stock.name, stock.threshold_fen, stock.discount_fen, stock.quantity) for stock in stocks[:4]] == [
        ("通用券 满100减30", 10_000, 3_000, 3_000),
        ("通用券 满150减50", 15_000, 5_000, 2_200),
        ("餐饮券 满100减30", 10_000, 3_000, 5_000),
        ("餐饮券 满200减60", 20_000, 6_000, 2_500),
    ]


def test_the_real_campaign_has_the_instants_and_the_people_of_the_scheme(campaign: Campaign) -> None:
    """Both rounds open at ten, vouchers are valid through 10 December, all of Chongqing may claim."""
    assert [each.opens_at.isoformat() for each in campaign.rounds] == [
        "2023-12-03T10:00:00+08:00",
        "2023-12-04T10:00:00+08:00",
    ]
    assert campaign.available_until.isoformat() == "2023-12-11T00:00:00+08:00"
    assert campaign.settle_by.isoformat() == "2024-02-04T00:00:00+08:00"
    assert campaign.eligible_regions == ("50",)
    assert len(campaign.merchants.towns) == 21


@pytest.mark.parametrize(
    ("limits", "gate_tag", "round_limit", "spans_rounds"),
    [
        ('limit_scope = "round"', "qijiang-2023-r1-general-1", 0, False),
        ('limit_scope = "round"\nper_user_per_round = 1', "qijiang-2023-r1", 1, False),
        ('limit_scope = "campaign"', "qijiang-2023", 0, True),
        ('limit_scope = "campaign"\nper_user_per_round = 2', "qijiang-2023", 2, True),
    ],
)
def test_stocks_that_one_limit_spans_share_a_hash_tag(
    limits: str, gate_tag: str, round_limit: int, spans_rounds: bool
) -> None:
    """The tag is as wide as the widest limit, and the keys carry it."""
    campaign = parse_campaign(TEXT.replace('limit_scope = "round"', limits))

    stock = next(campaign.stocks())

    assert (stock.gate_tag, stock.round_limit, stock.spans_rounds) == (gate_tag, round_limit, spans_rounds)
    assert stock.keys.free.startswith(f"grab:{{{gate_tag}}}")


def test_a_round_hands_out_only_what_it_lists() -> None:
    """A tier without a quantity in a round has no stock there."""
    text = TEXT.replace("dining-2 = 2_500   #", "# 2_500", 1).replace("50_000_000", "35_000_000", 1)

    stocks = parse_campaign(text).stocks()

    assert [stock.stock_id for stock in stocks if stock.class_code == "dining"] == [
        "qijiang-2023-r1-dining-1",
        "qijiang-2023-r2-dining-1",
        "qijiang-2023-r2-dining-2",
    ]


def test_amounts_are_named_in_yuan_without_needless_zeros() -> None:
    """30.50 yuan is written 30.5, a million is not written with an exponent."""
    text = (
        TEXT.replace("threshold_fen = 10_000 ", "threshold_fen = 100_000_000 ")
        .replace("discount_fen = 3_000 ", "discount_fen = 3_050 ")
        .replace("50_000_000", "50_150_000")
        .replace("fund_fen = 100", "fund_fen = 101")
    )

    assert next(parse_campaign(text).stocks()).name == "通用券 满1000000减30.5"


def test_a_campaign_is_rebuilt_from_its_document(campaign: Campaign) -> None:
    """The document survives JSON that sorts its keys, as the database's does."""
    stored = json.dumps(campaign.document(), sort_keys=True)

    rebuilt = Campaign.from_document(json.loads(stored))

    assert rebuilt == campaign
    assert list(rebuilt.stocks()) == list(campaign.stocks())


def test_a_document_of_another_shape_is_not_a_campaign(campaign: Campaign) -> None:
    """What is in the database is checked as strictly as the file."""
    with pytest.raises(ValidationError):
        Campaign.from_document({**campaign.document(), "fund_fen": "100"})


def test_shifting_moves_every_instant_and_nothing_else(campaign: Campaign) -> None:
    """A rehearsal is the same campaign at another time."""
    delta = timedelta(days=1_000, seconds=7)

    shifted = campaign.shifted(delta)

    assert shifted.shifted(-delta) == campaign
    assert _instants(shifted) == [instant + delta for instant in _instants(campaign)]


def _instants(campaign: Campaign) -> list[datetime]:
    of_rounds = [instant for each in campaign.rounds for instant in (each.opens_at, each.closes_at)]
    return [*of_rounds, campaign.available_until, campaign.settle_by]
