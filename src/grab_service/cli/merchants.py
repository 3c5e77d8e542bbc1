"""Commands about merchants: import a bank's list, decide on merchants, show them."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from grab_service import instants, photos
from grab_service.cli.options import (
    DataDirOption,
    JsonOption,
    Refused,
    chosen_settings,
    say,
    say_json,
    say_table,
    settings_file,
)
from grab_service.merchant_import import Advance, Outcome, Wish, import_rows
from grab_service.merchant_list import ListRow, ListUnreadable, read_list
from grab_service.settings import Settings
from grab_service.stores import open_vault
from ledger import merchants
from ledger.merchants import (
    ACTOR_CHARACTERS_MAX,
    PAGE_MAX,
    REASON_CHARACTERS_MAX,
    Decision,
    Merchant,
    Page,
    Search,
    State,
    Verdict,
)

commands = typer.Typer(help="Import merchants, decide on them, show them.", no_args_is_help=True)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return "operator"


def _bounded(characters_max: int) -> Any:
    def check(text: str | None) -> str | None:
        if text is not None and not (text.isprintable() and 0 < len(text.strip()) <= characters_max):
            raise typer.BadParameter(f"must be a line of 1 to {characters_max} characters")
        return text and text.strip()

    return check


Numbers = Annotated[
    list[str], typer.Argument(metavar="NUMBER...", help="Merchants' UnionPay numbers.", show_default=False)
]
Actor = Annotated[
    str,
    typer.Option(
        default_factory=_login_name,
        callback=_bounded(ACTOR_CHARACTERS_MAX),
        metavar="NAME",
        help="Who decides; your login name if not given.",
        show_default=False,
    ),
]
Reason = Annotated[
    str, typer.Option(callback=_bounded(REASON_CHARACTERS_MAX), metavar="TEXT", help="Why; the journal keeps it.")
]


@commands.command("import")
def import_list(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV (UTF-8 or GB18030) or XLSX.", show_default=False)],
    *,
    actor: Actor,
    partial: Annotated[bool, typer.Option("--partial", help="Store good rows although others are bad.")] = False,
    approve: Annotated[bool, typer.Option("--approve", help="Approve what is imported; rehearsal only.")] = False,
    reason: Annotated[
        str | None,
        typer.Option(callback=_bounded(REASON_CHARACTERS_MAX), metavar="TEXT", help="Why; needed for --approve."),
    ] = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store a bank's list of merchants; says what is wrong with every bad row, and stores all or nothing.

    Columns: merchant_no,name,address,town,category,accepts. In accepts, several ways are separated by '|'.
    """
    if approve and reason is None:
        raise typer.BadParameter("--approve needs --reason", param_hint="--reason")
    if approve and settings_file(directory) is None:
        raise Refused("--approve is for a rehearsal: elsewhere the Commission decides, with 'grab merchants approve'")
    try:
        rows = read_list(file)
    except ListUnreadable as error:
        raise Refused(f"{file}: {error}") from error
    wish = Wish(actor=actor, reason=reason or f"imported from {file.name}", is_partial=partial, approves=approve)
    outcome = asyncio.run(_import(chosen_settings(directory, ["database_url"]), rows, wish))
    if as_json:
        say_json(outcome.to_json())
    else:
        _tell(outcome)
    if outcome.faults and not outcome.imported:
        raise typer.Exit(1)


@commands.command()
def approve(numbers: Numbers, *, reason: Reason, actor: Actor, directory: DataDirOption = None) -> None:
    """Approve submitted merchants: vouchers can be used there."""
    _decide(directory, numbers, Verdict.APPROVE, actor, reason)


@commands.command()
def reject(numbers: Numbers, *, reason: Reason, actor: Actor, directory: DataDirOption = None) -> None:
    """Reject submitted merchants, for good."""
    _decide(directory, numbers, Verdict.REJECT, actor, reason)


@commands.command()
def suspend(numbers: Numbers, *, reason: Reason, actor: Actor, directory: DataDirOption = None) -> None:
    """Suspend approved merchants: no voucher can be used there until they are resumed."""
    _decide(directory, numbers, Verdict.SUSPEND, actor, reason)


@commands.command()
def resume(numbers: Numbers, *, reason: Reason, actor: Actor, directory: DataDirOption = None) -> None:
    """Approve suspended merchants again."""
    _decide(directory, numbers, Verdict.RESUME, actor, reason)


