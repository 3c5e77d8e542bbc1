"""The gate: typed calls of the function library that decides who gets a voucher.

Nothing is decided here.  A refusal is an ordinary answer and comes back as a value; an exception
means that the gate could not be asked, and then the outcome of a claim is unknown: ask again,
a repeat gives the same answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, cast

import redis.asyncio as redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from grab_service.keys import ASKED, DIFFERENCE, WATCH
from grab_service.lean import make_lean
from grab_service.stock import Stock

_SCAN_COUNT = 500  # fields that one read takes: claims of other stocks must not wait for it
_CONNECTION_STATE = "db.client.connection.state"
OK = "ok"  # the verdict of the watch on an invariant that holds


class GateUnavailable(Exception):
    """The gate did not answer in time or answered with an error; what was asked may have happened."""


class Letter(StrEnum):
    """What the gate says of one user; earlier letters win over later ones (``lua/grab.lua``)."""

    CLOSED = "C"
    REFUSED = "R"
    HELD = "H"
    NOT_STARTED = "N"
    ENDED = "E"
    PAUSED = "P"
    SOLD_OUT = "S"
    LIMIT = "L"
    WON = "W"
    ABSENT = "A"


class StreamId(NamedTuple):
    """The id of an entry in a stream of claims; ids order by time."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> StreamId:
        """Read ``ms-seq``."""
        ms, _, seq = text.partition("-")
        return cls(int(ms), int(seq))


class Holding(NamedTuple):
    """What a winner holds.

    Attributes:
        claim_no: The voucher's number, 1..quantity.
        epoch: The round's epoch in which it was won.
        stream_id: Its entry on the way to the ledger; the milliseconds are the instant of the claim.
    """

    claim_no: int
    epoch: int
    stream_id: StreamId

    @classmethod
    def parse(cls, text: str) -> Holding:
        """Read ``claim_no:epoch:ms-seq``."""
        claim_no, epoch, ms, seq = text.replace("-", ":").split(":")
        return cls(int(claim_no), int(epoch), StreamId(int(ms), int(seq)))


class Answer(NamedTuple):
    """The gate's answer to one user.

    Attributes:
        letter: What was decided.
        epoch: The epoch the gate is open under; 0 when it is closed.
        now_ms: The gate's clock.
        holding: What the user holds; None unless ``letter`` is HELD or WON.
    """

    letter: str
    epoch: int
    now_ms: int
    holding: Holding | None


class Watched(NamedTuple):
    """What the continuous watch found last.

    Attributes:
        verdicts: OK or what is wrong, by invariant.
        differences: Vouchers by which gate and vault differ, by kind.
    """

    verdicts: dict[str, str]
    differences: dict[str, int]


@dataclass(frozen=True, slots=True)
class Counts:
    """One stock's figures at one instant; see ``grab_counts``."""

    is_open: bool
    epoch: int
    now_ms: int
    opens_ms: int
    closes_ms: int
    is_paused: bool
    sold_out_ms: int
    free: int
    held: int
    entries: int
    committed_epoch: int
    committed: StreamId
    booked: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the ledger is with a stock's stream; see ``grab_progress``."""

    epoch: int
    committed: StreamId
    booked: int
    refused: frozenset[StreamId]

    @classmethod
    def parse(cls, line: str) -> Progress:
        """Read ``epoch committed booked refused_id ...``."""
        epoch, committed, booked, *refused = line.split(" ")
        return cls(int(epoch), StreamId.parse(committed), int(booked), frozenset(map(StreamId.parse, refused)))


def connect(url: str, timeout_ms: int, connections_max: int = 32) -> redis.Redis:
    """Return a client that answers or fails within the timeout and never repeats a command itself."""
    client = redis.Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors="backslashreplace",  # strange bytes are shown, they do not stop a recovery
        max_connections=connections_max,
        socket_timeout=timeout_ms / 1000,
        socket_connect_timeout=timeout_ms / 1000,
        retry=Retry(NoBackoff(), 0),
    )
    make_lean(client)
    return client


