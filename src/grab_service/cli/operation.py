"""Commands for running a round: pause, resume, status, recover, audit."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from grab_service import instants, snapshot
from grab_service.cli.options import (
    DataDirOption,
    JsonOption,
    Refused,
    StockId,
    chosen_settings,
    say,
    say_json,
    say_table,
)
from grab_service.cli.two_persons import RequestNo, TokenFile, Who, acting, permitted
from grab_service.gate import Counts, Gate, GateUnavailable
from grab_service.keeper import open_the_gate, stored_stocks
from grab_service.settings import Settings
from grab_service.snapshot import Snapshot
from grab_service.stores import StoreUnavailable, open_gate, open_vault
from ledger import admin, money, pauses, settlement
from ledger.admin import Action
from ledger.audit import AuditReport
from ledger.audit import audit as audit_stores
from ledger.money import Unfunded
from ledger.pauses import Pause, PauseRefused
from ledger.recover import RecoveryReport
from ledger.settlement import Deadline

_NO_REASON = "no reason was given"

Reason = Annotated[
    str | None,
    typer.Option(help="Why; it stays in the journal. Needed where two persons must agree.", show_default=False),
]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who does it, where one person is enough.", show_default=False),
]


def pause(
    stock_id: StockId,
    *,
    reason: Reason = None,
    by: By = None,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Stop handing out a stock; what users hold stays theirs.

    Where two persons must agree, one alone pauses it for a minute, once an hour; it then goes on by itself.
    """
    who = Who(request_no, token_file, by)
    decided = asyncio.run(_decide(chosen_settings(directory), stock_id, reason, who, is_paused=True))
    if decided.until is None:
        say(f"{stock_id} is paused; 'grab resume {stock_id}' goes on")
        return
    say(f"{stock_id} is paused until {instants.from_datetime(decided.until)}; for longer two persons must agree:")
    say(f"  grab admin request {Action.PAUSE} {stock_id} --reason …")


