"""The audit: checks every invariant over both stores, at rest or while claims come in.

Each invariant is reported by itself.  What is on its way from the gate to the vault is no fault: the
watermark is read first, then the vault, then the gate, so whatever is at or below the watermark must
be in the vault, and whatever is in the vault must be at the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import asyncpg
import redis.asyncio as redis

from ledger import catalogue
from ledger.audit_gate import GateFaults, look_at_stock
from ledger.catalogue import StockRow
from ledger.vault_checks import told, vault_faults

NAMES: Mapping[str, str] = {
    "I-1": "cap: no more claims than vouchers, as many vouchers as the quantity",
    "I-2": "one owner: a voucher has at most one",
    "I-3": "one per user: nobody has more vouchers than the limits allow",
    "I-5": "no phantom: each entry of the stream has its holder, each holder his entry",
    "I-7": "opening hours: no claim before opening or after closing",
    "I-9": "nothing stuck: nothing dead-lettered, nothing on its way for long",
    "I-10": "lifecycle: each step of a voucher's life follows from the one before",
    "I-11": "money: each event has moved exactly its amount, balances are the sum of what was moved",
    "I-12": "pools: reserved, payable and paid are what vouchers, redemptions and settlements say",
    "I-13": "fence: no claim of a foreign epoch, gate and vault at the same one",
    "I-14": "agreement: the gate's holders are the vault's owners",
    "I-14n": "numbers: free and held are 1..quantity, each once",
    "I-16": "idempotency: an answered request has one effect, a refused one none",
    "I-17": "expiry: nothing used after its validity, everything unused expires once",
    "I-18": "settlement: each event in one settlement of its own merchant, paid once what its line says",
}


class AuditImpossible(Exception):
    """A store could not be asked, so nothing can be said; the message says which."""


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant and whether it holds."""

    id: str
    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class StockFigures:
    """One stock in numbers; ``claimed`` is the gate's, or the vault's while the gate is closed."""

    stock_id: str
    quantity: int
    claimed: int
    remaining: int
    booked: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The verdict."""

    ok: bool
    invariants: tuple[Invariant, ...]
    stocks: tuple[StockFigures, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


@dataclass(slots=True)
class _Findings:
    faults: dict[str, list[str]] = field(default_factory=lambda: {invariant: [] for invariant in NAMES})
    notes: list[str] = field(default_factory=list)
    stocks: list[StockFigures] = field(default_factory=list)

    def report(self) -> AuditReport:
        """Return what was found, invariant by invariant."""
        note = "; ".join(self.notes)
        invariants = tuple(
            Invariant(invariant, name, not self.faults[invariant], told(self.faults[invariant]) or note)
            for invariant, name in NAMES.items()
        )
        return AuditReport(all(each.ok for each in invariants), invariants, tuple(self.stocks))


async def audit(connection: asyncpg.Connection, gate: redis.Redis) -> AuditReport:
    """Check every invariant.

    Raises:
        AuditImpossible: A store does not answer.
    """
    findings = _Findings()
    try:
        for stock in await catalogue.stock_rows(connection):
            _take_in(findings, stock, await look_at_stock(connection, gate, stock))
        for invariant, fault in await vault_faults(connection):
            findings.faults[invariant].append(fault)
    except (redis.RedisError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise AuditImpossible(f"a store does not answer: {error}") from error
    return findings.report()


def _take_in(findings: _Findings, stock: StockRow, seen: GateFaults) -> None:
    for invariant, faults in seen.faults.items():
        findings.faults[invariant] += (f"{stock.stock_id}: {fault}" for fault in faults)
    if not seen.is_open:
        findings.notes.append(f"{stock.stock_id}: the gate is closed, judged on the vault alone")
    claimed = seen.held if seen.is_open else seen.booked
    findings.stocks.append(StockFigures(stock.stock_id, stock.quantity, claimed, stock.quantity - claimed, seen.booked))
