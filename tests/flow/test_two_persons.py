"""Two persons, and the keys of clients, as operators handle them on the command line."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grab_service import embedded, resources, signatures
from grab_service.gate import Gate
from grab_service.keeper import open_the_gate, stored_stocks
from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import Settings
from ledger.recover import RecoveryFailed
from tests.support.rehearsals import grab
from tests.support.staff import StaffIssuer

SCOPES = "admin:clients admin:fund admin:round admin:settle"


class Office:
    """A deployment in which two persons must agree, and the tokens of its staff."""

    def __init__(self, directory: Path, database_url: str, redis_url: str = "") -> None:
        self.directory = directory
        self.keys = RehearsalKeys(directory / "keys")
        self.keys.make()
        self.issuer = StaffIssuer(directory)
        self.settings = Settings(
            database_url=database_url,
            redis_url=redis_url,
            two_persons=True,
            staff_jwks_file=self.issuer.jwks_file,
            **self.keys.settings(),  # type: ignore[arg-type]  # pydantic checks them
        )
        (directory / "settings.toml").write_text(self.settings.toml())

    def token(self, name: str, scope: str = SCOPES) -> Path:
        """Return the file with a token of somebody of the staff."""
        file = self.directory / f"{name}.token"
        file.write_text(self.issuer.token(name, scope) + "\n")
        return file

    def run(self, *arguments: str | Path, by: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``grab`` as somebody of the staff."""
        who: list[str | Path] = ["--staff-token-file", self.token(by)] if by else []
        return grab(*arguments, *who, "--data-dir", self.directory)

    def asked(self, action: str, target: str) -> str:
        """Let Li ask, who cannot approve it himself, and return the number of the request."""
        asked = self.run("admin", "request", action, target, "--reason", "needed", by="li")
        assert asked.returncode == 0, asked.stderr
        number = asked.stdout.strip()
        alone = self.run("admin", "approve", number, "--reason", "checked", by="li")
        assert (alone.returncode, "somebody else must approve" in alone.stderr) == (1, True)
        return number

    def forget_setting(self) -> None:
        """Take the setting out of the environment; what the vault says stands."""
        file = self.directory / "settings.toml"
        file.write_text(file.read_text().replace("two_persons = true\n", ""))

    def agreed(self, action: str, target: str) -> str:
        """Let two persons agree, and return the number of the request."""
        asked = self.run("admin", "request", action, target, "--reason", "needed", by="li")
        assert asked.returncode == 0, asked.stderr
        number = asked.stdout.strip()
        approved = self.run("admin", "approve", number, "--reason", "checked", by="wang")
        assert approved.returncode == 0, approved.stderr
        return number


@pytest.fixture
def office(tmp_path: Path, database_url: str) -> Office:
    """A deployment in which two persons must agree."""
    return Office(tmp_path, database_url)


def public_key(directory: Path) -> Path:
    """Write a new public key into a file."""
    file = directory / "bank.pem"
    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes(pem)
    return file


def add_bank(file: Path) -> list[str | Path]:
    """Return the command that adds a client."""
    facts: list[str | Path] = ["--name", "银行", "--scope", "merchant:redeem", "--merchant", "*"]
    return ["clients", "add", "bank-1", *facts, "--public-key", file]


async def test_a_client_is_added_by_two_persons(vault: asyncpg.Connection, office: Office) -> None:
    """Alone nobody adds one; the refusal says what to ask for, and an approval permits one act."""
    command = add_bank(public_key(office.directory))
    alone = office.run(*command, by="li")
    assert alone.returncode == 1
    assert await vault.fetchval("SELECT count(*) FROM clients") == 0
    target = alone.stderr.partition("admin request clients '")[2].partition("' --reason")[0]
    assert target.startswith("add bank-1 for merchant:redeem at * with sha256:")
    number = office.agreed("clients", target)
    done = office.run(*command, "--request", number, by="li")
    assert done.returncode == 0, done.stderr
    again = office.run(*command, "--request", number, by="li")
    assert again.returncode == 1
    assert "used already" in again.stderr
    steps = json.loads(office.run("admin", "list", "--json").stdout)
    told = [(step["step"], step["subject"], step["reason"]) for step in steps if step["request_no"]]
    wanted = [("BEGUN", "li", ""), ("DONE", "li", "needed"), ("APPROVED", "wang", "checked")]
    assert told == [*wanted, ("REQUESTED", "li", "needed")]
    assert await vault.fetchval("SELECT added_by FROM clients") == "li"


