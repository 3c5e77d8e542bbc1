"""Keeps programs running: starts them, starts again those that die, and ends them in an order.

Each child runs in a session of its own, so that Ctrl-C on the terminal reaches the supervisor alone.
It inherits a locked file and holds the lock for as long as it lives.  So a supervisor that comes
after one that was killed knows for certain what is still running, and ends it before it begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grab_service.data_dir import DataDir

_log = logging.getLogger(__name__)

_RESTART_S = (0.1, 5.0)  # pause before a restart: first, longest
_WELL_AFTER_S = 2.0  # a child that lived for so long died for a new reason
_TROUBLE_AFTER = 5  # deaths in quick succession
_POLL_S = 0.02
_KILLED_WITHIN_S = 5.0
_LAST_LINES_BYTES = 4096
_LOOK_S = 0.5  # between two looks at the files of a child
_MISSING_LOOKS = (2, 60)  # looks in vain after which it is killed: once they were there, and before


class LeftoverRuns(Exception):
    """A process of an earlier run cannot be ended; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, and how to end it.

    Attributes:
        name: Names its pid file and its log.
        argv: The command; it stays in the foreground.
        environment: Its environment variables.
        stop_signal: Asks it to end in good order.
        stop_bound_s: How long that may take before it is killed.
        prepare: Makes what it needs on the disk; called before every start.
        is_whole: Whether the files that it writes to are there; it is killed, and started again, when they are gone.
        mend: Given the last lines of its log when it has died: removes what it would die of again, and says what.
    """

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    stop_signal: signal.Signals
    stop_bound_s: float
    prepare: Callable[[], None] = field(default=lambda: None, repr=False)
    is_whole: Callable[[], bool] = field(default=lambda: True, repr=False)
    mend: Callable[[str], str | None] = field(default=lambda _: None, repr=False)


class Supervisor:
    """Runs children until they are stopped.

    Args:
        data: Where pid files and logs are.

    Attributes:
        trouble: Gets a sentence once a child has died several times in quick succession.
    """

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._children: dict[str, _Child] = {}
        self.trouble: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def start(self, program: Program) -> None:
        """Keep a program running from now on."""
        self._children[program.name] = _Child(program, self._data, self.trouble)

    def runs(self, name: str) -> bool:
        """Whether a program of this name is kept running."""
        return name in self._children

    async def stop(self, name: str) -> None:
        """End a program, in good order if it can, and wait for its end; nothing if it was not started."""
        child = self._children.pop(name, None)
        if child is not None:
            await child.stop()


class _Child:
    """One program that is kept running."""

    def __init__(self, program: Program, data: DataDir, trouble: asyncio.Future[str]) -> None:
        self._program = program
        self._data = data
        self._trouble = trouble
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        self._stopping.set()
        self._signal(self._program.stop_signal)
        done, _ = await asyncio.wait((self._keeping,), timeout=self._program.stop_bound_s)
        if not done:
            _log.warning("%s does not end within %g s, killing it", self._program.name, self._program.stop_bound_s)
            self._signal(signal.SIGKILL)
        await self._keeping

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _keep(self) -> None:
        deaths, loop = 0, asyncio.get_running_loop()
        while not self._stopping.is_set():
            began_s = loop.time()
            ended = await self._run_once()
            if self._stopping.is_set():
                return
            deaths = 1 if loop.time() - began_s > _WELL_AFTER_S else deaths + 1
            pause_s = min(_RESTART_S[0] * 2 ** (deaths - 1), _RESTART_S[1])
            _log.warning("%s %s, starting it again in %g s", self._program.name, ended, pause_s)
            self._mend()
            if deaths == _TROUBLE_AFTER and not self._trouble.done():
                self._trouble.set_result(f"{self._program.name} {ended}, again and again{self._last_words()}")
            await _wait(self._stopping, pause_s)

    def _mend(self) -> None:
        try:
            mended = self._program.mend(self._last_lines())
        except OSError as error:
            mended = f"what it may have died of cannot be removed: {error}"
        if mended:
            _log.critical("%s: %s", self._program.name, mended)

    async def _run_once(self) -> str:
        """Run the program once and say how it ended."""
        name = self._program.name
        pid_file = self._data.pid(name)
        try:
            self._program.prepare()
            self._process = await self._start()
        except OSError as error:
            return f"cannot be started: {error}"
        try:
            _write_whole(pid_file, f"{self._process.pid}\n")
        except OSError as error:
            # On a full disk it would do no good, and without the file nobody could end what a killed supervisor leaves.
            _kill_group(self._process.pid)
            await self._process.wait()
            return f"was killed, for its id cannot be written: {error}"
        if self._stopping.is_set():  # meanwhile
            self._signal(self._program.stop_signal)
        status = await self._end_of(self._process)
        # Its own children go with it: a worker that lives on would keep the port.
        _kill_group(self._process.pid)
        pid_file.unlink(missing_ok=True)
        return f"(process {self._process.pid}) was ended by signal {-status}" if status < 0 else f"ended with {status}"

    async def _end_of(self, process: asyncio.subprocess.Process) -> int:
        """Wait until it ends and return its status; bring that about when it writes to files that are gone."""
        missing, patience = 0, _MISSING_LOOKS[1]
        waiting = asyncio.create_task(process.wait())
        while not (await asyncio.wait((waiting,), timeout=_LOOK_S))[0]:
            if self._program.is_whole():
                missing, patience = 0, _MISSING_LOOKS[0]
                continue
            missing += 1
            if missing == patience:
                _log.critical("the files of %s are gone: it is killed and started anew", self._program.name)
                self._signal(signal.SIGKILL)
        return waiting.result()

    async def _start(self) -> asyncio.subprocess.Process:
        # Children of the last process, such as a database's, may take a moment longer to end.
        lock = await _lock(self._data.child_lock(self._program.name), _KILLED_WITHIN_S)
        try:
            with self._data.log(self._program.name).open("ab") as log:
                return await asyncio.create_subprocess_exec(
                    *self._program.argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=dict(self._program.environment),
                    pass_fds=(lock,),
                    start_new_session=True,
                )
        finally:
            os.close(lock)

    def _last_lines(self) -> str:
        log = self._data.log(self._program.name)
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _LAST_LINES_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _last_words(self) -> str:
        words = next((line.strip() for line in reversed(self._last_lines().splitlines()) if line.strip()), "empty")
        return f"; the last line of {self._data.log(self._program.name)} is: {words}"


async def end_leftover(data: DataDir, name: str, stop_signal: signal.Signals, stop_bound_s: float) -> None:
    """End a child whose supervisor was killed, if there is one; processes are told by the lock that they hold.

    Raises:
        LeftoverRuns: It does not end.
    """
    lock, pid_file = data.child_lock(name), data.pid(name)
    if await _is_free(lock, 0):
        pid_file.unlink(missing_ok=True)
        return
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError) as error:
        raise LeftoverRuns(f"a {name} of an earlier run still holds {lock}: end it by hand") from error
    _log.info("ending %s (process %d) of an earlier run", name, pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, stop_signal)
    if not await _is_free(lock, stop_bound_s):
        _kill_group(pid)
        if not await _is_free(lock, _KILLED_WITHIN_S):
            raise LeftoverRuns(f"{name} (process {pid}) of an earlier run does not end: end it by hand")
    _kill_group(pid)
    pid_file.unlink(missing_ok=True)


async def _is_free(lock: Path, within_s: float) -> bool:
    try:
        os.close(await _lock(lock, within_s))
    except BlockingIOError:
        return False
    return True


async def _lock(path: Path, within_s: float) -> int:
    """Lock a file and return its descriptor.

    Raises:
        BlockingIOError: Another process holds it for longer than that.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if loop.time() >= deadline_s:
                os.close(descriptor)
                raise
            await asyncio.sleep(_POLL_S)
        else:
            return descriptor


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.rename(path)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
