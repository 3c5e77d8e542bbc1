"""The counter of one stock in this process: its desk, its waiting winners, and what a voucher looks like."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from grab_service import instants
from grab_service.admission import Memory
from grab_service.confirm import Confirmations, Settled
from grab_service.desk import Desk
from grab_service.gate import Holding
from grab_service.references import StockCodes
from grab_service.stock import Stock


@dataclass(slots=True)
class Counter:
    """All that a process keeps for one stock.

    Attributes:
        stock: The stock.
        desk: Where its claims wait for the gate.
        confirmations: Where its winners wait for the ledger.
        eligible_regions: Prefixes of the division codes whose residents may claim.
        codes: Of its vouchers.
        memory: What this process knows of the stock without asking.
        pepper_version: Of the pepper that its campaign began with.
        opens_ms: When its round opens, Unix milliseconds.
        opens_at: The same for people.
    """

    stock: Stock
    desk: Desk[Settled]
    confirmations: Confirmations
    eligible_regions: tuple[str, ...]
    codes: StockCodes
    memory: Memory
    pepper_version: str = "1"
    opens_ms: int = field(init=False)
    opens_at: str = field(init=False)
    _available_until_ms: int = field(init=False)
    _form: str = field(init=False)

    def __post_init__(self) -> None:
        """Work out what every voucher of the stock shares."""
        self.opens_ms = instants.to_ms(self.stock.opens_at)
        self.opens_at = instants.from_datetime(self.stock.opens_at)
        self._available_until_ms = instants.to_ms(self.stock.available_until)
        self._form = self._voucher_form()

    def voucher(self, claim_no: int, claimed_ms: int, *, replayed: bool, state: str = "ISSUED") -> dict[str, Any]:
        """Return the voucher as the contract shows it to its owner; an issued one lapses by itself."""
        is_lapsed = state == "ISSUED" and time.time() * 1000 >= self._available_until_ms
        return {
            "voucher_code": self.codes.code(claim_no),
            **self._facts(claim_no, "EXPIRED" if is_lapsed else state, claimed_ms),
            "replayed": replayed,
        }

    def pending(self, claimed_ms: int) -> dict[str, Any]:
        """Return what is shown of a claim that the ledger has not confirmed: no code, no number."""
        facts = self._facts(0, "PENDING", claimed_ms)
        del facts["claim_no"]
        return facts

    def voucher_body(self, holding: Holding, *, replayed: bool) -> bytes:
        """Return the voucher of somebody who holds it as JSON."""
        if time.time() * 1000 >= self._available_until_ms:
            voucher = self.voucher(holding.claim_no, holding.stream_id.ms, replayed=replayed)
            return json.dumps(voucher, ensure_ascii=False, separators=(",", ":")).encode()
        code = self.codes.code(holding.claim_no)
        claimed_at = instants.from_ms(holding.stream_id.ms)
        return (self._form % (code, holding.claim_no, claimed_at, "true" if replayed else "false")).encode()

    def _voucher_form(self) -> str:
        """Return a fresh voucher's JSON with places for its code, number, instant and whether it is told again."""
        facts = self._facts(0, "ISSUED", 0)
        del facts["claim_no"], facts["claimed_at"]
        text = json.dumps(facts, ensure_ascii=False, separators=(",", ":")).replace("%", "%%")
        return f'{{"voucher_code":"%s","claim_no":%d,"claimed_at":"%s","replayed":%s,{text[1:]}'

    def _facts(self, claim_no: int, state: str, claimed_ms: int) -> dict[str, Any]:
        stock = self.stock
        return {
            "stock_id": stock.stock_id,
            "campaign_id": stock.campaign_id,
            "round_id": stock.round_id,
            "class": stock.class_code,
            "tier": stock.tier,
            "claim_no": claim_no,
            "state": state,
            "claimed_at": instants.from_ms(claimed_ms),
            "threshold_fen": stock.threshold_fen,
            "discount_fen": stock.discount_fen,
            "available_until": instants.from_datetime(stock.available_until),
        }


class Counters(dict[str, Counter]):
    """The stocks that this process serves, by id; grows when a campaign is loaded while it runs.

    Attributes:
        is_whole: Whether there is no other that it should serve; else it cannot say that an id stands for nothing.
    """

    is_whole = True
