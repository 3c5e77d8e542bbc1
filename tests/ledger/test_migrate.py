"""The migration runner: once each, in order, never a changed file."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from grab_service import embedded
from ledger.migrate import MigrationRefused, default_directory, migrate, status

FIRST = "CREATE TABLE one (n integer); INSERT INTO one VALUES (1)"
SECOND = "ALTER TABLE one ADD COLUMN m integer"


@pytest.fixture
async def empty(database_url: str) -> asyncpg.Connection:
    """A connection to a database of this test's own whose tables are taken away."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return connection


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two migrations."""
    (tmp_path / "0001_one.sql").write_text(FIRST)
    (tmp_path / "0002_two.sql").write_text(SECOND)
    return tmp_path


async def test_what_is_missing_is_applied_once(empty: asyncpg.Connection, files: Path) -> None:
    """The first run applies all in order, the second nothing."""
    assert await migrate(empty, files) == ["0001_one", "0002_two"]
    assert await migrate(empty, files) == []
    assert [migration.is_applied for migration in await status(empty, files)] == [True, True]


async def test_two_runners_apply_each_file_once(empty: asyncpg.Connection, files: Path, database_url: str) -> None:
    """Several processes may start at the same time, also on a database that is quite new."""
    others = [await asyncpg.connect(database_url) for _ in range(3)]
    results = await asyncio.gather(*(migrate(connection, files) for connection in others))
    assert sorted(results, key=len) == [[], [], ["0001_one", "0002_two"]]
    assert await empty.fetchval("SELECT count(*) FROM one") == 1
    for connection in others:
        await connection.close()


async def test_looking_changes_nothing(empty: asyncpg.Connection, files: Path) -> None:
    """The state of a new database can be read without leaving anything in it."""
    assert [migration.is_applied for migration in await status(empty, files)] == [False, False]
    assert await empty.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


async def test_a_file_that_fails_leaves_nothing_and_those_before_it_stand(
    empty: asyncpg.Connection, files: Path
) -> None:
    """Each file is a transaction of its own."""
    (files / "0003_bad.sql").write_text("CREATE TABLE three (n integer); SELECT 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty, files)
    assert [migration.is_applied for migration in await status(empty, files)] == [True, True, False]
    assert await empty.fetchval("SELECT to_regclass('three')") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: (files / "0001_one.sql").write_text(FIRST + " "), "0001_one.sql was changed"),
        (lambda files: (files / "0002_two.sql").unlink(), "0002_two applied, which is not among the files"),
        (lambda files: (files / "0000_early.sql").write_text("SELECT 1"), "0000_early comes before"),
        (lambda files: (files / "0002_again.sql").write_text("SELECT 1"), "same number"),
        (lambda files: (files / "three.sql").write_text("SELECT 1"), "three.sql is not named like"),
    ],
)
async def test_files_that_do_not_fit_are_refused_with_a_remedy(
    empty: asyncpg.Connection, files: Path, change: object, words: str
) -> None:
    """Changed, missing, late or misnamed files stop the runner before it does anything."""
    await migrate(empty, files)
    assert callable(change)
    change(files)
    with pytest.raises(MigrationRefused, match=words):
        await migrate(empty, files)


async def test_the_vaults_own_migrations_are_applied(database_url: str, postgres_server: embedded.Server) -> None:
    """The tests' databases were made by the runner from the project's files."""
    connection = await asyncpg.connect(database_url)
    migrations = await status(connection)
    await connection.close()
    assert migrations
    assert all(migration.is_applied for migration in migrations)
    assert postgres_server.name == "postgres"


async def test_whoever_could_return_goods_before_still_can(empty: asyncpg.Connection, tmp_path: Path) -> None:
    """A client that may use vouchers gets the scope that returning goods asks for now; trust still only shrinks."""
    files = sorted(default_directory().glob("*.sql"))
    for file in files:
        if file.name < "0012":
            shutil.copy(file, tmp_path)
    await migrate(empty, tmp_path)
    await empty.execute(
        "INSERT INTO clients (client_id, name, scopes, merchants, added_by) VALUES"
        " ('bank-1', 'Bank', '{merchant:register,merchant:redeem}', '{*}', 'li'),"
        " ('app-1', 'App', '{merchant:register}', '{}', 'li')"
    )
    await migrate(empty)
    rows = await empty.fetch("SELECT client_id, scopes FROM clients ORDER BY client_id")
    assert [tuple(row) for row in rows] == [
        ("app-1", ["merchant:register"]),
        ("bank-1", ["merchant:redeem", "merchant:refund", "merchant:register"]),
    ]
    for mode in ("origin", "replica"):
        await empty.execute(f"SET session_replication_role = {mode}")
        with pytest.raises(asyncpg.RestrictViolationError, match="only shrink"):
            await empty.execute("UPDATE clients SET scopes = '{merchant:redeem,merchant:refund}'")
