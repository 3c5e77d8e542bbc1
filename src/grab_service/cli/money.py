"""Commands about the fund: what has arrived, and what goes back because nobody used it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from grab_service.cli.options import DataDirOption, JsonOption, chosen_settings, say, say_json
from grab_service.cli.two_persons import RequestNo, TokenFile, Who, permitted
from grab_service.settings import Settings
from grab_service.stores import open_gate, open_vault
from ledger import money
from ledger.admin import Action
from ledger.money import Receipt, Received
from ledger.upkeep import Pass, look_after

_DAY = "%Y-%m-%d"


def fund(
    campaign_id: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="A campaign's id.", show_default=False)],
    amount_fen: Annotated[int, typer.Argument(min=1, metavar="FEN", help="What arrived.", show_default=False)],
    *,
    reference: Annotated[str, typer.Option(help="The bank's; the same one is never booked twice.")],
    received_on: Annotated[
        datetime | None, typer.Option(formats=[_DAY], help="The day in China.", show_default="today")
    ] = None,
    recorded_by: Annotated[
        str | None, typer.Option("--by", help="Who says so, where one person is enough.", show_default=False)
    ] = None,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Book money that has arrived, and set aside what the campaign's vouchers cost, as far as it reaches."""
    receipt = Receipt(
        campaign_id=campaign_id,
        amount_fen=amount_fen,
        reference=reference,
        received_on=received_on.date() if received_on else money.today(datetime.now(UTC)),
        recorded_by="",
    )
    chosen = chosen_settings(directory, ["database_url"])
    target = f"{campaign_id} {amount_fen} {reference} {receipt.received_on}"
    received = asyncio.run(_receive(chosen, receipt, target, Who(request_no, token_file, recorded_by)))
    if as_json:
        say_json(received.to_json())
        return
    say(f"{amount_fen} fen {'booked' if received.is_new else 'were booked before'}: {reference}")
    for stock_id in received.reserved:
        say(f"{stock_id} has its money")
    for stock_id in received.unfunded:
        say(f"{stock_id} has no money yet")
    for day in received.late_for:
        say(f"warning: this is later than {money.WORKING_DAYS_AHEAD} working days before the opening of {day}")


def expire(*, directory: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Expire vouchers past their validity and seal rounds that are over; safe at any time, any number of times."""
    done = asyncio.run(_look_after(chosen_settings(directory)))
    if as_json:
        say_json(
            {
                "expired": done.expired,
                "sealed": [
                    {"campaign_id": each.campaign_id, "round_id": each.round_id, "never_claimed": each.never_claimed}
                    for each in done.sealed
                ],
                "waiting": [{"campaign_id": each.campaign_id, "round_id": each.round_id} for each in done.waiting],
            }
        )
        return
    say(f"{done.expired} vouchers expired")
    for sealed in done.sealed:
        say(f"{sealed.campaign_id} {sealed.round_id} is sealed: {sealed.never_claimed} vouchers were never claimed")
    for waiting in done.waiting:
        say(f"{waiting.campaign_id} {waiting.round_id} is over, but has claims on their way to the vault")


async def _receive(chosen: Settings, receipt: Receipt, target: str, who: Who) -> Received:
    async with permitted(chosen, Action.FUND, target, who) as permit:
        before = {each.kind: each.balance_fen for each in await money.balances(permit.vault, receipt.campaign_id)}
        pool_fen = before.get("POOL", 0)
        number = await permit.write_down(
            before={"pool_fen": pool_fen}, after={"received_fen": receipt.amount_fen, "reference": receipt.reference}
        )
        booked = replace(receipt, recorded_by=permit.subject, deed_no=number)
        return await money.receive_fund(permit.vault, booked)


async def _look_after(chosen: Settings) -> Pass:
    async with open_vault(chosen) as vault, open_gate(chosen) as gate:
        return await look_after(vault, gate)
