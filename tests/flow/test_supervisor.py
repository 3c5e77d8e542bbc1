"""The supervisor itself: nothing that it cannot write or start makes it give up or leave a process behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grab_service.data_dir import DataDir
from grab_service.supervisor import Program, Supervisor
from tests.support.rehearsals import is_alive
from tests.support.wait import wait_until

_NAME = "sleeper"


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """An empty data directory."""
    made = DataDir(tmp_path)
    made.make()
    return made


@pytest.fixture
async def supervisor(data: DataDir) -> AsyncIterator[Supervisor]:
    """A supervisor of one program, which writes its process id and sleeps."""
    supervisor = Supervisor(data)
    yield supervisor
    await supervisor.stop(_NAME)


def sleeper(seen: Path) -> Program:
    """Return a program that leaves a file named like its process id, and sleeps."""
    script = f"import os, pathlib, time; (pathlib.Path({str(seen)!r}) / str(os.getpid())).touch(); time.sleep(600)"
    return Program(
        name=_NAME,
        argv=(sys.executable, "-S", "-c", script),
        environment=os.environ,
        stop_signal=signal.SIGTERM,
        stop_bound_s=10,
    )


async def test_a_process_whose_id_cannot_be_written_is_not_left_alone(
    data: DataDir, supervisor: Supervisor, tmp_path: Path
) -> None:
    """As on a full disk: it is killed and started again, until its id can be written; the stop is in good order."""
    seen = tmp_path / "seen"
    seen.mkdir()
    in_the_way = data.pid(_NAME).with_suffix(".new")
    in_the_way.mkdir()

    supervisor.start(sleeper(seen))
    await wait_until(supervisor.trouble.done, "there is trouble", 30)
    in_the_way.rmdir()
    await wait_until(data.pid(_NAME).exists, "its id is written", 30)

    pid = int(data.pid(_NAME).read_text())
    await wait_until((seen / str(pid)).exists, "it runs")
    assert [path.name for path in seen.iterdir() if is_alive(int(path.name))] == [str(pid)]
    await asyncio.wait_for(supervisor.stop(_NAME), 20)
    assert not is_alive(pid)