async def test_the_vault_says_that_two_must_agree_whatever_the_environment_says(
    vault: asyncpg.Connection, office: Office
) -> None:
    """Whoever takes the setting out of his own settings, or names himself, gets no further."""
    assert office.run("migrate", "--two-persons").returncode == 0
    office.forget_setting()
    command = add_bank(public_key(office.directory))
    for words in (command, [*command, "--actor", "li"]):
        refused = office.run(*words)
        assert refused.returncode == 1
        assert "two persons must agree" in refused.stderr
    assert await vault.fetchval("SELECT count(*) FROM clients") == 0
    assert [row[0] for row in await vault.fetch("SELECT action FROM admin_deeds")] == ["policy"]


async def test_nobody_approves_what_he_has_asked_for(vault: asyncpg.Connection, office: Office) -> None:
    """Two persons are two subjects, and one of them is not enough."""
    target = "qijiang-2023 1000 ref-1 2023-11-01"
    number = office.run("admin", "request", "fund", target, "--reason", "needed", by="li").stdout.strip()
    refused = office.run("admin", "approve", number, "--reason", "checked", by="li")
    assert refused.returncode == 1
    assert "somebody else must approve" in refused.stderr
    command = ["fund", "qijiang-2023", "1000", "--reference", "ref-1", "--received-on", "2023-11-01"]
    unapproved = office.run(*command, "--request", number, by="li")
    assert "not approved" in unapproved.stderr
    assert await vault.fetchval("SELECT count(*) FROM admin_approvals") == 0


async def test_an_approval_is_for_that_very_act(office: Office) -> None:
    """Neither for another action nor for another amount."""
    number = office.agreed("fund", "qijiang-2023 1000 ref-1 2023-11-01")
    command = ["fund", "qijiang-2023", "2000", "--reference", "ref-1", "--received-on", "2023-11-01"]
    refused = office.run(*command, "--request", number, by="li")
    assert refused.returncode == 1
    assert "says something else" in refused.stderr


@pytest.mark.timeout(240)  # many commands one after the other
async def test_two_persons_store_a_campaign_and_open_its_gate(
    vault: asyncpg.Connection,
    database_url: str,
    valkey_server: embedded.Server,
    empty_gate: redis.Redis,
    tmp_path: Path,
) -> None:
    """With the vault's policy alone: neither is done by one, nor approved by whoever has asked, nor done twice."""
    office = Office(tmp_path, database_url, valkey_server.url)
    assert office.run("migrate", "--two-persons").returncode == 0
    office.forget_setting()
    file = resources.default_campaign()
    load: list[str | Path] = ["campaign", "load", file]
    target = f"qijiang-2023 sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    refused = office.run(*load, by="li")
    assert (refused.returncode, f"grab admin request open '{target}'" in refused.stderr) == (1, True)
    number = office.asked("open", target)
    assert office.run("admin", "approve", number, "--reason", "read", by="wang").returncode == 0
    loaded = office.run(*load, "--request", number, by="li")
    assert loaded.returncode == 0, loaded.stderr
    with pytest.raises(RecoveryFailed, match="two persons must agree"):
        await open_the_gate(office.settings)
    number = office.asked("recover", "gate")
    assert office.run("recover", "--request", number, by="li").returncode == 1
    assert await vault.fetchval("SELECT max(epoch) FROM rounds") == 0
    assert office.run("admin", "approve", number, "--reason", "seen", by="wang").returncode == 0
    opened = office.run("recover", "--request", number, by="li")
    assert opened.returncode == 0, opened.stderr
    assert await vault.fetchval("SELECT min(epoch) FROM rounds") == 1
    again = office.run("recover", "--request", number, by="li")
    assert (again.returncode, "used already" in again.stderr) == (1, True)
    stocks = await stored_stocks(vault)
    assert all(counts.is_open for counts in await Gate(empty_gate).counts(stocks))
    done = await vault.fetch("SELECT action, subject FROM admin_deeds WHERE request_no IS NOT NULL ORDER BY deed_no")
    assert [tuple(row) for row in done] == [("open", "li"), ("recover", "li")]


