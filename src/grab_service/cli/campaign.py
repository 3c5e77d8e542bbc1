"""Commands about campaigns: check a file, store it, show what is stored."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import asdict, replace
from typing import Annotated

import typer

from grab_service import instants
from grab_service.campaign import Campaign, CampaignInvalid, read_campaign
from grab_service.cli.options import (
    CampaignFile,
    DataDirOption,
    JsonOption,
    Refused,
    chosen_settings,
    read_file,
    say,
    say_json,
    say_table,
)
from grab_service.cli.two_persons import RequestNo, TokenFile, Who, permitted
from grab_service.keyring import read_secret, read_user_refs
from grab_service.minting import mint, seasoned
from grab_service.references import VoucherCodes
from grab_service.settings import STORES, Settings
from grab_service.stores import open_vault
from ledger import catalogue
from ledger.admin import Action
from ledger.catalogue import NewCampaign

commands = typer.Typer(help="Check, store and show campaigns.", no_args_is_help=True)


@commands.command()
def check(file: CampaignFile, *, as_json: JsonOption = False) -> None:
    """Say everything that is wrong with a campaign file; 0 nothing, 1 something."""
    if not as_json:
        say(f"{file} is in order: {_summary(read_file(file))}")
        return
    try:
        campaign_id, problems = read_campaign(file).campaign_id, []
    except CampaignInvalid as error:
        campaign_id, problems = None, [asdict(problem) for problem in error.problems]
    say_json({"ok": not problems, "campaign_id": campaign_id, "problems": problems})
    if problems:
        raise typer.Exit(1)


@commands.command()
def load(
    file: CampaignFile,
    *,
    request_no: RequestNo = None,
    token_file: TokenFile = None,
    directory: DataDirOption = None,
) -> None:
    """Store a campaign and mint its vouchers; harmless if it is stored already.

    'grab recover' then opens the gate for it. A stored campaign never changes.
    """
    campaign = read_file(file)
    chosen = chosen_settings(directory, [*STORES[1:], "voucher_key_file", "pepper_file"])
    codes = VoucherCodes(read_secret("voucher_key_file", chosen.voucher_key_file))
    # The very file: who approves it has read it.
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    minted = replace(seasoned(mint(campaign, codes), read_user_refs(chosen)), file_sha256=digest)
    if asyncio.run(_load(chosen, minted, Who(request_no, token_file))):
        say(f"stored {_summary(campaign)}; 'grab recover' opens the gate for it")
    else:
        say(f"{campaign.campaign_id} is stored already, the very same")


@commands.command()
def show(
    campaign_id: Annotated[str, typer.Argument(metavar="ID", help="A campaign's id, qijiang-2023.")],
    *,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a stored campaign."""
    document = asyncio.run(_document(chosen_settings(directory, ["database_url"]), campaign_id))
    if as_json:
        say_json(document)
        return
    campaign = Campaign.from_document(document)
    say(f"{_summary(campaign)}\n")
    say_table(
        [
            ("stock", "name", "quantity", "opens", "closes"),
            *(
                (
                    stock.stock_id,
                    stock.name,
                    stock.quantity,
                    instants.from_datetime(stock.opens_at),
                    instants.from_datetime(stock.closes_at),
                )
                for stock in campaign.stocks()
            ),
        ]
    )


async def _load(chosen: Settings, campaign: NewCampaign, who: Who) -> bool:
    target = f"{campaign.campaign_id} sha256:{campaign.file_sha256}"
    async with permitted(chosen, Action.OPEN, target, who) as permit:
        vouchers = sum(stock.quantity for round_ in campaign.rounds for stock in round_.stocks)
        number = await permit.write_down(after={"fund_fen": campaign.fund_fen, "vouchers": vouchers})
        return await catalogue.load_campaign(permit.vault, replace(campaign, deed_no=number))


async def _document(chosen: Settings, campaign_id: str) -> dict[str, object]:
    async with open_vault(chosen) as vault:
        documents = await catalogue.documents(vault)
    if campaign_id not in documents:
        raise Refused(f"no campaign {campaign_id} is stored; stored are: {', '.join(sorted(documents)) or 'none'}")
    return documents[campaign_id]


def _summary(campaign: Campaign) -> str:
    stocks = list(campaign.stocks())
    vouchers = sum(stock.quantity for stock in stocks)
    return f"{campaign.campaign_id}, {len(campaign.rounds)} rounds, {len(stocks)} stocks, {vouchers:,} vouchers"
