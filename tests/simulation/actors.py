"""Who acts in a simulated world.  All of them run the service's own code; only their clients are models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast
from unittest import mock

import asyncpg
import redis.asyncio as redis

import ledger.follower
import ledger.rebuild
import ledger.recover
import ledger.watch
from grab_service.addresses import Proxies
from grab_service.admission import Memory
from grab_service.api.claims import Asked, Claims
from grab_service.api.counter import Counter
from grab_service.api.incoming import Reception
from grab_service.confirm import Confirmations, Settled
from grab_service.confirm import Watch as Listener
from grab_service.crowd import Crowd
from grab_service.desk import Desk
from grab_service.gate import Counts, Gate, GateUnavailable, Holding
from grab_service.pace import Pace
from grab_service.stock import Stock
from ledger import catalogue
from ledger.catalogue import StockRow
from ledger.follower import Follower, Tally
from ledger.record import Batch, record_batch
from ledger.recover import RecoveryFailed, recover
from ledger.stream import ClaimsStream
from ledger.trouble import TROUBLE, pause
from ledger.watch import Watch
from tests.simulation.gate_client import ModelGateClient
from tests.simulation.model_vault import ROUND_NO, STOCK_NO, ModelVault
from tests.simulation.rules import Rule
from tests.simulation.scheduler import Clock, Process, current_process
from tests.simulation.vault_client import ModelConnection

QUANTITY = 6
LIBRARY = "the library"

_NOW = datetime.fromtimestamp(1_700_000_000, UTC)
_OPENS, _CLOSES = _NOW - timedelta(hours=1), _NOW + timedelta(days=1)
_CONFIRM_S = 2.0
_LOOK_S = 0.5
_MEMORY_S = 0.2
_INTERVAL_S = 0.002
_PER_S = 1000
_RECEPTION = Reception(Proxies(()))

STOCK = Stock(
    stock_id="sim-r1-general-1",
    campaign_id="sim",
    round_id="r1",
    class_code="general",
    class_name="general",
    tier=1,
    name="general",
    threshold_fen=10_000,
    discount_fen=3_000,
    quantity=QUANTITY,
    opens_at=_OPENS,
    closes_at=_CLOSES,
    available_until=_CLOSES,
    gate_tag="sim-r1-general-1",
    round_limit=0,
    spans_rounds=False,
)

STOCK_ROW: dict[str, Any] = {
    "stock_no": STOCK_NO,
    "stock_id": STOCK.stock_id,
    "campaign_id": STOCK.campaign_id,
    "round_no": ROUND_NO,
    "round_id": STOCK.round_id,
    "class_code": STOCK.class_code,
    "tier": STOCK.tier,
    "name": STOCK.name,
    "threshold_fen": STOCK.threshold_fen,
    "discount_fen": STOCK.discount_fen,
    "quantity": QUANTITY,
    "available_until": STOCK.available_until,
    "opens_at": _OPENS,
    "closes_at": _CLOSES,
    "gate_tag": STOCK.gate_tag,
    "round_limit": 0,
    "class_tier_limit": 0,
    "limit_no": STOCK_NO,
    "paused": False,
}

# What a recovery says to an empty gate.
OPENING = (
    ("grab_rebuild", ("1",)),
    ("grab_put_free", ("1", "1", str(QUANTITY))),
    (
        "grab_open",
        (
            "1",
            str(QUANTITY),
            str(int(_OPENS.timestamp()) * 1000),
            str(int(_CLOSES.timestamp()) * 1000),
            *("0", "0", "0", "0", "0", "0"),
        ),
    ),
)


class Stores(Protocol):
    """What an actor needs of its world."""

    clock: Clock
    vault: ModelVault
    broken: frozenset[Rule]


class Actors:
    """Makes the actors of one world.

    Args:
        stores: The world.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def gate_client(self, process: Process) -> redis.Redis:
        """Return a client of the gate."""
        return cast("redis.Redis", ModelGateClient(process, lambda: self._stores.clock.now_ms))

    @asynccontextmanager
    async def vault_session(self, process: Process, *, is_bounded: bool) -> AsyncIterator[asyncpg.Connection]:
        """Connect to the vault."""
        connection = ModelConnection(process, self._stores.vault, is_bounded=is_bounded)
        try:
            yield cast("asyncpg.Connection", connection)
        finally:
            connection.terminate()

    async def work(self) -> None:
        """Be a ledger worker: follow the stock whenever nobody else does, and watch."""
        process = current_process()
        process.create_task(Watch("", "").run(asyncio.Event()))
        broken = self._stores.broken
        kind = HastyFollower if Rule.COMMIT_FIRST in broken else LazyFollower if Rule.READ_ON in broken else Follower
        while True:
            await kind(STOCK.stock_id, STOCK_NO, "", "", Tally()).run()
            await pause(asyncio.Event(), _LOOK_S)

    async def keep_open(self) -> None:
        """Be the keeper: recover whenever the gate is closed."""
        process = current_process()
        client = self.gate_client(process)
        while True:
            try:
                async with self.vault_session(process, is_bounded=False) as vault:
                    while True:
                        if await self._is_closed(client):
                            await recover(vault, client, LIBRARY)
                        await pause(asyncio.Event(), _LOOK_S)
            except (*TROUBLE, GateUnavailable, RecoveryFailed):
                await pause(asyncio.Event(), _LOOK_S)

    async def _is_closed(self, client: redis.Redis) -> bool:
        gate = Gate(client)
        return await gate.library() != LIBRARY or not all(counts.is_open for counts in await gate.counts([STOCK]))

    async def recover_by_hand(self) -> None:
        """Be an operator who runs one recovery."""
        process = current_process()
        try:
            async with self.vault_session(process, is_bounded=False) as vault:
                await recover(vault, self.gate_client(process), LIBRARY)
        except (*TROUBLE, RecoveryFailed):
            return

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let the service's code find its clients."""

        def vault_session(_: str) -> Any:
            return self.vault_session(current_process(), is_bounded=True)

        @asynccontextmanager
        async def gate_client(_: str) -> AsyncIterator[redis.Redis]:
            yield self.gate_client(current_process())

        with ExitStack() as stack:
            for module in (ledger.follower, ledger.watch):
                stack.enter_context(mock.patch.multiple(module, vault_session=vault_session, gate_client=gate_client))
            if Rule.DRAIN in self._stores.broken:
                stack.enter_context(mock.patch.object(ledger.recover, "_drain", _drain_nothing))
            if Rule.NUMBERS in self._stores.broken:
                stack.enter_context(mock.patch.object(ledger.rebuild, "_check_numbers", _check_nothing))
            yield


