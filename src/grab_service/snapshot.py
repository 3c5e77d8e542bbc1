"""The polled picture of every stock: made a few times a second by one task, served from memory.

A poll never asks a store: the answer is bytes that stand ready.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from grab_service import instants
from grab_service.gate import Counts
from grab_service.stock import Stock


class StockState(StrEnum):
    """What a stock is doing, as dashboards see it."""

    SCHEDULED = "SCHEDULED"
    OPEN = "OPEN"
    PAUSED = "PAUSED"
    SOLD_OUT = "SOLD_OUT"
    ENDED = "ENDED"
    RECOVERING = "RECOVERING"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All stocks at one instant.

    Attributes:
        as_of_ms: When it was taken, by the gate's clock (this machine's while the gate is away).
        figures: Each stock with its counts: the last ones known, None before the first.
        gate_answers: Whether the gate could be asked.
        body: The JSON of ``GET /v1/stock`` up to the server's time, which each answer adds.
        etag: Weak: it changes when a figure or a state does, not with the clock.
    """

    as_of_ms: int
    figures: Sequence[tuple[Stock, Counts | None]]
    gate_answers: bool
    body: bytes
    etag: bytes


def state_of(counts: Counts | None) -> StockState:
    """Say what a stock is doing."""
    if counts is None or not counts.is_open:
        return StockState.RECOVERING
    if counts.now_ms >= counts.closes_ms:
        return StockState.ENDED
    if counts.free == 0:
        return StockState.SOLD_OUT
    if counts.is_paused:
        return StockState.PAUSED
    return StockState.OPEN if counts.now_ms >= counts.opens_ms else StockState.SCHEDULED


def take(figures: Sequence[tuple[Stock, Counts | None]], *, gate_answers: bool, now_ms: int) -> Snapshot:
    """Put the picture together.

    Args:
        figures: Each stock with its latest counts.
        gate_answers: False while the gate cannot be asked: every stock is RECOVERING then.
        now_ms: This machine's clock, used while the gate's is unknown.
    """
    fresh = [counts for _, counts in figures if counts is not None and gate_answers]
    as_of_ms = fresh[0].now_ms if fresh else now_ms
    rows = json.dumps(
        [_row(stock, counts, state_of(counts if gate_answers else None)) for stock, counts in figures],
        ensure_ascii=False,
        separators=(",", ":"),
    )
    digest = hashlib.sha256(rows.encode()).hexdigest()[:16]
    return Snapshot(
        as_of_ms=as_of_ms,
        figures=figures,
        gate_answers=gate_answers,
        body=f'{{"as_of":"{instants.from_ms(as_of_ms)}","stocks":{rows},"server_time":"'.encode(),
        etag=f'W/"{digest}"'.encode(),
    )


def _row(stock: Stock, counts: Counts | None, state: StockState) -> dict[str, object]:
    claimed = counts.held if counts else None
    return {
        "stock_id": stock.stock_id,
        "campaign_id": stock.campaign_id,
        "round_id": stock.round_id,
        "class": stock.class_code,
        "tier": stock.tier,
        "name": stock.name,
        "threshold_fen": stock.threshold_fen,
        "discount_fen": stock.discount_fen,
        "quantity": stock.quantity,
        "claimed": claimed,
        "remaining": None if claimed is None else stock.quantity - claimed,
        "booked": counts.booked if counts else None,
        "state": state,
        "opens_at": instants.from_datetime(stock.opens_at),
        "sold_out_at": instants.from_ms(counts.sold_out_ms) if counts and counts.sold_out_ms else None,
    }
