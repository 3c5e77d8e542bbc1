"""The campaign file: what is handed out, when, to whom and out of which fund.

``parse_campaign`` reads the file or says everything that is wrong with it; the ledger then keeps
the campaign as a document, from which every process builds it again.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from grab_service.campaign_check import CampaignInvalid, Problem, not_toml, problems_of
from grab_service.stock import Stock

__all__ = ["Campaign", "CampaignInvalid", "Problem", "parse_campaign", "read_campaign"]

FILE_CHARACTERS_MAX = 65_536
QUANTITY_MAX = 10_000_000
MONEY_MAX_FEN = 10**13  # a hundred billion yuan
TIER_MAX = 99
ENTRIES_MAX = 200  # of any list
NAME_CHARACTERS_MAX = 64
NOTICE_CHARACTERS_MAX = 200
CAMPAIGN_ID_CHARACTERS_MAX = 32
CODE_CHARACTERS_MAX = 16


def _written_as(pattern: str, characters_max: int, advice: str) -> AfterValidator:
    """Make the rule of a kind of identifier; ``advice`` goes on after its name."""

    def obey(text: str) -> str:
        if len(text) > characters_max or not re.fullmatch(pattern, text):
            raise PydanticCustomError("identifier", advice)
        return text

    return AfterValidator(obey)


# A stock's id joins four of these with hyphens.  It can be taken apart again from its end, because
# only the campaign's id has hyphens of its own.
CampaignId = Annotated[
    str,
    _written_as(
        r"[a-z0-9]+(-[a-z0-9]+)*",
        CAMPAIGN_ID_CHARACTERS_MAX,
        f"must be small letters a-z and digits, with single hyphens between them, "
        f"at most {CAMPAIGN_ID_CHARACTERS_MAX} characters, such as qijiang-2023",
    ),
]
Code = Annotated[
    str,
    _written_as(
        r"[a-z][a-z0-9]*",
        CODE_CHARACTERS_MAX,
        f"must be a small letter and then small letters a-z and digits, without hyphens, "
        f"at most {CODE_CHARACTERS_MAX} characters, such as r1",
    ),
]
RegionPrefix = Annotated[
    str,
    _written_as(
        r"[1-9][0-9]([0-9]{2}){0,2}",
        6,
        "must be the first 2, 4 or all 6 digits of a division code: 50 is Chongqing, 500110 is Qijiang",
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)]
Fen = Annotated[int, Field(gt=0, le=MONEY_MAX_FEN)]
Quantity = Annotated[int, Field(gt=0, le=QUANTITY_MAX)]
# TOML's arrays arrive as lists, which the strict rules would refuse for a tuple; their items stay strict.
_ENTRIES = Field(strict=False, min_length=1, max_length=ENTRIES_MAX)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Tier(_Table):
    """A tier of a class: spend the threshold, get the discount off."""

    tier: Annotated[int, Field(gt=0, le=TIER_MAX)]
    threshold_fen: Fen
    discount_fen: Fen


class VoucherClass(_Table):
    """A class of vouchers and the merchants that it is for."""

    class_code: Code
    name: Name
    merchant_categories: Annotated[tuple[Name, ...], _ENTRIES]
    tiers: Annotated[tuple[Tier, ...], _ENTRIES]


class Round(_Table):
    """A window of claims (场次), with the quantity of each ``{class}-{tier}`` that it hands out."""

    round_id: Code
    name: Name
    opens_at: AwareDatetime
    closes_at: AwareDatetime
    budget_fen: Fen
    quantities: Annotated[dict[str, Quantity], Field(min_length=1, max_length=ENTRIES_MAX)]


class Merchants(_Table):
    """What the campaign asks of a merchant."""

    accepts: Annotated[tuple[Literal["payment_code", "scan"], ...], _ENTRIES]
    towns: Annotated[tuple[Name, ...], _ENTRIES]


class Campaign(_Table):
    """A whole campaign (抢券活动).

    Attributes:
        fund_fen: What the rounds may cost together.
        available_until: The first instant at which its vouchers cannot be used any more.
        settle_by: The first instant at which the settlement is late.
        limit_scope: Whether a user may have one voucher of a class and tier in each round or in the campaign.
        per_user_per_round: Vouchers that a user may have in a round, over all its stocks; None for no such limit.
        eligible_regions: First digits of the division codes whose residents may claim.
        hotline: Whom citizens call (客服电话); None if nobody is named.
        notice: What the organiser announces on the activity page (公告); None for nothing.
    """

    campaign_id: CampaignId
    name: Name
    source: Name
    organiser: Name
    platform: Name
    fund_fen: Fen
    available_until: AwareDatetime
    settle_by: AwareDatetime
    limit_scope: Literal["round", "campaign"]
    per_user_per_round: Annotated[int, Field(gt=0, le=ENTRIES_MAX)] | None = None
    eligible_regions: Annotated[tuple[RegionPrefix, ...], _ENTRIES]
    classes: Annotated[tuple[VoucherClass, ...], _ENTRIES]
    rounds: Annotated[tuple[Round, ...], _ENTRIES]
    merchants: Merchants
    hotline: Annotated[str, _written_as(r"[0-9][0-9 -]*", 20, "must be a telephone number")] | None = None
    notice: Annotated[str, Field(min_length=1, max_length=NOTICE_CHARACTERS_MAX)] | None = None

    def stocks(self) -> Iterator[Stock]:
        """Give every stock, round by round in the order of the file."""
        for round_ in self.rounds:
            for voucher_class in self.classes:
                for tier in voucher_class.tiers:
                    quantity = round_.quantities.get(f"{voucher_class.class_code}-{tier.tier}")
                    if quantity is not None:
                        yield self._stock(round_, voucher_class, tier, quantity)

    def _stock(self, round_: Round, voucher_class: VoucherClass, tier: Tier, quantity: int) -> Stock:
        stock_id = f"{self.campaign_id}-{round_.round_id}-{voucher_class.class_code}-{tier.tier}"
        return Stock(
            stock_id=stock_id,
            campaign_id=self.campaign_id,
            round_id=round_.round_id,
            class_code=voucher_class.class_code,
            class_name=voucher_class.name,
            tier=tier.tier,
            name=f"{voucher_class.name} 满{_yuan(tier.threshold_fen)}减{_yuan(tier.discount_fen)}",
            threshold_fen=tier.threshold_fen,
            discount_fen=tier.discount_fen,
            quantity=quantity,
            opens_at=round_.opens_at,
            closes_at=round_.closes_at,
            available_until=self.available_until,
            gate_tag=self._gate_tag(round_, stock_id),
            round_limit=self.per_user_per_round or 0,
            spans_rounds=self.limit_scope == "campaign",
        )

    def _gate_tag(self, round_: Round, stock_id: str) -> str:
        """Say which stocks must share a hash tag: those that one limit spans."""
        if self.limit_scope == "campaign":
            return self.campaign_id
        return stock_id if self.per_user_per_round is None else f"{self.campaign_id}-{round_.round_id}"

    def shifted(self, delta: timedelta) -> Self:
        """Return the same campaign with every instant moved by ``delta``."""
        rounds = tuple(
            each.model_copy(update={"opens_at": each.opens_at + delta, "closes_at": each.closes_at + delta})
            for each in self.rounds
        )
        instants = {"available_until": self.available_until + delta, "settle_by": self.settle_by + delta}
        return self.model_copy(update={"rounds": rounds, **instants})

    def document(self) -> dict[str, Any]:
        """Return the campaign as JSON can hold it, instants in ISO 8601."""
        # What is not said is left out: a campaign that was stored before there was room for it has the same document.
        unsaid = {name for name in ("hotline", "notice") if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=unsaid)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Build the campaign again from what ``document`` returned, in any order of its keys.

        Raises:
            pydantic.ValidationError: It is not such a document.
        """
        return cls.model_validate_json(json.dumps(document))


