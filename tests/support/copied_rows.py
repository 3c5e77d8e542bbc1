"""Copies of rows that are there, each changed in one fact, to see which guard of the vault refuses them."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

_COLUMNS = (
    "SELECT column_name, is_identity = 'YES' AS is_identity FROM information_schema.columns"
    " WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER' ORDER BY ordinal_position"
)


async def refusal_of_a_copy(vault: asyncpg.Connection, table: str, where: str, changes: Mapping[str, str]) -> str:
    """Insert a changed copy of the newest row that fits, check what is checked at a commit, and undo it.

    Args:
        vault: A connection to the vault.
        table: The table.
        where: Which of its rows is copied.
        changes: SQL expressions of the columns that differ.  A column that numbers itself is not copied unless it
            stands here.

    Returns:
        The constraint that refused it, the message of a trigger, or nothing.
    """
    columns = [
        row["column_name"]
        for row in await vault.fetch(_COLUMNS, table)
        if row["column_name"] in changes or not row["is_identity"]
    ]
    assert changes.keys() <= set(columns), changes.keys() - set(columns)
    values = ", ".join(changes.get(column, column) for column in columns)
    copy = (
        f"INSERT INTO {table} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE"  # noqa: S608  names of the catalogue
        f" SELECT {values} FROM {table} WHERE {where} ORDER BY ctid DESC LIMIT 1"
    )
    trial = vault.transaction()
    await trial.start()
    try:
        assert await vault.execute(copy) == "INSERT 0 1", f"no row of {table} where {where}"
        await vault.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except asyncpg.IntegrityConstraintViolationError as refused:
        return refused.constraint_name or str(refused)
    else:
        return ""
    finally:
        await trial.rollback()
