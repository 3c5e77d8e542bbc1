"""The model of the gate answers as the real library does."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio as redis

from grab_service.stock import Stock
from tests.lua.conftest import LIBRARY, make_stock
from tests.simulation.model_gate import ModelGate
from tests.simulation.scheduler import Clock

_USERS = [f"1{number:022d}" for number in range(7)]
_QUANTITY = 5
_COMMANDS = 250
_FAR_MS = 10**14


class _Twins:
    """The real gate and the model, asked the same.

    Args:
        client: Of the real one.
        stock: The stock.
        chance: Where choices come from.
    """

    def __init__(self, client: redis.Redis, stock: Stock, chance: random.Random) -> None:
        self._client = client
        self._keys = stock.keys
        self._chance = chance
        self._clock = Clock()
        self._clock.now_ms = 0
        self._model = ModelGate(self._clock)
        self._epoch = 0
        self.seen: set[str] = set()

    async def begin(self) -> None:
        """Load the library."""
        await self._load()
        self._model.run_id = (await self._client.info("server"))["run_id"]

    async def _load(self) -> None:
        await self._client.function_load(LIBRARY.read_text(), replace=True)
        self._model.load("loaded")

    async def _call(self, function: str, keys: list[str], *args: object) -> Any:
        """Call both; the model's clock is that of the real reply, so that stream ids agree."""
        texts = [str(arg) for arg in args]
        real = await self._outcome(lambda: self._client.fcall(function, len(keys), *keys, *texts))
        if function in ("grab_claim", "grab_counts"):
            self._clock.now_ms = real[1 if function == "grab_claim" else 2]
        assert real == self._model_outcome(lambda: self._model.call(function, texts)), (function, texts)
        self.seen.add(f"{function} {real[2] if function == 'grab_claim' else real if isinstance(real, int) else ''}")
        return real

    @staticmethod
    async def _outcome(call: Callable[[], Any]) -> Any:
        try:
            return await call()
        except redis.ResponseError as error:
            return str(error).partition(" ")[0].removeprefix("-")

    @staticmethod
    def _model_outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except redis.ResponseError as error:
            return str(error).partition(" ")[0]

    async def step(self) -> None:
        """Do something to both and compare what they say, and what they hold then."""
        chance = self._chance
        await chance.choices([self._claim, self._look, self._commit, self._rebuild, self._disturb], [6, 3, 5, 2, 1])[
            0
        ]()
        keys = self._keys
        await self._call("grab_progress", [keys.progress, keys.refused])
        await self._call("grab_counts", [keys.rules, keys.free, keys.holders, keys.claims, keys.progress])
        await self._compare()

    async def _claim(self) -> None:
        keys, users = self._keys, self._chance.choices(_USERS, k=self._chance.randint(1, 3))
        key_list = [keys.rules, keys.free, keys.holders, keys.claims, keys.refused]
        await self._call("grab_claim", [*key_list, keys.round_taken, keys.class_tier_taken], *users)

    async def _look(self) -> None:
        keys = self._keys
        await self._call("grab_look", [keys.rules, keys.holders, keys.refused], self._chance.choice(_USERS))

    async def _commit(self) -> None:
        chance, keys, stream = self._chance, self._keys, self._model.data.stream
        ids = ["0-0", *(f"{ms}-{seq}" for (ms, seq), _ in stream[-6:])]
        after, upto = sorted(chance.choices(range(len(ids)), k=2))
        refused = [(stream_id, "CONFLICT") for stream_id in ids[after + 1 : upto + 1] if chance.random() < 0.1]
        epoch = self._epoch if chance.random() < 0.9 else self._epoch - 1
        booked = chance.randint(0, _QUANTITY)
        pairs = (part for pair in refused for part in pair)
        await self._call("grab_confirm", [keys.progress, keys.refused], epoch, booked, ids[after], ids[upto], *pairs)

    async def _rebuild(self) -> None:
        """Rebuild and open, sometimes under an epoch that is over, or with a number too many or too few."""
        chance, keys = self._chance, self._keys
        if chance.random() < 0.8:
            await self._load()
        epoch = self._epoch + chance.choice([1, 1, 1, 0])
        await self._call("grab_rebuild", [keys.rules, keys.free, keys.holders, keys.refused], epoch)
        held = chance.randint(0, 3)
        pairs = [part for number in range(1, held + 1) for part in (_USERS[number], f"{number}:{epoch - 1}:7-{number}")]
        if pairs:
            writer = epoch if chance.random() < 0.9 else epoch - 1
            await self._call("grab_put_hash", [keys.rules, keys.holders], writer, *pairs)
        last = _QUANTITY if chance.random() < 0.9 else _QUANTITY - 1
        await self._call("grab_put_free", [keys.rules, keys.free], epoch, held + 1, last)
        opens_ms, closes_ms = chance.choice([(0, _FAR_MS)] * 6 + [(_FAR_MS, _FAR_MS), (0, 1)])
        floor_ms = self._model.latest_ms + chance.choice([0, 0, 5])
        opened = await self._call(
            "grab_open",
            [keys.rules, keys.free, keys.holders, keys.claims, keys.progress],
            *(epoch, _QUANTITY, opens_ms, closes_ms, chance.choice("0001"), 0, 0, floor_ms, 0, held),
        )
        if opened == 1:
            self._epoch = epoch

    async def _disturb(self) -> None:
        chance, keys = self._chance, self._keys
        what = chance.choice(["pause", "go on", "close", "load", "probe", "forget"])
        if what in ("pause", "go on"):
            await self._call("grab_pause", [keys.rules], "1" if what == "pause" else "0")
        elif what == "close":
            await self._call("grab_close", [keys.rules])
        elif what == "load":
            await self._load()
        elif what == "probe":
            await self._call("grab_probe", [], chance.choice("ab"), chance.choice(["set", "ask"]))
        else:
            await self._client.delete(keys.rules, keys.free, keys.holders, keys.claims, keys.progress, keys.refused)
            self._model.flush()

    async def _compare(self) -> None:
        keys, data = self._keys, self._model.data
        assert await self._client.lrange(keys.free, 0, -1) == data.free
        assert await self._client.hgetall(keys.holders) == data.holders
        assert await self._client.hgetall(keys.rules) == data.rules
        assert await self._client.hgetall(keys.refused) == data.refused
        entries: Any = await self._client.xrange(keys.claims)
        assert entries == [(f"{ms}-{seq}", fields) for (ms, seq), fields in data.stream]


@pytest.mark.parametrize("seed", range(4))
async def test_the_model_answers_as_the_library_does(redis_client: redis.Redis, campaign_id: str, seed: int) -> None:
    """Whatever is asked in whatever order, replies and data are the same."""
    twins = _Twins(redis_client, make_stock(campaign_id, quantity=_QUANTITY), random.Random(seed))  # noqa: S311  repeatable
    await twins.begin()
    for _ in range(_COMMANDS):
        await twins.step()
    letters = {letter for seen in twins.seen if seen.startswith("grab_claim") for letter in seen.partition(" ")[2]}
    assert letters >= set("CHSW")
    assert twins.seen >= {
        "grab_confirm 0",
        "grab_confirm 1",
        "grab_open 0",
        "grab_open 1",
        "grab_open -1",
        "grab_rebuild 0",
    }
