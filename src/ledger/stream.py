"""One stock's stream of claims in the gate, as the worker reads on in it and says how far it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ledger.corridor import StockKeys
from ledger.record import RawEntry

BATCH_MAX = 2000  # entries; what a batch costs beside its rows is then little against them

_REFUSED_MAX = 1000  # that one call of grab_confirm takes

_BLOCK_MS = 250  # how long a read waits for entries, and so how soon a stop or a new epoch is noticed
_ANSWER_S = 5.0  # above _BLOCK_MS
_PASSED_OVER = -1  # grab_confirm's word for a gap


class PassedOver(Exception):
    """Entries were read that do not follow upon the watermark: it must be read again."""


class Progress(NamedTuple):
    """How far the ledger is, as the gate was told.

    Attributes:
        epoch: The gate's, 0 if the stock was never opened.
        committed: The watermark: every entry of the epoch up to it is in the vault, or refused by it.
        booked: Rows of the stock in the vault.
    """

    epoch: int
    committed: str
    booked: int


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

    async def read(self, after: str, *, waits: bool = True) -> list[RawEntry]:
        """Return up to BATCH_MAX entries that follow upon an id.

        Args:
            after: The id.
            waits: Whether to wait a moment for some if there are none.

        Raises:
            redis.RedisError: The gate is in trouble.
        """
        claims = self._keys.claims
        reply: Any = await self._gate.xread({claims: after}, BATCH_MAX, _BLOCK_MS if waits else None)
        return [entry for _, entries in reply for entry in entries]

    async def commit(self, epoch: int, booked: int, after: str, upto: str, refused: Sequence[tuple[str, str]]) -> bool:
        """Move the watermark over entries that are committed in the vault.

        Args:
            epoch: Of the stock when the entries were read.
            booked: Rows of the stock in the vault.
            after: The id that they were read after.
            upto: The id of the last of them.
            refused: Stream id and reason of those among them that the vault refused, ids ascending.

        Returns:
            False if the gate is under another epoch: then nothing was changed.

        Raises:
            PassedOver: The watermark is below ``after``: nothing was changed, or what came before of many refusals.
            redis.RedisError: The gate is in trouble, or its library is missing.
        """
        while len(refused) > _REFUSED_MAX:
            part, refused = refused[:_REFUSED_MAX], refused[_REFUSED_MAX:]
            if not await self._move(epoch, booked, after, part[-1][0], part):
                return False
        return await self._move(epoch, booked, after, upto, refused)

    async def _move(self, epoch: int, booked: int, after: str, upto: str, refused: Sequence[tuple[str, str]]) -> bool:
        arguments = [str(epoch), str(booked), after, upto]
        for stream_id, reason in refused:
            arguments += (stream_id, reason)
        moved: Any = await self._gate.fcall("grab_confirm", 2, self._keys.progress, self._keys.refused, *arguments)
        if moved == _PASSED_OVER:
            raise PassedOver(f"the watermark is below {after}")
        return bool(moved)

    async def progress(self) -> Progress:
        """Return how far the ledger is.

        Raises:
            redis.RedisError: The gate is in trouble, or its library is missing.
        """
        line = str(await self._gate.fcall_ro("grab_progress", 2, self._keys.progress, self._keys.refused))
        epoch, committed, booked, *_ = line.split(" ")
        return Progress(int(epoch), committed, int(booked))

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
