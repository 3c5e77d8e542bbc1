"""Compares one stock at the gate with its claims in the vault, while claims may be coming in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import asyncpg
import redis.asyncio as redis

from ledger.catalogue import StockRow
from ledger.statements import statement

_STUCK_AFTER_MS = 60_000
_READ_MAX = 10_000
_ATTEMPTS = 3  # a recovery in the middle makes the look worthless; look again

_SELECT_CLAIMS = statement("select_claims_of_stock")
_SELECT_EPOCH = statement("select_epoch")


class _Id(NamedTuple):
    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> _Id:
        ms, _, seq = text.partition("-")
        return cls(int(ms), int(seq))


class _Holding(NamedTuple):
    claim_no: int
    epoch: int
    stream_id: _Id

    @classmethod
    def parse(cls, text: str) -> _Holding:
        claim_no, epoch, stream_id = text.split(":")
        return cls(int(claim_no), int(epoch), _Id.parse(stream_id))


@dataclass(slots=True)
class GateFaults:
    """What a look at one stock found.

    Attributes:
        is_open: Whether the gate is open; what a closed gate holds means nothing.
        held: Vouchers that users hold at the gate.
        booked: Claims in the vault.
        faults: Sentences by invariant.
    """

    is_open: bool = False
    held: int = 0
    booked: int = 0
    faults: dict[str, list[str]] = field(default_factory=dict)

    def add(self, invariant: str, fault: str) -> None:
        """Note a fault."""
        self.faults.setdefault(invariant, []).append(fault)


@dataclass(frozen=True, slots=True)
class _Counts:
    is_open: bool
    epoch: int
    now_ms: int
    committed: _Id


@dataclass(frozen=True, slots=True)
class _Picture:
    """One stock as the two stores showed it, in the order in which it was read."""

    counts: _Counts
    owners: Mapping[str, _Holding]
    entries: Mapping[_Id, Mapping[str, str]]
    free: list[int]
    holders: Mapping[str, _Holding]
    refused: frozenset[_Id]


async def look_at_stock(connection: asyncpg.Connection, gate: redis.Redis, stock: StockRow) -> GateFaults:
    """Compare gate and vault for one stock.

    Raises:
        redis.RedisError, asyncpg.PostgresError, OSError: A store does not answer.
    """
    owners: dict[str, _Holding] = {}
    for attempt in range(1, _ATTEMPTS + 1):
        counts = await _counts(gate, stock)
        owners = await _owners(connection, stock)
        if not counts.is_open:
            break
        entries = await _entries(gate, stock)
        free = await _free(gate, stock)
        holders = {user: _Holding.parse(text) async for user, text in gate.hscan_iter(stock.keys.holders, count=1000)}
        refused = frozenset(_Id.parse(text) for text in cast("list[str]", await gate.hkeys(stock.keys.refused)))
        vault_epoch = await connection.fetchval(_SELECT_EPOCH, stock.stock_no)
        after = await _counts(gate, stock)
        is_steady = after.is_open and after.epoch == counts.epoch == vault_epoch
        if is_steady or attempt == _ATTEMPTS:
            return _compare(stock, vault_epoch, _Picture(counts, owners, entries, free, holders, refused))
    return GateFaults(booked=len(owners))


def _compare(stock: StockRow, vault_epoch: int, picture: _Picture) -> GateFaults:
    found = GateFaults(is_open=True, held=len(picture.holders), booked=len(picture.owners))
    if picture.counts.epoch != vault_epoch:
        found.add("I-13", f"the gate is open under epoch {picture.counts.epoch}, the vault is at {vault_epoch}")
    _compare_owners(found, picture)
    _check_numbers(found, stock, picture)
    _check_entries(found, picture)
    return found


def _compare_owners(found: GateFaults, picture: _Picture) -> None:
    """I-14: whoever owns a voucher holds it at the gate; whoever holds one up to the watermark owns it."""
    for user, owned in picture.owners.items():
        held = picture.holders.get(user)
        if held != owned:
            holds = f"holds {held.claim_no} of epoch {held.epoch}" if held else "holds nothing"
            found.add("I-14", f"the owner of {owned.claim_no} ({user[:8]}…) {holds} at the gate")
    for user, held in picture.holders.items():
        is_due = held.epoch < picture.counts.epoch or held.stream_id <= picture.counts.committed
        if is_due and user not in picture.owners and held.stream_id not in picture.refused:
            found.add("I-14", f"the holder of {held.claim_no} ({user[:8]}…) owns nothing in the vault")


def _check_numbers(found: GateFaults, stock: StockRow, picture: _Picture) -> None:
    """I-14n: free and held numbers are 1..quantity; one that was claimed while we looked may stand in both."""
    free = set(picture.free)
    if len(free) != len(picture.free):
        found.add("I-14n", "a number stands twice in the free list")
    held_long = {each.claim_no for each in picture.holders.values() if not _is_new(each, picture.counts)}
    held = {each.claim_no for each in picture.holders.values()}
    for number in sorted(free & held_long):
        found.add("I-14n", f"number {number} is both free and held")
    for number in sorted(set(range(1, stock.quantity + 1)) - free - held):
        found.add("I-14n", f"number {number} is neither free nor held")
    for number in sorted((free | held) - set(range(1, stock.quantity + 1))):
        found.add("I-14n", f"number {number} is not one of this stock")


def _check_entries(found: GateFaults, picture: _Picture) -> None:
    """I-5 and I-9: entries of this epoch and holders belong together, and none is on its way for long."""
    epoch = picture.counts.epoch
    last = max(picture.entries, default=_Id(0, 0))
    for stream_id, fields in picture.entries.items():
        if fields.get("epoch") != str(epoch) or stream_id in picture.refused:
            continue
        held = picture.holders.get(fields.get("user_ref", ""))
        if held is None or held.stream_id != stream_id or str(held.claim_no) != fields.get("claim_no"):
            found.add("I-5", f"entry {stream_id.ms}-{stream_id.seq} has no holder")
        if stream_id > picture.counts.committed and picture.counts.now_ms - stream_id.ms > _STUCK_AFTER_MS:
            found.add("I-9", f"entry {stream_id.ms}-{stream_id.seq} is not in the vault after a minute")
    for held in picture.holders.values():
        if held.epoch == epoch and held.stream_id <= last and held.stream_id not in picture.entries:
            found.add("I-5", f"the holder of {held.claim_no} has no entry in the stream")


def _is_new(held: _Holding, counts: _Counts) -> bool:
    return held.epoch == counts.epoch and held.stream_id.ms >= counts.now_ms


async def _counts(gate: redis.Redis, stock: StockRow) -> _Counts:
    keys = stock.keys
    try:
        reply = cast(
            "list[Any]",
            await gate.fcall_ro("grab_counts", 5, keys.rules, keys.free, keys.holders, keys.claims, keys.progress),
        )
    except redis.ResponseError as error:
        if "Function not found" not in str(error):
            raise
        return _Counts(is_open=False, epoch=0, now_ms=0, committed=_Id(0, 0))  # wiped: as closed as can be
    is_open, epoch, now_ms, *_, committed_epoch, committed, _ = reply
    watermark = _Id.parse(committed) if committed_epoch == epoch else _Id(0, 0)
    return _Counts(is_open == 1, epoch, now_ms, watermark)


async def _owners(connection: asyncpg.Connection, stock: StockRow) -> dict[str, _Holding]:
    rows = await connection.fetch(_SELECT_CLAIMS, stock.stock_no)
    return {
        row["user_ref"]: _Holding(row["claim_no"], row["epoch"], _Id(row["stream_ms"], row["stream_seq"]))
        for row in rows
    }


async def _entries(gate: redis.Redis, stock: StockRow) -> dict[_Id, Mapping[str, str]]:
    entries: dict[_Id, Mapping[str, str]] = {}
    after = "-"
    while chunk := cast(
        "list[tuple[str, dict[str, str]]]", await gate.xrange(stock.keys.claims, after, count=_READ_MAX)
    ):
        entries |= {_Id.parse(stream_id): fields for stream_id, fields in chunk}
        after = f"({chunk[-1][0]}"
    return entries


async def _free(gate: redis.Redis, stock: StockRow) -> list[int]:
    # In one read: claims take from the head, so a second read would skip numbers.
    return [int(number) for number in cast("list[str]", await gate.lrange(stock.keys.free, 0, -1))]
