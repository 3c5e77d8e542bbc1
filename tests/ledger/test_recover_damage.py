"""Recovery of a gate that was killed, cut, wiped, changed by mistake or replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis

from grab_service.resources import library_source
from ledger.record import record
from ledger.recover import RecoveryFailed
from tests.support.books import Books, user_ref
from tests.support.campaigns import small_campaign
from tests.support.own_gate import OwnGate
from tests.support.wait import wait_until


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
    assert [int(number) for number in await own_books.client.lrange(own_books.stock.keys.free, 0, -1)] == [3, 4, 5]
    assert await own_books.letters("a", "b", "c", "d", "e", "lost") == "HHWWWS"
    async with own_books.working():
        await own_books.wait_booked(5)
    assert (await own_books.audit()).ok


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "allkeys-lru"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("appendonly", "no"),
    ],
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
        lambda books: books.client.delete(books.stock.keys.progress),
        lambda books: books.client.xtrim(books.stock.keys.claims, maxlen=0),
        lambda books: books.client.delete(books.stock.keys.holders, books.stock.keys.free),
    ],
    ids=["flushall", "function delete", "function load", "rules", "progress", "trim", "holders and free"],
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


async def test_a_promoted_replica_answers_closed(own_books: Books, own_gate: OwnGate, tmp_path: Path) -> None:
    """A replica has the data and not the fuse: promoted, it sells nothing until it is recovered."""
    await own_books.sell("a")
    await own_gate.client.config_set("bind", "127.0.0.1")
    replica = OwnGate(tmp_path / "replica")
    await replica.start()
    try:
        port = await _listen_on_tcp(own_gate.client)
        await replica.client.replicaof("127.0.0.1", port)
        await wait_until(partial(_follows, replica.client), "the replica follows")
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


async def _follows(replica: redis.Redis) -> bool:
    """Tell whether the replica is in step with the server that it follows."""
    return bool((await replica.info("replication")).get("master_link_status") == "up")
