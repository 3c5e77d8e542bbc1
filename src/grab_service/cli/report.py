"""The command that writes the page of figures for the final report."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from grab_service import instants
from grab_service.cli.options import DataDirOption, JsonOption, Refused, chosen_settings, say, say_json
from grab_service.figures_page import Report, page_of
from grab_service.settings import Settings
from grab_service.stores import open_vault
from ledger import catalogue
from ledger.figures import figures_of


def report(
    *,
    campaign_id: Annotated[str, typer.Option("--campaign", metavar="ID", help="A campaign's id.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the page goes; ID-report.html if not given.")
    ] = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what became of a campaign as one page with charts: issued, used, lapsed, and what was spent for it."""
    at = datetime.now(UTC)
    document, figures = asyncio.run(_read(chosen_settings(directory, ["database_url"]), campaign_id))
    if as_json:
        say_json({"campaign_id": campaign_id, "at": instants.from_datetime(at), **figures.to_json()})
        return
    file = out or Path(f"{campaign_id}-report.html")
    file.write_text(page_of(document, figures, at), encoding="utf-8")
    say(str(file))


async def _read(chosen: Settings, campaign_id: str) -> tuple[Mapping[str, Any], Report]:
    async with open_vault(chosen) as vault:
        document = (await catalogue.documents(vault)).get(campaign_id)
        if document is None:
            raise Refused(f"no campaign {campaign_id} is stored")
        return document, Report.of(document, await figures_of(vault, campaign_id))
