"""The running site of the tests of the API, and how long the fuzzers go on."""

from __future__ import annotations

import os

import pytest

from tests.api.conftest import make_site, site

__all__ = ["make_site", "site"]


@pytest.fixture(scope="session")
def examples_max() -> int:
    """How many requests are made up for each operation and caller: few in the suite, many in ``make fuzz``."""
    return int(os.environ.get("GRAB_FUZZ_EXAMPLES", "3"))
