"""CPU time and memory of whole process trees, from ``/proc``; and on which cores they run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RESIDENT = 1  # position in /proc/PID/statm, in pages

# Positions in /proc/PID/stat after the command's closing parenthesis.
_PPID, _TIMES = 1, slice(11, 15)


@dataclass(frozen=True, slots=True)
class Stat:
    """One process as ``/proc/PID/stat`` tells it.

    Attributes:
        parent: Its parent.
        cpu_us: Its own time, user and system, and that of its children that were waited for.
    """

    parent: int
    cpu_us: float

    @classmethod
    def parse(cls, text: str) -> Stat:
        """Read the line; the command in parentheses may hold anything, so what counts begins after the last one."""
        fields = text[text.rindex(")") + 1 :].split()
        return cls(int(fields[_PPID]), sum(map(int, fields[_TIMES])) * _TICK_US)


def processes() -> dict[int, Stat]:
    """Return every process."""
    found = {}
    for path in _PROC.iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found[int(path.name)] = Stat.parse((path / "stat").read_text(errors="replace"))
    return found


def tree_of(root: int, known: dict[int, Stat]) -> set[int]:
    """Return a process and all its descendants."""
    tree = {root} & known.keys()
    while more := {pid for pid, stat in known.items() if stat.parent in tree} - tree:
        tree |= more
    return tree


def cpu_us_of(roots: Iterable[int]) -> float:
    """Return the CPU time that these processes and their descendants have used, in microseconds."""
    known = processes()
    trees: set[int] = set().union(*(tree_of(root, known) for root in roots))
    return sum(known[pid].cpu_us for pid in trees)


def rss_bytes_of(roots: Iterable[int]) -> int:
    """Return the memory that these processes and their descendants hold; what they share counts for each of them."""
    known = processes()
    trees: set[int] = set().union(*(tree_of(root, known) for root in roots))
    total = 0
    for pid in trees:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            total += int((_PROC / str(pid) / "statm").read_text().split()[_RESIDENT]) * _PAGE_BYTES
    return total


def exact_cpu_us_of(pid: int) -> float:
    """Return the CPU time of the threads that one process has now, in microseconds; finer than ticks."""
    paths = (_PROC / str(pid) / "task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in paths) / 1000


def pin(roots: Iterable[int], cores: Iterable[int]) -> None:
    """Keep these processes, their descendants and all their threads on these cores."""
    known, allowed = processes(), set(cores)
    for pid in set().union(*(tree_of(root, known) for root in roots)):
        with contextlib.suppress(OSError):
            for task in (_PROC / str(pid) / "task").iterdir():
                os.sched_setaffinity(int(task.name), allowed)


@dataclass(frozen=True, slots=True)
class Cores:
    """Where what runs: as little as possible beside the server, as the method says.

    Attributes:
        server: Of the server that is measured.
        rest: Of the load generator, the stores and the ledger worker.
    """

    server: int
    rest: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Choose the first and the last core that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[-1])

    def of_servers(self, processes_: int) -> set[int]:
        """Return where so many processes of a server run: each on a core of its own if one is left for the rest."""
        allowed = sorted(os.sched_getaffinity(0))
        return set(allowed[:processes_]) if processes_ < len(allowed) else set(allowed)

    def note_on(self, processes_: int) -> str:
        """Return what so many processes of a server cannot show on this machine; empty if they can."""
        cores = len(os.sched_getaffinity(0))
        if processes_ < cores:
            return ""
        return (
            f"{processes_} processes share {cores} cores with the load generator and the stores: "
            "their answers a second say nothing about scaling here, only the CPU per request does."
        )

    @property
    def all(self) -> set[int]:
        """Both."""
        return {self.server, self.rest}
