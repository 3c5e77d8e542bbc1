"""Recovery: whatever happened to the gate, owners keep what they own and the rest can be sold."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis

from grab_service import embedded
from grab_service.gate import connect
from grab_service.resources import library_source
from ledger.record import record
from ledger.recover import RecoveryFailed, recover
from tests.ledger.conftest import OpenBooks
from tests.support.books import Books, user_ref
from tests.support.campaigns import small_campaign


class OwnGate:
    """A Valkey of one test's own, to be killed and damaged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = embedded.valkey(directory)
        self.client = connect(self.server.url, timeout_ms=5000)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.server = embedded.valkey(self.directory)
        self._process = subprocess.Popen(self.server.argv, stdout=subprocess.DEVNULL)  # noqa: ASYNC220  returns at once
        await self.server.wait_ready(10)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def cut_the_file(self, share: float) -> None:
        """Keep only the first part of its append-only file."""
        [path] = self.directory.glob("appendonlydir/*.incr.aof")
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    def wipe(self) -> None:
        """Lose its whole data."""
        shutil.rmtree(self.directory)


@pytest.fixture
async def own_gate(tmp_path: Path) -> AsyncIterator[OwnGate]:
    """A gate that this test may kill."""
    gate = OwnGate(tmp_path / "vk")
    await gate.start()
    yield gate
    gate.kill()
    await gate.client.aclose()


@pytest.fixture
async def own_books(own_gate: OwnGate, vault: asyncpg.Connection, database_url: str, campaign_id: str) -> Books:
    """Books at the gate that this test may kill."""
    books = Books(small_campaign(campaign_id), vault, own_gate.client, database_url, own_gate.server.url)
    await books.load()
    await books.recover()
    return books


async def free(books: Books) -> list[int]:
    """Return the free numbers of the first stock."""
    return [int(number) for number in await books.client.lrange(books.stock.keys.free, 0, -1)]


async def test_a_fresh_gate_is_opened_with_every_number(books: Books) -> None:
    """Nobody holds anything, 1..quantity are free, the epoch is 1."""
    assert await free(books) == [1, 2, 3, 4, 5]
    assert (await books.row()).epoch == 1
    assert (await books.row()).gate_run_id == (await books.client.info("server"))["run_id"]


async def test_the_report_tells_what_was_done(books: Books) -> None:
    """Figures of each stock, as JSON can hold them."""
    await books.claim("a")
    report = (await books.recover()).to_json()
    first = report["stocks"][0]
    assert (first["epoch"], first["quantity"], first["drained"], first["held"], first["free"]) == (2, 5, 1, 1, 4)


async def test_a_killed_gate_answers_closed_until_it_is_recovered(own_books: Books, own_gate: OwnGate) -> None:
    """After a crash and restart the data are there and nothing is believed; owners then keep their numbers."""
    await own_books.sell("a", "b")
    own_gate.kill()
    await own_gate.start()
    assert await own_books.letters("a", "c") == "CC"
    await own_books.recover()
    held_a, held_b, won = await own_books.claim("a", "b", "c")
    assert [answer.letter for answer in (held_a, held_b, won)] == ["H", "H", "W"]
    assert [answer.holding.claim_no for answer in (held_a, held_b, won) if answer.holding] == [1, 2, 3]


async def test_what_the_vault_had_not_seen_is_drained_and_stays(own_books: Books, own_gate: OwnGate) -> None:
    """Reservations that survived the crash become claims of the same users."""
    await own_books.claim("a", "b")
    own_gate.kill()
    await own_gate.start()
    report = await own_books.recover()
    assert report.stocks[0].drained == 2
    assert await own_books.owners() == {1: user_ref("a"), 2: user_ref("b")}
    assert await own_books.letters("a", "b", "c") == "HHW"


@pytest.mark.parametrize("share", [0.999, 0.5])
async def test_a_lost_tail_costs_no_owner_anything(own_books: Books, own_gate: OwnGate, share: float) -> None:
    """A gate that comes back with old data does not give an owned number again."""
    await own_books.sell("a", "b", "c")
    own_gate.kill()
    own_gate.cut_the_file(share)
    await own_gate.start()
    await own_books.recover()
    assert await own_books.letters("a", "b", "c", "d", "e", "f") == "HHHWWS"
    async with own_books.working():
        await own_books.wait_booked(5)
    assert (await own_books.audit()).ok


