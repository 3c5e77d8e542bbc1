"""Gives each part a user of its own in both stores, with the passwords of a directory of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import asyncpg

from grab_service import gate_users
from grab_service.findings import Finding, Verdict
from grab_service.gate_users import UsersRefused
from grab_service.settings import STORES, Settings, variable_of
from grab_service.settings_reader import SettingsInvalid
from grab_service.store_urls import PASSWORD_LENGTH_MIN
from grab_service.stores import open_gate, open_vault
from ledger import logins, roles

# Who has the password of which file.
_GATE_FILES = {gate_users.API: "gate-api", gate_users.LEDGER: "gate-ledger", gate_users.STAFF: "gate-staff"}
_VAULT_FILES = {roles.API: "vault-api", roles.LEDGER: "vault-ledger", roles.STAFF: "vault-staff"}
_SUFFIX = ".password"


class PasswordsInvalid(SettingsInvalid):
    """Passwords are missing or not good enough; every one is named."""


async def set_up(settings: Settings, directory: Path) -> list[Finding]:
    """Make the users in the stores that the settings name; repeated it changes nothing.

    All passwords are looked at before anything is changed.

    Args:
        settings: The settings; their URLs name users who may make others.
        directory: Holds ``gate-api.password`` and so on.

    Raises:
        PasswordsInvalid: One is missing, short or there twice.
        UsersRefused: A store does not let this user make others.
        StoreUnavailable: A store does not answer or is not prepared.
    """
    files: dict[str, str] = {}
    files |= _GATE_FILES if settings.redis_url else {}
    files |= _VAULT_FILES if settings.database_url else {}
    if not files:
        raise SettingsInvalid([f"{' and '.join(map(variable_of, STORES))} are not set"])
    passwords = read_passwords(directory, files)
    findings: list[Finding] = []
    if settings.database_url:
        findings += await _set_up_vault(settings, {role: passwords[role] for role in _VAULT_FILES})
    if settings.redis_url:
        async with open_gate(settings) as client:
            findings += await gate_users.set_up(client, {name: passwords[name] for name in _GATE_FILES})
    return findings


async def _set_up_vault(settings: Settings, passwords: Mapping[str, str]) -> list[Finding]:
    async with open_vault(settings) as vault:
        try:
            await roles.create(vault)
            changed = await logins.let_in(vault, passwords)
        except asyncpg.InsufficientPrivilegeError as error:
            raise UsersRefused(
                f"the vault does not let this user make others, so connect as a superuser: {error}"
            ) from error
    done = {
        role: "lets in with the password of its file" if new else "as it should be" for role, new in changed.items()
    }
    return [
        Finding("vault roles", Verdict.PASS, "have the rights of this version"),
        *(Finding(f"vault login {role}", Verdict.PASS, told) for role, told in done.items()),
    ]


def read_passwords(directory: Path, files: Mapping[str, str]) -> dict[str, str]:
    """Return the passwords of users.

    Args:
        directory: Holds the files.
        files: The name of each user's file without its suffix, by the user's name.

    Raises:
        PasswordsInvalid: Not each has a good one of his own.
    """
    passwords: dict[str, str] = {}
    problems: list[str] = []
    for user, name in files.items():
        path = directory / f"{name}{_SUFFIX}"
        try:
            password = path.read_bytes().decode("ascii", "replace").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            problems.append(f"{path}: {error.strerror}; make it with 'openssl rand -hex 32'")
            continue
        if len(password) < PASSWORD_LENGTH_MIN or not password.isascii() or not all(map(_is_fit, password)):
            problems.append(
                f"{path}: a password is one line of {PASSWORD_LENGTH_MIN} printable ASCII characters or more, "
                "without a space; make it with 'openssl rand -hex 32'"
            )
        elif password in passwords.values():
            problems.append(f"{path}: another user has this password")
        passwords[user] = password
    if problems:
        raise PasswordsInvalid(problems)
    return passwords


def _is_fit(letter: str) -> bool:
    return letter.isprintable() and not letter.isspace()
