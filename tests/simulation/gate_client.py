"""What the service's code holds instead of a Redis client: each command becomes a request of its process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import redis.asyncio as redis

from ledger.gate_settings import REQUIRED
from tests.simulation.gate_data import Fields, id_of, text_of
from tests.simulation.model_gate import ModelGate
from tests.simulation.scheduler import BLOCKED, Process


class ModelGateClient:
    """The commands that the service uses.

    Like the real client it makes a new connection whenever it has none: between two commands it may get
    to another process of the server without noticing.

    Args:
        process: Whose it is.
        clock_ms: Gives the world's clock.
    """

    def __init__(self, process: Process, clock_ms: Callable[[], int]) -> None:
        self._process = process
        self._clock_ms = clock_ms

    async def _do(self, verb: str, command: Callable[[ModelGate], Any]) -> Any:
        gate: ModelGate = self._process.gate
        return await self._process.ask(verb, gate, lambda: command(gate))

    async def fcall(self, function: str, key_count: int, *rest: str) -> Any:
        """Call a function."""
        return await self._do(function, lambda gate: gate.call(function, rest[key_count:]))

    fcall_ro = fcall

    async def execute_command(self, _: str, function: str, key_count: int, *rest: str) -> Any:
        """Call a function."""
        return await self.fcall(function, key_count, *rest)

    async def function_load(self, library: str, *, replace: bool) -> None:
        """Load the library."""
        assert replace
        await self._do("load", lambda gate: gate.load(library))

    async def function_list(self, *, library: str, withcode: bool) -> list[dict[str, str]]:
        """Show the library."""
        assert (library, withcode) == ("grab", True)
        code = await self._do("library", lambda gate: gate.data.library)
        return [{"library_code": code}] if code else []

    async def config_get(self, *_: str) -> dict[str, str]:
        """Show settings: they are right."""
        return dict(await self._do("config", lambda _: REQUIRED))

    async def info(self, _: str) -> dict[str, str]:
        """Show the server's identity."""
        return {"run_id": await self._do("info", lambda gate: gate.run_id)}

    async def hget(self, _: str, name: str) -> str | None:
        """Read a field of the rules."""
        return cast("str | None", await self._do("hget", lambda gate: gate.data.rules.get(name)))

    async def lrange(self, _: str, start: int, stop: int) -> list[str]:
        """Read free numbers."""
        return list(await self._do("lrange", lambda gate: gate.data.free[start : stop + 1]))

    async def hscan_iter(self, _: str, *, count: int) -> AsyncIterator[tuple[str, str]]:
        """Read holders."""
        assert count
        for item in await self._do("hscan", lambda gate: list(gate.data.holders.items())):
            yield item

    async def xrange(self, _: str, after: str, *, count: int) -> list[tuple[str, Fields]]:
        """Read entries from the beginning ('-') or after an id."""
        floor = (-1, 0) if after == "-" else id_of(after.removeprefix("("))
        return [
            (text_of(stream_id), fields)
            for stream_id, fields in await self._do(
                "xrange", lambda gate: [entry for entry in gate.data.stream if entry[0] > floor][:count]
            )
        ]

    async def xread(self, streams: Fields, count: int, block_ms: int | None) -> Any:
        """Read what follows upon an id, waiting for new entries for a moment."""
        [(key, after)] = streams.items()
        deadline_ms = self._clock_ms() + (block_ms or 0)

        def read(gate: ModelGate) -> object:
            entries = [entry for entry in gate.data.stream if entry[0] > id_of(after)][:count]
            return entries or (BLOCKED if self._clock_ms() < deadline_ms else [])

        entries = [(text_of(stream_id), fields) for stream_id, fields in await self._do("read", read)]
        return [(key, entries)] if entries else []

    def pipeline(self, *, transaction: bool) -> ModelPipeline:
        """Begin a pipeline."""
        assert not transaction
        return ModelPipeline(self)

    @asynccontextmanager
    async def pubsub(self) -> AsyncIterator[ModelPubSub]:
        """Listen; the connection is lost with the server."""
        yield ModelPubSub(self._process, self._clock_ms)

    async def aclose(self) -> None:
        """Close: nothing is kept open."""


class ModelPipeline:
    """Commands that travel together; others may come between them."""

    def __init__(self, client: ModelGateClient) -> None:
        self._client = client
        self._calls: list[tuple[str, int, tuple[str, ...]]] = []

    def fcall(self, function: str, key_count: int, *rest: str) -> None:
        """Add a call."""
        self._calls.append((function, key_count, rest))

    fcall_ro = fcall

    async def execute(self) -> list[Any]:
        """Send them."""
        return [await self._client.fcall(function, key_count, *rest) for function, key_count, rest in self._calls]


class ModelPubSub:
    """A subscription to one server's announcements."""

    def __init__(self, process: Process, clock_ms: Callable[[], int]) -> None:
        self._process = process
        self._clock_ms = clock_ms
        self._gate: ModelGate = process.gate
        self._lines: list[str] = []
        self._channels: Sequence[str] = ()
        self._run_id = ""

    async def subscribe(self, *channels: str) -> None:
        """Begin to listen."""
        self._channels = channels

        def begin() -> None:
            self._run_id = self._gate.run_id
            self._gate.listeners.append(self._lines.append)

        await self._process.ask("subscribe", self._gate, begin)

    async def get_message(
        self,
        *,
        ignore_subscribe_messages: bool,
        timeout: float,  # noqa: ASYNC109  the real client's name
    ) -> dict[str, str] | None:
        """Wait for a line.

        Raises:
            redis.ConnectionError: The server is another process now.
        """
        assert ignore_subscribe_messages
        deadline_ms = self._clock_ms() + int(timeout * 1000)

        def take() -> object:
            if self._run_id != self._gate.run_id or self._process.gate is not self._gate:
                raise redis.ConnectionError("lost")
            if self._lines:
                return self._lines.pop(0)
            return BLOCKED if self._clock_ms() < deadline_ms else None

        line = await self._process.ask("listen", self._gate, take)
        return None if line is None else {"channel": self._channels[0], "data": line}
