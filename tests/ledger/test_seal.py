"""Sealed blocks: every row gets its place once, and whoever changes one is found, whatever he switches off."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import asyncpg
import pytest

from ledger import admin, seal
from ledger.admin import Action
from ledger.blocks import merkle_path, merkle_root
from ledger.chain import Anchor, check_chains
from ledger.journals import journals
from ledger.seal import seal_now
from tests.support.agreement import deed_of
from tests.support.till import Till
from tests.support.wait import wait_until

TABLES = ("claims", "events", "transfers", "redemptions", "reversals", "refunds", "fund_receipts")
OF_STAFF = ("vault_policy", "admin_requests", "admin_approvals", "admin_acts", "admin_deeds")
INSERT = (
    "INSERT INTO claims (stock_no, claim_no, round_no, limit_no, epoch, user_ref, stream_ms, stream_seq, recorded_at)"
    " SELECT stock_no, {claim_no}, round_no, limit_no, epoch, '{claim_no}hief' || right(user_ref, 18), stream_ms,"
    " 90 + {claim_no}, {recorded_at} FROM claims WHERE claim_no = 1"
)


async def faults(vault: asyncpg.Connection, *anchors: Anchor) -> list[tuple[str, int | None]]:
    """Check every chain; return the kind of journal and the block of each fault."""
    reports = await check_chains(vault, anchors)
    return [(fault.journal.split("/")[0], fault.block_no) for report in reports for fault in report.faults]


async def heads(vault: asyncpg.Connection) -> list[Anchor]:
    """Return every head, as it would be published."""
    return [
        Anchor(each.name, each.block_no, each.hash.hex()) for each in await journals(vault) if each.hash is not None
    ]


async def open_the_vault(vault: asyncpg.Connection) -> None:
    """Do what the owner of the database can do: drop every key and check and switch off every trigger."""
    await vault.execute(
        "DO $$ DECLARE r record; BEGIN"
        " FOR r IN SELECT conrelid::regclass AS t, conname FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'c', 'p', 'u') AND conislocal LOOP"
        " EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE', r.t, r.conname); END LOOP;"
        " FOR r IN SELECT DISTINCT tgrelid::regclass AS t FROM pg_trigger WHERE NOT tgisinternal LOOP"
        " EXECUTE format('ALTER TABLE %s DISABLE TRIGGER ALL', r.t); END LOOP; END $$"
    )


@pytest.fixture
def till(unsealed: Till) -> Till:
    """One whose rows nobody has sealed."""
    return unsealed


@pytest.fixture
async def sealed(till: Till, monkeypatch: pytest.MonkeyPatch) -> Till:
    """Three claims in two blocks, all kinds of money events in three, and what staff agreed on and did."""
    monkeypatch.setattr(seal, "BLOCK_ROWS_MAX", 2)
    vault = till.vault
    await deed_of(vault, Action.RECOVER, "gate")
    await admin.let_two_agree(vault, subject="li")
    await seal_now(vault)
    await till.reverse(await till.redeemed(1))
    await till.refund(await till.redeemed(2), 4_000)
    await till.lapse()
    await till.expire()
    await seal_now(vault)
    assert await faults(vault) == []
    return till


async def test_every_row_gets_one_place(till: Till) -> None:
    """What is in no block goes into the next; nothing is left, nothing is sealed twice, and repeats do nothing."""
    before = await seal_now(till.vault)
    names = {each.name: each for each in await journals(till.vault)}
    claims = names[f"claims/{till.books.stock.stock_id}"]
    assert (claims.block_no, claims.row_count) == (1, 3)
    assert len(before) == 2
    assert names[f"money/{till.books.campaign.campaign_id}"].block_no == 1
    assert await seal_now(till.vault) == []
    await till.redeemed(1)
    [block] = await seal_now(till.vault)
    assert (block.journal, block.block_no, block.rows) == (f"money/{till.books.campaign.campaign_id}", 2, 1)
    assert await faults(till.vault) == []


async def test_blocks_are_bounded(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows make many blocks, each a transaction of its own."""
    monkeypatch.setattr(seal, "BLOCK_ROWS_MAX", 1)
    sealed = [block for block in await seal_now(till.vault) if block.journal.startswith("claims/")]
    assert [(block.block_no, block.rows) for block in sealed] == [(1, 1), (2, 1), (3, 1)]
    assert await faults(till.vault) == []


