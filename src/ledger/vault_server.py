"""What the promise rests on in the vault's server, read back from the server itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from ledger.gate_settings import WrongSetting
from ledger.statements import statement

# Why each: without them a commit that was confirmed can be lost or torn in a power cut.
REQUIRED: Mapping[str, str] = {"fsync": "on", "full_page_writes": "on"}
# Any of these waits for this server's own disk at least.
SYNCHRONOUS_COMMITS = ("on", "local", "remote_write", "remote_apply")
VERSION_MIN = 15

_SELECT_SETTINGS = statement("select_server_settings")
_SELECT_CLOCK = statement("select_clock")
_SELECT_SAMPLE = statement("select_minted_sample")


@dataclass(frozen=True, slots=True)
class MintedSample:
    """A voucher as it was minted.

    Attributes:
        code_hash: SHA-256 of its code.
    """

    stock_id: str
    claim_no: int
    code_hash: bytes


async def wrong_settings(connection: asyncpg.Connection) -> list[WrongSetting]:
    """Return the settings of the server that are not what the promise needs."""
    rows = await connection.fetch(_SELECT_SETTINGS, [*REQUIRED, "synchronous_commit"])
    found = {row["name"]: row["setting"] for row in rows}
    wrong = [
        WrongSetting(name, found.get(name, ""), needed)
        for name, needed in REQUIRED.items()
        if found.get(name) != needed
    ]
    commit = found.get("synchronous_commit", "")
    return wrong if commit in SYNCHRONOUS_COMMITS else [*wrong, WrongSetting("synchronous_commit", commit, "on")]


async def clock(connection: asyncpg.Connection) -> datetime:
    """Return the server's clock."""
    instant: datetime = await connection.fetchval(_SELECT_CLOCK)
    return instant


async def minted_sample(connection: asyncpg.Connection) -> MintedSample | None:
    """Return one minted voucher, None before the first campaign is stored."""
    row = await connection.fetchrow(_SELECT_SAMPLE)
    return None if row is None else MintedSample(**row)
