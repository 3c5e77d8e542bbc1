"""Brings the vault's tables up to date: plain SQL files, in order, once each, forward only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from ledger.locks import MIGRATION
from ledger.statements import statement

_PACKAGE = Path(__file__).parent
_LOCK_WAIT_S = 300.0
_NAME = re.compile(r"\d{4}_[a-z0-9_]+")

_CREATE_TABLE = statement("create_schema_migrations")
_SELECT_APPLIED = statement("select_migrations")
_INSERT_APPLIED = statement("insert_migration")
_LOCK = statement("lock")
_UNLOCK = statement("unlock")


class MigrationRefused(Exception):
    """The files and what the database has applied do not fit; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file.

    Attributes:
        name: ``0001_create_vault``.
        text: Its SQL.
        checksum: SHA-256 of its text.
        is_applied: Whether the database has it.
    """

    name: str
    text: str
    checksum: str
    is_applied: bool


def default_directory() -> Path:
    """Return where the migrations are: in the wheel's package data, or in the checkout."""
    packaged = _PACKAGE / "_migrations"
    return packaged if packaged.is_dir() else _PACKAGE.parents[1] / "migrations"


async def migrate(connection: asyncpg.Connection, directory: Path | None = None) -> list[str]:
    """Apply what is missing, each file in a transaction of its own; return the names of those applied.

    Several may run at once: one applies, the others wait and then find nothing to do.

    Args:
        connection: To the vault.
        directory: Where the files are; None for those that come with this package.

    Raises:
        MigrationRefused: A file was changed, removed or slipped in before one that is applied.
        TimeoutError: Another one has been migrating for minutes.
        asyncpg.PostgresError: A file failed; those before it stay applied.
    """
    await connection.execute(_LOCK, MIGRATION, 0, timeout=_LOCK_WAIT_S)
    try:
        await connection.execute(_CREATE_TABLE)
        pending = [migration for migration in await status(connection, directory) if not migration.is_applied]
        for migration in pending:
            async with connection.transaction():
                await connection.execute(migration.text)
                await connection.execute(_INSERT_APPLIED, migration.name, migration.checksum)
        return [migration.name for migration in pending]
    finally:
        if not connection.is_closed():
            await connection.execute(_UNLOCK, MIGRATION, 0)


async def status(connection: asyncpg.Connection, directory: Path | None = None) -> list[Migration]:
    """Return every migration in order, and whether it is applied; changes nothing.

    Raises:
        MigrationRefused: The files do not fit what is applied.
    """
    try:
        applied = {row["name"]: row["checksum"] for row in await connection.fetch(_SELECT_APPLIED)}
    except asyncpg.UndefinedTableError:
        applied = {}  # a new database
    migrations = [_read(path, applied) for path in sorted((directory or default_directory()).glob("*.sql"))]
    _refuse_misfits(migrations, applied.keys())
    return migrations


def _read(path: Path, applied: dict[str, str]) -> Migration:
    if not _NAME.fullmatch(path.stem):
        raise MigrationRefused(f"{path.name} is not named like 0001_create_vault.sql: rename it")
    text = path.read_text(encoding="utf-8")
    checksum = hashlib.sha256(text.encode()).hexdigest()
    if applied.get(path.stem, checksum) != checksum:
        raise MigrationRefused(
            f"{path.name} was changed after it was applied: restore it and put the change into a new migration"
        )
    return Migration(path.stem, text, checksum, path.stem in applied)


def _refuse_misfits(migrations: Sequence[Migration], applied: Collection[str]) -> None:
    missing = sorted(set(applied) - {migration.name for migration in migrations})
    if missing:
        raise MigrationRefused(
            f"the database has {missing[0]} applied, which is not among the files: "
            "this version is older than the database"
        )
    numbers = [migration.name[:4] for migration in migrations]
    if len(set(numbers)) < len(numbers):
        raise MigrationRefused("two migrations have the same number: renumber the one that is not applied")
    flags = [migration.is_applied for migration in migrations]
    if flags != sorted(flags, reverse=True):
        name = migrations[flags.index(False)].name
        raise MigrationRefused(f"{name} comes before a migration that is applied already: give it a higher number")
