"""In which line of a TOML text a value begins.

``tomllib`` keeps no positions.  It can still be asked: a statement is whatever number of lines it
first reads on its own, and a value begins with the first statement after which it is there.  So
no second grammar of TOML, with its own idea of comments, strings and dotted keys, is needed.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from typing import Any

# Keys and indexes from 0 on the way to a value: ("rounds", 0, "opens_at").
Place = tuple[str | int, ...]


def name_of(place: Place) -> str:
    """Name a place for people, who count from 1: ``rounds[1].opens_at``; empty for the whole file."""
    return "".join(f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def value_at(document: object, place: Place) -> Any:
    """Return what stands at ``place``; None if there is nothing, for TOML cannot write None."""
    value: Any = document
    for step in place:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


class Lines:
    """The lines of a valid TOML text.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.replace("\r\n", "\n").split("\n")
        self._ends = _statement_ends(self._lines)

    def line_of(self, place: Place) -> int | None:
        """Find where the value at ``place`` begins.

        Returns:
            Its line, from 1.  An item of an array has the line of the array's key; what is not there
            has the line of the nearest table around it; None stands for the whole file.
        """
        while place:
            statement = bisect_left(self._ends, x=True, key=lambda end: self._is_there_after(end, place))
            if statement < len(self._ends):
                return self._ends[statement - 1] + 1 if statement else 1
            place = place[:-1]
        return None

    def _is_there_after(self, end: int, place: Place) -> bool:
        return value_at(tomllib.loads("\n".join(self._lines[:end])), place) is not None


def _statement_ends(lines: list[str]) -> list[int]:
    """Return after how many lines each statement ends; an empty line or a comment counts as one."""
    ends: list[int] = []
    begin = 0
    for end in range(1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[begin:end]))
        except tomllib.TOMLDecodeError:
            continue
        ends.append(end)
        begin = end
    return ends
