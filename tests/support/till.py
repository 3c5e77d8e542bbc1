"""A shop with a till: what is needed to use vouchers of a campaign at a merchant, directly in the vault."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from ledger import expiry, money
from ledger.money import Receipt
from ledger.redeem import Order, redeem
from ledger.redemption import reversal_request, reverse
from ledger.refund import refund, refund_request
from ledger.requests import Answer
from tests.support.books import Books, code_of, user_ref

SHOP, OTHER_SHOP, HOTPOT = "898340149000001", "898340149000002", "898340149000003"
FUND_FEN = 10_000_000
CALLER = user_ref("terminal")
_numbers = itertools.count(1)


def new_number() -> str:
    """Return a request or order number that no other test uses."""
    return f"number-{next(_numbers)}"


async def add_merchant(
    vault: asyncpg.Connection, merchant_no: str, category: str = "超市", accepts: Iterable[str] = ("payment_code",)
) -> None:
    """Store an approved merchant."""
    async with vault.transaction():
        await vault.execute(
            "INSERT INTO merchants (merchant_no, name, address, town, category, accepts, submitted_by)"
            " VALUES ($1, '商户', '古南街道1号', '古南街道', $2, $3, 'test')",
            merchant_no,
            category,
            list(accepts),
        )
        await vault.execute(
            "INSERT INTO merchant_decisions (merchant_no, decision_no, from_state, to_state, actor, reason)"
            " VALUES ($1, 1, NULL, 'SUBMITTED', 'test', 'test'), ($1, 2, 'SUBMITTED', 'APPROVED', 'test', 'test')",
            merchant_no,
        )


async def suspend_merchant(vault: asyncpg.Connection, merchant_no: str) -> None:
    """Suspend an approved merchant."""
    await vault.execute(
        "INSERT INTO merchant_decisions (merchant_no, decision_no, from_state, to_state, actor, reason)"
        " VALUES ($1, 3, 'APPROVED', 'SUSPENDED', 'test', 'test')",
        merchant_no,
    )


async def receive_fund(vault: asyncpg.Connection, campaign_id: str, amount_fen: int = FUND_FEN) -> money.Received:
    """Book the fund of a campaign."""
    receipt = Receipt(
        campaign_id=campaign_id,
        amount_fen=amount_fen,
        reference="fund",
        received_on=datetime.now(UTC).date(),
        recorded_by="test",
    )
    return await money.receive_fund(vault, receipt)


@dataclass(slots=True)
class Till:
    """Uses vouchers of one campaign that is claimed from, over one connection.

    Attributes:
        books: The campaign, whose money has come.
        vault: The connection.
    """

    books: Books
    vault: asyncpg.Connection

    def order(self, claim_no: int = 1, **changes: Any) -> Order:
        """Return an order of 100.00 yuan that is paid with a voucher of the first stock."""
        facts: dict[str, Any] = {
            "code_hash": hashlib.sha256(code_of(self.books.stock.stock_id, claim_no).encode()).digest(),
            "merchant_no": SHOP,
            "order_no": new_number(),
            "order_amount_fen": 10_000,
            "channel": "payment_code",
        }
        return Order(**(facts | changes))

    async def redeem(self, order: Order | None = None, number: str | None = None, **more: Any) -> Answer:
        """Use a voucher."""
        order = order or self.order()
        return await redeem(self.vault, order.request(CALLER, number or new_number()), order, **more)

    async def redeemed(self, claim_no: int = 1, **changes: Any) -> str:
        """Use a voucher, and return the id of the redemption."""
        answer = await self.redeem(self.order(claim_no, **changes))
        assert answer.refusal is None, answer
        return str(answer.body["redemption_id"])

    async def reverse(self, redemption_id: str, number: str | None = None, **more: Any) -> Answer:
        """Undo a redemption."""
        request = reversal_request(CALLER, number or new_number(), redemption_id)
        return await reverse(self.vault, request, redemption_id, **({"within": timedelta(hours=1)} | more))

    async def refund(self, redemption_id: str, amount_fen: int, number: str | None = None, **more: Any) -> Answer:
        """Return goods."""
        request = refund_request(CALLER, number or new_number(), redemption_id, amount_fen)
        return await refund(self.vault, request, redemption_id, amount_fen, **more)

    async def expire(self, **more: Any) -> int:
        """Expire what is past its validity; return how many vouchers."""
        return await expiry.expire_vouchers(self.vault, **more)

    async def lapse(self) -> None:
        """End the validity of every voucher now."""
        await self.vault.execute("UPDATE stocks SET available_until = clock_timestamp()")

    async def balances(self) -> dict[str, int]:
        """Return the balances that are not nothing, by kind; those of a kind added up."""
        found: dict[str, int] = {}
        for each in await money.balances(self.vault, self.books.campaign.campaign_id):
            found[each.kind] = found.get(each.kind, 0) + each.balance_fen
        return {kind: fen for kind, fen in found.items() if fen}

    async def violated(self) -> list[str]:
        """Audit, and return what is violated."""
        return [each.id for each in (await self.books.audit()).invariants if not each.ok]
