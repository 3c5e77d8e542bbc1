"""Commands of the settlement: freeze a period and write its files, compare it, approve and pay it, look at it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from grab_service import instants
from grab_service.cli.options import DataDirOption, JsonOption, Refused, chosen_settings, say, say_json, say_table
from grab_service.cli.two_persons import TokenFile, subject
from grab_service.merchant_list import ListUnreadable
from grab_service.payment_list import payments_of
from grab_service.periods import end_of
from grab_service.settings import Settings
from grab_service.settlement_files import differences_of, files_of, write_files
from grab_service.stores import open_vault
from ledger import admin, comparison, settlement
from ledger.admin import Action
from ledger.comparison import Comparison, Key, Verdict
from ledger.seal import seal_now
from ledger.settlement import Compared, Line, Settlement

commands = typer.Typer(help="Settle with the merchants (结算).", invoke_without_command=True)

_STATES = ("settlement", "state", "until", "merchants", "net fen", "to pay fen", "carried fen")
_TOLD_MAX = 20  # differences that are printed; the files have all of them

SettlementId = Annotated[str, typer.Argument(metavar="ID", help="A settlement's id, qijiang-2023-s1.")]
Reason = Annotated[str, typer.Option(help="Why; it stays in the journal.", show_default=False)]
By = Annotated[str, typer.Option("--by", help="Who says so, where two persons are not asked for.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where the files go.")]


@commands.callback()
def settle(
    context: typer.Context,
    *,
    campaign_id: Annotated[str, typer.Option("--campaign", metavar="ID", help="A campaign's id.")] = "",
    until: Annotated[
        str, typer.Option(metavar="DATE", help="The last day, in China; or an instant with its offset, exclusive.")
    ] = "",
    out: Out = Path(),
    reason: Reason = "settlement is due",
    by: By = "grab settle",
    token_file: TokenFile = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Freeze a period and write its files; the same period again writes the very same files."""
    if context.invoked_subcommand is not None:
        return
    if not campaign_id or not until:
        raise Refused("say which period: --campaign ID --until DATE")
    try:
        end = end_of(until)
    except ValueError as error:
        raise Refused(f"--until {error}") from error
    chosen = chosen_settings(directory, ["database_url"])
    frozen, made = asyncio.run(_freeze(chosen, campaign_id, end, _who(chosen, token_file, by), reason))
    _tell_files(frozen, write_files(out, made), as_json=as_json)


