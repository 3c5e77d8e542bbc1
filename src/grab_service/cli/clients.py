"""Commands about the back ends that sign their requests: add, rotate, revoke, list."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from grab_service import instants, signatures
from grab_service.cli.options import DataDirOption, JsonOption, Refused, chosen_settings, say, say_json, say_table
from grab_service.cli.two_persons import RequestNo, TokenFile, Who, acting, permitted
from grab_service.keyring import read_secret
from grab_service.settings import Settings
from grab_service.signatures import Algorithm
from grab_service.stores import open_vault
from ledger import admin, clients
from ledger.admin import Action, Deed
from ledger.clients import KeyRow, NewKey

commands = typer.Typer(help="Back ends that sign their requests: keys, scopes, merchants.", no_args_is_help=True)

_DAYS_MAX = 400
_OVERLAP_DAYS_MAX = 30

ClientId = Annotated[str, typer.Argument(metavar="ID", help="A client's id, acquirer-1.", show_default=False)]
Actor = Annotated[
    str | None,
    typer.Option("--actor", metavar="NAME", help="Who does it, where one person is enough.", show_default=False),
]
PublicKey = Annotated[
    Path | None,
    typer.Option("--public-key", metavar="FILE", help="The client's Ed25519 public key, PEM.", show_default=False),
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        help="A key with HMAC-SHA256: where its secret is written, to be handed over and removed.",
        show_default=False,
    ),
]
Days = Annotated[int, typer.Option(min=1, max=_DAYS_MAX, help="How long the key is valid.")]


@commands.command()
def add(
    client_id: ClientId,
    *,
    name: Annotated[str, typer.Option(help="Whose back end it is.")],
    scope: Annotated[
        list[str], typer.Option(help="merchant:redeem, merchant:refund or merchant:register; may be repeated.")
    ],
    merchant: Annotated[
        list[str] | None, typer.Option(help="A merchant it acts for, by number; may be repeated; * is all.")
    ] = None,
    actor: Actor = None,
    public_key: PublicKey = None,
    secret_file: SecretFile = None,
    days: Days = _DAYS_MAX,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Add a client with its first key. What a client may do never changes: for that, add another one."""
    chosen = chosen_settings(directory, ["database_url"])
    key = _new_key(chosen, public_key, secret_file, days)
    facts = {"name": name, "scopes": scope, "merchants": merchant or []}
    granted = f"{','.join(sorted(scope))} at {','.join(sorted(merchant or [])) or 'none'}"
    target = f"add {client_id} for {granted} with {_told(key)}"
    key_id = asyncio.run(_add(chosen, client_id, facts, key=key, target=target, who=Who(request_no, token_file, actor)))
    if key_id is None:
        raise Refused(f"there is a client {client_id} already; 'grab clients rotate' gives it another key")
    _hand_over(chosen, key_id, secret_file)
    say(f"{client_id} may call with key {key_id}")


