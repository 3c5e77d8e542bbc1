"""Style of the SQL files."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from tests.tidy.project import ROOT, calls_in, name_of, python_files


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A file: the comment at its top, and what follows without comments and texts."""

    path: Path
    comment: str
    code: str

    @classmethod
    def read(cls, path: Path) -> SqlFile:
        """Read a file."""
        text = path.read_text(encoding="utf-8")
        comment = "".join(re.findall(r"\A(?:--.*\n)*", text))
        return cls(path, comment, re.sub(r"--.*|'[^']*'", "", text).strip())


STATEMENTS = [SqlFile.read(path) for path in sorted((ROOT / "src" / "ledger" / "sql").glob("*.sql"))]
MIGRATIONS = [SqlFile.read(path) for path in sorted((ROOT / "migrations").glob("*.sql"))]


def test_a_statement_says_its_purpose_and_stands_alone() -> None:
    """A file begins with its purpose and holds one statement, which needs no semicolon."""
    for sql in STATEMENTS:
        assert re.match(r"-- [A-Z\"].*\w", sql.comment), name_of(sql.path)
        assert sql.code, name_of(sql.path)
        assert ";" not in sql.code, name_of(sql.path)


def test_a_statement_says_what_its_parameters_are() -> None:
    """The comment explains exactly the parameters that the statement uses, from $1 on."""
    for sql in STATEMENTS:
        used = _parameters(sql.code)
        assert _parameters(sql.comment) == used == set(range(1, len(used) + 1)), name_of(sql.path)


def test_each_statement_is_used_and_there_is_one_for_each_use() -> None:
    """``statement("name")`` and the files in ``sql/`` are the same set."""
    used = {
        argument.value
        for path in python_files(ROOT / "src" / "ledger")
        for call in calls_in(path)
        for argument in call.args
        if ast.unparse(call.func).split(".")[-1] == "statement" and isinstance(argument, ast.Constant)
    }
    assert used == {sql.path.stem for sql in STATEMENTS}


def test_a_migration_says_why_what_it_locks_and_how_to_undo_it() -> None:
    """A migration begins with its number and name, then Why, Locks and Undo."""
    for sql in MIGRATIONS:
        assert sql.comment.startswith(f"-- {sql.path.stem.replace('_', ' ')}\n")
        assert re.findall(r"^-- (Why|Locks|Undo) +\S", sql.comment, re.MULTILINE) == ["Why", "Locks", "Undo"]


def test_migrations_are_numbered_without_a_gap() -> None:
    """Migrations are numbered 0001, 0002 and so on."""
    assert [sql.path.name[:4] for sql in MIGRATIONS] == [f"{number:04}" for number in range(1, len(MIGRATIONS) + 1)]


def _parameters(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\$(\d+)", text)}