async def _drain_nothing(*_: object) -> tuple[int, int]:
    return 0, 0


async def _check_nothing(*_: object) -> None:
    return


class HastyFollower(Follower):
    """Moves the watermark before the vault's commit: what must never be done."""

    async def _record(  # noqa: PLR0917  as the original
        self,
        vault: asyncpg.Connection,
        stream: ClaimsStream,
        stock: StockRow,
        after: str,
        batch: Batch,
        booked: int,
    ) -> int:
        booked += len(batch.readable)
        await stream.commit(stock.epoch, booked, after, batch.last_id, [])
        await record_batch(vault, stock, batch)
        return booked


class LazyFollower(Follower):
    """Begins where the stream ends, whatever lies between it and the watermark: what must never be done."""

    async def _refill(self, vault: asyncpg.Connection, stream: ClaimsStream, stock: StockRow) -> tuple[int, str]:
        booked, after = await super()._refill(vault, stream, stock)
        async for entries in stream.from_the_beginning():
            after = entries[-1][0]
        return booked, after


class SmallCounter:
    """What the answer to a claim needs of a counter; a voucher is told by its number alone.

    Attributes:
        desk: The desk.
        confirmations: The winners who wait.
        memory: What the process knows without asking.
    """

    stock = STOCK

    def __init__(self, desk: Desk[Settled], confirmations: Confirmations, memory: Memory) -> None:
        self.desk = desk
        self.confirmations = confirmations
        self.memory = memory
        self.opens_ms = 0
        self.opens_at = ""

    def voucher_body(self, holding: Holding, *, replayed: bool) -> bytes:
        """Return the voucher's number as JSON."""
        return json.dumps({"claim_no": holding.claim_no, "replayed": replayed}).encode()


