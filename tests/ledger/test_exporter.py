"""What a ledger worker tells Prometheus."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prometheus_client.parser import text_string_to_metric_families

from ledger.exporter import Exporter
from ledger.signals import note_address_uses
from ledger.worker import Worker
from tests.support.books import Books
from tests.support.plain_http import http_client
from tests.support.ports import free_port
from tests.support.wait import wait_until


@asynccontextmanager
async def exporting(books: Books, worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    """Tell the worker's metrics and give a client that reads them."""
    port, stop = free_port(), asyncio.Event()
    running = asyncio.create_task(Exporter(worker, books.redis_url, "127.0.0.1", port).run(stop))
    try:
        async with http_client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        stop.set()
        await running


async def scrape(client: httpx.AsyncClient) -> dict[str, float]:
    """Return the sums over labels by name."""
    try:
        text = (await client.get("/metrics")).text
    except httpx.TransportError:
        return {}
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


async def test_what_was_recorded_is_counted(books: Books) -> None:
    """Rows, batches and how long they took; nothing waits afterwards."""
    async with books.working() as worker, exporting(books, worker) as client:
        await books.claim("a", "b")
        await books.wait_booked(2)

        async def is_told() -> bool:
            told = await scrape(client)
            return told.get("ledger_stream_length") == 2 and told["ledger_pending_entries"] == 0

        await wait_until(is_told, "the stream is told")
        told = await scrape(client)
        assert told["ledger_rows_written_total"] == 2
        assert told["ledger_batch_duration_seconds_count"] >= 1
        assert told["ledger_oldest_pending_age_seconds"] == 0
        assert told["redis_memory_used_bytes"] > 100_000


async def test_what_waits_is_told_with_its_age(books: Books) -> None:
    """The vault is locked: entries wait, and the oldest grows older."""
    async with books.working() as worker, exporting(books, worker) as client:
        await books.claim("a")
        await books.wait_booked(1)
        async with books.vault.transaction():
            await books.vault.execute("LOCK TABLE claims IN ACCESS EXCLUSIVE MODE")
            await books.claim("b", "c")

            async def is_late() -> bool:
                told = await scrape(client)
                return told.get("ledger_pending_entries") == 2 and told["ledger_oldest_pending_age_seconds"] > 1

            await wait_until(is_late, "the lag is told")


async def test_signals_for_review_are_told_by_kind(books: Books) -> None:
    """What the worker notices counts for a day; what is older does not, and of the other kinds there are none."""
    uses = [(b"a" * 16, f"1{number:022}") for number in range(60)]
    await note_address_uses(books.vault, uses)
    await books.vault.execute(
        "INSERT INTO signals (kind, subject, begins_at, vouchers, figures, noticed_at)"
        " SELECT 'SHARED_ADDRESS', 'old', at, '{}', '{}', at FROM (SELECT now() - interval '25 hours' AS at) AS old"
    )
    async with books.working() as worker, exporting(books, worker) as client:

        async def are_told() -> bool:
            return (await scrape(client)).get("ledger_signals_of_a_day") == 1

        await wait_until(are_told, "the signal is noticed")
        told = re.findall(
            r'^ledger_signals_of_a_day{kind="(\w+)"} (\S+)$', (await client.get("/metrics")).text, re.MULTILINE
        )
        assert sorted(told) == [("MERCHANT_BURST", "0.0"), ("SHARED_ADDRESS", "1.0"), ("SPLIT_PAYMENTS", "0.0")]
