"""The proof: what the storm was told is held against PostgreSQL and against itself.

While the storm runs, a share of the 201 answers is looked up in PostgreSQL the moment they arrive:
a row that is not committed then breaks the promise, even if it were there later.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from grab_service.references import UserRefs, VoucherCodes
from ledger import catalogue
from loadtest.crowd import Claim

_WAITING_MAX = 8  # look-ups that wait; while so many do, winners are not sampled
_LOOKERS = 2


@dataclass(slots=True)
class Sampler:
    """Looks winners up in the ledger while the storm runs.

    Attributes:
        checked: How many were looked up.
        missing: Sentences, one for each that was not there.
    """

    database_url: str
    user_refs: UserRefs
    checked: int = 0
    missing: list[str] = field(default_factory=list)
    _waiting: asyncio.Queue[Claim] = field(default_factory=lambda: asyncio.Queue(_WAITING_MAX))
    _lookers: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Connect to the ledger.

        Raises:
            OSError, asyncpg.PostgresError: It does not answer.
        """
        for _ in range(_LOOKERS):
            connection = await asyncpg.connect(self.database_url)
            self._lookers.append(asyncio.create_task(self._look(connection)))

    def offer(self, claim: Claim) -> None:
        """Look a winner up now, unless enough others are being looked up."""
        if not self._waiting.full():
            self._waiting.put_nowait(claim)

    async def stop(self) -> None:
        """Finish what waits, and disconnect."""
        await self._waiting.join()
        for looker in self._lookers:
            looker.cancel()
        await asyncio.gather(*self._lookers, return_exceptions=True)

    async def _look(self, connection: asyncpg.Connection) -> None:
        try:
            while True:
                claim = await self._waiting.get()
                row = await catalogue.claim_of_user(connection, claim.stock_id, self.user_refs.of(claim.user))
                told = claim.voucher["claim_no"] if claim.voucher else None
                if row is None or row.claim_no != told:
                    self.missing.append(f"{claim.user} was told {claim.stock_id} number {told}, the ledger has {row}")
                self.checked += 1
                self._waiting.task_done()
        finally:
            connection.terminate()


def faults_of(
    claims: Sequence[Claim], remaining_before: Mapping[str, int], quantities: Mapping[str, int], codes: VoucherCodes
) -> list[str]:
    """Return what is wrong with the answers of a whole storm, a sentence each.

    Args:
        claims: Every claim with its last answer.
        remaining_before: What each stock had left before the storm.
        quantities: The stocks' quantities.
        codes: Derives the vouchers' codes.
    """
    faults = [
        f"{claim.user} ended with '{claim.final}' on {claim.stock_id} after {claim.asks} asks"
        for claim in claims
        if claim.final not in ("201", "200", "409 SOLD_OUT")
    ]
    by_stock: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.voucher is not None:
            by_stock[claim.stock_id].append(claim)
    for stock_id, remaining in remaining_before.items():
        winners = by_stock[stock_id]
        has_sold_out = any(claim.final == "409 SOLD_OUT" for claim in claims if claim.stock_id == stock_id)
        faults += _faults_of_stock(stock_id, winners, remaining if has_sold_out else None, quantities[stock_id])
        faults += (
            f"{claim.user} got another code for number {claim.voucher['claim_no']} of {stock_id} than it has"
            for claim in winners
            if claim.voucher and claim.voucher["voucher_code"] != codes.code(stock_id, claim.voucher["claim_no"])
        )
    return faults


def _faults_of_stock(stock_id: str, winners: Sequence[Claim], expected: int | None, quantity: int) -> list[str]:
    faults = []
    numbers = sorted(claim.voucher["claim_no"] for claim in winners if claim.voucher)
    repeated = {number for number, following in itertools.pairwise(numbers) if number == following}
    if repeated:
        faults.append(f"{stock_id}: numbers {sorted(repeated)[:5]} were given twice")
    outside = [number for number in numbers if not 1 <= number <= quantity]
    if outside:
        faults.append(f"{stock_id}: numbers {outside[:5]} are not 1..{quantity}")
    if len({claim.user for claim in winners}) < len(winners):
        faults.append(f"{stock_id}: a user won twice")
    if expected is not None and len(numbers) != expected:
        faults.append(f"{stock_id}: said to be sold out with {len(numbers)} winners, {expected} were there to win")
    return faults
