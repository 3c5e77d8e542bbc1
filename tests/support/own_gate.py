"""A gate of one test's own, to be killed and damaged."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from grab_service import embedded
from grab_service.gate import connect


class OwnGate:
    """A Valkey of one test's own, to be killed and damaged."""

    def __init__(self, directory: Path, settings: Mapping[str, str] = embedded.VALKEY_SETTINGS) -> None:
        self.directory = directory
        self._settings = settings
        self.server = embedded.valkey(directory, settings)
        self.client = connect(self.server.url, timeout_ms=5000)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.server = embedded.valkey(self.directory, self._settings)
        self._process = subprocess.Popen(self.server.argv, stdout=subprocess.DEVNULL)  # noqa: ASYNC220  returns at once
        await self.server.wait_ready(10)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def hang(self) -> None:
        """Let it hang: connections stay open and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def cut_the_file(self, share: float) -> None:
        """Keep only the first part of its append-only file."""
        [path] = self.directory.glob("appendonlydir/*.incr.aof")
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    def wipe(self) -> None:
        """Lose its whole data."""
        shutil.rmtree(self.directory)