@pytest.mark.parametrize("scope", ["admin:settle", "admin:fund"])
def test_a_staff_token_must_allow_the_act(office: Office, scope: str) -> None:
    """A user's token, or one for other acts, asks for nothing."""
    file = office.token("li", scope)
    arguments: list[str | Path] = [
        "admin",
        "request",
        "recover",
        "gate",
        "--reason",
        "needed",
        "--staff-token-file",
        file,
    ]
    refused = grab(*arguments, "--data-dir", office.directory)
    assert refused.returncode == 1
    assert "admin:round" in refused.stderr


def test_without_a_token_nobody_is_anybody(office: Office) -> None:
    """The subject comes from the token alone."""
    refused = office.run("admin", "request", "recover", "gate", "--reason", "needed")
    assert refused.returncode == 1
    assert "GRAB_STAFF_TOKEN" in refused.stderr


async def test_the_journal_cannot_be_rewritten_and_two_persons_are_a_key(
    vault: asyncpg.Connection, office: Office
) -> None:
    """Also whoever writes to the vault directly is refused."""
    office.agreed("recover", "gate")
    with pytest.raises(asyncpg.CheckViolationError, match="two_persons"):
        await vault.execute(
            "WITH asked AS (SELECT request_no FROM admin_requests)"
            " INSERT INTO admin_approvals (request_no, requested_by, approved_by, reason)"
            " SELECT request_no, 'li', 'li', 'x' FROM asked"
        )
    for table in ("admin_requests", "admin_approvals", "admin_acts"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await vault.execute(f"DELETE FROM {table}")  # noqa: S608  names of this file


async def test_a_clients_keys_are_rotated_and_revoked(vault: asyncpg.Connection, office: Office) -> None:
    """In a rehearsal one person is enough; the secret of an HMAC is written for its owner alone."""
    office.forget_setting()
    added = office.run(*add_bank(public_key(office.directory)), "--actor", "li")
    assert (added.returncode, added.stdout) == (0, "bank-1 may call with key bank-1.1\n"), added.stderr
    secret = office.directory / "bank.secret"
    rotated = office.run("clients", "rotate", "bank-1", "--actor", "li", "--secret-file", secret)
    assert rotated.returncode == 0, rotated.stderr
    key = office.settings.client_key_file
    assert key is not None
    assert secret.read_bytes().strip() == signatures.hmac_secret(key.read_bytes().strip(), "bank-1.2")
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text().strip() not in rotated.stdout + rotated.stderr
    revoke = ["clients", "revoke", "bank-1.1", "--reason", "lost"]
    assert office.run(*revoke, "--actor", "li").returncode == 0
    assert office.run(*revoke).returncode == 1
    deeds = await vault.fetch("SELECT action, target, subject, reason FROM admin_deeds ORDER BY deed_no")
    assert [row["action"] for row in deeds] == ["clients", "clients", "revoke"]
    assert tuple(deeds[-1]) == ("revoke", "bank-1.1", "li", "lost")
    listed = json.loads(office.run("clients", "list", "--json").stdout)
    assert [(each["key_id"], each["revoked_at"] is None) for each in listed] == [
        ("bank-1.1", False),
        ("bank-1.2", True),
    ]
    with pytest.raises(asyncpg.RestrictViolationError, match="only shrink"):
        await vault.execute("UPDATE client_keys SET revoked_at = NULL")
    with pytest.raises(asyncpg.RestrictViolationError, match="only shrink"):
        await vault.execute("UPDATE clients SET merchants = '{*}', scopes = '{merchant:register}'")
