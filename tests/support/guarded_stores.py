"""A gate and a vault of one test's own that ask for passwords, and the files of the parts' passwords."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from grab_service import embedded, gate_users
from ledger import roles
from tests.support.own_gate import OwnGate
from tests.support.own_vault import OwnVault

ADMIN = "a" * 40
GATE_FILES = {gate_users.API: "gate-api", gate_users.LEDGER: "gate-ledger", gate_users.STAFF: "gate-staff"}
VAULT_FILES = {roles.API: "vault-api", roles.LEDGER: "vault-ledger", roles.STAFF: "vault-staff"}


def as_user(url: str, user: str, password: str) -> str:
    """Return the URL of a store with a user and his password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture
def passwords(tmp_path: Path) -> dict[str, str]:
    """A password for each user, in files of ``tmp_path``; by the file's name."""
    made = {name: f"{name}-{'p' * 32}" for name in itertools.chain(GATE_FILES.values(), VAULT_FILES.values())}
    for name, password in made.items():
        (tmp_path / f"{name}.password").write_text(f"{password}\n")
    return made


@pytest.fixture
async def own_gate(server_dir: Path) -> AsyncIterator[OwnGate]:
    """A gate that keeps its users in a file and has an administrator besides the default user."""
    directory = server_dir / "users"
    directory.mkdir()
    (directory / "users.acl").write_text(f"user default on nopass ~* &* +@all\nuser admin on >{ADMIN} ~* &* +@all\n")
    gate = OwnGate(directory, {**embedded.VALKEY_SETTINGS, "aclfile": str(directory / "users.acl")})
    await gate.start()
    yield gate
    await gate.client.aclose()
    gate.kill()
    gate.wipe()


@pytest.fixture
async def own_vault(server_dir: Path) -> AsyncIterator[OwnVault]:
    """A vault that asks everybody but its owner for a password."""
    vault = OwnVault(server_dir / "logins")
    hba = server_dir / "logins" / "pg_hba.conf"
    hba.write_text("local all grab trust\nlocal all all scram-sha-256\n")
    await vault.start()
    await vault.migrate()
    yield vault
    vault.stop()
    shutil.rmtree(hba.parent)


def administrators(gate: OwnGate, vault: OwnVault) -> dict[str, str]:
    """Return the settings of those who may make users."""
    return {"GRAB_REDIS_URL": as_user(gate.server.url, "admin", ADMIN), "GRAB_DATABASE_URL": vault.server.url}
