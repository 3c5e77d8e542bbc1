"""``grab doctor --fix`` on real servers: each part gets in by its own password, and nobody by another."""

from __future__ import annotations

import subprocess
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis

from grab_service import embedded, gate_users, store_users
from grab_service.gate import connect
from grab_service.gate_users import UsersRefused
from grab_service.settings import Settings
from grab_service.store_users import PasswordsInvalid
from ledger import logins, roles
from tests.support.guarded_stores import ADMIN, GATE_FILES, VAULT_FILES, administrators, as_user
from tests.support.own_gate import OwnGate
from tests.support.own_vault import OwnVault
from tests.support.rehearsals import grab


def _fix(own_gate: OwnGate, own_vault: OwnVault, directory: Path) -> subprocess.CompletedProcess[str]:
    return grab("doctor", "--fix", "--passwords", directory, **administrators(own_gate, own_vault))


async def test_each_part_gets_in_by_its_password_alone(
    own_gate: OwnGate, own_vault: OwnVault, passwords: dict[str, str], tmp_path: Path
) -> None:
    """Six users are made and kept; a second run finds them, another password is taken over, and none is ever told."""
    await own_gate.client.aclose()  # or the default user would be left open for it
    first, second = (_fix(own_gate, own_vault, tmp_path) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.count("made") == len(GATE_FILES)
    assert first.stdout.count("lets in") == len(VAULT_FILES)
    assert first.stdout.count("closed") == 1
    assert second.stdout.count("as it should be") == len(GATE_FILES) + len(VAULT_FILES) + 1
    passwords["gate-api"] = passwords["vault-api"] = "another-" + "q" * 32
    for name, password in (("gate-api", passwords["gate-api"]), ("vault-api", passwords["vault-api"] + "!")):
        (tmp_path / f"{name}.password").write_text(password)
    passwords["vault-api"] += "!"
    third = _fix(own_gate, own_vault, tmp_path)
    assert (third.stdout.count("set anew"), third.stdout.count("lets in")) == (1, 1)
    for done in (first, second, third):
        assert [told for told in passwords.values() if told in done.stdout + done.stderr] == []
    admin = connect(as_user(own_gate.server.url, "admin", ADMIN), 5000)
    assert await admin.acl_load()  # what was not kept in the file is gone now
    await admin.aclose()
    for user, name in GATE_FILES.items():
        assert await _ping(as_user(own_gate.server.url, user, passwords[name]))
        assert not await _ping(as_user(own_gate.server.url, user, "x" * 40))
    assert not await _ping(own_gate.server.url)
    for role, name in VAULT_FILES.items():
        part = await asyncpg.connect(as_user(own_vault.server.url, role, passwords[name]))
        assert await roles.powers_over_journals(part) == []
        await part.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(as_user(own_vault.server.url, role, "x" * 40))


async def _ping(url: str) -> bool:
    client = connect(url, 5000)
    try:
        return bool(await client.ping())
    except redis.ConnectionError:  # also what redis-py makes of a wrong password
        return False
    finally:
        await client.aclose()


async def test_who_may_not_make_users_is_refused(
    own_gate: OwnGate, own_vault: OwnVault, passwords: dict[str, str], tmp_path: Path
) -> None:
    """Staff's own users in both stores make nobody, and each refusal says what to connect as."""
    _fix(own_gate, own_vault, tmp_path)
    gate_url = as_user(own_gate.server.url, gate_users.STAFF, passwords["gate-staff"])
    vault_url = as_user(own_vault.server.url, roles.STAFF, passwords["vault-staff"])
    with pytest.raises(UsersRefused, match="connect as one who may"):
        await store_users.set_up(Settings(redis_url=gate_url), tmp_path)
    with pytest.raises(UsersRefused, match="connect as a superuser"):
        await store_users.set_up(Settings(database_url=vault_url), tmp_path)


async def test_a_gate_without_a_file_of_users_says_what_to_configure(
    redis_client: redis.Redis, valkey_server: embedded.Server, passwords: dict[str, str], tmp_path: Path
) -> None:
    """The users are there, the default one is left to whoever came by it, and the check does not pass."""
    assert passwords
    findings = await store_users.set_up(Settings(redis_url=valkey_server.url), tmp_path)
    told = {each.name: each for each in findings}
    assert (told["gate users kept"].verdict, told["gate user default"].verdict) == ("fail", "warn")
    assert "aclfile" in told["gate users kept"].advice
    assert set(GATE_FILES) <= set(await redis_client.acl_users())


@pytest.mark.parametrize("content", ["short", "p" * 15 + " " + "p" * 20, "é" * 40, "vault-api-" + "p" * 32])
def test_a_password_that_is_no_good_is_named(content: str, passwords: dict[str, str], tmp_path: Path) -> None:
    """Short, with a space, not ASCII, or somebody else's: nothing is read further, and the file is named."""
    assert passwords
    (tmp_path / "vault-staff.password").write_text(content)
    (tmp_path / "vault-ledger.password").unlink()
    with pytest.raises(PasswordsInvalid) as found:
        store_users.read_passwords(tmp_path, VAULT_FILES)
    ledger, staff = found.value.problems
    assert "vault-ledger.password: No such file" in ledger
    assert "vault-staff.password: a" in staff
    assert content not in staff


def test_a_verifier_is_of_its_password_only() -> None:
    """The example of RFC 7677, and nothing that is no verifier."""
    salt = b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81"
    made = logins.verifier("pencil", salt, 4096)
    assert made == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert logins.is_of(made, "pencil")
    assert not any(logins.is_of(kept, "pencil") for kept in ("", "md5" + "0" * 32, made[:-4] + "AAA="))
