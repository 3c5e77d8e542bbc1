"""Finds every guard that the migrations set up: keys, checks, unique indexes and triggers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_COMMENT = re.compile(r"--[^\n]*")
_TABLE = re.compile(r"CREATE TABLE (\w+) \(")
_ALTERED = re.compile(r"ALTER TABLE (\w+)\s[^;]*;")
_ADDED = re.compile(r"ADD CONSTRAINT (\w+)")
_INDEX = re.compile(r"CREATE UNIQUE INDEX (\w+)\s+ON (\w+)")
_TRIGGER = re.compile(r"CREATE (?:CONSTRAINT )?TRIGGER (\w+)[^;]*? ON (\w+)")
_ALWAYS = re.compile(r"ALTER TABLE (\w+)\s+ENABLE ALWAYS TRIGGER (\w+)")
_NAMED = re.compile(r"CONSTRAINT (\w+)")
_NAMELESS = re.compile(r"(?:CHECK|FOREIGN KEY|EXCLUDE)\b")
_KEY = re.compile(r"(PRIMARY KEY|UNIQUE) \(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard of the vault.

    Attributes:
        name: Table and name in the database, ``claims.one_owner_per_voucher``; with ``.always`` behind it for what
            makes a trigger fire for a session that poses as a replica too.
        file: Name of the migration that sets it up.
        removal: The statement that takes it away, with what rests on it.
    """

    name: str
    file: str
    removal: str


def guards_of(migrations: Path) -> list[Guard]:
    """Return the guards of all migrations in a directory; one that a later migration words anew is that one's."""
    guards = {
        guard.name: guard
        for path in sorted(migrations.glob("*.sql"))
        for guard in _guards_in(path.name, _COMMENT.sub("", path.read_text(encoding="utf-8")))
    }
    return list(guards.values())


def _guards_in(file: str, text: str) -> Iterator[Guard]:
    for match in _TABLE.finditer(text):
        for name in _constraints(match[1], _parts(text, match.end())):
            yield _constraint(file, match[1], name)
    for match in _ALTERED.finditer(text):
        for name in _ADDED.findall(match[0]):
            yield _constraint(file, match[1], name)
    for name, table in _INDEX.findall(text):
        yield Guard(f"{table}.{name}", file, f"DROP INDEX {name};\n")
    for name, table in _TRIGGER.findall(text):
        yield Guard(f"{table}.{name}", file, f"DROP TRIGGER {name} ON {table};\n")
    for table, name in _ALWAYS.findall(text):
        yield Guard(f"{table}.{name}.always", file, f"ALTER TABLE {table} ENABLE TRIGGER {name};\n")


def _constraint(file: str, table: str, name: str) -> Guard:
    return Guard(f"{table}.{name}", file, f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE;\n")


def _parts(text: str, start: int) -> list[str]:
    """Cut what stands in the parenthesis that was opened before ``start`` at its own commas."""
    depth, begin, parts = 1, start, []
    for position in range(start, len(text)):
        letter = text[position]
        depth += (letter == "(") - (letter == ")")
        if depth == 0 or (depth == 1 and letter == ","):
            parts.append(text[begin:position].strip())
            begin = position + 1
        if depth == 0:
            break
    return parts


def _constraints(table: str, parts: Iterable[str]) -> Iterator[str]:
    """Yield the names of a table's constraints; those without a name get the one that PostgreSQL gives them."""
    for part in parts:
        if match := _NAMED.match(part):
            yield match[1]
        elif match := _KEY.match(part):
            columns = "_".join(re.split(r",\s*", match[2]))
            yield f"{table}_pkey" if match[1] == "PRIMARY KEY" else f"{table}_{columns}_key"
        elif _NAMELESS.match(part):
            raise ValueError(f"a constraint of {table} has no name: {part}")
        else:
            column = part.split()[0]
            if re.search(r"\bPRIMARY KEY\b", part):
                yield f"{table}_pkey"
            if re.search(r"\bUNIQUE\b", part):
                yield f"{table}_{column}_key"
            if re.search(r"\bREFERENCES\b", part):
                yield f"{table}_{column}_fkey"
