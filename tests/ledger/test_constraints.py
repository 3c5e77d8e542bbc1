"""The vault's own guards: each statement that would break a promise is refused by the database itself."""

from __future__ import annotations

import asyncpg
import pytest
import redis.asyncio as redis

from grab_service import embedded
from ledger import catalogue
from tests.support.books import Books, user_ref
from tests.support.campaigns import small_campaign

CLAIM = (
    "INSERT INTO claims (stock_no, claim_no, round_no, limit_no, epoch, user_ref, stream_ms, stream_seq, nth_of_round)"
    " SELECT stock_no, {claim_no}, {round_no}, {limit_no}, {epoch}, '{user}', 1, 1, {nth} FROM stocks ORDER BY stock_no"
)
GOOD = {
    "claim_no": "1",
    "round_no": "round_no",
    "limit_no": "limit_no",
    "epoch": "1",
    "user": user_ref("a"),
    "nth": "NULL",
}


def claim(**changes: str) -> str:
    """Return the statement that inserts a claim of the first stock."""
    return CLAIM.format(**(GOOD | changes)) + " LIMIT 1"


@pytest.fixture
async def books(
    vault: asyncpg.Connection,
    redis_client: redis.Redis,
    database_url: str,
    valkey_server: embedded.Server,
    campaign_id: str,
) -> Books:
    """Books that are loaded and never opened: a recovery would miss a guard before its test does."""
    books = Books(small_campaign(campaign_id), vault, redis_client, database_url, valkey_server.url)
    await books.load()
    return books


async def test_a_good_claim_is_accepted(books: Books) -> None:
    """The statement that the others vary is a good one."""
    assert await books.vault.execute(claim()) == "INSERT 0 1"


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"user": user_ref("b")}, "one_owner_per_voucher"),
        ({"claim_no": "2"}, "one_voucher_per_user"),
        ({"claim_no": "6", "user": user_ref("b")}, "claim_is_of_minted_voucher"),
        ({"claim_no": "0", "user": user_ref("b")}, "claim_is_of_minted_voucher"),
        ({"claim_no": "2", "limit_no": "99", "user": user_ref("b")}, "claim_is_of_minted_voucher"),
        ({"claim_no": "2", "round_no": "99", "user": user_ref("b")}, "claim_is_of_minted_voucher"),
        ({"claim_no": "2", "epoch": "0", "user": user_ref("b")}, "epoch_has_begun"),
        ({"claim_no": "2", "user": "short"}, "user_ref_is_a_reference"),
    ],
)
async def test_a_claim_that_breaks_a_promise_is_refused(books: Books, changes: dict[str, str], constraint: str) -> None:
    """Keys and checks hold whatever the code before them does."""
    await books.vault.execute(claim())
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await books.vault.execute(claim(**changes))
    assert refused.value.constraint_name == constraint


async def test_an_nth_voucher_of_a_round_is_given_once(books: Books) -> None:
    """Two stocks cannot both give a user the first voucher of a round."""
    await books.vault.execute(claim(nth="1"))
    second = CLAIM.format(**(GOOD | {"nth": "1"})) + " DESC LIMIT 1"
    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await books.vault.execute(second)
    assert refused.value.constraint_name == "one_nth_voucher_per_user_and_round"


