"""Rehearsals as a user runs them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.guarded_stores import own_gate, own_vault, passwords
from tests.support.rehearsals import Rehearsal

__all__ = ["own_gate", "own_vault", "passwords"]


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """A directory with a short name that every user may enter: sockets and a database live below it."""
    path = Path(tempfile.mkdtemp(prefix="grab-up-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def running(short_dir: Path) -> Iterator[Rehearsal]:
    """A rehearsal of the real campaign that is open; a test that disturbs it leaves it ready."""
    rehearsal = Rehearsal(short_dir / "running")
    asyncio.run(rehearsal.start("--opens-in", "0"))
    yield rehearsal
    rehearsal.end()


@pytest.fixture
def rehearsal(short_dir: Path, request: pytest.FixtureRequest) -> Iterator[Rehearsal]:
    """A rehearsal of the test's own, not started yet."""
    own = Rehearsal(short_dir / f"own{abs(hash(request.node.nodeid)) % 10**6}")
    yield own
    own.end()