def resume(
    stock_id: StockId,
    *,
    reason: Reason = None,
    by: By = None,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Go on handing out a stock; what two persons have paused, two resume."""
    who = Who(request_no, token_file, by)
    asyncio.run(_decide(chosen_settings(directory), stock_id, reason, who, is_paused=False))
    say(f"{stock_id} is handed out again")


def status(*, directory: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Print every stock's figures, as the gate has them now, by when to settle, and what money is missing."""
    picture, deadlines, missing = asyncio.run(_picture(chosen_settings(directory)))
    if as_json:
        told = json.loads(f'{picture.body.decode()}{instants.from_ms(_now_ms())}"}}')
        settlements = [asdict(each) | {"settle_by": instants.from_datetime(each.settle_by)} for each in deadlines]
        say(json.dumps(told | {"settlements": settlements, "unfunded": [_unfunded(each) for each in missing]}))
        return
    say_table(
        [
            ("stock", "state", "epoch", "quantity", "claimed", "remaining", "booked"),
            *(
                (
                    stock.stock_id,
                    snapshot.state_of(counts),
                    counts and counts.epoch,
                    stock.quantity,
                    counts and counts.held,
                    counts and counts.free,
                    counts and counts.booked,
                )
                for stock, counts in picture.figures
            ),
        ]
    )
    for deadline in deadlines:
        left = "OVER" if deadline.is_over else f"{deadline.days_left} days left"
        owing = f", {deadline.owing_fen} fen owed by merchants" if deadline.owing_fen else ""
        say(
            f"{deadline.campaign_id}: settle by {instants.from_datetime(deadline.settle_by)}, {left}, "
            f"{deadline.owed_fen} fen owed{owing}, {deadline.paid_fen} fen paid"
        )
    for each in missing:
        if money.today(datetime.now(UTC)) >= each.due_on:
            say(f"{each.campaign_id} {each.round_id}: {each.needed_fen} fen not received, due on {each.due_on}")


def recover(
    *,
    from_gate: Annotated[
        bool,
        typer.Option("--from-gate", help="The vault was restored to an older point: take back what the gate holds."),
    ] = False,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the gate from the ledger and the streams, and open it; safe at any time, any number of times."""
    report = asyncio.run(
        _recover(chosen_settings(directory), from_gate=from_gate, request_no=request_no, token_file=token_file)
    )
    if as_json:
        say_json(report.to_json())
        return
    say_table(
        [
            ("stock", "epoch", "quantity", "held", "free", "drained", "refused"),
            *(
                (each.stock_id, each.epoch, each.quantity, each.held, each.free, each.drained, each.refused)
                for each in report.stocks
            ),
        ]
    )
    say(f"open after {report.duration_ms} ms")


def audit(*, directory: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Check every invariant over both stores, at rest or live; 0 all hold, 1 one is violated, 2 could not check."""
    report = asyncio.run(_audit(chosen_settings(directory)))
    if as_json:
        say_json(report.to_json())
    else:
        say_table(
            [
                ("id", "holds", "invariant", "detail"),
                *((each.id, "yes" if each.ok else "NO", each.name, each.detail) for each in report.invariants),
            ]
        )
        say("")
        say_table(
            [
                ("stock", "quantity", "claimed", "remaining", "booked"),
                *((each.stock_id, each.quantity, each.claimed, each.remaining, each.booked) for each in report.stocks),
            ]
        )
    if not report.ok:
        raise typer.Exit(1)


async def _recover(
    chosen: Settings, *, from_gate: bool, request_no: int | None, token_file: Path | None
) -> RecoveryReport:
    target = "gate --from-gate" if from_gate else "gate"
    async with permitted(chosen, Action.RECOVER, target, Who(request_no, token_file)) as permit:
        # Before: a recovery takes as long as it takes, and every step of it stands.
        deed_no = await permit.write_down()
    return await open_the_gate(chosen, from_gate=from_gate, deed_no=deed_no)


async def _decide(chosen: Settings, stock_id: str, reason: str | None, who: Who, *, is_paused: bool) -> Pause:
    action = Action.PAUSE if is_paused else Action.RESUME
    async with open_vault(chosen) as vault, open_gate(chosen) as client:
        must_agree = chosen.two_persons or await admin.must_agree(vault)
        if must_agree and reason is None:
            raise Refused("say why, with --reason")
        name = acting(chosen, action, who, must_agree=must_agree)
        stocks = {stock.stock_id: stock for stock in await stored_stocks(vault)}
        try:
            # The vault first: a recovery that comes between the two keeps what was decided.
            decided = await pauses.decide(
                vault,
                stock_id,
                is_paused=is_paused,
                subject=name,
                reason=_NO_REASON if reason is None else reason,
                request_no=who.request_no,
                two_must_agree=must_agree,
            )
        except PauseRefused as error:
            raise Refused(f"{error}; see 'grab admin request {action} {stock_id} --reason …'") from error
        if decided is None:
            raise Refused(f"there is no stock {stock_id}; 'grab status' lists them")
        try:
            await Gate(client).set_paused(stocks[stock_id], is_paused)
        except GateUnavailable as error:
            raise StoreUnavailable(f"the vault has it, the gate will follow when it answers ({error})") from error
        return decided


async def _picture(chosen: Settings) -> tuple[Snapshot, Sequence[Deadline], list[Unfunded]]:
    async with open_vault(chosen) as vault, open_gate(chosen) as client:
        stocks = await stored_stocks(vault)
        try:
            counts: Sequence[Counts | None] = await Gate(client).counts(stocks)
        except GateUnavailable:  # away, or without its library
            counts = [None] * len(stocks)
        figures = list(zip(stocks, counts, strict=True))
        picture = snapshot.take(figures, gate_answers=None not in counts, now_ms=_now_ms())
        return picture, await settlement.deadlines(vault), await money.unfunded(vault)


def _unfunded(each: Unfunded) -> dict[str, object]:
    return asdict(each) | {"opens_at": instants.from_datetime(each.opens_at), "due_on": each.due_on.isoformat()}


async def _audit(chosen: Settings) -> AuditReport:
    async with open_vault(chosen) as vault, open_gate(chosen) as client:
        return await audit_stores(vault, client)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
