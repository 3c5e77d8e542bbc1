"""SQL lives in files, one statement each; a module names what it needs and fails at import if it is missing."""

from __future__ import annotations

from pathlib import Path

_DIRECTORY = Path(__file__).parent / "sql"


def statement(name: str) -> str:
    """Return the statement in ``sql/{name}.sql``.

    Raises:
        FileNotFoundError: There is no such file.
    """
    return (_DIRECTORY / f"{name}.sql").read_text(encoding="utf-8")