@commands.command()
def rotate(
    client_id: ClientId,
    *,
    actor: Actor = None,
    overlap_days: Annotated[
        int, typer.Option(min=0, max=_OVERLAP_DAYS_MAX, help="How long the client's other keys are still good.")
    ] = 7,
    public_key: PublicKey = None,
    secret_file: SecretFile = None,
    days: Days = _DAYS_MAX,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Give a client another key; those that it had end after the overlap."""
    chosen = chosen_settings(directory, ["database_url"])
    key = _new_key(chosen, public_key, secret_file, days)
    target = f"rotate {client_id} to {_told(key)}"
    overlap, who = timedelta(days=overlap_days), Who(request_no, token_file, actor)
    key_id = asyncio.run(_rotate(chosen, client_id, overlap, key=key, target=target, who=who))
    if key_id is None:
        raise Refused(f"no client {client_id} is active; 'grab clients list' shows them")
    _hand_over(chosen, key_id, secret_file)
    say(f"{client_id} may call with key {key_id}; its other keys end within {overlap_days} days")


@commands.command()
def revoke(
    what: Annotated[str, typer.Argument(metavar="ID", help="A client, acquirer-1, or one key of it, acquirer-1.2.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; it stays in the journal.", show_default=False)],
    actor: Actor = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Believe a client or one of its keys no more; takes effect at once and cannot be undone. Nobody else is needed."""
    chosen = chosen_settings(directory, ["database_url"])
    if not asyncio.run(_revoke(chosen, what, reason, Who(None, token_file, actor))):
        raise Refused(f"there is no {what} that could be revoked; 'grab clients list' shows them")
    say(f"{what} is revoked")


@commands.command("list")
def list_(*, directory: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Print every client's keys."""
    rows = [_facts(row) for row in asyncio.run(_keys(chosen_settings(directory, ["database_url"])))]
    if as_json:
        say_json(rows)
        return
    columns = ("key_id", "name", "algorithm", "scopes", "merchants", "valid_until", "revoked_at")
    lines = [row | {name: " ".join(row[name]) for name in ("scopes", "merchants")} for row in rows]
    say_table([columns, *([line[column] for column in columns] for line in lines)])


def _new_key(chosen: Settings, public_key: Path | None, secret_file: Path | None, days: int) -> NewKey:
    if (public_key is None) == (secret_file is None):
        raise typer.BadParameter("give either --public-key or --secret-file")
    valid_for = timedelta(days=days)
    if public_key is not None:
        return NewKey(algorithm=Algorithm.ED25519, public_key=_read_public_key(public_key), valid_for=valid_for)
    read_secret("client_key_file", chosen.client_key_file)  # before anything is stored
    return NewKey(algorithm=Algorithm.HMAC, public_key=None, valid_for=valid_for)


def _told(key: NewKey) -> str:
    """Return what a request says of a key."""
    return "a derived secret" if key.public_key is None else f"sha256:{hashlib.sha256(key.public_key).hexdigest()}"


def _read_public_key(file: Path) -> bytes:
    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused(f"{file} holds no public key in PEM: 'openssl pkey -in KEY -pubout' writes one") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Refused(f"{file} holds no Ed25519 key: 'openssl genpkey -algorithm ed25519' makes one")
    return key.public_bytes_raw()


def _hand_over(chosen: Settings, key_id: str, secret_file: Path | None) -> None:
    """Write the secret of a key with HMAC into a file that only its owner may read."""
    if secret_file is None:
        return
    secret = signatures.hmac_secret(read_secret("client_key_file", chosen.client_key_file), key_id)
    descriptor = os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(secret + b"\n")


def _facts(row: KeyRow) -> dict[str, Any]:
    return {
        "client_id": row.client_id,
        "key_id": row.key_id,
        "name": row.name,
        "state": row.state,
        "algorithm": row.algorithm,
        "public_key_sha256": row.public_key and hashlib.sha256(row.public_key).hexdigest(),
        "scopes": list(row.scopes),
        "merchants": list(row.merchants),
        "valid_from": instants.from_datetime(row.valid_from),
        "valid_until": instants.from_datetime(row.valid_until),
        "revoked_at": row.revoked_at and instants.from_datetime(row.revoked_at),
    }


async def _add(
    chosen: Settings, client_id: str, facts: dict[str, Any], *, key: NewKey, target: str, who: Who
) -> str | None:
    async with permitted(chosen, Action.CLIENTS, target, who) as permit:
        number = await permit.write_down(after=facts | {"key": _told(key)})
        try:
            return await clients.add(permit.vault, client_id, **facts, key=key, actor=permit.subject, deed_no=number)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise _refused(error) from error


async def _rotate(
    chosen: Settings, client_id: str, overlap: timedelta, *, key: NewKey, target: str, who: Who
) -> str | None:
    async with permitted(chosen, Action.CLIENTS, target, who) as permit:
        believed = [row.key_id for row in await clients.keys(permit.vault) if row.client_id == client_id]
        number = await permit.write_down(
            before={"keys": believed}, after={"key": _told(key), "others_end_in_days": overlap.days}
        )
        try:
            return await clients.rotate(
                permit.vault, client_id, key=key, overlap=overlap, actor=permit.subject, deed_no=number
            )
        except asyncpg.IntegrityConstraintViolationError as error:
            raise _refused(error) from error


def _refused(error: asyncpg.IntegrityConstraintViolationError) -> Refused:
    return Refused(f"the vault refuses it: {str(error.constraint_name).replace('_', ' ')}")


async def _revoke(chosen: Settings, what: str, reason: str, who: Who) -> bool:
    async with open_vault(chosen) as vault, vault.transaction():
        must_agree = chosen.two_persons or await admin.must_agree(vault)
        name = acting(chosen, Action.CLIENTS, who, must_agree=must_agree)
        if not await clients.revoke(vault, what):
            return False
        deed = Deed(action=admin.REVOKE, target=what, subject=name, reason=reason)
        await admin.write_down(vault, deed, before={"believed": True}, after={"believed": False})
        return True


async def _keys(chosen: Settings) -> list[KeyRow]:
    async with open_vault(chosen) as vault:
        return await clients.keys(vault)
