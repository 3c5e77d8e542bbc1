"""A worker that dies or hangs: its stocks go to another, its entries are neither lost nor recorded twice."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ledger import locks
from ledger.session import vault_session
from ledger.trouble import TROUBLE
from ledger.worker import Worker
from tests.support.books import Books, user_ref
from tests.support.wait import wait_until

_RUN_WORKER = (
    "import asyncio, sys; from ledger.worker import Worker; asyncio.run(Worker(*sys.argv[1:]).run(asyncio.Event()))"
)


@asynccontextmanager
async def worker_process(books: Books) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a worker in a process of its own, which holds every stock, and kill it in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN_WORKER, books.database_url, books.redis_url
    )
    try:
        await wait_until(lambda: _locked(books, 2), "the process holds both stocks")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _locked(books: Books, count: int) -> bool:
    held = await books.vault.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = $1::int::oid",
        locks.STOCK,
    )
    return bool(held == count)


async def test_a_worker_that_is_killed_with_a_batch_in_hand_is_replaced(books: Books) -> None:
    """Killed while its insert waits: nothing of the batch is there, and the next worker records it."""
    async with worker_process(books) as process:
        async with books.vault.transaction():
            await books.vault.execute("LOCK TABLE claims IN ACCESS EXCLUSIVE MODE")
            await books.claim("a", "b")
            await wait_until(lambda: _is_inserting(books), "the insert waits")
            process.kill()
            await process.wait()
        async with books.working() as worker:
            await books.wait_booked(2)
            assert worker.tally.recorded + worker.tally.replayed == 2
    assert await books.owners() == {1: user_ref("a"), 2: user_ref("b")}


async def _is_inserting(books: Books) -> bool:
    return bool(
        await books.vault.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'claims'::regclass")
    )


async def test_a_worker_that_stands_by_takes_over_from_one_that_is_killed(books: Books) -> None:
    """The second worker has its share at once, and the rest as soon as the first is gone."""
    async with worker_process(books) as process, books.working() as worker:
        await wait_until(lambda: len(worker.stock_ids) == 1, "the stocks are shared")
        process.kill()
        await wait_until(lambda: len(worker.stock_ids) == 2, "the other stock is taken over")
        for stock in books.stocks:
            await books.claim("a", stock=stock)
            await books.wait_booked(1, stock)


async def test_a_worker_that_wakes_after_a_recovery_records_nothing_of_the_old_epoch(books: Books) -> None:
    """Frozen over a recovery, it goes on under the new epoch; what was drained without it is not recorded twice."""
    async with worker_process(books) as process:
        process.send_signal(signal.SIGSTOP)
        await books.claim("a")
        await books.recover()
        await books.claim("b")
        process.send_signal(signal.SIGCONT)
        await books.wait_booked(2)
    assert await books.owners() == {1: user_ref("a"), 2: user_ref("b")}
    assert await books.vault.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert (await books.audit()).ok


async def test_a_session_cannot_hang_for_ever(database_url: str) -> None:
    """A worker that hangs loses its transaction in seconds, and its locks within half a minute."""
    async with vault_session(database_url) as vault:
        bounds = {
            name: await vault.fetchval(f"SHOW {name}")
            for name in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "idle_session_timeout",
            )
        }
    assert bounds == {
        "statement_timeout": "8s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "10s",
        "idle_session_timeout": "30s",
    }


async def test_the_locks_of_a_session_end_with_it(books: Books) -> None:
    """A session that is ended by the server cannot write any more, so another may."""
    async with vault_session(books.database_url) as vault:
        await vault.fetchval("SELECT pg_advisory_lock(1, 2)")
        await books.vault.fetchval("SELECT pg_terminate_backend($1)", vault.get_server_pid())
        await wait_until(lambda: _locked(books, 0), "the lock is free")
        with pytest.raises(TROUBLE):
            await vault.fetchval("SELECT 1")


async def test_an_outage_of_the_gate_is_reported_once(books: Books, caplog: pytest.LogCaptureFixture) -> None:
    """The stream cannot be read for many attempts: one message a stock, and one when it is over."""
    caplog.set_level(logging.INFO, "ledger.trouble")
    stock_id = books.stock.stock_id
    async with books.working():
        await wait_until(lambda: f"{stock_id}: at work" in caplog.messages, "the stock is followed")
        key = books.stock.keys.claims
        await books.client.set(key, "not a stream")
        await wait_until(lambda: _count(caplog, f"{stock_id}: interrupted") == 1, "the outage is reported")
        before = await _sessions_begun(books)
        await wait_until(lambda: _more_sessions(books, before + 2), "more attempts are made")
        await books.client.delete(key)
        await wait_until(lambda: _count(caplog, f"{stock_id}: at work") == 2, "the end is reported")
    assert _count(caplog, f"{stock_id}: interrupted") == 1


def _count(caplog: pytest.LogCaptureFixture, beginning: str) -> int:
    return sum(message.startswith(beginning) for message in caplog.messages)


async def _sessions_begun(books: Books) -> int:
    return int(await books.vault.fetchval("SELECT sessions FROM pg_stat_database WHERE datname = current_database()"))


async def _more_sessions(books: Books, than: int) -> bool:
    return await _sessions_begun(books) > than


async def test_a_mistake_of_the_program_ends_the_worker(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no trouble of a store is not tried for ever: the process ends, and its supervisor says so."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ledger.follower.record_batch", broken)
    await books.claim("a")
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(Worker(books.database_url, books.redis_url).run(asyncio.Event()), 10)
    assert ended.group_contains(ZeroDivisionError)