async def test_a_transaction_under_way_is_not_passed_over(till: Till, more_tills: list[Till]) -> None:
    """Of two claims the later one commits first and is sealed first; the earlier one comes into the next block."""
    slow = more_tills[0].vault.transaction()
    await slow.start()
    await more_tills[0].vault.execute(INSERT.format(claim_no=4, recorded_at="now()"))
    await till.vault.execute(INSERT.format(claim_no=5, recorded_at="now()"))
    await seal_now(till.vault)
    await slow.commit()
    [block] = await seal_now(till.vault)
    assert (block.block_no, block.rows) == (2, 1)
    assert await faults(till.vault) == []


async def test_any_number_may_seal_at_once(till: Till, more_tills: list[Till]) -> None:
    """The lock lets one after the other, and without it keys refuse the second."""
    done = await asyncio.gather(*(seal_now(each.vault) for each in more_tills))
    assert sum(block.rows for blocks in done for block in blocks) == 3 + 3
    assert await faults(till.vault) == []


async def test_a_worker_seals_by_itself(till: Till) -> None:
    """Nobody has to run a command; two workers do no harm."""

    async def are_sealed() -> bool:
        return sum(each.row_count for each in await journals(till.vault)) == 3 + 3

    async with till.books.working(), till.books.working():
        await wait_until(are_sealed, "every row is in a block")
    assert await faults(till.vault) == []


@pytest.fixture
async def columns(vault: asyncpg.Connection) -> list[tuple[str, str, str]]:
    """Table, column and type of every column of a sealed journal that is not generated."""
    rows = await vault.fetch(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = ANY($1) AND is_generated = 'NEVER'",
        [*TABLES, *OF_STAFF],
    )
    return [tuple(row) for row in rows]


OTHER: dict[str, str] = {
    "integer": "coalesce({c}, 0) + 1",
    "bigint": "coalesce({c}, 0) + 1",
    "text": "coalesce({c}, '') || 'x'",
    "date": "{c} + 1",
    "boolean": "NOT {c}",
    "jsonb": """coalesce({c}, '{{}}') || '{{"forged": true}}'""",
    "timestamp with time zone": "coalesce({c}, now()) + interval '1 microsecond'",
}


async def test_a_changed_column_is_found_whichever_it_is(sealed: Till, columns: list[tuple[str, str, str]]) -> None:
    """One row of each table, one column after the other, by the owner of the database with everything switched off."""
    vault = sealed.vault
    await open_the_vault(vault)
    assert {table for table, _, _ in columns} == {*TABLES, *OF_STAFF}
    overlooked = []
    for table, column, kind in columns:
        change = vault.transaction(isolation="repeatable_read")
        await change.start()
        await vault.execute("ALTER TABLE " + table + " ALTER COLUMN " + column + " DROP IDENTITY IF EXISTS")
        done = await vault.execute(
            f"UPDATE {table} SET {column} = {OTHER[kind].format(c=column)}"  # noqa: S608  names of the catalogue
            f" WHERE ctid = (SELECT min(ctid) FROM {table})"
        )
        assert done == "UPDATE 1"
        if not await faults(vault):
            overlooked.append(f"{table}.{column}")
        await change.rollback()
    assert overlooked == []
    assert await faults(vault) == []


async def test_a_changed_row_names_its_block_and_no_other(sealed: Till) -> None:
    """The owner of a voucher is exchanged in the second block."""
    await open_the_vault(sealed.vault)
    await sealed.vault.execute("UPDATE claims SET user_ref = '1thief' || right(user_ref, 17) WHERE claim_no = 3")
    assert await faults(sealed.vault) == [("claims", 2)]


async def test_a_deleted_row_names_its_block(sealed: Till) -> None:
    """The rows around it stay, the block lacks one."""
    await open_the_vault(sealed.vault)
    await sealed.vault.execute("DELETE FROM claims WHERE claim_no = 2")
    assert await faults(sealed.vault) == [("claims", 1)]


async def test_a_deleted_transfer_names_its_block(sealed: Till) -> None:
    """Money without its transfer is found like an event that was changed."""
    await open_the_vault(sealed.vault)
    await sealed.vault.execute("DELETE FROM transfers WHERE event_no = (SELECT min(event_no) FROM events)")
    assert await faults(sealed.vault) == [("money", 1)]


