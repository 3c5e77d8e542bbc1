"""The audit: green when all is well, at rest and live, and able to fail, one invariant at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from grab_service import gate as gates
from ledger.audit import NAMES, AuditImpossible, audit
from tests.ledger.conftest import OpenBooks
from tests.support.books import Books, user_ref
from tests.support.campaigns import small_campaign


async def violated(books: Books) -> list[str]:
    """Audit, and return what is violated."""
    report = await books.audit()
    assert report.ok == all(each.ok for each in report.invariants)
    return [each.id for each in report.invariants if not each.ok]


async def break_freely(books: Books, *statements: str) -> None:
    """Change rows by hand that nobody may change: triggers off, keys and checks dropped."""
    await books.vault.execute("ALTER TABLE claims DISABLE TRIGGER ALL; ALTER TABLE vouchers DISABLE TRIGGER ALL")
    await books.vault.execute(
        "ALTER TABLE claims DROP CONSTRAINT one_owner_per_voucher CASCADE, DROP CONSTRAINT one_voucher_per_user,"
        " DROP CONSTRAINT claim_is_of_minted_voucher, DROP CONSTRAINT epoch_has_begun"
    )
    for statement in statements:
        await books.vault.execute(statement)


async def test_all_is_well_at_rest(books: Books) -> None:
    """Before, during and after a sale every invariant holds and the figures agree."""
    assert await violated(books) == []
    await books.sell("a", "b", "c")
    report = await books.audit()
    assert report.ok
    assert [each.id for each in report.invariants] == list(NAMES)
    [figures, _] = report.stocks
    assert (figures.quantity, figures.claimed, figures.remaining, figures.booked) == (5, 3, 2, 3)
    assert set(report.to_json()) == {"ok", "invariants", "stocks"}


async def test_claims_on_their_way_are_no_fault(books: Books) -> None:
    """Reserved and not recorded yet is fine."""
    await books.claim("a", "b")
    report = await books.audit()
    assert report.ok
    assert (report.stocks[0].claimed, report.stocks[0].booked) == (2, 0)


async def test_all_is_well_while_the_round_is_sold(open_books: OpenBooks, campaign_id: str) -> None:
    """Audits in the middle of a storm raise no false alarm."""
    books = await open_books(small_campaign(campaign_id, quantity=3000))

    audits, audited = 0, asyncio.Event()

    async def storm() -> None:
        for start in range(0, 4000, 20):
            if start == 2900:
                await audited.wait()
            await books.claim(*(f"u{number}" for number in range(start, start + 20)))

    async with books.working():
        storming = asyncio.create_task(storm())
        while not storming.done():
            assert await violated(books) == []
            audits += 1
            if audits == 2:
                audited.set()
        await storming
        await books.wait_booked(3000)
    assert await violated(books) == []


async def _mint_one_too_few(books: Books) -> None:
    await break_freely(
        books, "DELETE FROM vouchers WHERE claim_no = 5 AND stock_no = (SELECT min(stock_no) FROM stocks)"
    )


async def _give_one_voucher_two_owners(books: Books) -> None:
    # Both stores say that b has a's number, and b's own number is free again.
    await break_freely(books, "UPDATE claims SET claim_no = 1 WHERE claim_no = 2")
    holders = books.stock.keys.holders
    holding = str(await books.client.hget(holders, user_ref("b")))
    stream_id = holding.split(":")[2]
    await books.client.hset(holders, user_ref("b"), "1:" + holding.split(":", 1)[1])
    await books.client.lpush(books.stock.keys.free, "2")
    await _rewrite_entry(books, stream_id, "1")


async def _rewrite_entry(books: Books, stream_id: str, claim_no: str) -> None:
    claims = books.stock.keys.claims
    entries = await books.entries()
    await books.client.delete(claims)
    for entry_id, fields in entries:
        changed = fields | {"claim_no": claim_no} if entry_id == stream_id else fields
        await books.client.xadd(claims, changed, id=entry_id)  # type: ignore[arg-type]  # invariant mapping


async def _give_one_user_two_vouchers(books: Books) -> None:
    # b's claim becomes a second one of a, in the other stock but under the same limit, and the gate agrees.
    await break_freely(
        books,
        "UPDATE claims SET (user_ref, claim_no, stream_ms, stream_seq)"
        " = (SELECT user_ref, claim_no, stream_ms, stream_seq FROM claims WHERE claim_no = 1),"
        " stock_no = (SELECT max(stock_no) FROM stocks) WHERE claim_no = 2",
    )
    own, other = books.stock.keys, books.stocks[1].keys
    (entry_id, entry), (other_entry_id, _) = await books.entries()
    await books.client.hset(other.holders, user_ref("a"), str(await books.client.hget(own.holders, user_ref("a"))))
    await books.client.lrem(other.free, 1, "1")
    await books.client.xadd(other.claims, entry, id=entry_id)  # type: ignore[arg-type]  # invariant mapping
    await books.client.hdel(own.holders, user_ref("b"))
    await books.client.lpush(own.free, "2")
    await books.client.xdel(own.claims, other_entry_id)


async def _lose_a_holder_of_an_entry(books: Books) -> None:
    await books.client.xdel(books.stock.keys.claims, (await books.entries())[0][0])


async def _open_later_than_the_first_claim(books: Books) -> None:
    await books.vault.execute("UPDATE rounds SET opens_at = now() + interval '1 hour'")


async def _bury_an_entry(books: Books) -> None:
    row = await books.row()
    await books.vault.execute(
        "INSERT INTO dead_letters (stock_no, stream_id, reason, entry, entry_digest, detail)"
        " VALUES ($1, '1-1', 'MALFORMED', '{}', '\\x00', 'by hand')",
        row.stock_no,
    )


async def _record_a_claim_of_an_epoch_to_come(books: Books) -> None:
    await break_freely(books, "UPDATE claims SET epoch = 99 WHERE claim_no = 1")
    holders = books.stock.keys.holders
    claim_no, _, stream_id = str(await books.client.hget(holders, user_ref("a"))).split(":")
    await books.client.hset(holders, user_ref("a"), f"{claim_no}:99:{stream_id}")


async def _raise_the_epoch_behind_the_gates_back(books: Books) -> None:
    await books.vault.execute("UPDATE rounds SET epoch = epoch + 1")


async def _lose_a_claim_in_the_vault(books: Books) -> None:
    await break_freely(books, "DELETE FROM claims WHERE claim_no = 1")


async def _lose_a_holder_and_his_entry_at_the_gate(books: Books) -> None:
    await books.client.hdel(books.stock.keys.holders, user_ref("a"))
    await books.client.xdel(books.stock.keys.claims, (await books.entries())[0][0])
    await books.client.lpush(books.stock.keys.free, "1")


async def _lose_a_free_number(books: Books) -> None:
    await books.client.lpop(books.stock.keys.free)


async def _free_a_held_number(books: Books) -> None:
    await books.client.rpush(books.stock.keys.free, "1")


Break = Callable[[Books], Awaitable[None]]


@pytest.mark.parametrize(
    ("invariant", "damage"),
    [
        ("I-1", _mint_one_too_few),
        ("I-2", _give_one_voucher_two_owners),
        ("I-3", _give_one_user_two_vouchers),
        ("I-5", _lose_a_holder_of_an_entry),
        ("I-7", _open_later_than_the_first_claim),
        ("I-9", _bury_an_entry),
        ("I-13", _record_a_claim_of_an_epoch_to_come),
        ("I-13", _raise_the_epoch_behind_the_gates_back),
        ("I-14", _lose_a_claim_in_the_vault),
        ("I-14", _lose_a_holder_and_his_entry_at_the_gate),
        ("I-14n", _lose_a_free_number),
        ("I-14n", _free_a_held_number),
    ],
)
async def test_what_is_broken_by_hand_is_reported_and_nothing_else(
    open_books: OpenBooks, campaign_id: str, invariant: str, damage: Break
) -> None:
    """Each damage violates exactly its invariant, and the detail names the stock."""
    books = await open_books(small_campaign(campaign_id))
    await books.sell("a", "b")
    assert await violated(books) == []
    await damage(books)
    assert await violated(books) == [invariant]
    detail = next(each.detail for each in (await books.audit()).invariants if each.id == invariant)
    assert books.campaign.campaign_id in detail


async def test_a_claim_that_stays_on_its_way_is_reported(books: Books) -> None:
    """An entry that is not in the vault after a minute is stuck."""
    old_ms = int((await books.client.time())[0]) * 1000 - 61_000
    await books.client.delete(books.stock.keys.claims)
    fields = {"v": "1", "epoch": str((await books.row()).epoch), "claim_no": "1", "user_ref": user_ref("a")}
    await books.client.xadd(books.stock.keys.claims, fields, id=f"{old_ms}-0")  # type: ignore[arg-type]  # invariant mapping
    await books.client.lpop(books.stock.keys.free)
    await books.client.hset(books.stock.keys.holders, user_ref("a"), f"1:{fields['epoch']}:{old_ms}-0")
    await books.client.hset(books.stock.keys.progress, "committed", "0-0")
    assert await violated(books) == ["I-9"]


async def test_a_closed_gate_is_judged_on_the_vault_alone_and_said_so(books: Books) -> None:
    """After a restart of the gate the vault can still be audited."""
    await books.sell("a")
    await books.client.fcall("grab_close", 1, books.stock.keys.rules)
    report = await books.audit()
    assert report.ok
    assert "judged on the vault alone" in report.invariants[0].detail
    assert (report.stocks[0].claimed, report.stocks[0].booked) == (1, 1)


async def test_without_a_gate_nothing_is_said(books: Books) -> None:
    """A store that does not answer makes the audit impossible, not green."""
    away = gates.connect("unix:///nonexistent/valkey.sock", timeout_ms=200)
    with pytest.raises(AuditImpossible, match="does not answer"):
        await audit(books.vault, away)
    await away.aclose()
    await books.vault.close(timeout=timedelta(seconds=2).total_seconds())
    with pytest.raises(AuditImpossible):
        await audit(books.vault, books.client)