async def test_a_gate_that_lost_everything_is_rebuilt(own_books: Books, own_gate: OwnGate) -> None:
    """Recorded claims stay, unrecorded reservations are free again, the rest is sold."""
    await own_books.sell("a", "b")
    await own_books.claim("lost")
    own_gate.kill()
    own_gate.wipe()
    await own_gate.start()
    await own_books.recover()
    assert await free(own_books) == [3, 4, 5]
    assert await own_books.letters("a", "b", "c", "d", "e", "lost") == "HHWWWS"
    async with own_books.working():
        await own_books.wait_booked(5)
    assert (await own_books.audit()).ok


async def test_holes_in_the_numbers_are_free_again(books: Books) -> None:
    """Free numbers are exactly those that the vault has no claim of."""
    row = await books.row()
    fields = {"v": "1", "epoch": str(row.epoch), "user_ref": user_ref("z")}
    await record(books.vault, row, [("1700000000000-0", fields | {"claim_no": "3"})])
    await books.recover()
    assert await free(books) == [1, 2, 4, 5]
    [held] = await books.claim("z")
    assert held.holding is not None
    assert held.holding.claim_no == 3


async def test_a_zombie_of_the_old_epoch_is_fenced_and_never_confirmed(books: Books) -> None:
    """Entries that were read before a recovery and written after it own nothing."""
    await books.claim("a")
    row = await books.row()
    entries = await books.entries()
    await books.client.delete(books.stock.keys.claims)
    await books.recover()
    done = await record(books.vault, row, entries)
    assert [refused.reason for refused in done.refused] == ["FENCED"]
    assert await books.owners() == {}
    assert (await books.audit()).ok


async def test_two_recoveries_at_once_end_in_one_open_gate(books: Books, database_url: str) -> None:
    """The second waits for the first; both succeed and the stock is whole."""
    await books.sell("a")
    others = [await asyncpg.connect(database_url) for _ in range(3)]
    reports = await asyncio.gather(*(recover(each, books.client, library_source()) for each in others))
    assert sorted(report.stocks[0].epoch for report in reports) == [2, 3, 4]
    assert await books.letters("a", "b") == "HW"
    for each in others:
        await each.close()


async def test_a_recovery_in_the_middle_of_a_rush_takes_nothing_from_anybody(
    open_books: OpenBooks, campaign_id: str
) -> None:
    """Recoveries while everybody claims: every user ends with at most one voucher, all vouchers go."""
    books = await open_books(small_campaign(campaign_id, quantity=500))

    async def rush() -> None:
        for start in range(0, 900, 10):
            await books.claim(*(f"u{number}" for number in range(start, start + 10)))
            await asyncio.sleep(0)

    async with books.working():
        rushing = asyncio.create_task(rush())
        for _ in range(3):
            await books.recover()
        await rushing
        await books.claim(*(f"u{number}" for number in range(900)))
        await books.wait_booked(500)
    assert (await books.audit()).ok


class Interrupted(Exception):
    """Stands for the death of the recovery's process."""


def interrupt_after(client: redis.Redis, calls: int) -> redis.Redis:
    """Return a client that dies at one of its calls, before or after it was made."""

    class Dying(redis.Redis):
        count = 0

        async def execute_command(self, *args: Any, **options: Any) -> Any:
            Dying.count += 1
            if Dying.count > calls:
                raise Interrupted
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped

        def pipeline(self, *args: Any, **options: Any) -> Any:
            Dying.count += 1
            if Dying.count > calls:
                raise Interrupted
            return super().pipeline(*args, **options)

    return Dying(connection_pool=client.connection_pool)


async def test_a_recovery_that_dies_at_any_step_leaves_the_gate_closed(books: Books) -> None:
    """Whatever the step, some stock is closed, nobody's voucher is touched, and the next run finishes."""
    await books.sell("a")
    calls = 0
    while True:
        calls += 1
        try:
            await recover(books.vault, interrupt_after(books.client, calls), library_source())
        except Interrupted:
            letters = await books.letters("a")
            assert letters in ("C", "H")
            everything = await books.gate.counts(books.stocks)
            assert calls <= 1 or not all(counts.is_open for counts in everything)
            await books.recover()
            assert await books.letters("a") == "H"
        else:
            break
    assert calls > 10
    assert await books.letters("a", "b") == "HW"
    assert (await books.audit()).ok


