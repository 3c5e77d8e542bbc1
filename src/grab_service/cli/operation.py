"""Commands for running a round: pause, resume, status, recover, audit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
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
from grab_service.cli.two_persons import RequestNo, TokenFile, permit
from grab_service.gate import Counts, Gate, GateUnavailable
from grab_service.keeper import open_the_gate, stored_stocks
from grab_service.settings import Settings
from grab_service.snapshot import Snapshot
from grab_service.stores import StoreUnavailable, open_gate, open_vault
from ledger import catalogue
from ledger.admin import Action
from ledger.audit import AuditReport
from ledger.audit import audit as audit_stores
from ledger.recover import RecoveryReport

_ALONE_S = 60.0  # how long one person may pause a stock where two must agree


def pause(
    stock_id: StockId,
    *,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Stop handing out a stock; what users hold stays theirs.

    Where two persons must agree, one alone pauses it for a minute: the command waits and then resumes it.
    """
    chosen = chosen_settings(directory)
    if chosen.two_persons and request_no is None:
        asyncio.run(_pause_alone(chosen, stock_id))
        return
    asyncio.run(_pause(chosen, stock_id, request_no, token_file))
    say(f"{stock_id} is paused; 'grab resume {stock_id}' goes on")


def resume(stock_id: StockId, *, directory: DataDirOption = None) -> None:
    """Go on handing out a stock."""
    asyncio.run(_set_paused(chosen_settings(directory), stock_id, paused=False))
    say(f"{stock_id} is handed out again")


def status(*, directory: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Print every stock's figures, as the gate has them now."""
    picture = asyncio.run(_picture(chosen_settings(directory)))
    if as_json:
        say(f'{picture.body.decode()}{instants.from_ms(_now_ms())}"}}')
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


async def _pause(chosen: Settings, stock_id: str, request_no: int | None, token_file: Path | None) -> None:
    await permit(chosen, Action.PAUSE, stock_id, request_no=request_no, token_file=token_file)
    await _set_paused(chosen, stock_id, paused=True)


async def _pause_alone(chosen: Settings, stock_id: str) -> None:
    say(f"{stock_id} is paused for {_ALONE_S:.0f} s; for longer two persons must agree:")
    say(f"  grab admin request {Action.PAUSE} {stock_id} --reason …")
    await _set_paused(chosen, stock_id, paused=True)
    try:
        await asyncio.sleep(_ALONE_S)
    finally:
        await _set_paused(chosen, stock_id, paused=False)
    say(f"{stock_id} is handed out again")


async def _recover(
    chosen: Settings, *, from_gate: bool, request_no: int | None, token_file: Path | None
) -> RecoveryReport:
    target = "gate --from-gate" if from_gate else "gate"
    await permit(chosen, Action.RECOVER, target, request_no=request_no, token_file=token_file)
    return await open_the_gate(chosen, from_gate=from_gate)


async def _set_paused(chosen: Settings, stock_id: str, *, paused: bool) -> None:
    async with open_vault(chosen) as vault, open_gate(chosen) as client:
        stocks = {stock.stock_id: stock for stock in await stored_stocks(vault)}
        # The vault first: a recovery that comes between the two keeps what was decided.
        if not await catalogue.set_paused(vault, stock_id, paused):
            raise Refused(f"there is no stock {stock_id}; 'grab status' lists them")
        try:
            await Gate(client).set_paused(stocks[stock_id], paused)
        except GateUnavailable as error:
            raise StoreUnavailable(f"the vault has it, but the gate does not answer: try again ({error})") from error


async def _picture(chosen: Settings) -> Snapshot:
    async with open_vault(chosen) as vault, open_gate(chosen) as client:
        stocks = await stored_stocks(vault)
        try:
            counts: Sequence[Counts | None] = await Gate(client).counts(stocks)
        except GateUnavailable:  # away, or without its library
            counts = [None] * len(stocks)
        figures = list(zip(stocks, counts, strict=True))
        return snapshot.take(figures, gate_answers=None not in counts, now_ms=_now_ms())


async def _audit(chosen: Settings) -> AuditReport:
    async with open_vault(chosen) as vault, open_gate(chosen) as client:
        return await audit_stores(vault, client)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
