"""Finds the calls of the gate's functions in the Python code, with the keys that they pass."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tests.tidy.project import ROOT, calls_in, name_of, python_files


@dataclass(frozen=True, slots=True)
class Caller:
    """One call of a function of the gate.

    Attributes:
        where: File and line.
        function: The name that is called.
        key_count: How many keys the call declares.
        keys: For each key the field of ``StockKeys`` that is passed, None where a variable is.
        reads_only: Whether it is called by FCALL_RO.
    """

    where: str
    function: str
    key_count: int
    keys: list[str | None]
    reads_only: bool


def callers() -> Iterator[Caller]:
    """Yield every call of a function of the gate below ``src``."""
    for path in python_files(ROOT / "src"):
        for call in calls_in(path):
            for position, argument in enumerate(call.args):
                if isinstance(argument, ast.Constant) and _asks_the_gate(call, str(argument.value)):
                    count, keys = _keys(call.args[position + 1 :])
                    yield Caller(
                        where=f"{name_of(path)}:{call.lineno}",
                        function=str(argument.value),
                        key_count=count,
                        keys=[key.attr if isinstance(key, ast.Attribute) else None for key in keys],
                        reads_only="fcall_ro" in ast.unparse(call).lower(),
                    )


def _asks_the_gate(call: ast.Call, argument: str) -> bool:
    """Tell the name of a function of the gate from that of a metric, which begins alike."""
    return argument.startswith("grab_") and "call" in ast.unparse(call.func)


def _keys(following: list[ast.expr]) -> tuple[int, list[ast.expr]]:
    """Read what follows the function's name: a number and that many keys, or one tuple of keys."""
    first = following[0]
    if isinstance(first, ast.Tuple):
        return len(first.elts), first.elts
    assert isinstance(first, ast.Constant), ast.unparse(first)
    assert isinstance(first.value, int), ast.unparse(first)
    return first.value, following[1 : 1 + first.value]
