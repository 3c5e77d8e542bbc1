"""Reads the settings of a process, once at the rim; they are checked, frozen and passed down.

A setting comes from the environment variable ``GRAB_`` + its name in capitals, else from the TOML
file that ``GRAB_SETTINGS_FILE`` names, else it has its default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from grab_service.settings import FILE_VARIABLE, Settings, variable_of


class SettingsInvalid(ValueError):
    """The settings cannot be used.

    Attributes:
        problems: Everything that is wrong, one sentence each.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Origin(StrEnum):
    """Where a value came from."""

    GIVEN = "command line"
    ENVIRONMENT = "env"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Sources:
    """The settings of a process and where each came from."""

    settings: Settings
    origins: Mapping[str, Origin]


def load(needed: Iterable[str] = (), *, file: Path | None = None, **given: Any) -> Settings:
    """Return the settings of this process.

    Args:
        needed: Names of settings without which the caller cannot work.
        file: The TOML file; None for the one that the environment names.
        given: Values that outrank all others, from the command line; None is not given.

    Raises:
        SettingsInvalid: One is wrong, unknown or missing.
    """
    settings = read(file=file, **given).settings
    missing = [
        f"{variable_of(name)} is not set: {Settings.model_fields[name].description}"
        for name in needed
        if not getattr(settings, name)
    ]
    if missing:
        raise SettingsInvalid(missing)
    return settings


def read(*, file: Path | None = None, **given: Any) -> Sources:
    """Read the settings like ``load``, and tell where each came from."""
    file = file or _file_of_environment()
    layers = {
        Origin.FILE: _read_file(file),
        Origin.ENVIRONMENT: _read_environment(),
        Origin.GIVEN: {name: value for name, value in given.items() if value is not None},
    }
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, Origin.DEFAULT)
    for origin, layer in layers.items():
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    try:
        return Sources(Settings(**values), origins)
    except ValidationError as error:
        raise SettingsInvalid(_sentence(details, origins, file) for details in error.errors()) from None


def _read_environment() -> dict[str, Any]:
    variables = {name: os.environ.get(variable_of(name)) for name in Settings.model_fields}
    return {name: value for name, value in variables.items() if value}


def _file_of_environment() -> Path | None:
    named = os.environ.get(FILE_VARIABLE)
    return Path(named) if named else None


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsInvalid([f"the settings file {file} cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise SettingsInvalid([f"the settings file {file} is not TOML: {error}"]) from error


def _sentence(details: Mapping[str, Any], origins: Mapping[str, Origin], file: Path | None) -> str:
    # Never the value itself: it may hold a password.
    name = str(details["loc"][0])
    match origins.get(name):
        case Origin.ENVIRONMENT:
            where = variable_of(name)
        case Origin.FILE:
            where = f"{name} in {file}"
        case _:
            where = f"--{name.replace('_', '-')}"
    if details["type"] == "extra_forbidden":
        return f"{where} is not a setting; 'grab settings' lists them all"
    return f"{where}: {details['msg']}"
