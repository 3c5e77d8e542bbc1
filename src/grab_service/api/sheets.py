"""Counts that the API processes of a service share: each adds to a sheet of its own, whoever is asked sums all.

A sheet is a file that is mapped into memory.  A count is one addition to memory, it costs no call of the system and
no lock, and it outlives the process: one that is started again takes up the sheet of one that is gone, so that no
sum ever goes back.  Who owns a sheet holds the lock of its file.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_log = logging.getLogger(__name__)

_BYTES = 1 << 20  # some four thousand series; pages that nobody writes take no memory
_WORD = 8
_SCRATCH_WORDS = 64  # at the end of a sheet: what is counted there is lost
_SEPARATOR = "\x1f"
_SHEETS_MAX = 1024

# The first word of a record; it is written last, and 0 where nothing follows.
_NAME_BITS, _CELLS_BITS = 16, 16
_IS_LEVEL = 1 << (_NAME_BITS + _CELLS_BITS)

Series = tuple[str, ...]  # the metric and the values of its labels


@dataclass(slots=True)
class Sheet:
    """The counts of this process.

    Attributes:
        words: The memory as unsigned integers of 64 bits; add to them at the places that ``cells`` gives.
    """

    words: memoryview
    _places: dict[Series, int] = field(default_factory=dict)
    _end: int = 0

    @classmethod
    def of_memory(cls, memory: mmap.mmap) -> Sheet:
        """Return the sheet in this memory, going on with what is counted there; levels begin at 0."""
        sheet = cls(memoryview(memory).cast("Q"))
        for record in _records(sheet.words):
            sheet._places[record.series] = record.first
            sheet._end = record.end
            if record.is_level:
                sheet.words[record.first] = 0
        return sheet

    def cells(self, series: Series, count: int = 1, *, is_level: bool = False) -> int:
        """Return the place of the first of ``count`` words of this series.

        Args:
            series: Metric and values of its labels.
            count: How many words; always the same for one series.
            is_level: Whether it goes up and down, and means nothing once its process is gone.
        """
        place = self._places.get(series)
        if place is None:
            place = self._places[series] = self._append(_SEPARATOR.join(series).encode(), count, is_level)
        return place

    def _append(self, name: bytes, count: int, is_level: bool) -> int:
        first = self._end + 1 + -(-len(name) // _WORD)
        if first + count > len(self.words) - _SCRATCH_WORDS:
            _log.error("no room to count %s", name.decode().replace(_SEPARATOR, " "))
            return len(self.words) - _SCRATCH_WORDS
        at = (self._end + 1) * _WORD
        self.words.cast("B")[at : at + len(name)] = name
        self.words[self._end] = len(name) | count << _NAME_BITS | (_IS_LEVEL if is_level else 0)
        self._end = first + count
        return first


class Sheets:
    """The sheets of one service, one of which is this process's own.

    Args:
        directory: Where all processes of the service keep theirs; None for a process that is alone.

    Raises:
        OSError: Nothing can be written there.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._lock = -1
        if directory is None:
            self._memory = mmap.mmap(-1, _BYTES)
        else:
            self._lock = _take_free(directory)
            self._memory = mmap.mmap(self._lock, _BYTES)
        self.own = Sheet.of_memory(self._memory)

    def close(self) -> None:
        """Leave the sheet to whoever comes next; what is added from now on may be lost."""
        if self._lock >= 0:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # by name: the mapping keeps a duplicate of the file open
            os.close(self._lock)
            self._lock = -1

    def totals(self) -> dict[Series, list[int]]:
        """Return the sums over all processes, also those that are gone."""
        totals: dict[Series, list[int]] = {}
        for words, is_alive in self._all():
            for record in _records(words):
                if is_alive or not record.is_level:
                    cells = words[record.first : record.end].tolist()
                    known = totals.get(record.series)
                    totals[record.series] = cells if known is None else _added(known, cells)
        return totals

    @property
    def processes(self) -> int:
        """How many processes count now."""
        return sum(is_alive for _, is_alive in self._all())

    def _all(self) -> Iterator[tuple[memoryview, bool]]:
        if self._directory is None:
            yield self.own.words, True
            return
        for path in sorted(self._directory.glob("*.counts")):
            file = os.open(path, os.O_RDONLY)
            try:
                if os.fstat(file).st_size == _BYTES:
                    is_alive = not _lock(file, fcntl.LOCK_SH)
                    fcntl.flock(file, fcntl.LOCK_UN)
                    memory = mmap.mmap(file, _BYTES, prot=mmap.PROT_READ)
                    yield memoryview(memory).cast("Q"), is_alive
            finally:
                os.close(file)


@dataclass(frozen=True, slots=True)
class _Record:
    series: Series
    first: int
    end: int
    is_level: bool


def _records(words: memoryview) -> Iterable[_Record]:
    at = 0
    while head := words[at]:
        length = head & ((1 << _NAME_BITS) - 1)
        count = head >> _NAME_BITS & ((1 << _CELLS_BITS) - 1)
        name = bytes(words[at + 1 : at + 1 + -(-length // _WORD)])[:length]
        first = at + 1 + -(-length // _WORD)
        at = first + count
        yield _Record(tuple(name.decode().split(_SEPARATOR)), first, at, bool(head & _IS_LEVEL))


def _take_free(directory: Path) -> int:
    """Return the open and locked file of a sheet that nobody owns."""
    for number in range(_SHEETS_MAX):
        file = os.open(directory / f"{number}.counts", os.O_RDWR | os.O_CREAT, 0o600)
        if _lock(file, fcntl.LOCK_EX):
            os.ftruncate(file, _BYTES)
            return file
        os.close(file)
    raise OSError(f"{directory} holds {_SHEETS_MAX} sheets that are all in use")


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _added(left: Sequence[int], right: Sequence[int]) -> list[int]:
    return [one + other for one, other in zip(left, right, strict=True)]
