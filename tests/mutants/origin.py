"""A plugin of pytest: refuses to test any other code than that of the tree in which it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import grab_service
import ledger
from grab_service import resources
from ledger import migrate


def pytest_configure(config: pytest.Config) -> None:
    """End the run if a package, the gate's library or the migrations come from elsewhere."""
    paths = [Path(str(module.__file__)) for module in (grab_service, ledger)]
    paths += [resources.campaign_path("x"), migrate.default_directory()]
    for path in paths:
        if not path.resolve().is_relative_to(config.rootpath.resolve()):
            raise pytest.UsageError(f"{path} is not of {config.rootpath}")
