"""Commands for reviews: what looks like abuse, and holding, releasing and voiding vouchers by two persons."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from grab_service import instants
from grab_service.cli.options import DataDirOption, JsonOption, Refused, chosen_settings, say, say_json, say_table
from grab_service.cli.two_persons import RequestNo, TokenFile, Who, acting, permitted
from grab_service.settings import Settings
from grab_service.stores import open_vault
from ledger import admin, lockouts, signals
from ledger import holds as books
from ledger.admin import Action
from ledger.holds import VoucherName

commands = typer.Typer(help="Look at signals of abuse; hold, release and void vouchers.", no_args_is_help=True)

_ROWS_MAX = 10_000
_NOBODY = "nobody else"
_TARGET_MAX = 1000  # letters of a request's target
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run them

Vouchers = Annotated[
    list[str],
    typer.Argument(metavar="VOUCHER…", help="STOCK:NUMBER, qijiang-2023-r1-general-1:17.", show_default=False),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Count = Annotated[int, typer.Option(min=1, max=_ROWS_MAX, help="How many, the latest first.")]


@commands.command("list")
def list_(
    *, count: Count = 100, directory: DataDirOption = None, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """Print the signals: what looks like many at one merchant, split payments, or many users on one address."""
    found = asyncio.run(_signals(chosen_settings(directory, ["database_url"]), count))
    _print([asdict(each) for each in found], as_json=as_json, as_csv=as_csv)


@commands.command()
def vouchers(
    signal_no: Annotated[int, typer.Argument(min=1, metavar="SIGNAL", help="The number of a signal.")],
    *,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Print all vouchers of the users whom a signal concerns, as they are now."""
    found = asyncio.run(_concerned(chosen_settings(directory, ["database_url"]), signal_no))
    _print([asdict(each) for each in found], as_json=as_json, as_csv=as_csv)


@commands.command()
def report(
    *, count: Count = 1000, directory: DataDirOption = None, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """Print every hold: who asked, who agreed, why, and what became of the voucher."""
    found = asyncio.run(_holds(chosen_settings(directory, ["database_url"]), count))
    _print([asdict(each) for each in found], as_json=as_json, as_csv=as_csv)


@commands.command()
def hold(
    names: Vouchers,
    *,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold vouchers that were claimed and not used: no till takes them until they are released."""
    _act(Action.HOLD, names, request_no, token_file, directory, as_json=as_json)


@commands.command()
def release(
    names: Vouchers,
    *,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Release vouchers that are held: they can be used again while they are valid."""
    _act(Action.RELEASE, names, request_no, token_file, directory, as_json=as_json)


@commands.command()
def void(
    names: Vouchers,
    *,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back vouchers that are held, for good; their money goes back to the pool."""
    _act(Action.VOID, names, request_no, token_file, directory, as_json=as_json)


@commands.command()
def locks(
    *, count: Count = 100, directory: DataDirOption = None, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """Print who showed too many unknown voucher codes at a merchant and is locked there."""
    found = asyncio.run(_locks(chosen_settings(directory, ["database_url"]), count))
    _print([asdict(each) for each in found], as_json=as_json, as_csv=as_csv)


@commands.command()
def unlock(
    caller: Annotated[str, typer.Argument(help="Who, as 'grab review locks' names him.", show_default=False)],
    merchant_no: Annotated[str, typer.Argument(metavar="MERCHANT", help="At which merchant.", show_default=False)],
    *,
    reason: Annotated[str, typer.Option(help="Why; it stays in the journal.", show_default=False)],
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Let a till go on that was locked for unknown voucher codes. Nobody else is needed."""
    chosen = chosen_settings(directory, ["database_url"])
    if not asyncio.run(_unlock(chosen, caller, merchant_no, reason, Who(None, token_file))):
        raise Refused(f"{caller} is not locked at {merchant_no}; 'grab review locks' shows who is")
    say(f"{caller} may go on at {merchant_no}")


def _act(
    action: Action,
    names: Sequence[str],
    request_no: int | None,
    token_file: Path | None,
    directory: Path | None,
    *,
    as_json: bool,
) -> None:
    try:
        wanted = sorted({VoucherName.read(name) for name in names})
    except ValueError as error:
        raise Refused(str(error)) from error
    if len(_target(wanted)) > _TARGET_MAX:
        raise Refused(f"too many at once: their names may have {_TARGET_MAX} letters together")
    chosen = chosen_settings(directory, ["database_url"])
    done = asyncio.run(_change(chosen, action, wanted, Who(request_no, token_file)))
    left = [each for each in wanted if each not in done]
    if as_json:
        say_json({"done": [str(each) for each in done], "left": [str(each) for each in left]})
    else:
        for each in done:
            say(f"{each}: {action} done")
        for each in left:
            say(f"{each}: left as it is, which no {action} can begin with; see 'grab review report'")
    if left:
        raise typer.Exit(1)


def _target(wanted: Sequence[VoucherName]) -> str:
    return " ".join(map(str, wanted))


async def _change(chosen: Settings, action: Action, wanted: Sequence[VoucherName], who: Who) -> list[VoucherName]:
    target = _target(wanted)
    async with permitted(chosen, action, target, who) as permit:
        number = who.request_no
        if number is None:
            # The books want two persons always; where one is enough, the other is made up.
            number = await admin.request(permit.vault, action, target, reason="one is enough", subject=permit.subject)
            await admin.approve(permit.vault, number, reason="one is enough", subject=_NOBODY)
            await admin.begin(permit.vault, number, action, target, subject=permit.subject)
        done = await books.change(permit.vault, action, wanted, request_no=number)
        await permit.write_down(after={"done": [str(each) for each in done]})
        return done


async def _signals(chosen: Settings, count: int) -> list[signals.Signal]:
    async with open_vault(chosen) as vault:
        return await signals.signals(vault, count)


async def _concerned(chosen: Settings, signal_no: int) -> list[signals.Concerned]:
    async with open_vault(chosen) as vault:
        return await signals.concerned(vault, signal_no, _ROWS_MAX)


async def _holds(chosen: Settings, count: int) -> list[books.Hold]:
    async with open_vault(chosen) as vault:
        return await books.holds(vault, count)


async def _locks(chosen: Settings, count: int) -> list[lockouts.Lockout]:
    async with open_vault(chosen) as vault:
        return await lockouts.lockouts(vault, count)


async def _unlock(chosen: Settings, caller: str, merchant_no: str, reason: str, who: Who) -> bool:
    async with open_vault(chosen) as vault:
        must_agree = chosen.two_persons or await admin.must_agree(vault)
        name = acting(chosen, Action.RELEASE, who, must_agree=must_agree)
        try:
            return await lockouts.unlock(vault, caller, merchant_no, subject=name, reason=reason)
        except asyncpg.CheckViolationError as error:
            raise Refused("the reason is empty or too long") from error


def _print(rows: Sequence[dict[str, Any]], *, as_json: bool, as_csv: bool) -> None:
    told = [{name: _told(value) for name, value in row.items()} for row in rows]
    if as_json:
        say_json(told)
    elif as_csv:
        say(_csv(told))
    elif told:
        say_table([tuple(told[0]), *(tuple(map(_cell, row.values())) for row in told)])
    else:
        say("nothing")


def _told(value: object) -> object:
    return instants.from_datetime(value) if isinstance(value, datetime) else value


def _cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0] if rows else [])
    for row in rows:
        writer.writerow([_plain(_cell(value)) for value in row.values()])
    return text.getvalue().rstrip("\n")


def _plain(value: object) -> object:
    """Return a cell that a spreadsheet takes as text: a reason is what somebody has typed."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
