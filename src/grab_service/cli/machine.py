"""Commands about this machine: tokens of a rehearsal, the doctor, settings, version."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from grab_service import data_dir, settings, settings_reader, store_users
from grab_service.cli.options import DataDirOption, JsonOption, say, say_json, say_table, settings_file
from grab_service.data_dir import DataDir
from grab_service.doctor import examine
from grab_service.findings import Verdict
from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import Settings
from grab_service.store_urls import without_password
from grab_service.tickets import CLAIM_SCOPE

_TOKENS_MAX = 1_000_000


class Kind(StrEnum):
    """A kind of token."""

    JWT = "jwt"
    TICKET = "ticket"


def token(
    *,
    user: Annotated[str | None, typer.Option(metavar="ID", help="The user's id.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, max=_TOKENS_MAX, metavar="N", help="Mint for N users, P1 to PN.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="P", help="How their ids begin.")] = "u",
    kind: Annotated[Kind, typer.Option(help="A JWT, or a ticket as POST /v1/tickets gives it.")] = Kind.JWT,
    scope: Annotated[str, typer.Option(help="What a JWT allows.")] = CLAIM_SCOPE,
    region: Annotated[str, typer.Option(help="The user's division code.")] = "500110",
    directory: Annotated[Path, typer.Option("--data-dir", metavar="DIR", help="Whose keys sign.")] = data_dir.DEFAULT,
) -> None:
    """Mint tokens with a rehearsal's own keys, one a line; they last a day."""
    if (user is None) == (count is None):
        raise typer.BadParameter("give either --user or --count")
    if kind is Kind.TICKET and scope != CLAIM_SCOPE:
        raise typer.BadParameter(f"a ticket's scope is always {CLAIM_SCOPE}", param_hint="--scope")
    data = DataDir(directory.resolve())
    keys, now_s = RehearsalKeys(data.keys), int(time.time())
    users = [user] if user is not None else [f"{prefix}{number}" for number in range(1, (count or 0) + 1)]
    if kind is Kind.TICKET:
        issue = keys.ticket_issuer(now_s=now_s)
        lines = (issue(each, region) for each in users)
    else:
        chosen = settings_reader.load(file=settings_file(data.root))
        sign = keys.signer(issuer=chosen.jwt_issuer, audience=chosen.jwt_audience, now_s=now_s)
        lines = (sign(each, region, scope) for each in users)
    for line in lines:
        say(line)


def doctor(
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Make each part's user in both stores instead; needs one who may do that.")
    ] = False,
    passwords: Annotated[
        Path,
        typer.Option(metavar="DIR", help="With --fix: has gate-api.password, vault-ledger.password and so on."),
    ] = Path("passwords"),
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check what the promise depends on: servers' settings, clocks, keys, limits; 0 in order, 1 a check failed.

    With --fix it makes the users of API, ledger workers and staff in the stores that GRAB_REDIS_URL and
    GRAB_DATABASE_URL name, tells what it did, and changes nothing when it is repeated.
    """
    file = settings_file(directory)
    chosen = settings_reader.load(file=file)
    if fix:
        findings = asyncio.run(store_users.set_up(chosen, passwords))
    else:
        findings = asyncio.run(examine(chosen, file and file.parent))
    if as_json:
        say_json(
            {
                "ok": all(each.verdict is not Verdict.FAIL for each in findings),
                "checks": [
                    {"name": each.name, "status": each.verdict, "detail": each.detail, "advice": each.advice}
                    for each in findings
                ],
            }
        )
    else:
        say_table([("check", "status", "detail"), *((each.name, each.verdict, each.told) for each in findings)])
    if any(each.verdict is Verdict.FAIL for each in findings):
        raise typer.Exit(1)


def show_settings(*, directory: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Print every setting, its unit, its default and where its value comes from; secrets are hidden."""
    sources = settings_reader.read(file=settings_file(directory))
    rows = [
        {
            "name": name,
            "value": _shown(name, getattr(sources.settings, name)),
            "unit": settings.unit_of(name),
            "default": field.default,
            "origin": sources.origins[name],
            "variable": settings.variable_of(name),
            "description": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]
    if as_json:
        say_json(rows)
        return
    columns = ("variable", "value", "unit", "origin", "default", "description")
    say_table([columns, *([row[column] for column in columns] for row in rows)])


def version(*, as_json: JsonOption = False) -> None:
    """Print the version."""
    number = importlib.metadata.version("grab-service")
    if as_json:
        say_json({"version": number})
    else:
        say(f"grab-service {number}")


def _shown(name: str, value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return without_password(value) if isinstance(value, str) and name.endswith("_url") else value