@commands.command("list")
def list_merchants(
    *,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    town: Annotated[str | None, typer.Option(metavar="TOWN", help="Only those of this town.")] = None,
    text: Annotated[str | None, typer.Option("--q", metavar="TEXT", help="A part of the name or address.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=PAGE_MAX, help="Merchants of a page.")] = PAGE_MAX,
    cursor: Annotated[str, typer.Option(metavar="NUMBER", help="Go on after this merchant.")] = "",
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List merchants in the order of their numbers."""
    wanted = Search(state=state, town=town, text=text, after=cursor, limit=limit)
    page = asyncio.run(_search(chosen_settings(directory, ["database_url"]), wanted))
    if as_json:
        say_json({"data": [_facts(each) for each in page.merchants], "next_cursor": page.next_after})
        return
    columns = ("merchant_no", "state", "town", "category", "accepts", "name", "address")
    say_table([columns, *([str(_line(each)[column]) for column in columns] for each in page.merchants)])
    if page.next_after is not None:
        say(f"more: --cursor {page.next_after}")


@commands.command()
def show(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="A merchant's UnionPay number.")],
    *,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a merchant, its photo's place and every decision on it."""
    chosen = chosen_settings(directory, ["database_url"])
    merchant, decisions = asyncio.run(_find(chosen, number))
    facts = _facts(merchant) | {"photo": _photo_path(chosen, merchant)}
    if as_json:
        say_json(facts | {"decisions": [_decision(each) for each in decisions]})
        return
    say_table([("fact", "value"), *(_line_of(facts).items())])
    say("")
    columns = ("decision", "state", "at", "actor", "reason")
    say_table(
        [
            columns,
            *(
                (each.decision_no, each.to_state, instants.from_datetime(each.at), each.actor, each.reason)
                for each in decisions
            ),
        ]
    )


@contextmanager
def _progress(label: str, length: int) -> Iterator[Advance]:
    """Show a bar on a terminal, and nothing anywhere else."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with typer.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update


def _decide(directory: Path | None, numbers: list[str], verdict: Verdict, actor: str, reason: str) -> None:
    chosen = chosen_settings(directory, ["database_url"])
    refusals = asyncio.run(_write_decisions(chosen, list(dict.fromkeys(numbers)), verdict, actor, reason))
    if refusals:
        told = "\n".join(f"merchant {number} {obstacle}" for number, obstacle in refusals.items())
        raise Refused(f"{told}\nnothing was changed")
    say(f"{len(set(numbers))} now {verdict.ends}")


async def _write_decisions(
    chosen: Settings, numbers: list[str], verdict: Verdict, actor: str, reason: str
) -> dict[str, str]:
    async with open_vault(chosen) as vault:
        return await merchants.decide(vault, numbers, verdict, actor=actor, reason=reason)


async def _import(chosen: Settings, rows: list[ListRow], wish: Wish) -> Outcome:
    async with open_vault(chosen) as vault:
        if not (await merchants.stored_rules(vault)).towns:
            raise Refused("no campaign is stored: towns and categories come from it; see 'grab campaign load'")
        return await import_rows(vault, rows, wish, _progress)


async def _search(chosen: Settings, wanted: Search) -> Page:
    async with open_vault(chosen) as vault:
        return await merchants.search(vault, wanted)


async def _find(chosen: Settings, number: str) -> tuple[Merchant, list[Decision]]:
    async with open_vault(chosen) as vault:
        merchant = await merchants.find(vault, number)
        if merchant is None:
            raise Refused(f"no merchant has the number {number}; 'grab merchants list' shows them")
        return merchant, await merchants.journal(vault, number)


def _tell(outcome: Outcome) -> None:
    for fault in outcome.faults:
        say(f"line {fault.line}, {fault.column}: {fault.reason}")
    bad = len({fault.line for fault in outcome.faults})
    approved = ", all approved" if outcome.approved else ""
    if bad and not outcome.imported:
        say(f"nothing was imported: {bad:,} of {outcome.rows:,} rows are bad; --partial stores the others")
    else:
        say(f"{outcome.imported:,} merchants of {outcome.rows:,} rows imported{approved}; {bad:,} rows are bad")


def _facts(merchant: Merchant) -> dict[str, Any]:
    return {
        "merchant_no": merchant.merchant_no,
        "state": merchant.state,
        "name": merchant.name,
        "address": merchant.address,
        "town": merchant.town,
        "category": merchant.category,
        "accepts": list(merchant.accepts),
        "submitted_by": merchant.submitted_by,
        "submitted_at": instants.from_datetime(merchant.submitted_at),
    }


def _line(merchant: Merchant) -> dict[str, Any]:
    return _line_of(_facts(merchant))


def _line_of(facts: dict[str, Any]) -> dict[str, Any]:
    return facts | {"accepts": "|".join(facts["accepts"])}


def _photo_path(chosen: Settings, merchant: Merchant) -> str | None:
    if merchant.photo is None or chosen.photo_dir is None:
        return None
    return str(photos.path_of(chosen.photo_dir, merchant.photo.sha256, merchant.photo.content_type))


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "decision_no": decision.decision_no,
        "from_state": decision.from_state,
        "to_state": decision.to_state,
        "actor": decision.actor,
        "reason": decision.reason,
        "at": instants.from_datetime(decision.at),
    }
