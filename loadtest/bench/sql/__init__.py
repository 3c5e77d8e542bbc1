"""The bench's own SQL, one statement a file."""

from __future__ import annotations

from pathlib import Path


def statement(name: str) -> str:
    """Return the statement in ``{name}.sql``.

    Raises:
        FileNotFoundError: There is no such file.
    """
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
