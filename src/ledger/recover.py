"""Recovery: rebuilds the gate from the vault and opens it; the only way a stock is ever opened.

A recovery is always of the whole gate.  Loading the function library closes every stock at once, so
there is no half-open state; from there on each step can be repeated after a crash, and a recovery
that was overtaken by a newer one is refused by the gate and writes nothing.

1. read the settings and the vault's guards back   2. take the lock   3. load the library and prove the fuse
4. drain every stream into the vault           5. raise the epoch of every round
6. rebuild each stock from the vault           7. look at what was written, and open
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import asyncpg
import redis.asyncio as redis

from ledger import catalogue, locks
from ledger.catalogue import StockRow
from ledger.gate_settings import wrong_settings
from ledger.guards import missing_guards
from ledger.rebuild import Rebuilt, RecoveryFailed, open_stock, rebuild_limits, rebuild_stock
from ledger.record import record
from ledger.refill import gate_epoch, refill
from ledger.statements import statement
from ledger.stream import ClaimsStream

__all__ = ["RecoveryFailed", "RecoveryReport", "StockReport", "recover"]

_log = logging.getLogger(__name__)

_LOCK_WAIT_S = 60.0
_LOCK_POLL_S = 0.1

_TRY_LOCK = statement("try_lock")
_UNLOCK = statement("unlock")
_RAISE_EPOCH = statement("raise_epoch")


@dataclass(frozen=True, slots=True)
class StockReport:
    """What a recovery found and did for one stock.

    Attributes:
        drained: Entries of its stream that were new to the vault.
        refused: Entries that the vault refused, FENCED ones included.
        held: Vouchers that users hold.
        free: Vouchers that nobody holds.
    """

    stock_id: str
    epoch: int
    quantity: int
    drained: int
    refused: int
    held: int
    free: int


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What a recovery did.

    Attributes:
        duration_ms: How long it took.
        stocks: Every stock that is open now.
    """

    duration_ms: int
    stocks: tuple[StockReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


async def recover(
    connection: asyncpg.Connection,
    gate: redis.Redis,
    library: str,
    *,
    from_gate: bool = False,
    deed_no: int | None = None,
) -> RecoveryReport:
    """Rebuild the gate from the vault and open it.

    Safe at any time and any number of times: a gate that sells is closed for the moment that it takes,
    and users keep what they hold.

    Args:
        connection: To the vault; the recovery's lock is held on it.
        gate: To the gate.
        library: The text of the function library.
        from_gate: The vault was restored to an older point: take back the claims that the gate still holds.
        deed_no: The deed in the journal of staff; where two must agree, the vault takes no new epoch without it.

    Raises:
        RecoveryFailed: The gate must not be opened.
        redis.RedisError, asyncpg.PostgresError, OSError: A store is in trouble; run it again.
    """
    began_s = time.monotonic()
    wrong = [str(setting) for setting in await wrong_settings(gate)]
    wrong += (f"the vault lacks {', '.join(guards)}" for guards in (await missing_guards(connection)).values())
    if wrong:
        raise RecoveryFailed("the gate stays closed: " + "; ".join(wrong))
    async with _alone(connection):
        await _close_all(gate, library)
        run_id = await _run_id(gate)
        stocks = await catalogue.stock_rows(connection)
        await _catch_up(connection, gate, stocks, from_gate=from_gate)
        drained = {stock.stock_id: await _drain(connection, gate, stock) for stock in stocks}
        stocks = await _raise_epochs(connection, gate, stocks, run_id, deed_no)
        rebuilt = [await rebuild_stock(connection, gate, stock) for stock in stocks]
        await rebuild_limits(connection, gate, stocks)
        if await _run_id(gate) != run_id:
            # Another server was rebuilt than the one that was drained: what its stream holds may be in no ledger.
            raise RecoveryFailed("the gate's server was replaced during the recovery: run 'grab recover' again")
        clock_floor_ms = max((each.latest_ms for each in rebuilt), default=0)
        for each in rebuilt:
            await open_stock(gate, each, clock_floor_ms)
    reports = tuple(_report(each, *drained[each.stock.stock_id]) for each in rebuilt)
    report = RecoveryReport(int((time.monotonic() - began_s) * 1000), reports)
    _log.info("the gate is open again after %d ms: %d stocks", report.duration_ms, len(stocks))
    return report


def _report(rebuilt: Rebuilt, drained: int, refused: int) -> StockReport:
    stock = rebuilt.stock
    return StockReport(
        stock.stock_id, stock.epoch, stock.quantity, drained, refused, rebuilt.held, stock.quantity - rebuilt.held
    )


@asynccontextmanager
async def _alone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the recovery's lock, waiting for another recovery to end first."""
    deadline_s = time.monotonic() + _LOCK_WAIT_S
    while not await connection.fetchval(_TRY_LOCK, locks.RECOVERY, 0):
        if time.monotonic() > deadline_s:
            raise RecoveryFailed(
                f"another recovery has been running for more than {_LOCK_WAIT_S:g} s: see what it waits for"
            )
        await asyncio.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute(_UNLOCK, locks.RECOVERY, 0)


async def _close_all(gate: redis.Redis, library: str) -> None:
    """Load the library, which closes every stock at once, and prove that it does."""
    nonce = secrets.token_hex(8)
    await gate.function_load(library, replace=True)
    await gate.fcall("grab_probe", 0, nonce, "set")
    await gate.function_load(library, replace=True)
    if await gate.fcall("grab_probe", 0, nonce, "ask"):
        raise RecoveryFailed(
            "the gate's server keeps a library's memory when the library is reloaded, so an open fuse might "
            "survive a restart: use Valkey 9 or Redis 7"
        )


async def _catch_up(
    connection: asyncpg.Connection, gate: redis.Redis, stocks: Sequence[StockRow], *, from_gate: bool
) -> None:
    """See to it that the vault lacks nothing that a gate of a later epoch knows."""
    ahead = [stock for stock in stocks if await gate_epoch(gate, stock) > stock.epoch]
    if ahead and not from_gate:
        raise RecoveryFailed(
            f"{ahead[0].stock_id}: the gate has been open under a later epoch than the vault knows. If the vault was "
            "restored to an older point, run 'grab recover --from-gate': it takes back the claims that were lost. "
            "If the gate's data are of another vault, empty the gate first"
        )
    for stock in ahead:
        back = await refill(connection, gate, stock)
        _log.critical("%s: %d claims that the vault had lost are back from the gate", stock.stock_id, back)


async def _drain(connection: asyncpg.Connection, gate: redis.Redis, stock: StockRow) -> tuple[int, int]:
    """Record what is readable of a stock's stream; return how many were new and how many were refused."""
    drained = refused = 0
    async for entries in ClaimsStream(gate, stock.keys).from_the_beginning():
        done = await record(connection, stock, entries)
        drained += done.recorded
        refused += len(done.refused)
    return drained, refused


async def _raise_epochs(
    connection: asyncpg.Connection, gate: redis.Redis, stocks: Sequence[StockRow], run_id: str, deed_no: int | None
) -> list[StockRow]:
    """Raise every round's epoch above what the vault and the gate know; return the stocks under their new epochs."""
    known: dict[int, int] = {}
    for stock in stocks:
        known[stock.round_no] = max(known.get(stock.round_no, 0), stock.epoch, await gate_epoch(gate, stock))
    async with connection.transaction():
        for round_no, epoch in _rounds(stocks):
            raised = await connection.fetchval(_RAISE_EPOCH, round_no, epoch, known[round_no] + 1, run_id, deed_no)
            if raised is None:
                raise RecoveryFailed("another recovery has raised the epoch meanwhile: look at 'grab status'")
    return [replace(stock, epoch=known[stock.round_no] + 1, gate_run_id=run_id) for stock in stocks]


async def _run_id(gate: redis.Redis) -> str:
    """Return the identity of the gate's server process."""
    return str((await gate.info("server"))["run_id"])


def _rounds(stocks: Iterable[StockRow]) -> list[tuple[int, int]]:
    return sorted({(stock.round_no, stock.epoch) for stock in stocks})