class Gate:
    """Asks the gate; holds no state of its own."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    async def claim(self, stock: Stock, user_refs: Sequence[str]) -> list[Answer]:
        """Ask for one voucher of ``stock`` for each user, in order of arrival."""
        keys = stock.keys
        reply = await self._call(
            "fcall",
            "grab_claim",
            (keys.rules, keys.free, keys.holders, keys.claims, keys.refused, keys.round_taken, keys.class_tier_taken),
            user_refs,
        )
        epoch, now_ms, letters, *holdings = reply
        holding = iter(holdings)
        return [
            Answer(letter, epoch, now_ms, Holding.parse(next(holding)) if letter in "HW" else None)
            for letter in letters
        ]

    async def look(self, stock: Stock, user_ref: str) -> Answer:
        """Ask what a user holds of ``stock``; wins nothing."""
        return (await self.look_at_all([(stock, user_ref)]))[0]

    async def look_at_all(self, asked: Iterable[tuple[Stock, str]]) -> list[Answer]:
        """Ask what a user holds of many stocks, by his reference there, in one round trip; wins nothing."""
        pipeline = self._client.pipeline(transaction=False)
        for stock, user_ref in asked:
            keys = stock.keys
            pipeline.fcall_ro("grab_look", 3, keys.rules, keys.holders, keys.refused, user_ref)
        return [
            Answer(letter, epoch, 0, Holding.parse(holding) if holding else None)
            for epoch, letter, holding in await self._execute(pipeline)
        ]

    async def counts(self, stocks: Sequence[Stock]) -> list[Counts]:
        """Ask for the figures of many stocks in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for stock in stocks:
            keys = stock.keys
            pipeline.fcall_ro("grab_counts", 5, keys.rules, keys.free, keys.holders, keys.claims, keys.progress)
        return [_counts_of(reply) for reply in await self._execute(pipeline)]

    async def holders(self, stock: Stock) -> dict[str, Holding]:
        """Return who holds what; of one instant only if no more is handed out."""
        return {user_ref: Holding.parse(holding) async for user_ref, holding in self._holders(stock)}

    async def holder_refs(self, stock: Stock) -> AsyncIterator[str]:
        """Yield who holds a voucher, one perhaps more than once; of one instant only if no more is handed out."""
        async for user_ref, _ in self._holders(stock):
            yield user_ref

    async def _holders(self, stock: Stock) -> AsyncIterator[tuple[str, str]]:
        try:
            async for user_ref, holding in self._client.hscan_iter(stock.keys.holders, count=_SCAN_COUNT):
                yield user_ref, holding
        except (redis.RedisError, OSError) as error:
            raise GateUnavailable(str(error)) from error

    async def progress(self, stock: Stock) -> Progress:
        """Ask how far the ledger is with the stock's stream."""
        keys = stock.keys
        return Progress.parse(await self._call("fcall_ro", "grab_progress", (keys.progress, keys.refused), ()))

    async def set_paused(self, stock: Stock, paused: bool) -> bool:
        """Pause or resume the stock; False when it was never opened."""
        return bool(await self._call("fcall", "grab_pause", (stock.keys.rules,), ("1" if paused else "0",)))

    async def asked(self, claims: Mapping[str, int], most: int, window_ms: int) -> list[str]:
        """Add what users have asked of this process, and return who of them asks too much of all processes together.

        Args:
            claims: Of each user, at most 1,000 of them.
            most: Claims of one user that are in order within the window.
            window_ms: Its length.
        """
        pairs = [part for user_ref, count in claims.items() for part in (user_ref, str(count))]
        return list(await self._call("fcall", "grab_asked", (ASKED,), (str(most), str(window_ms), *pairs)))

    async def watched(self) -> Watched:
        """Return what the continuous watch found last; empty if nobody watches."""
        try:
            told = cast("dict[str, str]", await self._client.hgetall(WATCH))
        except (redis.RedisError, OSError) as error:
            raise GateUnavailable(str(error)) from error
        return Watched(
            verdicts={name: text for name, text in told.items() if not name.startswith(DIFFERENCE)},
            differences={
                name.removeprefix(DIFFERENCE): int(text) for name, text in told.items() if name.startswith(DIFFERENCE)
            },
        )

    @property
    def busy_connections(self) -> int:
        """How many connections somebody is using."""
        counts = self._client.connection_pool.get_connection_count()
        return sum(count for count, facts in counts if facts[_CONNECTION_STATE] == "used")

    async def library(self) -> str | None:
        """Return the text of the function library on the server, None if it is not loaded."""
        try:
            libraries = await self._client.function_list(library="grab", withcode=True)
        except (redis.RedisError, OSError) as error:
            raise GateUnavailable(str(error)) from error
        return _library_code(libraries)

    async def _execute(self, pipeline: Pipeline) -> list[Any]:
        try:
            return list(await pipeline.execute())
        except (redis.RedisError, OSError) as error:
            raise GateUnavailable(str(error)) from error

    async def _call(self, command: str, function: str, keys: Sequence[str], args: Sequence[str]) -> Any:
        try:
            # fcall() of the client rebuilds its arguments twice; this is the claim path.
            return await self._client.execute_command(command, function, len(keys), *keys, *args)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        except (redis.RedisError, OSError) as error:
            raise GateUnavailable(str(error)) from error


def _counts_of(reply: Sequence[Any]) -> Counts:
    is_open, epoch, now_ms, opens_ms, closes_ms, paused, sold_out_ms, free, held, entries, *committed = reply
    committed_epoch, stream_id, booked = committed
    return Counts(
        is_open=is_open == 1,
        epoch=epoch,
        now_ms=now_ms,
        opens_ms=opens_ms,
        closes_ms=closes_ms,
        is_paused=paused == 1,
        sold_out_ms=sold_out_ms,
        free=free,
        held=held,
        entries=entries,
        committed_epoch=committed_epoch,
        committed=StreamId.parse(stream_id),
        booked=booked,
    )


def _library_code(libraries: Sequence[Any]) -> str | None:
    for library in libraries:
        facts = library if isinstance(library, dict) else dict(zip(library[::2], library[1::2], strict=True))
        return str(facts["library_code"])
    return None
