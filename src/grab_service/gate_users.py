"""The users of the gate's server, one for each part, made by the rules of ``deploy/valkey-users.conf``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis.asyncio as redis
from redis.exceptions import NoPermissionError

from grab_service import resources
from grab_service.findings import Finding, Verdict

API, LEDGER, STAFF = "grab-api", "grab-ledger", "grab-staff"
_DEFAULT = "default"
_HASH_GOES_HERE = re.compile(r"#SHA256-OF-\S+")
_KEPT = "gate users kept"
# Commands that older servers do not know and refuse in a rule; clients do without them there.
_SINCE: Mapping[str, tuple[int, int]] = {"+client|setinfo": (7, 2)}


class UsersRefused(Exception):
    """The gate does not let this connection make users, or cannot keep them; the message says what to do."""


@dataclass(frozen=True, slots=True)
class UserRules:
    """What one user may do; ``rules`` is as ``ACL SETUSER`` takes it."""

    name: str
    rules: tuple[str, ...]


def rules(passwords: Mapping[str, str]) -> list[UserRules]:
    """Return the users of the file, with the hashes of their passwords; a user without one keeps no password.

    Args:
        passwords: By the user's name.
    """
    lines = [line.split() for line in resources.gate_users().splitlines() if line.startswith("user ")]
    return [
        UserRules(name, tuple(_HASH_GOES_HERE.sub(_hash(passwords.get(name)), rule) for rule in rest))
        for _, name, *rest in lines
    ]


def _hash(password: str | None) -> str:
    return "resetpass" if password is None else f"#{hashlib.sha256(password.encode()).hexdigest()}"


async def set_up(client: redis.Redis, passwords: Mapping[str, str]) -> list[Finding]:
    """Make the users, or make them what they must be; repeated it changes nothing.

    Nobody else's connection is cut; the next one of a user needs the password of now.

    Args:
        client: To the gate, as a user who may make others.
        passwords: Of each part's user, by its name.

    Raises:
        UsersRefused: The connection may not do this, or the server cannot write its file of users.
        redis.RedisError: The server is in trouble.
    """
    try:
        version = await _version(client)
        parts = [user for user in rules(passwords) if user.name != _DEFAULT]
        findings = [await _set(client, user, version, "set anew") for user in parts]
        findings.append(await _close_default(client, rules({})))
        return [*findings, await _keep(client)]
    except NoPermissionError as error:
        raise UsersRefused(
            f"the gate does not let this user make others, so connect as one who may: {error}"
        ) from error


async def _set(client: redis.Redis, user: UserRules, version: tuple[int, int], changed: str) -> Finding:
    before = await _user(client, user.name)
    known = [rule for rule in user.rules if version >= _SINCE.get(rule, version)]
    await client.execute_command("ACL", "SETUSER", user.name, *known)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    done = "made" if before is None else "as it should be" if before == await _user(client, user.name) else changed
    return Finding(f"gate user {user.name}", Verdict.PASS, done)


async def _close_default(client: redis.Redis, users: list[UserRules]) -> Finding:
    """Let nobody in without a name, unless that would cut off whoever is in by that way."""
    name = f"gate user {_DEFAULT}"
    if await client.acl_whoami() == _DEFAULT:
        advice = "make one who may do everything, connect as him, and run this again"
        return Finding(name, Verdict.WARN, "left open, since it is the one who is connected", advice)
    others = [each["name"] or each["addr"] for each in await client.client_list() if each.get("user") == _DEFAULT]
    if others:
        advice = "give them users of their own, and run this again"
        return Finding(name, Verdict.WARN, f"left open, since {len(others)} connections are his", advice)
    return await _set(client, next(user for user in users if user.name == _DEFAULT), (0, 0), "closed")


async def _keep(client: redis.Redis) -> Finding:
    """Let the server write its users to its file, if it has one."""
    try:
        await client.acl_save()
    except NoPermissionError:
        raise
    except redis.ResponseError as error:
        if "not configured to use an ACL file" not in str(error):
            raise UsersRefused(f"the gate cannot write its file of users: {error}") from error
        advice = (
            "make an empty file that the server may write, put 'aclfile FILE' into its configuration in the place of "
            "any 'user' lines, start it again, and run this again"
        )
        return Finding(_KEPT, Verdict.FAIL, "no, they are gone when the server ends", advice)
    return Finding(_KEPT, Verdict.PASS, "in the server's aclfile")


async def _user(client: redis.Redis, name: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = await client.acl_getuser(name)
    return found


async def _version(client: redis.Redis) -> tuple[int, int]:
    # Valkey tells under the old name which Redis it is compatible with.
    major, minor, *_ = str((await client.info("server"))["redis_version"]).split(".")
    return int(major), int(minor)