def read_campaign(path: Path) -> Campaign:
    """Read and check a campaign file.

    Raises:
        CampaignInvalid: Something is wrong with it.
        OSError: It cannot be read.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")  # an editor's byte-order mark does no harm
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CampaignInvalid([Problem(line, "", "This line is not UTF-8: save the file as UTF-8.")]) from error
    return parse_campaign(text)


def parse_campaign(text: str) -> Campaign:
    """Read and check the text of a campaign file.

    Raises:
        CampaignInvalid: Something is wrong with it.
    """
    if len(text) > FILE_CHARACTERS_MAX:
        sentence = f"The file has more than {FILE_CHARACTERS_MAX:,} characters: this is not a campaign file."
        raise CampaignInvalid([Problem(None, "", sentence)])
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise CampaignInvalid([not_toml(text, error)]) from error
    campaign, shape_errors = _validate(document)
    problems = problems_of(text, document, shape_errors)
    if campaign is None or problems:
        raise CampaignInvalid(problems)
    return campaign


def _validate(document: dict[str, Any]) -> tuple[Campaign | None, list[Mapping[str, Any]]]:
    try:
        return Campaign.model_validate(document), []
    except ValidationError as error:
        return None, [*error.errors(include_url=False)]


def _yuan(fen: int) -> str:
    """Write an amount in yuan without needless zeros: 100, 30.5."""
    return f"{(Decimal(fen) / 100).normalize():f}"
