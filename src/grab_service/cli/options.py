"""What the commands have in common: options, the settings they work with, how they speak and refuse."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from grab_service import data_dir, settings, settings_reader
from grab_service.campaign import Campaign, CampaignInvalid, read_campaign
from grab_service.data_dir import DataDir
from grab_service.settings import STORES, Settings
from grab_service.settings_reader import SettingsInvalid

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Speak to the 'grab up' of this directory.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CampaignFile = Annotated[Path, typer.Argument(metavar="FILE", help="A campaign file, TOML.", show_default=False)]
StockId = Annotated[str, typer.Argument(metavar="STOCK", help="A stock's id, qijiang-2023-r1-general-1.")]


class Refused(Exception):
    """What was asked for is not so or must not be; the message says why."""


def read_file(file: Path) -> Campaign:
    """Read a campaign file.

    Raises:
        Refused: Something is wrong with it; says everything, each with its line.
        OSError: It cannot be read.
    """
    try:
        return read_campaign(file)
    except CampaignInvalid as error:
        raise Refused("\n".join(problem.in_file(file) for problem in error.problems)) from error


def say(text: str) -> None:
    """Print a line on standard output."""
    typer.echo(text)


def say_json(value: Any) -> None:
    """Print a value as JSON."""
    say(json.dumps(value, ensure_ascii=False, indent=2))


def say_table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; the first row has their names."""
    texts = [["-" if cell in (None, "") else str(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        say("  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip())


def _width(text: str) -> int:
    """Return how many columns a terminal gives to the text; Chinese letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def settings_file(directory: Path | None) -> Path | None:
    """Return the settings file that a command works with besides its environment.

    A rehearsal in the working directory is spoken to only if the environment names nothing else: its
    keys must never be mixed with another service's stores.

    Raises:
        SettingsInvalid: No rehearsal has run in the named directory.
    """
    if directory is not None:
        file = DataDir(directory.resolve()).settings_file
        if not file.is_file():
            raise SettingsInvalid([f"no 'grab up' has run in {directory}"])
        return file
    file = DataDir(data_dir.DEFAULT.resolve()).settings_file
    names_others = any(os.environ.get(name) for name in (settings.FILE_VARIABLE, "GRAB_REDIS_URL", "GRAB_DATABASE_URL"))
    return file if file.is_file() and not names_others else None


def chosen_settings(directory: Path | None, needed: Iterable[str] = STORES) -> Settings:
    """Return the settings for a command that speaks to a running service.

    Raises:
        SettingsInvalid: One is wrong or missing.
    """
    return settings_reader.load(needed, file=settings_file(directory))