@pytest.mark.parametrize(
    ("setting", "value"),
    [("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru"), ("no-appendfsync-on-rewrite", "yes")],
)
async def test_a_gate_with_a_setting_that_breaks_the_promise_is_not_opened(
    own_books: Books, setting: str, value: str
) -> None:
    """The refusal names the setting, what it is and what it must be."""
    await own_books.client.config_set(setting, value)
    with pytest.raises(RecoveryFailed, match=f"{setting} is {value} and must be"):
        await own_books.recover()


Damage = Callable[[Books], Awaitable[object]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda books: books.client.flushall(),
        lambda books: books.client.function_delete("grab"),
        lambda books: books.client.function_load(library_source(), replace=True),
        lambda books: books.client.delete(books.stock.keys.rules),
        lambda books: books.client.xgroup_destroy(books.stock.keys.claims, "ledger"),
        lambda books: books.client.xtrim(books.stock.keys.claims, maxlen=0),
        lambda books: books.client.delete(books.stock.keys.holders, books.stock.keys.free),
    ],
    ids=["flushall", "function delete", "function load", "rules", "group", "trim", "holders and free"],
)
async def test_mistakes_at_the_gate_are_mended(own_books: Books, damage: Damage) -> None:
    """After any of them a recovery gives back a whole stock in which owners own."""
    await own_books.sell("a", "b")
    await damage(own_books)
    await own_books.recover()
    assert await own_books.letters("a", "b", "c", "d", "e", "f") == "HHWWWS"
    async with own_books.working():
        await own_books.wait_booked(5)
    assert (await own_books.audit()).ok


@pytest.mark.parametrize(
    "limits", [{"per_user_per_round": 1}, {"limit_scope": "campaign"}], ids=["per round", "per campaign"]
)
async def test_limits_that_span_stocks_are_rebuilt(
    open_books: OpenBooks, campaign_id: str, limits: dict[str, Any]
) -> None:
    """A user who had his share before the recovery gets no more after it."""
    books = await open_books(small_campaign(campaign_id, **limits))
    await books.sell("a")
    for stock in books.stocks:
        await books.client.delete(stock.keys.round_taken, stock.keys.class_tier_taken)
    await books.recover()
    expected = "L" if "per_user_per_round" in limits else "W"
    assert await books.letters("a", stock=books.stocks[1]) == expected
    assert await books.letters("a") == "H"


async def test_a_pause_outlives_a_recovery(books: Books) -> None:
    """What staff paused stays paused."""
    await books.vault.execute("UPDATE stocks SET paused = true")
    await books.recover()
    assert await books.letters("a") == "P"


async def test_a_sold_out_stock_keeps_its_instant(books: Books) -> None:
    """The time of sell-out is that of the last claim."""
    answers = await books.sell("a", "b", "c", "d", "e")
    await books.recover()
    [counts, _] = await books.gate.counts(books.stocks)
    assert answers[-1].holding is not None
    assert counts.sold_out_ms == answers[-1].holding.stream_id.ms
    assert await books.letters("f") == "S"


async def test_a_promoted_replica_answers_closed(own_books: Books, own_gate: OwnGate, tmp_path: Path) -> None:
    """A replica has the data and not the fuse: promoted, it sells nothing until it is recovered."""
    await own_books.sell("a")
    await own_gate.client.config_set("bind", "127.0.0.1")
    replica = OwnGate(tmp_path / "replica")
    await replica.start()
    try:
        port = await _listen_on_tcp(own_gate.client)
        await replica.client.replicaof("127.0.0.1", port)
        for _ in range(200):
            if (await replica.client.info("replication")).get("master_link_status") == "up":
                break
            await asyncio.sleep(0.05)
        await replica.client.replicaof("NO", "ONE")
        promoted = Books(
            own_books.campaign, own_books.vault, replica.client, own_books.database_url, replica.server.url
        )
        assert await replica.client.hlen(own_books.stock.keys.holders) == 1
        assert await promoted.letters("a", "b") == "CC"
        await promoted.recover()
        assert await promoted.letters("a", "b") == "HW"
        # The old one is still there and open, but what it sells is fenced.
        assert await own_books.letters("c") == "W"
        done = await record(own_books.vault, await own_books.row(), (await own_books.entries())[-1:])
        assert [refused.reason for refused in done.refused] == ["FENCED"]
    finally:
        replica.kill()
        await replica.client.aclose()


async def _listen_on_tcp(client: redis.Redis) -> int:
    """Let the server listen on a free TCP port of the loopback too."""
    for port in range(21_000, 29_000, 7):
        try:
            await client.config_set("port", port)
        except redis.ResponseError:
            continue
        return port
    raise AssertionError("no free port")
