"""Commands with which two persons agree on a grave act: request, approve, list."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import asyncpg
import typer

from grab_service import instants
from grab_service.cli.options import DataDirOption, JsonOption, Refused, chosen_settings, say, say_json, say_table
from grab_service.cli.two_persons import TokenFile, subject
from grab_service.settings import Settings
from grab_service.stores import open_vault
from ledger import admin
from ledger.admin import Action, Disapproved, Step

commands = typer.Typer(help="Two persons agree on a grave act.", no_args_is_help=True)

_NEEDED = ("database_url", "jwt_issuer")
_STEPS_MAX = 1000

Reason = Annotated[str, typer.Option(help="Why; it stays in the journal.", show_default=False)]


@commands.command()
def request(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help=f"One of: {', '.join(Action)}.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="What exactly, as the command itself says it.")],
    *,
    reason: Reason,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Ask for an act; prints the number that somebody else approves."""
    chosen = chosen_settings(directory, _NEEDED)
    name = subject(chosen, action, token_file)
    number = asyncio.run(_request(chosen, action, target, reason, name))
    say(f"{number}")


@commands.command()
def approve(
    number: Annotated[int, typer.Argument(min=1, metavar="ID", help="The number of the request.")],
    *,
    reason: Reason,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Approve what somebody else has asked for; it permits one act within a day."""
    chosen = chosen_settings(directory, _NEEDED)
    action = asyncio.run(_action_of(chosen, number))
    if action is None:
        raise Refused(f"there is no request {number}; 'grab admin list' shows them")
    name = subject(chosen, action, token_file)
    asyncio.run(_approve(chosen, number, reason, name))
    say(f"request {number} is approved by {name}")


@commands.command("list")
def list_(
    *,
    count: Annotated[int, typer.Option(min=1, max=_STEPS_MAX, help="How many steps, the latest first.")] = 50,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the journal: who asked for, approved and began what."""
    steps = asyncio.run(_journal(chosen_settings(directory, ["database_url"]), count))
    rows = [asdict(each) | {"at": instants.from_datetime(each.at)} for each in steps]
    if as_json:
        say_json(rows)
        return
    columns = ("request_no", "step", "action", "target", "subject", "reason", "at", "before", "after")
    say_table([columns, *([row[column] for column in columns] for row in rows)])


async def _request(chosen: Settings, action: Action, target: str, reason: str, name: str) -> int:
    async with open_vault(chosen) as vault:
        try:
            return await admin.request(vault, action, target, reason=reason, subject=name)
        except asyncpg.CheckViolationError as error:
            raise Refused("target or reason is empty or too long") from error


async def _action_of(chosen: Settings, number: int) -> Action | None:
    async with open_vault(chosen) as vault:
        return await admin.action_of(vault, number)


async def _approve(chosen: Settings, number: int, reason: str, name: str) -> None:
    async with open_vault(chosen) as vault:
        try:
            await admin.approve(vault, number, reason=reason, subject=name)
        except Disapproved as error:
            raise Refused(str(error)) from error
        except asyncpg.CheckViolationError as error:
            raise Refused("the reason is empty or too long") from error


async def _journal(chosen: Settings, count: int) -> list[Step]:
    async with open_vault(chosen) as vault:
        return await admin.journal(vault, count)
