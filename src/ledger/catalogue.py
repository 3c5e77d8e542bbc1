"""What is handed out: campaigns, rounds, stocks and their minted vouchers, and who owns which."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from ledger.corridor import StockKeys
from ledger.statements import statement

_INSERT_CAMPAIGN = statement("insert_campaign")
_SELECT_DIGEST = statement("select_campaign_digest")
_INSERT_ROUND = statement("insert_round")
_INSERT_STOCK = statement("insert_stock")
_SELECT_STOCKS = statement("select_stocks")
_SELECT_DOCUMENTS = statement("select_documents")
_SELECT_PEPPERS = statement("select_peppers")
_SELECT_CLAIMS_OF_USER = statement("select_claims_of_user")

_VOUCHER_COLUMNS = ("stock_no", "claim_no", "round_no", "limit_no", "quantity", "code_hash")


class CampaignDiffers(Exception):
    """A campaign of this id is stored already and is not the same; what is stored stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStock:
    """A stock to be stored, with the SHA-256 of each voucher's code, of number 1 first."""

    stock_id: str
    class_code: str
    tier: int
    name: str
    threshold_fen: int
    discount_fen: int
    quantity: int
    available_until: datetime
    gate_tag: str
    spans_rounds: bool
    code_hashes: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRound:
    """A round to be stored."""

    round_id: str
    opens_at: datetime
    closes_at: datetime
    round_limit: int
    stocks: Sequence[NewStock]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCampaign:
    """A campaign to be stored.

    Attributes:
        file_sha256: Of the file that two persons have read, hexadecimal; None where nobody need.
        deed_no: The deed in the journal of staff, of the same transaction; None without one.
        pepper_version: Version of the pepper that its users' references are made with.
        pepper_mark: What tells that pepper from others; None if nobody is to compare it.
    """

    campaign_id: str
    document: Mapping[str, Any]
    fund_fen: int
    rounds: Sequence[NewRound]
    file_sha256: str | None = None
    deed_no: int | None = None
    pepper_version: int = 1
    pepper_mark: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPepper:
    """The pepper that a campaign began with; needed while a voucher of it is valid."""

    campaign_id: str
    version: int
    mark: bytes | None
    is_needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StockRow:
    """A stock as the vault knows it, with its round's epoch.

    Attributes:
        limit_no: Users have at most one voucher of all stocks with this number.
        class_tier_limit: 1 when that limit spans rounds, else 0.
        round_limit: Vouchers a user may have in the round; 0 for no such limit.
        epoch: The round's epoch; 0 before its first recovery.
        gate_run_id: The gate's server process that the epoch was opened on.
    """

    stock_no: int
    stock_id: str
    campaign_id: str
    round_no: int
    round_id: str
    class_code: str
    tier: int
    name: str
    threshold_fen: int
    discount_fen: int
    quantity: int
    available_until: datetime
    opens_at: datetime
    closes_at: datetime
    gate_tag: str
    round_limit: int
    class_tier_limit: int
    limit_no: int
    paused: bool
    epoch: int
    gate_run_id: str | None

    @property
    def keys(self) -> StockKeys:
        """Names of its keys in the gate."""
        return StockKeys.of(self.stock_id, self.gate_tag, f"{self.class_code}-{self.tier}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """A recorded claim; its voucher's ``state`` is ISSUED, USED, EXPIRED or VOID."""

    stock_id: str
    claim_no: int
    epoch: int
    stream_id: str
    user_ref: str
    claimed_at: datetime
    state: str


async def load_campaign(connection: asyncpg.Connection, campaign: NewCampaign) -> bool:
    """Store a campaign and mint its vouchers, all or nothing.

    Returns True if it was stored, False if the very same campaign is there already.

    Raises:
        CampaignDiffers: Another campaign of this id is stored.
        ValueError: A stock has not as many code hashes as its quantity.
    """
    document = json.dumps(campaign.document, ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(document.encode()).hexdigest()
    async with connection.transaction():
        # First, since a guard of new campaigns need not know that this one is stored.
        stored = await connection.fetchval(_SELECT_DIGEST, campaign.campaign_id)
        campaign_no = None
        if stored is None:
            campaign_no = await connection.fetchval(
                _INSERT_CAMPAIGN,
                campaign.campaign_id,
                document,
                digest,
                campaign.fund_fen,
                campaign.file_sha256,
                campaign.deed_no,
                campaign.pepper_version,
                campaign.pepper_mark,
            )
        if campaign_no is None:
            if digest == (stored or await connection.fetchval(_SELECT_DIGEST, campaign.campaign_id)):
                return False
            raise CampaignDiffers(
                f"campaign {campaign.campaign_id} is loaded already and differs from this file: "
                "give the changed campaign another id"
            )
        for round_ in campaign.rounds:
            await _store_round(connection, campaign_no, round_)
    return True


async def _store_round(connection: asyncpg.Connection, campaign_no: int, round_: NewRound) -> None:
    round_no = await connection.fetchval(
        _INSERT_ROUND, campaign_no, round_.round_id, round_.opens_at, round_.closes_at, round_.round_limit
    )
    for stock in round_.stocks:
        row = await connection.fetchrow(
            _INSERT_STOCK,
            stock.stock_id,
            round_no,
            stock.class_code,
            stock.tier,
            stock.name,
            stock.threshold_fen,
            stock.discount_fen,
            stock.quantity,
            stock.available_until,
            stock.gate_tag,
            stock.spans_rounds,
        )
        assert row is not None  # noqa: S101  an INSERT without a condition returns its row
        await connection.copy_records_to_table(
            "vouchers",
            columns=_VOUCHER_COLUMNS,
            records=(
                (row["stock_no"], claim_no, round_no, row["limit_no"], stock.quantity, code_hash)
                for claim_no, code_hash in zip(range(1, stock.quantity + 1), stock.code_hashes, strict=True)
            ),
        )


async def stock_rows(connection: asyncpg.Connection) -> list[StockRow]:
    """Return every stock, in the order they were stored."""
    return [StockRow(**row) for row in await connection.fetch(_SELECT_STOCKS)]


async def documents(connection: asyncpg.Connection) -> dict[str, dict[str, Any]]:
    """Return every campaign's document by its id."""
    rows = await connection.fetch(_SELECT_DOCUMENTS)
    return {row["campaign_id"]: json.loads(row["document"]) for row in rows}


async def peppers(connection: asyncpg.Connection) -> list[CampaignPepper]:
    """Return the pepper that each campaign began with."""
    return [CampaignPepper(**row) for row in await connection.fetch(_SELECT_PEPPERS)]


async def claims_of_user(connection: asyncpg.Connection, user_ref: str) -> list[ClaimRow]:
    """Return every claim of one user, oldest first."""
    return [ClaimRow(**row) for row in await connection.fetch(_SELECT_CLAIMS_OF_USER, user_ref)]


async def claim_of_user(connection: asyncpg.Connection, stock_id: str, user_ref: str) -> ClaimRow | None:
    """Return one user's claim of one stock."""
    return next((row for row in await claims_of_user(connection, user_ref) if row.stock_id == stock_id), None)
