"""The service under the roles that a deployment gives it: it works, and what it need not do is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from grab_service.minting import mint
from ledger import catalogue, roles
from ledger.audit import audit
from ledger.lockouts import lockouts, unlock
from ledger.seal import seal_now
from tests.api.conftest import Site
from tests.api.test_ops import staff
from tests.api.test_redemptions import cashier
from tests.support.campaigns import small_campaign
from tests.support.staff_pages import Desk, staff_token
from tests.support.till import SHOP, add_merchant, new_number, receive_fund

JOURNALS = {
    "accounts",
    "admin_acts",
    "admin_approvals",
    "admin_requests",
    "balances",
    "claims",
    "dead_letters",
    "events",
    "fund_receipts",
    "hold_ends",
    "holds",
    "journals",
    "merchant_decisions",
    "posting_rules",
    "redemptions",
    "refunds",
    "requests",
    "reversals",
    "sealed_blocks",
    "sealed_rows",
    "settlement_items",
    "settlement_lines",
    "settlement_payouts",
    "settlements",
    "signals",
    "transfers",
    "vouchers",
}


def _as_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))


async def _login(vault: asyncpg.Connection, url: str, group: str) -> str:
    """Make a login of one of the roles, as an operator does; return the URL to connect with."""
    name = f"test_{group}"
    if not await vault.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", name):
        await vault.execute(f"CREATE ROLE {name} LOGIN IN ROLE {group}")
    return _as_user(url, name)


@pytest.fixture
async def serving_url(vault: asyncpg.Connection, database_url: str) -> str:
    """The URL of a login that serves."""
    await roles.create(vault)
    await roles.create(vault)  # again, as after each migration
    return await _login(vault, database_url, roles.SERVICE)


@pytest.fixture
async def serving(serving_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the service."""
    connection = await asyncpg.connect(serving_url)
    yield connection
    await connection.close()


async def test_no_journal_can_be_changed_by_the_service(vault: asyncpg.Connection, serving: asyncpg.Connection) -> None:
    """Each way to change a journal is refused by the rights already, before any trigger."""
    found = set(await roles.powers_over_journals(vault))
    assert found >= JOURNALS  # the superuser's
    assert await roles.powers_over_journals(serving) == []
    for table in sorted(found):
        column = await vault.fetchval(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = 1", table
        )
        for forbidden in (
            f"UPDATE {table} SET {column} = DEFAULT",  # noqa: S608  names of the catalogue
            f"DELETE FROM {table}",  # noqa: S608  names of the catalogue
            f"TRUNCATE {table} CASCADE",
            f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            f"DROP TABLE {table} CASCADE",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await serving.execute(forbidden)


@pytest.mark.parametrize(
    "forbidden",
    [
        "SET session_replication_role = replica",
        "SET ROLE grab_owner",
        "CREATE TABLE more (a int)",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "DROP TRIGGER claims_are_append_only ON claims",
        "CREATE ROLE another SUPERUSER",
        "INSERT INTO schema_migrations VALUES ('9999_none', 'x')",
        "DELETE FROM balances",
        "UPDATE balances SET balance_fen = balance_fen + 1",
        "CREATE TEMPORARY TABLE lever (a int)",
        "UPDATE stocks SET quantity = quantity + 1",
        "UPDATE stocks SET available_until = 'infinity'",
        "UPDATE rounds SET closes_at = 'infinity'",
        "UPDATE campaigns SET fund_fen = fund_fen + 1",
        "UPDATE merchants SET name = 'another'",
        "DELETE FROM clients",
        "COPY claims TO PROGRAM 'cat'",
        "SELECT pg_read_file('postgresql.conf')",
    ],
)
async def test_the_service_cannot_help_itself(serving: asyncpg.Connection, forbidden: str) -> None:
    """Nothing gives it more than it was given."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await serving.execute(forbidden)


async def test_the_service_changes_what_it_must(serving: asyncpg.Connection) -> None:
    """What a pause, a recovery, a seal, a decision and a revocation write, it may write."""
    for table, columns in (
        ("stocks", "paused, paused_until, pause_deed_no"),
        ("rounds", "epoch, gate_run_id, sealed_at"),
        ("merchants", "state, decision_no"),
        ("clients", "revoked_at"),
        ("client_keys", "valid_until, revoked_at"),
    ):
        await serving.execute(f"UPDATE {table} SET ({columns}) = ROW ({columns}) WHERE false")  # noqa: S608  of this file


async def test_no_trigger_of_ones_own_moves_a_balance(vault: asyncpg.Connection, serving: asyncpg.Connection) -> None:
    """Even where temporary tables are allowed, a trigger on one has no more rights than who made it."""
    await vault.execute(
        "GRANT TEMPORARY ON DATABASE " + await vault.fetchval("SELECT current_database()") + " TO PUBLIC"
    )
    await serving.execute("CREATE TEMPORARY TABLE lever (a int)")
    await serving.execute(
        "CREATE FUNCTION pg_temp.pull() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN UPDATE public.balances SET balance_fen = balance_fen + 1; RETURN NULL; END'"
    )
    await serving.execute(
        "CREATE TRIGGER pulled AFTER INSERT ON lever FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.pull()"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="balances"):
        await serving.execute("INSERT INTO lever VALUES (1)")


async def test_the_auditor_reads_and_writes_nothing(vault: asyncpg.Connection, database_url: str) -> None:
    """It sees every table and changes none."""
    await roles.create(vault)
    connection = await asyncpg.connect(await _login(vault, database_url, roles.AUDITOR))
    try:
        for table in sorted(JOURNALS):
            await connection.fetch(f"SELECT * FROM {table} LIMIT 1")  # noqa: S608  names of the list above
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"INSERT INTO {table} DEFAULT VALUES")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE stocks SET paused = true")
    finally:
        await connection.close()


async def test_the_owner_cannot_log_in(vault: asyncpg.Connection, database_url: str, serving_url: str) -> None:
    """Who owns the tables can be nobody's login."""
    assert serving_url
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(_as_user(database_url, roles.OWNER))
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert [row["tableowner"] for row in await vault.fetch(owners)] == [roles.OWNER]


@pytest.fixture
async def part_urls(vault: asyncpg.Connection, database_url: str) -> dict[str, str]:
    """The URLs of a login for each part."""
    await roles.create(vault)
    return {group: await _login(vault, database_url, group) for group in (roles.API, roles.LEDGER, roles.STAFF)}


@pytest.mark.parametrize(
    ("part", "forbidden"),
    [
        (roles.API, ("claims", "fund_receipts", "clients", "client_keys", "campaigns", "vouchers", "admin_approvals")),
        (roles.LEDGER, ("redemptions", "fund_receipts", "clients", "campaigns", "requests", "admin_requests")),
        (roles.STAFF, ("redemptions", "requests", "request_nonces", "vault_policy", "schema_migrations")),
    ],
)
async def test_a_part_writes_what_is_its_own(part_urls: dict[str, str], part: str, forbidden: tuple[str, ...]) -> None:
    """What another part adds is refused to it, and nobody else's columns change."""
    connection = await asyncpg.connect(part_urls[part])
    try:
        for table in forbidden:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"INSERT INTO {table} DEFAULT VALUES")
        if part is not roles.STAFF:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("UPDATE rounds SET epoch = epoch + 1")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("UPDATE client_keys SET valid_until = now()")
    finally:
        await connection.close()


