"""A PostgreSQL of one test's own, to be stopped and started again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import asyncpg

from grab_service import embedded
from ledger.migrate import migrate


class OwnVault:
    """A PostgreSQL server in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.server = embedded.postgres(directory)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(  # noqa: ASYNC220  returns at once
            self.server.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await self.server.wait_ready(20)

    async def migrate(self) -> None:
        """Bring its tables up to date."""
        connection = await asyncpg.connect(self.server.url)
        await migrate(connection)
        await connection.close()

    def stop(self) -> None:
        """Stop it at once, as a crash would: clients are cut off, nothing is flushed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)