@pytest.mark.parametrize("table", OF_STAFF)
async def test_a_deed_that_is_taken_away_is_found(sealed: Till, table: str) -> None:
    """Neither a request, an approval, an act, a deed nor the policy itself can go without a trace."""
    await open_the_vault(sealed.vault)
    await sealed.vault.execute(f"DELETE FROM {table}")  # noqa: S608  names of this file
    assert {journal for journal, _ in await faults(sealed.vault)} == {"staff"}


async def test_a_row_put_into_a_sealed_block_names_the_block(sealed: Till) -> None:
    """An inserted claim that is said to have been in the first block."""
    await open_the_vault(sealed.vault)
    await sealed.vault.execute(INSERT.format(claim_no=4, recorded_at="recorded_at"))
    await sealed.vault.execute(
        "INSERT INTO sealed_rows SELECT journal_no, 4, 1 FROM sealed_rows JOIN journals USING (journal_no)"
        " WHERE row_no = 1 AND stock_no IS NOT NULL"
    )
    assert await faults(sealed.vault) == [("claims", 1)]


async def test_a_row_dated_back_is_found_in_no_block_and_in_the_next(sealed: Till) -> None:
    """An inserted claim that looks old was not there when a block took all there was, also once it is sealed."""
    await open_the_vault(sealed.vault)
    await sealed.vault.execute(INSERT.format(claim_no=4, recorded_at="recorded_at - interval '2 minutes'"))
    assert await faults(sealed.vault) == [("claims", None)]
    await seal_now(sealed.vault)
    assert await faults(sealed.vault) == [("claims", 3)]


async def test_a_claim_after_the_end_of_its_round_is_found(sealed: Till) -> None:
    """A round that is over for good records nothing; a row that says otherwise was put there."""
    await sealed.vault.execute("UPDATE rounds SET sealed_at = clock_timestamp()")
    await open_the_vault(sealed.vault)
    await sealed.vault.execute(INSERT.format(claim_no=4, recorded_at="clock_timestamp()"))
    await seal_now(sealed.vault)
    assert await faults(sealed.vault) == [("claims", 3)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE sealed_blocks SET hash = sha256('x') WHERE block_no = 1 AND journal_no = $1", [1, 2]),
        ("UPDATE sealed_blocks SET sealed_at = sealed_at + interval '1s' WHERE block_no = 2 AND journal_no = $1", [2]),
        ("UPDATE sealed_blocks SET previous_hash = sha256('x') WHERE block_no = 2 AND journal_no = $1", [2, 2]),
        ("UPDATE sealed_rows SET block_no = 1 WHERE block_no = 2 AND journal_no = $1", [1, 2]),
        ("DELETE FROM sealed_blocks WHERE block_no = 1 AND journal_no = $1", [1, 2, 2]),
        ("DELETE FROM sealed_rows WHERE block_no = 2 AND journal_no = $1", [2]),
    ],
)
async def test_a_changed_chain_names_the_block(sealed: Till, change: str, named: list[int]) -> None:
    """Blocks and places are as well guarded as rows."""
    claims = next(each for each in await journals(sealed.vault) if each.block_no == 2 and each.stock_no)
    await open_the_vault(sealed.vault)
    await sealed.vault.execute(change, claims.journal_no)
    assert await faults(sealed.vault) == [("claims", block_no) for block_no in named]


async def test_a_chain_that_was_written_anew_is_found_by_a_head_that_was_published(sealed: Till) -> None:
    """Whoever owns the database can seal his own story; it has not the head that others keep."""
    published = await heads(sealed.vault)
    assert await faults(sealed.vault, *published) == []
    await open_the_vault(sealed.vault)
    await sealed.vault.execute("UPDATE claims SET user_ref = '1thief' || right(user_ref, 17) WHERE claim_no = 3")
    await sealed.vault.execute("DELETE FROM sealed_rows")
    await sealed.vault.execute("DELETE FROM sealed_blocks")
    await seal_now(sealed.vault)
    assert await faults(sealed.vault) == []
    assert ("claims", 2) in await faults(sealed.vault, *published)