async def test_a_campaign_is_stored_under_the_role_of_staff(part_urls: dict[str, str], site: Site) -> None:
    """Every row that a campaign begins with is one that staff may add."""
    campaign = small_campaign(f"{site.campaign.campaign_id}-more")
    staffs = await asyncpg.connect(part_urls[roles.STAFF])
    try:
        await catalogue.load_campaign(staffs, mint(campaign, site.codes))
        assert campaign.campaign_id in await catalogue.documents(site.vault)
    finally:
        await staffs.close()


async def test_claims_and_payments_work_under_the_roles(part_urls: dict[str, str], site: Site) -> None:
    """Recovery as staff, the worker as the ledger, claim, use, reversal and pause as the API; the audit is green."""
    await site.stop_worker()
    await receive_fund(site.vault, site.campaign.campaign_id)
    await add_merchant(site.vault, SHOP)
    owner = site.vault
    site.vault = await asyncpg.connect(part_urls[roles.STAFF])
    site.exit.push_async_callback(site.vault.close)
    await site.recover()
    site.settings = site.settings.model_copy(update={"database_url": part_urls[roles.LEDGER]})
    site.start_worker()
    api = await site.serve(database_url=part_urls[roles.API], unknown_codes_day_max=1)
    path = f"/v1/stocks/{site.stock_id}/claims"
    claim = await api.post(path, headers=site.bearer("u1"))
    assert claim.status_code == 201, claim.text
    assert (await api.post(path, headers=site.bearer("u1"))).status_code == 200
    assert await owner.fetchval("SELECT count(*) FROM claims") == 1
    till = cashier(site.settings)
    payment = {
        "out_request_no": new_number(),
        "voucher_code": claim.json()["voucher_code"],
        "merchant_no": SHOP,
        "order_no": new_number(),
        "order_amount_fen": 10_000,
        "channel": "payment_code",
    }
    used = await api.post("/v1/redemptions", json=payment, headers=till)
    assert used.status_code == 201, used.text
    undone = await api.post(f"/v1/redemptions/{used.json()['redemption_id']}/reversal", headers=till)
    assert undone.status_code == 200, undone.text
    pause = await api.post(f"/v1/admin/stocks/{site.stock_id}/pause", json={"reason": "x"}, headers=staff(site))
    assert pause.status_code == 200, pause.text
    guess = payment | {"out_request_no": new_number(), "voucher_code": "0" * 17}
    assert (await api.post("/v1/redemptions", json=guess, headers=till)).status_code == 404
    [locked] = await lockouts(site.vault, 10)
    assert await unlock(site.vault, locked.caller, locked.merchant_no, subject="li", reason="x")
    assert await seal_now(site.vault)
    report = await audit(site.vault, site.client)
    assert report.ok, [each for each in report.invariants if not each.ok]


async def test_the_pages_of_staff_settle_with_the_rights_of_staff_alone(
    site: Site, vault: asyncpg.Connection, database_url: str
) -> None:
    """With the API's own role a period cannot be frozen, and the page says what to do; with that of staff it can."""
    await site.stop_worker()
    await roles.create(vault)
    api_url, staff_url = [await _login(vault, database_url, role) for role in (roles.API, roles.STAFF)]
    facts = {"campaign": site.campaign.campaign_id, "until": "2024-02-03", "reason": "due"}
    for url, status in (("", 403), (staff_url, 303)):
        api = await site.serve(database_url=api_url, staff_database_url=url)
        desk = Desk(str(api.base_url), staff_token(site.settings, "li"))
        assert (await desk.sign_in()).status_code == 303
        assert (await desk.get("/staff/settlements")).status_code == 200
        frozen = await desk.send("/staff/settlements", facts)
        assert (frozen.status_code, "GRAB_STAFF_DATABASE_URL" in frozen.text) == (status, status == 403)
        await desk.client.aclose()
