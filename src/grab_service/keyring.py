"""The keys that a process works with, read from the files that the settings name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grab_service.identity import Issuer
from grab_service.references import UserRefs
from grab_service.settings import STORES, Settings, variable_of
from grab_service.store_urls import PASSWORD_LENGTH_MIN, has_weak_password, lacks_password

SECRET_BYTES_MIN = 32
# A random secret written in hexadecimal has some sixteen different characters; 'changeme' has seven.
_DIFFERENT_BYTES_MIN = 10


class KeyringInvalid(Exception):
    """A key file is missing, unreadable or not good enough; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Every key of an API process.

    Attributes:
        key_sets: The public keys of those whose tokens are believed, each a JSON Web Key Set.
        ticket_key: Signs tickets.
        other_ticket_key: Its tickets are believed too; None if there is no such key.
        voucher_key: Voucher codes are derived from it.
        user_refs: Derives users' references from the peppers.
        client_key: The secrets of clients with HMAC are derived from it; None where there are none.
    """

    key_sets: Mapping[Issuer, Mapping[str, Any]]
    ticket_key: bytes = field(repr=False)
    voucher_key: bytes = field(repr=False)
    user_refs: UserRefs
    client_key: bytes | None = field(repr=False, default=None)
    other_ticket_key: bytes | None = field(repr=False, default=None)

    @property
    def pepper(self) -> bytes:
        """The pepper that new campaigns begin with."""
        return self.user_refs.pepper


def load(settings: Settings) -> Keyring:
    """Read all key files that ``settings`` name.

    Raises:
        KeyringInvalid: One is not set, cannot be read or is too weak, or two secrets are the same; or, but in a
            rehearsal, the password of a store could be guessed.
    """
    refuse_weak_passwords(settings)
    ticket_key, other_ticket_key = read_ticket_keys(settings)
    keyring = Keyring(
        key_sets=read_key_sets(settings),
        ticket_key=ticket_key,
        other_ticket_key=other_ticket_key,
        voucher_key=read_secret("voucher_key_file", settings.voucher_key_file),
        user_refs=read_user_refs(settings),
        client_key=read_secret("client_key_file", settings.client_key_file) if settings.client_key_file else None,
    )
    secrets = [keyring.ticket_key, keyring.voucher_key, keyring.pepper]
    secrets += [each.pepper for each in keyring.user_refs.others]
    secrets += [keyring.client_key] if keyring.client_key else []
    # While two files change places the same ticket key may be seen in both.
    secrets += [other_ticket_key] if other_ticket_key not in (None, ticket_key) else []
    if len(set(secrets)) < len(secrets):
        raise KeyringInvalid("ticket key, voucher key, peppers and client key must be different secrets")
    return keyring


def refuse_weak_passwords(settings: Settings) -> None:
    """Let no part start with stores whose passwords could be guessed or are not there, but in a rehearsal.

    Raises:
        KeyringInvalid: The password in a URL is too short, or a store on another machine wants none.
    """
    if settings.rehearsal:
        return
    if lacks_password(settings.redis_url):
        raise KeyringInvalid(
            f"{variable_of('redis_url')} names another machine and no password: whoever reaches it hands out vouchers; "
            "make users with 'grab doctor --fix'"
        )
    for name in STORES:
        if has_weak_password(getattr(settings, name)):
            raise KeyringInvalid(
                f"the password in {variable_of(name)} has fewer than {PASSWORD_LENGTH_MIN} characters: "
                "make one with 'openssl rand -hex 32'"
            )


def read_secret(setting: str, path: Path | None) -> bytes:
    """Read one secret: the bytes of its file without a final line end.

    Args:
        setting: The name of the setting, for the message.
        path: Its value.

    Raises:
        KeyringInvalid: There is no file, or the secret in it is too short or could be guessed.
    """
    secret = _read(setting, path).removesuffix(b"\n").removesuffix(b"\r")
    if len(secret) < SECRET_BYTES_MIN:
        raise KeyringInvalid(
            f"the secret in {path} ({setting}) has {len(secret)} bytes and needs at least {SECRET_BYTES_MIN}: "
            "write one with 'openssl rand -hex 32'"
        )
    if len(set(secret)) < _DIFFERENT_BYTES_MIN:
        raise KeyringInvalid(f"the secret in {path} ({setting}) is not random: write one with 'openssl rand -hex 32'")
    return secret


def read_ticket_keys(settings: Settings) -> tuple[bytes, bytes | None]:
    """Read the key that signs tickets, and the other one whose tickets are believed, if it is there.

    Raises:
        KeyringInvalid: A file cannot be read, or its secret is too weak.
    """
    other = settings.ticket_key_other_file
    return (
        read_secret("ticket_key_file", settings.ticket_key_file),
        read_secret("ticket_key_other_file", other) if other is not None and other.exists() else None,
    )


def other_peppers(settings: Settings) -> list[tuple[int, Path]]:
    """Return version and file of each pepper beside that of new campaigns."""
    parts = [each.partition("=") for each in filter(None, settings.pepper_other_files.split(","))]
    return [(int(version), Path(path)) for version, _, path in parts]


def read_user_refs(settings: Settings) -> UserRefs:
    """Read the pepper of new campaigns and those of others.

    Raises:
        KeyringInvalid: A file cannot be read, its secret is too weak, or two files are said to hold one version.
    """
    others: list[UserRefs] = []
    for version, path in other_peppers(settings):
        others.append(UserRefs(read_secret("pepper_other_files", path), version))
    versions = [settings.pepper_version, *(each.version for each in others)]
    if len(set(versions)) < len(versions):
        raise KeyringInvalid(f"two peppers have the same version: {', '.join(map(str, versions))}")
    return UserRefs(read_secret("pepper_file", settings.pepper_file), settings.pepper_version, tuple(others))


def read_key_sets(settings: Settings) -> dict[Issuer, Mapping[str, Any]]:
    """Read the public keys of the app and of the issuer of staff tokens; in a rehearsal the app's stand for all.

    Raises:
        KeyringInvalid: There is no file, no key set in it, or a key is in both sets.
    """
    app = _read_key_set("jwks_file", settings.jwks_file)
    key_sets = {Issuer.REHEARSAL if settings.rehearsal else Issuer.APP: app}
    if settings.staff_jwks_file is not None:
        staff = key_sets[Issuer.STAFF] = _read_key_set("staff_jwks_file", settings.staff_jwks_file)
        if common := _names(app) & _names(staff):
            raise KeyringInvalid(
                f"{settings.jwks_file} and {settings.staff_jwks_file} have {min(common)} in common: "
                "whoever signs users' tokens must not be able to sign staff tokens"
            )
    return key_sets


def _names(key_set: Mapping[str, Any]) -> set[str]:
    """Return what the keys of a set are called and, whatever they are called, what makes each the one it is."""
    keys = [key for key in key_set["keys"] if isinstance(key, dict)]
    return {f"kid={key.get('kid')}" for key in keys} | {f"x={key.get('x')}" for key in keys}


def _read_key_set(setting: str, path: Path | None) -> Mapping[str, Any]:
    try:
        key_set = json.loads(_read(setting, path))
    except ValueError as error:
        raise KeyringInvalid(f"{path} ({setting}) is not JSON: {error}") from error
    if not isinstance(key_set, dict) or not isinstance(key_set.get("keys"), list):
        raise KeyringInvalid(f'{path} ({setting}) is not a JSON Web Key Set: it needs a list under "keys"')
    return key_set


def _read(setting: str, path: Path | None) -> bytes:
    if path is None:
        raise KeyringInvalid(f"GRAB_{setting.upper()} is not set: {Settings.model_fields[setting].description}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyringInvalid(f"{path} ({setting}) cannot be read: {error.strerror}") from error
