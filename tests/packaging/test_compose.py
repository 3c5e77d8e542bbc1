"""``compose.yaml`` is accepted by a strict reader, what it refers to is there, and its scripts do what they say."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
import yaml
from compose_spec import PyCompose
from redis.exceptions import RedisError

from grab_service import embedded, store_users
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
SCRIPTS = ROOT / "deploy" / "compose"
PARTS = ("api", "ledger", "staff")
SHELL = "/bin/sh"
PREPARED = "./secrets/passwords"  # prepare.sh makes it
FILES = {
    f"GRAB_{store}_{part.upper()}_PASSWORD": f"{file}-{part}"
    for store, file in (("GATE", "gate"), ("DATABASE", "vault"))
    for part in PARTS
}
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


@pytest.mark.parametrize("more", [None, "tls.yaml"])
def test_a_strict_reader_accepts_the_file(document: dict[str, Any], more: str | None) -> None:
    """No key is unknown, no value is of another type; nor with what adds TLS."""
    services = document["services"]
    for name, added in yaml.safe_load((SCRIPTS / more).read_text())["services"].items() if more else ():
        for key, values in added.items():
            services = services | {name: services[name] | {key: services[name][key] + values}}
    accepted = PyCompose.from_yaml(yaml.safe_dump(document | {"services": services})).services
    assert accepted is not None
    assert set(accepted) == set(document["services"])


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
            if source == PREPARED:
                continue
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
    subprocess.run([SHELL, script, "https://app.example.cn", jwks, jwks], check=True, timeout=30)
    variables = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text(encoding="utf-8"))) == set(variables)
    for secret in yaml.safe_load(interpolated())["secrets"].values():
        assert (tmp_path / secret["file"]).is_file()
    read = store_users.read_passwords(tmp_path / "secrets" / "passwords", FILES)
    assert {variable: read[variable] for variable in FILES} == {variable: variables[variable] for variable in FILES}
    before = {path: path.read_bytes() for path in [tmp_path / ".env", *tmp_path.glob("secrets/**/*.*")]}
    subprocess.run([SHELL, script, "https://other.example.cn", jwks, jwks], check=True, timeout=30)
    assert {path: path.read_bytes() for path in before} == before


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A gate that the script has started; yields its socket."""
    program = embedded.valkey(tmp_path / "unused").argv[0]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "valkey-server").symlink_to(program)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "CONF": str(ROOT / "deploy"), "USERS": str(tmp_path / "users.acl"), **PASSWORDS}
    socket = tmp_path / "s"
    argv = [SHELL, str(SCRIPTS / "valkey.sh"), "--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path)]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL) as process:
        yield socket
        process.terminate()


async def test_the_gate_lets_its_administrator_in_and_nobody_without_a_name(gate: Path) -> None:
    """Who makes the parts' users comes in with the password of the environment."""
    await wait_until(gate.exists, "the gate's socket is there")
    password = PASSWORDS["GRAB_GATE_ADMIN_PASSWORD"]
    async with redis.Redis(unix_socket_path=str(gate), username="grab-admin", password=password) as client:
        assert await client.ping()
    async with redis.Redis(unix_socket_path=str(gate)) as client:
        with pytest.raises(RedisError, match=r"authenticated|NOAUTH|Authentication"):
            await client.ping()


def test_the_gate_keeps_its_users_when_it_starts_again(tmp_path: Path) -> None:
    """The script sets the administrator anew and leaves the other users of the file as they are."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "valkey-server").symlink_to("/bin/true")
    users = tmp_path / "users.acl"
    users.write_text(
        "user default on nopass ~* &* +@all\nuser grab-admin on #0 +@all\nuser grab-api on #1 ~grab:* +get\n"
    )
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "USERS": str(users), **PASSWORDS}
    subprocess.run([SHELL, SCRIPTS / "valkey.sh"], env=environment, check=True, timeout=30)
    default, admin, *others = users.read_text().splitlines()
    assert (default, others) == ("user default off", ["user grab-api on #1 ~grab:* +get"])
    assert re.fullmatch(r"user grab-admin on #[0-9a-f]{64} ~\* &\* \+@all", admin)


def test_a_short_password_is_refused() -> None:
    """The gate does not start with a password that could be guessed."""
    environment = {"PATH": os.environ["PATH"], "CONF": str(ROOT / "deploy"), "GRAB_GATE_ADMIN_PASSWORD": "x"}
    done = subprocess.run(
        [SHELL, SCRIPTS / "valkey.sh"], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert "fewer than 16 characters" in done.stderr
