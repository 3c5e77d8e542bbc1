"""Real stores are read for the checker as they are: what was sold, refused and rebuilt, by statements of its own."""

from __future__ import annotations

import time
from dataclasses import replace

import asyncpg
import pytest
import redis.asyncio as redis
from loadtest.chaos.books import read_books, read_gate
from loadtest.chaos.check_case import Books as Evidence
from loadtest.chaos.check_case import GateState, Recovery
from loadtest.chaos.checker import check
from loadtest.chaos.history import SOLD_OUT, WON, Operation

from grab_service import embedded, instants
from grab_service.gate import Answer
from tests.support.books import Books, code_of, user_ref
from tests.support.campaigns import small_campaign

USERS = ("ann", "bob", "cid", "dan", "eve", "fay")


@pytest.fixture
async def books(
    vault: asyncpg.Connection,
    redis_client: redis.Redis,
    database_url: str,
    valkey_server: embedded.Server,
    campaign_id: str,
) -> Books:
    """A small campaign, open at the gate; no worker runs."""
    books = Books(small_campaign(campaign_id), vault, redis_client, database_url, valkey_server.url)
    await books.load()
    await books.recover()
    return books


def _told(books: Books, user: str, answer: Answer, began_ms: float) -> Operation:
    """Return what a user is told whom the gate has given this answer, when the ledger has the claim."""
    stock_id, ended_ms = books.stock.stock_id, time.time() * 1000
    if answer.holding is None:
        return Operation(began_ms, ended_ms, user, stock_id, SOLD_OUT, 409)
    number, won_ms = answer.holding.claim_no, answer.holding.stream_id.ms
    code = code_of(stock_id, number)
    return Operation(began_ms, ended_ms, user, stock_id, WON, 201, number, code, instants.from_ms(won_ms))


async def _sell(books: Books, *users: str) -> list[Operation]:
    began_ms = time.time() * 1000
    answers = await books.sell(*users)
    return [_told(books, user, answer, began_ms) for user, answer in zip(users, answers, strict=True)]


def _broken(
    history: list[Operation], earlier: Evidence, now: Evidence, gate: GateState, recovered: Recovery
) -> set[str]:
    user_refs = {user: user_ref(user) for user in USERS}
    verdicts = check(history, now, gate, earlier=earlier, user_refs=user_refs, recoveries=[recovered])
    return {verdict.id for verdict in verdicts if not verdict.ok}


async def test_real_books_keep_every_promise_and_show_a_broken_one(books: Books) -> None:
    """A stock that is sold out over a recovery passes; a changed answer, holder or entry is found."""
    history = await _sell(books, *USERS[:2])
    earlier = await read_books(books.vault)
    began_ms = time.time() * 1000
    await books.recover()
    recovered = Recovery(began_ms, time.time() * 1000, may_lose=False)
    history += await _sell(books, *USERS[2:])
    now = await read_books(books.vault)
    gate = await read_gate(books.client, now)

    assert [done.outcome for done in history] == [WON] * 5 + [SOLD_OUT]
    assert _broken(history, earlier, now, gate, recovered) == set()
    assert len(now.claims) == 5
    assert _broken([replace(history[0], claim_no=5), *history[1:]], earlier, now, gate, recovered) == {"I-4"}

    await books.client.hdel(books.stock.keys.holders, user_ref("ann"))
    assert _broken(history, earlier, now, await read_gate(books.client, now), recovered) == {"I-14"}


async def test_rounds_stocks_and_refused_entries_are_read(books: Books) -> None:
    """Hours, quantities, limits, the fields of a refused entry and the watermark come as the stores have them."""
    await books.client.xadd(books.stock.keys.claims, {"v": "1", "epoch": "1", "claim_no": "x"})
    async with books.working():
        await books.claim("ann")
        await books.wait_booked(1)
    read = await read_books(books.vault)
    at_gate = (await read_gate(books.client, read)).stocks[books.stock.stock_id]

    [(round_id, hours)] = read.rounds.items()
    opens_ms, closes_ms = (instants.to_ms(instant) for instant in (books.stock.opens_at, books.stock.closes_at))
    assert (hours.epoch, hours.opens_ms, hours.closes_ms, hours.per_user_max) == (1, opens_ms, closes_ms, 0)
    stock = read.stocks[books.stock.stock_id]
    assert (stock.round_id, stock.quantity, stock.minted) == (round_id, 5, 5)
    assert len({each.limit for each in read.stocks.values()}) == 2
    [letter] = read.dead_letters
    assert (letter.reason, letter.claim_no, letter.entry["claim_no"]) == ("MALFORMED", None, "x")
    assert [name for name, _ in at_gate.entries] == [letter.stream_id, at_gate.committed]
    assert (at_gate.epoch, at_gate.free) == (1, [2, 3, 4, 5])
    [claim] = read.claims
    assert at_gate.holders == {user_ref("ann"): f"1:1:{claim.stream_id}"}


async def test_a_gate_without_its_library_is_read_as_closed(books: Books) -> None:
    """A wiped gate is not a reason to fail: it is closed, which the checker then says."""
    read = await read_books(books.vault)
    await books.client.function_flush()
    at_gate = (await read_gate(books.client, read)).stocks[books.stock.stock_id]
    assert not at_gate.is_open
    await books.recover()


async def test_what_changes_in_the_ledger_is_told_however_late_it_was_read(books: Books) -> None:
    """Books that take in later ones keep what they saw first, so a row that was altered between two reads is found."""
    await books.claim("ann")
    async with books.working():
        await books.wait_booked(1)
        first = await read_books(books.vault)
        await books.claim("bob")
        await books.wait_booked(2)
    second = await read_books(books.vault)
    [mine] = first.claims
    forged = replace(
        second, claims=[replace(each, user_ref="1forged") if each == mine else each for each in second.claims]
    )

    seen = first.with_news_of(forged)

    assert {each.claim_no for each in seen.claims} == {1, 2}
    assert mine in seen.claims
    assert seen.stocks == second.stocks