@pytest.mark.parametrize("table", ["claims", "vouchers", "dead_letters"])
@pytest.mark.parametrize("change", ["UPDATE {} SET stock_no = stock_no", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_journals_are_append_only(books: Books, table: str, change: str, role: str) -> None:
    """Not even a superuser who poses as a replica changes a row without dropping the trigger."""
    async with books.vault.transaction():
        await books.vault.execute(f"SET LOCAL session_replication_role = {role}")
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            async with books.vault.transaction():
                await books.vault.execute(change.format(table))


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE stocks SET quantity = 0", "quantity_is_positive"),
        ("UPDATE stocks SET discount_fen = threshold_fen", "discount_is_below_threshold"),
        ("UPDATE stocks SET gate_tag = 'x'", "gate_tag_is_prefix"),
        ("UPDATE stocks SET quantity = quantity + 1", "voucher_belongs_to_its_stock"),
        ("UPDATE rounds SET closes_at = opens_at", "round_ends_after_it_begins"),
        ("UPDATE rounds SET round_limit = -1", "round_limit_is_not_negative"),
        ("UPDATE rounds SET recovery_deed_no = -1", "recovery_deed_is_there"),
        ("UPDATE campaigns SET fund_fen = 0", "fund_is_positive"),
        ("UPDATE campaigns SET pepper_version = 10", "pepper_version_is_a_digit"),
        ("UPDATE campaigns SET pepper_mark = 'short'", "pepper_mark_is_short"),
        (
            "INSERT INTO vouchers SELECT stock_no, 6, round_no, limit_no, quantity, sha256('x') FROM stocks LIMIT 1",
            "claim_no_is_within_quantity",
        ),
        (
            "INSERT INTO vouchers SELECT stock_no, 0, round_no, limit_no, quantity, sha256('x') FROM stocks LIMIT 1",
            "claim_no_is_within_quantity",
        ),
        (
            "INSERT INTO vouchers SELECT stock_no, 1, round_no, limit_no, quantity, sha256('x') FROM stocks LIMIT 1",
            "vouchers_pkey",
        ),
        (
            "INSERT INTO vouchers SELECT stock_no, 6, round_no, limit_no, 6, sha256('x') FROM stocks LIMIT 1",
            "voucher_belongs_to_its_stock",
        ),
        (
            (
                "INSERT INTO dead_letters (stock_no, stream_id, reason, entry, entry_digest, detail)"
                " SELECT stock_no, '1-1', 'WHIM', '{}', '\\x00', '' FROM stocks LIMIT 1"
            ),
            "reason_is_known",
        ),
    ],
)
async def test_facts_that_cannot_be_are_refused(books: Books, statement: str, constraint: str) -> None:
    """Each check is named as the fact that it holds."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await books.vault.execute(statement)
    assert refused.value.constraint_name == constraint


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_an_epoch_only_rises_and_a_round_is_sealed_once(books: Books, role: str) -> None:
    """Neither is taken back, also not by a session that poses as a replica."""
    await books.vault.execute("UPDATE rounds SET epoch = epoch + 2, sealed_at = now()")
    await books.vault.execute(f"SET session_replication_role = {role}")
    with pytest.raises(asyncpg.RestrictViolationError, match="only rises"):
        await books.vault.execute("UPDATE rounds SET epoch = epoch - 1")
    for change in ("NULL", "sealed_at + interval '1s'"):
        with pytest.raises(asyncpg.RestrictViolationError, match="sealed once"):
            await books.vault.execute(f"UPDATE rounds SET sealed_at = {change}")  # noqa: S608  of the line above


async def test_every_voucher_is_minted_with_the_hash_of_its_code(books: Books) -> None:
    """As many rows as the quantity, numbered 1..quantity, no hash twice."""
    rows = await books.vault.fetch("SELECT stock_no, claim_no, code_hash FROM vouchers")
    assert len({row["code_hash"] for row in rows}) == len(rows) == 10
    for stock in await books.rows():
        numbers = sorted(row["claim_no"] for row in rows if row["stock_no"] == stock.stock_no)
        assert numbers == [1, 2, 3, 4, 5]


async def test_loading_the_same_campaign_again_changes_nothing(books: Books) -> None:
    """The second load of the same file is harmless, a changed file under the same id is refused."""
    await books.load()
    assert await books.vault.fetchval("SELECT count(*) FROM vouchers") == 10
    books.campaign = books.campaign.model_copy(update={"fund_fen": 99_999_999})
    with pytest.raises(catalogue.CampaignDiffers, match="loaded already and differs"):
        await books.load()
