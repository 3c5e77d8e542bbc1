"""One stock's stream of claims in the gate, as the worker reads and acknowledges it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ledger.corridor import StockKeys
from ledger.record import RawEntry

GROUP = CONSUMER = "ledger"  # one consumer: what a dead worker has read is simply read again by the next
BATCH_MAX = 1000  # entries; grab_commit takes no more

UNREAD, UNACKNOWLEDGED = ">", "0"  # what to read

_BLOCK_MS = 250  # how long a read waits for entries, and so how soon a stop or a new epoch is noticed
_ANSWER_S = 5.0  # above _BLOCK_MS


@asynccontextmanager
async def gate_client(redis_url: str) -> AsyncIterator[redis.Redis]:
    """Give a client of the gate that repeats nothing by itself and bounds every wait."""
    client = redis.Redis.from_url(
        redis_url,
        protocol=2,
        decode_responses=True,
        encoding_errors="backslashreplace",  # an entry that is not text is refused, not a reason to fail
        socket_timeout=_ANSWER_S,
        socket_connect_timeout=_ANSWER_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield client
    finally:
        await client.aclose()


class ClaimsStream:
    """Reads batches of one stock's entries, and tells the gate what the vault has committed."""

    def __init__(self, gate: redis.Redis, keys: StockKeys) -> None:
        self._gate = gate
        self._keys = keys

    async def read(self, which: str) -> list[RawEntry]:
        """Return up to BATCH_MAX entries that are UNREAD, waiting a moment for some, or UNACKNOWLEDGED.

        Raises:
            redis.RedisError: The gate is in trouble.
        """
        try:
            reply: Any = await self._gate.xreadgroup(
                GROUP, CONSUMER, {self._keys.claims: which}, BATCH_MAX, _BLOCK_MS if which == UNREAD else None
            )
        except redis.ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            await self._create_group()
            return []
        return [entry for _, entries in reply for entry in entries]

    async def _create_group(self) -> None:
        """Read from the beginning: entries that are there must not be passed over, and to repeat them is harmless."""
        try:
            await self._gate.xgroup_create(self._keys.claims, GROUP, "0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # a recovery was faster
                raise

    async def commit(
        self, epoch: int, booked: int, stream_ids: Sequence[str], refused: Iterable[tuple[str, str]]
    ) -> bool:
        """Acknowledge entries that are committed in the vault and move the watermark.

        Args:
            epoch: Of the stock when the entries were read.
            booked: Rows of the stock in the vault.
            stream_ids: The entries, ascending.
            refused: Stream id and reason of those among them that the vault refused.

        Returns:
            False if the gate is under another epoch: then nothing was changed.

        Raises:
            redis.RedisError: The gate is in trouble, or its library is missing.
        """
        arguments = [str(epoch), str(booked), str(len(stream_ids)), *stream_ids]
        for stream_id, reason in refused:
            arguments += (stream_id, reason)
        keys = self._keys
        is_current: Any = await self._gate.fcall("grab_commit", 3, keys.claims, keys.progress, keys.refused, *arguments)
        return bool(is_current)

    async def progress(self) -> tuple[int, int]:
        """Return the gate's epoch, 0 if the stock was never opened, and how many rows it was told are in the vault.

        Raises:
            redis.RedisError: The gate is in trouble, or its library is missing.
        """
        line = str(await self._gate.fcall_ro("grab_progress", 2, self._keys.progress, self._keys.refused))
        epoch, _, booked, *_ = line.split(" ")
        return int(epoch), int(booked)

    async def from_the_beginning(self) -> AsyncIterator[list[RawEntry]]:
        """Read the whole stream, whoever has read it before, in batches.

        Raises:
            redis.RedisError: The gate is in trouble.
        """
        after = "-"
        while entries := cast("list[RawEntry]", await self._gate.xrange(self._keys.claims, after, count=BATCH_MAX)):
            yield entries
            after = f"({entries[-1][0]}"

    async def close(self) -> None:
        """Blow the stock's fuse: nothing more is handed out until a recovery.

        Raises:
            redis.RedisError: The gate is in trouble, or its library is missing.
        """
        await self._gate.fcall("grab_close", 1, self._keys.rules)