async def test_a_chain_that_was_cut_off_is_found_by_a_head_that_was_published(sealed: Till) -> None:
    """Without the last block and its rows all looks well, but for the one who keeps the head; a lost journal too."""
    published = await heads(sealed.vault)
    await open_the_vault(sealed.vault)
    await sealed.vault.execute("DELETE FROM claims WHERE claim_no = 3")
    for table in ("sealed_rows", "sealed_blocks"):
        await sealed.vault.execute(
            f"DELETE FROM {table} USING journals j"  # noqa: S608  names of this test
            f" WHERE {table}.journal_no = j.journal_no AND block_no = 2 AND stock_no IS NOT NULL"
        )
    assert await faults(sealed.vault) == []
    assert await faults(sealed.vault, *published) == [("claims", 2)]
    gone = replace(published[0], journal="claims/of-another-vault")
    assert await faults(sealed.vault, gone) == [("claims", gone.block_no)]


BLOCK = "INSERT INTO sealed_blocks (journal_no, block_no, row_count, previous_hash, hash, sealed_at) VALUES "
JOURNAL = "(SELECT min(journal_no) FROM journals WHERE stock_no IS NOT NULL)"
EMPTY = "(SELECT max(journal_no) FROM journals WHERE stock_no IS NOT NULL)"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO journals (stock_no) SELECT min(stock_no) FROM stocks",
        "INSERT INTO journals (campaign_no) SELECT min(campaign_no) FROM campaigns",
        "INSERT INTO journals (stock_no) VALUES (999999)",
        "INSERT INTO journals (campaign_no) VALUES (999999)",
        "INSERT INTO journals (stock_no, campaign_no) VALUES (NULL, NULL)",
        "INSERT INTO journals (of_staff) VALUES (true)",
        "INSERT INTO journals (of_staff, stock_no) SELECT true, 999999",
        BLOCK + "(999999, 1, 1, NULL, sha256('x'), now())",
        BLOCK + "({journal}, 1, 1, NULL, sha256('x'), now())",
        BLOCK + "({journal}, 3, 1, sha256('x'), sha256('y'), now())",
        BLOCK + "({journal}, 3, 1, NULL, sha256('y'), now())",
        BLOCK + "({journal}, 0, 1, sha256('x'), sha256('y'), now())",
        BLOCK + "({empty}, 1, 0, NULL, sha256('y'), now())",
        BLOCK + "({empty}, 1, 1, NULL, 'short', now())",
        "INSERT INTO sealed_rows VALUES ({journal}, 1, 2)",
        "INSERT INTO sealed_rows VALUES ({journal}, 99, 9)",
    ],
)
async def test_what_breaks_a_chain_is_refused(sealed: Till, statement: str) -> None:
    """Places are given once, blocks follow each other, and both are of something."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await sealed.vault.execute(statement.format(journal=JOURNAL, empty=EMPTY))


async def test_a_number_is_of_one_journal(till: Till) -> None:
    """Rows and blocks name their journal by it."""
    begin = "INSERT INTO journals (journal_no, stock_no) OVERRIDING SYSTEM VALUE SELECT 1, {}(stock_no) FROM stocks"
    await till.vault.execute(begin.format("min"))
    with pytest.raises(asyncpg.UniqueViolationError):
        await till.vault.execute(begin.format("max"))


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("table", ["journals", "sealed_blocks", "sealed_rows"])
async def test_a_chain_is_append_only(sealed: Till, table: str, role: str) -> None:
    """Also for a session that poses as a replica."""
    await sealed.vault.execute(f"SET session_replication_role = {role}")
    for change in ("UPDATE {} SET journal_no = DEFAULT", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await sealed.vault.execute(change.format(table))


@pytest.mark.parametrize("count", range(1, 18))
def test_a_path_leads_from_every_line_to_the_root(count: int) -> None:
    """Whatever the number of lines is."""
    lines = [f"line {number}" for number in range(count)]
    for index, line in enumerate(lines):
        node = hashlib.sha256(b"\x00" + line.encode()).digest()
        for side, neighbour in merkle_path(lines, index):
            other = bytes.fromhex(neighbour)
            node = hashlib.sha256(b"\x01" + (other + node if side == "left" else node + other)).digest()
        assert node == merkle_root(lines)
