"""The model of the vault records, classifies and fences as the real statements do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg
import pytest

from ledger import catalogue
from ledger.record import RawEntry, Recorded, record
from ledger.statements import statement
from tests.simulation.actors import STOCK_ROW, Actors
from tests.simulation.model_vault import STOCK_NO, ModelVault
from tests.simulation.rules import Rule
from tests.simulation.scheduler import Clock, Process, Request
from tests.support.new_campaigns import new_campaign

_QUANTITY = 6
_BATCHES = 60
_Result = TypeVar("_Result")


class _ModelWorld:
    """A vault and one process whose requests are served at once."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.broken: frozenset[Rule] = frozenset()
        self.vault = ModelVault(self.clock, _QUANTITY, STOCK_ROW)
        self._pending: list[Request] = []

    def record(self, batch: Sequence[RawEntry]) -> Recorded:
        """Record a batch with the project's own code."""

        async def work(vault: asyncpg.Connection) -> Recorded:
            [row] = await catalogue.stock_rows(vault)
            return await record(vault, row, batch)

        return self._run(work)

    def raise_epoch(self, *args: object) -> object:
        """Raise the epoch as a recovery does."""

        async def work(vault: asyncpg.Connection) -> object:
            async with vault.transaction():
                return await vault.fetchval(statement("raise_epoch"), *args)

        return self._run(work)

    def _run(self, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, _Result]]) -> _Result:
        process = Process("worker", self.clock, self._pending, None)  # type: ignore[abstract]  # it opens no files

        async def run() -> _Result:
            async with Actors(self).vault_session(process, is_bounded=True) as vault:
                return await work(vault)

        task = process.create_task(run())
        process.run()
        while self._pending:
            request = self._pending.pop(0)
            assert request.serve()
            request.answer()
            process.run()
        result: _Result = task.result()
        return result


def _facts(done: Recorded) -> tuple[int, int, list[tuple[str, str]]]:
    return done.recorded, done.replayed, [(refused.stream_id, refused.reason) for refused in done.refused]


def _entry(chance: random.Random, epoch: int, before: list[RawEntry]) -> RawEntry:
    if before and chance.random() < 0.4:
        return chance.choice(before)
    number, user = chance.randint(1, _QUANTITY + 1), chance.randrange(9)
    made_in = max(1, epoch - chance.choice((0, 0, 0, 0, 1)))
    fields = {"v": "1", "epoch": str(made_in), "claim_no": str(number), "user_ref": f"1{user:022d}"}
    if chance.random() < 0.05:
        del fields["v"]
    return (f"{1_700_000_000_000 + chance.randrange(10**6)}-{chance.randrange(3)}", fields)


@pytest.mark.parametrize("seed", range(3))
async def test_the_model_records_as_the_statements_do(vault: asyncpg.Connection, campaign_id: str, seed: int) -> None:
    """Whatever is recorded under whatever epoch: the same is new, repeated and refused, and the same rows remain."""
    chance = random.Random(seed)  # noqa: S311  it must be repeatable, not secret
    await catalogue.load_campaign(vault, new_campaign(campaign_id, quantity=_QUANTITY))
    world, before = _ModelWorld(), list[RawEntry]()
    reasons: set[str] = set()
    for _ in range(_BATCHES):
        [row] = await catalogue.stock_rows(vault)
        if row.epoch == 0 or chance.random() < 0.1:
            raised = (row.round_no, row.epoch - chance.choice((0, 0, 0, 1)), row.epoch + 1, "run", None)
            real = await vault.fetchval(statement("raise_epoch"), *raised)
            assert await asyncio.to_thread(world.raise_epoch, *raised) == real
            continue
        batch = list(dict([_entry(chance, row.epoch, before) for _ in range(chance.randint(1, 4))]).items())
        before += batch
        assert row.stock_no == STOCK_NO
        real_done = await record(vault, row, batch)
        assert _facts(await asyncio.to_thread(world.record, batch)) == _facts(real_done)
        reasons |= {refused.reason for refused in real_done.refused}
    rows = await vault.fetch(statement("select_claims_of_stock"), STOCK_NO)
    assert [tuple(row) for row in rows] == sorted(tuple(claim) for claim in world.vault.claims)
    assert reasons >= {"CONFLICT", "FENCED", "FORBIDDEN", "MALFORMED"}