class StubbornMemory(Memory):
    """Believes for ever what it has once learned of a stock that was sold out: what must never be done."""

    def learn(self, counts: Counts, asked_at_s: float) -> bool:
        """Look once."""
        return self.recall("nobody", 0.0) is None and super().learn(counts, asked_at_s + 1e9)

    def remember(self, counts: Counts, holders: Mapping[str, Holding] | Crowd) -> None:
        """Remember it as of an epoch that is never over."""
        super().remember(counts, holders)
        if self.recall("nobody", 0.0) is not None:
            self.epoch = 10**9


class Api:
    """An API process: the real memory, the real desk, the real confirmation, the real answer to a claim.

    Args:
        actors: Who makes its clients.
        forgets_epochs: It believes that sold out is for ever.
    """

    def __init__(self, actors: Actors, *, forgets_epochs: bool) -> None:
        self._actors = actors
        self._forgets_epochs = forgets_epochs
        self._claims: Claims | None = None
        self._counter: SmallCounter | None = None

    async def serve(self) -> None:
        """Serve until killed."""
        process = current_process()
        client = self._actors.gate_client(process)
        gate = Gate(client)
        waiting = Confirmations(_CONFIRM_S)
        desk = Desk(
            gate, STOCK, waiting.settle, pace=Pace(_PER_S), interval_s=_INTERVAL_S, batch_max=4, waiting_max=100
        )
        memory = StubbornMemory(_MEMORY_S, 2) if self._forgets_epochs else Memory(_MEMORY_S, 2)
        self._counter = SmallCounter(desk, waiting, memory)
        self._claims = Claims.__new__(Claims)  # who may ask, and how often, is decided before
        watch = process.create_task(Listener(client, gate, {STOCK.stock_id: (STOCK, waiting)}).run())
        look = process.create_task(self._look(process, gate, memory))
        try:
            await self._learn_epochs(process, self._counter)
        finally:
            watch.cancel()
            look.cancel()

    async def _look(self, process: Process, gate: Gate, memory: Memory) -> None:
        while True:
            asked_at_s = process.time()
            try:
                [counts] = await gate.counts([STOCK])
                if memory.learn(counts, asked_at_s):
                    memory.remember(counts, await gate.holders(STOCK))
            except GateUnavailable:
                pass
            await pause(asyncio.Event(), _MEMORY_S / 2)

    async def _learn_epochs(self, process: Process, counter: SmallCounter) -> None:
        while True:
            try:
                async with self._actors.vault_session(process, is_bounded=False) as vault:
                    while True:
                        [row] = await catalogue.stock_rows(vault)
                        counter.confirmations.vault_epoch = row.epoch
                        await pause(asyncio.Event(), 2 * _LOOK_S)
            except TROUBLE:
                await pause(asyncio.Event(), _LOOK_S)

    async def claim(self, user: str) -> tuple[int, bytes]:
        """Answer a claim: status and body."""
        assert self._claims is not None
        assert self._counter is not None
        counter = cast("Counter", self._counter)
        reply = self._claims._recall(counter, user, current_process().time(), "en", "simulated")
        claim = Asked(counter, user, _RECEPTION.read([], None))
        while reply is None:
            waiting: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
            reply = self._claims.ask(claim, waiting)
            if reply is None:
                try:
                    settled: Settled | Exception = await waiting
                except GateUnavailable as error:
                    settled = error
                reply = self._claims.told(claim, settled)
        return reply.status, reply.body
