"""The guards of clients and of two persons: whoever forges one or the other by hand is refused by the vault itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg
import pytest

from tests.support.copied_rows import refusal_of_a_copy

SECOND = {"key_id": "'bank-1.2'", "key_no": "2"}
NEW_KEY = {"public_key": "sha256('new')"}
UNAPPROVED = {"request_no": "(SELECT max(request_no) FROM admin_requests)"}

# By table: each guard with the changes to a good row that it must refuse.
FORGED: Mapping[str, Sequence[tuple[str, Mapping[str, str]]]] = {
    "clients": [
        ("clients_pkey", {}),
        ("client_id_is_a_name", {"client_id": "'Bank'"}),
        ("client_facts_are_bounded", {"client_id": "'bank-2'", "name": "''"}),
        ("client_facts_are_bounded", {"client_id": "'bank-2'", "added_by": "E'a\\nb'"}),
        ("client_scopes_are_known", {"client_id": "'bank-2'", "scopes": "'{grab:claim}'"}),
        ("client_scopes_are_known", {"client_id": "'bank-2'", "scopes": "'{}'"}),
        ("merchants_are_numbers", {"client_id": "'bank-2'", "merchants": "'{12}'"}),
    ],
    "client_keys": [
        ("client_keys_pkey", {}),
        ("client_keys_client_id_fkey", {"key_id": "'bank-9.1'", "client_id": "'bank-9'"} | NEW_KEY),
        ("key_id_follows", SECOND | NEW_KEY | {"key_id": "'bank-2.2'"}),
        ("algorithm_is_known", SECOND | {"algorithm": "'rsa'", "public_key": "NULL"}),
        ("only_ed25519_is_stored", SECOND | {"public_key": "NULL"}),
        ("only_ed25519_is_stored", SECOND | NEW_KEY | {"algorithm": "'hmac-sha256'"}),
        ("public_key_is_ed25519", SECOND | {"public_key": "'\\x00'"}),
        ("key_ends", SECOND | NEW_KEY | {"valid_until": "valid_from + interval '401 days'"}),
        ("key_is_added_by_name", SECOND | NEW_KEY | {"added_by": "''"}),
        ("one_client_per_public_key", SECOND),
    ],
    "request_nonces": [
        ("one_request_per_nonce", {}),
        ("nonce_is_bounded", {"nonce": "'short'"}),
    ],
    "admin_requests": [
        ("admin_requests_pkey", {"request_no": "request_no"}),
        ("action_is_known", {"action": "'whim'"}),
        ("admin_request_is_stated", {"reason": "''"}),
    ],
    "admin_approvals": [
        ("admin_approvals_pkey", {}),
        ("approval_is_of_its_request", UNAPPROVED | {"requested_by": "'zhao'"}),
        ("two_persons", UNAPPROVED | {"approved_by": "requested_by"}),
        ("approval_is_stated", UNAPPROVED | {"reason": "''"}),
    ],
    "admin_acts": [
        ("one_act_per_approval", {}),
        ("admin_acts_request_no_fkey", UNAPPROVED),
        ("act_is_by_somebody", UNAPPROVED | {"done_by": "''"}),
    ],
}

GOOD = (
    (
        "INSERT INTO clients (client_id, name, scopes, merchants, added_by)"
        " VALUES ('bank-1', 'Bank', '{merchant:redeem}', '{*}', 'li')"
    ),
    (
        "INSERT INTO client_keys (key_id, client_id, key_no, algorithm, public_key, valid_from, valid_until, added_by)"
        " VALUES ('bank-1.1', 'bank-1', 1, 'ed25519', sha256('key'), now(), now() + interval '90 days', 'li')"
    ),
    "INSERT INTO request_nonces (client_id, nonce) VALUES ('bank-1', '0123456789abcdef')",
    (
        "INSERT INTO admin_requests (action, target, reason, requested_by)"
        " VALUES ('fund', 'one', 'why', 'li'), ('fund', 'two', 'why', 'li')"
    ),
    (
        "INSERT INTO admin_approvals (request_no, requested_by, approved_by, reason)"
        " SELECT min(request_no), 'li', 'wang', 'yes' FROM admin_requests"
    ),
    "INSERT INTO admin_acts (request_no, done_by) SELECT request_no, 'li' FROM admin_approvals",
)


@pytest.fixture
async def known(vault: asyncpg.Connection) -> asyncpg.Connection:
    """A vault that knows a client with a key, a request that was approved and done, and one that waits."""
    for statement in GOOD:
        await vault.execute(statement)
    return vault


@pytest.mark.parametrize("table", FORGED)
async def test_each_forged_row_is_refused_by_its_guard(known: asyncpg.Connection, table: str) -> None:
    """The copies differ from good rows in what one guard forbids, and that guard says no."""
    expected = [(guard, changes) for guard, changes in FORGED[table]]
    found = [(await refusal_of_a_copy(known, table, "true", changes), changes) for _, changes in FORGED[table]]
    assert found == expected


async def test_a_client_has_each_number_once_even_without_the_key_of_keys(known: asyncpg.Connection) -> None:
    """The numbers of a client's keys hold by themselves."""
    await known.execute("ALTER TABLE client_keys DROP CONSTRAINT client_keys_pkey CASCADE")
    assert await refusal_of_a_copy(known, "client_keys", "true", NEW_KEY) == "client_keys_client_id_key_no_key"


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE clients SET name = 'Other'",
        "UPDATE clients SET scopes = '{merchant:redeem,merchant:register}'",
        "UPDATE client_keys SET public_key = sha256('other')",
        "UPDATE client_keys SET valid_until = valid_until + interval '1 s'",
        "DELETE FROM clients",
        "TRUNCATE clients CASCADE",
        "DELETE FROM client_keys",
        "TRUNCATE client_keys CASCADE",
    ],
)
async def test_trust_only_shrinks(known: asyncpg.Connection, role: str, change: str) -> None:
    """Not even a superuser who poses as a replica widens or forgets what a client may do."""
    await known.execute(f"SET session_replication_role = {role}")
    with pytest.raises(asyncpg.RestrictViolationError):
        await known.execute(change)


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_a_revocation_is_for_good(known: asyncpg.Connection, role: str) -> None:
    """A key ends sooner and is revoked, once; nothing brings it or its client back."""
    await known.execute(f"SET session_replication_role = {role}")
    await known.execute("UPDATE client_keys SET valid_until = valid_until - interval '1 s'")
    for table in ("client_keys", "clients"):
        await known.execute(f"UPDATE {table} SET revoked_at = now()")  # noqa: S608  names of this file
        with pytest.raises(asyncpg.RestrictViolationError):
            await known.execute(f"UPDATE {table} SET revoked_at = NULL")  # noqa: S608  names of this file


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("table", ["admin_requests", "admin_approvals", "admin_acts"])
async def test_what_two_persons_did_is_append_only(known: asyncpg.Connection, role: str, table: str) -> None:
    """Who asked, who agreed and who acted is never written anew."""
    await known.execute(f"SET session_replication_role = {role}")
    fact = "reason" if table == "admin_requests" else "request_no"
    for change in ("UPDATE {} SET {fact} = {fact}", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await known.execute(change.format(table, fact=fact))
