"""How fast the ledger worker is: a stream that stands full, recorded by the real worker, against a COPY of its rows."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio as redis

from grab_service.gate import Gate
from grab_service.references import UserRefs
from grab_service.resources import library_source
from grab_service.stock import Stock
from ledger import catalogue
from ledger.audit import audit
from ledger.catalogue import NewCampaign, NewRound, NewStock
from ledger.migrate import migrate
from ledger.recover import recover
from loadtest.bench.cpu import Cores, cpu_us_of
from loadtest.bench.processes import BenchImpossible, database, running, store
from loadtest.bench.sql import statement

_BATCH = 1000  # claims a call of the gate carries here
_RECORD_S = 60.0
_LOOK_S = 0.002
_USERS = UserRefs(b"pepper of the bench, 32 bytes ....")


def bench_stock(quantity: int) -> Stock:
    """Return a stock that is open now."""
    now = datetime.now(UTC).replace(microsecond=0)
    stock_id = "bench-r1-general-1"
    return Stock(
        stock_id=stock_id,
        campaign_id="bench",
        round_id="r1",
        class_code="general",
        class_name="通用券",
        tier=1,
        name="通用券",
        threshold_fen=10_000,
        discount_fen=3_000,
        quantity=quantity,
        opens_at=now - timedelta(minutes=1),
        closes_at=now + timedelta(days=1),
        available_until=now + timedelta(days=7),
        gate_tag=stock_id,
        round_limit=0,
        spans_rounds=False,
    )


def campaign_of(stock: Stock, code_hashes: Sequence[bytes]) -> NewCampaign:
    """Return a campaign of this one stock as the vault takes it; its vouchers are not those of any key."""
    new = NewStock(
        stock_id=stock.stock_id,
        class_code=stock.class_code,
        tier=stock.tier,
        name=stock.name,
        threshold_fen=stock.threshold_fen,
        discount_fen=stock.discount_fen,
        quantity=len(code_hashes),
        available_until=stock.available_until,
        gate_tag=stock.gate_tag,
        spans_rounds=False,
        code_hashes=code_hashes,
    )
    round_ = NewRound(
        round_id=stock.round_id, opens_at=stock.opens_at, closes_at=stock.closes_at, round_limit=0, stocks=[new]
    )
    document = {"campaign_id": stock.campaign_id, "name": "bench"}
    return NewCampaign(campaign_id=stock.campaign_id, document=document, fund_fen=10**12, rounds=[round_])


async def ledger_rate(directory: Path, cores: Cores, rows: int) -> dict[str, Any]:
    """Measure the worker and COPY on the same rows; rows a second of each, and their ratio.

    Raises:
        BenchImpossible: The worker does not record them, or the audit is red.
    """
    async with database(directory, cores.all) as (database_url, database_pid), store(directory, cores.all) as (url, _):
        vault = await asyncpg.connect(database_url)
        gate = redis.Redis.from_url(url, decode_responses=True)
        try:
            await migrate(vault)
            stock = bench_stock(rows)
            hashes = [hashlib.sha256(str(number).encode()).digest() for number in range(rows)]
            await catalogue.load_campaign(vault, campaign_of(stock, hashes))
            await recover(vault, gate, library_source())
            await _fill(gate, stock)
            environment = {"GRAB_DATABASE_URL": database_url, "GRAB_REDIS_URL": url, "GRAB_ONE_PERSON": "true"}
            argv = [sys.executable, "-m", "grab_service", "ledger"]
            vault_us = cpu_us_of([database_pid])
            async with running(argv, directory / "worker.log", cores.all, environment=environment) as worker:
                worker_per_s = await _recorded_per_s(gate, stock)
                worker_us = cpu_us_of([worker.pid])
                vault_us = cpu_us_of([database_pid]) - vault_us
            report = await audit(vault, gate)
            if not report.ok:
                raise BenchImpossible("the audit of the ledger's run is red")
            copied = {name: await _copied_per_s(vault, name) for name in ("copy_with_keys", "copy_without_keys")}
        finally:
            await gate.aclose()
            await vault.close()
    return {
        "rows": rows,
        "worker_per_s": worker_per_s,
        **{f"{name}_per_s": rate for name, rate in copied.items()},
        "ratio": worker_per_s / copied["copy_with_keys"],
        "ratio_without_keys": worker_per_s / copied["copy_without_keys"],
        "worker_cpu_us_per_row": worker_us / rows,  # its start included
        "vault_cpu_us_per_row": vault_us / rows,
    }


async def _fill(client: redis.Redis, stock: Stock) -> None:
    gate = Gate(client)
    for start in range(0, stock.quantity, _BATCH):
        numbers = range(start, min(start + _BATCH, stock.quantity))
        answers = await gate.claim(stock, [_USERS.of(str(number)) for number in numbers])
        if any(answer.letter != "W" for answer in answers):
            raise BenchImpossible("the gate did not give every voucher")


async def _recorded_per_s(client: redis.Redis, stock: Stock) -> float:
    """Watch the watermark from its first move to its last."""
    gate, deadline_s = Gate(client), time.monotonic() + _RECORD_S
    first: tuple[float, int] | None = None
    while time.monotonic() < deadline_s:
        booked, now_s = (await gate.progress(stock)).booked, time.monotonic()
        if first is None and booked:
            first = (now_s, booked)
        if first is not None and booked == stock.quantity:
            return (booked - first[1]) / max(now_s - first[0], 1e-9)
        await asyncio.sleep(_LOOK_S)
    raise BenchImpossible(f"the worker has not recorded {stock.quantity:,} claims in {_RECORD_S:g} s")


async def _copied_per_s(vault: asyncpg.Connection, name: str) -> float:
    """COPY the rows of the claims, as the vault has them, into a table of their own."""
    rows = await vault.fetch(statement("select_rows"))
    await vault.execute(statement(f"create_{name}"))
    records = [tuple(row) for row in rows]
    began_s = time.monotonic()
    await vault.copy_records_to_table(name, records=records, columns=list(rows[0].keys()))
    return len(records) / (time.monotonic() - began_s)