@commands.command()
def files(
    settlement_id: SettlementId, *, out: Out = Path(), directory: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Write the files of a settlement again: the very same bytes, whenever and wherever."""
    found, made = asyncio.run(_files(chosen_settings(directory, ["database_url"]), settlement_id))
    _tell_files(found, write_files(out, made), as_json=as_json)


@commands.command()
def compare(
    settlement_id: SettlementId,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV or XLSX: merchant_no,order_no,kind,amount in yuan.")
    ],
    *,
    out: Out = Path(),
    by: By = "grab settle compare",
    token_file: TokenFile = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a settlement with what the bank or UnionPay counted; 0 they agree, 1 they differ."""
    content = file.read_bytes()
    try:
        theirs = payments_of(content)
    except ListUnreadable as error:
        raise Refused("\n".join(f"{file}: {line}" for line in str(error).splitlines())) from error
    chosen = chosen_settings(directory, ["database_url"])
    digest = hashlib.sha256(content).digest()
    found, seen = asyncio.run(_compare(chosen, settlement_id, theirs, digest, _who(chosen, token_file, by)))
    paths = write_files(out, differences_of(found, seen, datetime.now(UTC)))
    if as_json:
        say_json(_compared(found, seen) | {"files": [str(path) for path in paths]})
    else:
        _tell_comparison(seen, paths)
    if seen.differences:
        raise typer.Exit(1)


@commands.command()
def approve(
    settlement_id: SettlementId,
    *,
    reason: Reason,
    accept_differences: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Why it is paid although the latest comparison has found differences."),
    ] = None,
    by: By = "grab settle approve",
    token_file: TokenFile = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Agree to what somebody else has frozen, and pay it; a second time pays nothing."""
    chosen = chosen_settings(directory, ["database_url"])
    name = _who(chosen, token_file, by)
    paid = asyncio.run(_approve(chosen, settlement_id, name, reason, accept_differences))
    if as_json:
        say_json(_shown(paid))
        return
    say(f"{settlement_id} is paid: {paid.paid_fen} fen to {paid.merchants} merchants, approved by {paid.approved_by}")


@commands.command("list")
def list_(*, directory: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List every settlement."""
    found = asyncio.run(_list(chosen_settings(directory, ["database_url"])))
    if as_json:
        say_json([_shown(each) for each in found])
        return
    say_table([_STATES, *(_row(each) for each in found)])


@commands.command()
def show(settlement_id: SettlementId, *, directory: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Print what each merchant gets, and what the latest comparison has found."""
    found, lines, compared = asyncio.run(_show(chosen_settings(directory, ["database_url"]), settlement_id))
    if as_json:
        told = None if compared is None else _json(asdict(compared))
        each_line = [asdict(line) | {"net_fen": line.net_fen} for line in lines]
        say_json(_shown(found) | {"comparison": told, "lines": each_line})
        return
    names = (
        "brought_fen",
        "redeemed_fen",
        "reversed_fen",
        "refunded_fen",
        "clawed_back_fen",
        "paid_fen",
        "carried_fen",
    )
    say_table([_STATES, _row(found)])
    say("")
    say_table(
        [
            ("merchant", "name", "town", *(name.removesuffix("_fen") for name in names)),
            *((each.merchant_no, each.name, each.town, *(getattr(each, name) for name in names)) for each in lines),
        ]
    )
    if compared is not None:
        accepted = f", accepted by {compared.accepted_by}" if compared.accepted_by else ""
        say(f"compared by {compared.compared_by}: {compared.differences} differences{accepted}")


def _who(chosen: Settings, token_file: Path | None, by: str) -> str:
    """Return who acts: where two must agree, also if the vault alone says so, the subject of his token."""
    must_agree = chosen.two_persons or asyncio.run(_must_agree(chosen))
    return subject(chosen, Action.SETTLE, token_file) if must_agree else by


def _tell_files(found: Settlement, paths: list[Path], *, as_json: bool) -> None:
    if as_json:
        say_json(_shown(found) | {"files": [str(path) for path in paths]})
        return
    say_table([_STATES, _row(found)])
    for path in paths:
        say(str(path))
    if found.state != "PAID":
        say(f"not paid yet: somebody else runs 'grab settle approve {found.settlement_id} --reason …'")


def _tell_comparison(seen: Comparison, paths: list[Path]) -> None:
    totals = [(verdict.value.lower().replace("_", " "), *seen.total(verdict)) for verdict in Verdict]
    say_table([("", "lines", "fen"), ("agreeing", seen.agreeing, None), *totals])
    for each in seen.differences[:_TOLD_MAX]:
        ours, theirs = ("-" if fen is None else fen for fen in (each.ours_fen, each.theirs_fen))
        say(f"{each.key.merchant_no} {each.key.order_no} {each.key.kind}: ours {ours} fen, theirs {theirs}")
    if len(seen.differences) > _TOLD_MAX:
        say(f"and {len(seen.differences) - _TOLD_MAX} more")
    for path in paths:
        say(str(path))


def _row(each: Settlement) -> tuple[object, ...]:
    until = instants.from_datetime(each.until)
    return (each.settlement_id, each.state, until, each.merchants, each.net_fen, each.paid_fen, each.carried_fen)


def _shown(each: Settlement) -> dict[str, Any]:
    facts = asdict(each)
    for internal in ("settlement_no", "heads"):
        del facts[internal]
    return {"settlement_id": each.settlement_id, **_json(facts), "net_fen": each.net_fen}


def _json(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: instants.from_datetime(value) if isinstance(value, datetime) else value for name, value in facts.items()
    }


def _compared(found: Settlement, seen: Comparison) -> dict[str, Any]:
    totals = {
        verdict.value.lower(): dict(zip(("lines", "fen"), seen.total(verdict), strict=True)) for verdict in Verdict
    }
    listed = [
        asdict(each.key) | {"verdict": each.verdict, "ours_fen": each.ours_fen, "theirs_fen": each.theirs_fen}
        for each in seen.differences
    ]
    return {"settlement_id": found.settlement_id, "agreeing": seen.agreeing, **totals, "differences": listed}


async def _must_agree(chosen: Settings) -> bool:
    async with open_vault(chosen) as vault:
        return await admin.must_agree(vault)


async def _freeze(
    chosen: Settings, campaign_id: str, until: datetime, name: str, reason: str
) -> tuple[Settlement, Mapping[str, bytes]]:
    async with open_vault(chosen) as vault:
        await seal_now(vault)  # so that the heads of the journals cover what is settled
        frozen = await settlement.freeze(vault, campaign_id, until, subject=name, reason=reason)
        return frozen, files_of(*await settlement.contents(vault, frozen.settlement_id))


async def _files(chosen: Settings, settlement_id: str) -> tuple[Settlement, Mapping[str, bytes]]:
    async with open_vault(chosen) as vault:
        found, lines, items = await settlement.contents(vault, settlement_id)
        return found, files_of(found, lines, items)


async def _compare(
    chosen: Settings, settlement_id: str, theirs: list[tuple[Key, int]], digest: bytes, name: str
) -> tuple[Settlement, Comparison]:
    async with open_vault(chosen) as vault:
        found, _, items = await settlement.contents(vault, settlement_id)
        seen = comparison.compare(items, theirs)
        await comparison.record(vault, found, seen, subject=name, list_digest=digest)
        return found, seen


async def _approve(
    chosen: Settings, settlement_id: str, name: str, reason: str, accept_differences: str | None
) -> Settlement:
    async with open_vault(chosen) as vault:
        return await settlement.approve(
            vault, settlement_id, subject=name, reason=reason, accept_differences=accept_differences
        )


async def _list(chosen: Settings) -> list[Settlement]:
    async with open_vault(chosen) as vault:
        return await settlement.settlements(vault)


async def _show(chosen: Settings, settlement_id: str) -> tuple[Settlement, list[Line], Compared | None]:
    async with open_vault(chosen) as vault:
        found = await settlement.find(vault, settlement_id)
        return found, await settlement.lines(vault, found), await settlement.latest_comparison(vault, found)
