"""Each fault once, in order, over real processes; the checker, which shares no code with the service, judges it all.

`make chaos` throws the same faults in any order and at any time.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from loadtest.chaos.campaign import Plan, document, stocks_of
from loadtest.chaos.failover import old_primary
from loadtest.chaos.faults import cut_all
from loadtest.chaos.history import BUSY, UNKNOWN, WON, HistoryWriter, operation
from loadtest.chaos.interposer import Spoil, Wire, interposed
from loadtest.chaos.judge import Evidence, judge
from loadtest.chaos.run import spoilt_disk, users_of
from loadtest.chaos.scene import Scene
from loadtest.chaos.site import Site
from loadtest.chaos.users import Users

from tests.support.ports import free_port
from tests.support.rehearsals import serving
from tests.support.wait import wait_until

_PLAN = Plan(rounds=1, round_s=600, calm_s=0, quantity=1_000, users=0, late_users=0)
_STOCK = stocks_of(1)[0]
_FREE = f"grab:{{{_STOCK}}}:free"
_SERVED_S = 40.0
_EIO = 5


@dataclass(slots=True)
class Trial:
    """A service that runs, its users, and what may be done to it."""

    site: Site
    users: Users
    scene: Scene
    fsync: Path | None
    came: int = 0

    def newcomer(self) -> str:
        """Return the name of somebody who has never claimed."""
        self.came += 1
        return f"user-{self.came}"

    async def win(self, user: str | None = None) -> None:
        """Let somebody claim, again while told to or told nothing, until the voucher is there."""
        until_s = asyncio.get_running_loop().time() + _SERVED_S
        assert await self.users.claim_until_final(user or self.newcomer(), _STOCK, until_s) == WON

    async def claim(self) -> str:
        """Let somebody new claim once, and return what was answered."""
        return (await self.users.claim(self.newcomer(), _STOCK))[0]

    async def free(self) -> int:
        """Return how many numbers are free at the gate."""
        async with self.site.gate() as gate:
            return int(await gate.llen(_FREE))

    @asynccontextmanager
    async def wire(self, socket: str, spoil: Spoil) -> AsyncIterator[Wire]:
        """Spoil every connection to a server, those that stand too."""
        path = self.site.directory / socket
        async with interposed(path, spoil) as wire:
            await cut_all(self.site, path.parent.name)
            yield wire
        await cut_all(self.site, path.parent.name)


async def the_disk_is_slow(trial: Trial) -> None:
    """Every fsync of the gate takes half a second: winners wait, and have their vouchers."""
    assert trial.fsync is not None
    trial.fsync.write_text("500 0\n")
    await asyncio.gather(*(trial.win() for _ in range(10)))
    trial.fsync.unlink()


async def the_disk_fails(trial: Trial) -> None:
    """The gate ends rather than say yes without its disk; it is started again, rebuilt, and sells on."""
    assert trial.fsync is not None
    pid = trial.site.pid("valkey")
    trial.fsync.write_text(f"0 {_EIO}\n")
    user = trial.newcomer()
    outcome, _ = await trial.users.claim(user, _STOCK)
    assert outcome != WON
    trial.fsync.unlink()
    await wait_until(lambda: trial.site.pid("valkey") not in (None, pid), "the gate has a new process", 20)
    await trial.win(user)


async def the_memory_is_full(trial: Trial) -> None:
    """A claim is refused whole: the number stays free."""
    async with trial.site.gate() as gate:
        await gate.config_set("maxmemory", "1mb")
    free = await trial.free()
    assert await trial.claim() == BUSY
    assert await trial.free() == free
    async with trial.site.gate() as gate:
        await gate.config_set("maxmemory", "0")


async def an_answer_is_lost_on_its_way_to_the_user(trial: Trial) -> None:
    """He has hung up when the claim was carried out: asking again gives him the voucher, and takes no second one."""
    user, free, began_ms = trial.newcomer(), await trial.free(), time.time() * 1000
    _, writer = await asyncio.open_connection(trial.users.host, trial.users.port)
    writer.write(trial.users.request(user, _STOCK))
    await writer.drain()

    async def is_taken() -> bool:
        return await trial.free() == free - 1

    await wait_until(is_taken, "the claim was carried out")
    writer.transport.abort()
    trial.users.names.add(user)
    trial.users.history.append(operation(began_ms, time.time() * 1000, user, _STOCK, status=0, body=b""))
    await trial.win(user)
    assert await trial.free() == free - 1


async def an_answer_of_the_gate_is_lost(trial: Trial) -> None:
    """The claim was carried out and the API has not heard of it: busy, and then the same voucher, once."""
    free, user = await trial.free(), trial.newcomer()
    async with trial.wire("valkey/valkey.sock", Spoil(cut_at=b"grab_claim")) as wire:
        outcome, _ = await trial.users.claim(user, _STOCK)
        assert outcome == BUSY
        assert wire.cuts == 1
    await trial.win(user)
    assert await trial.free() == free - 1


async def a_commit_is_lost(trial: Trial) -> None:
    """The ledger has committed and the worker has not heard of it: it records again, and nothing is there twice."""
    async with trial.wire("postgres/.s.PGSQL.5432", Spoil(cut_at=b"COMMIT")) as wire:
        winning = asyncio.create_task(trial.win())
        await wait_until(lambda: wire.cuts > 0, "a commit was cut off", 20)
    await winning


async def a_replica_that_lags_is_promoted(trial: Trial) -> None:
    """It is rebuilt from the ledger; what the old primary still sells is never confirmed."""
    await asyncio.gather(old_primary(trial.scene), *(trial.win() for _ in range(20)))
    await trial.win()


async def a_process_of_the_api_hangs(trial: Trial) -> None:
    """The other one answers; who was told by either is told the same when both go on."""
    api = trial.site.pid("api")
    assert api is not None
    processes = serving(api)
    assert len(processes) == 2
    os.kill(processes[0], signal.SIGSTOP)
    try:
        users = [trial.newcomer() for _ in range(10)]
        await asyncio.gather(*map(trial.win, users))
    finally:
        os.kill(processes[0], signal.SIGCONT)
    await asyncio.gather(*map(trial.win, users))


async def the_api_hangs(trial: Trial) -> None:
    """Nobody is answered and all give up; they ask again when it goes on, and each has one voucher."""
    free, users = await trial.free(), [trial.newcomer() for _ in range(10)]
    patience_s, trial.users.answer_s = trial.users.answer_s, 0.5
    trial.site.freeze("api")
    try:
        outcomes = [outcome for outcome, _ in await asyncio.gather(*(trial.users.claim(u, _STOCK) for u in users))]
    finally:
        trial.site.thaw("api")
        trial.users.answer_s = patience_s
    assert outcomes == [UNKNOWN] * len(users)
    await asyncio.gather(*map(trial.win, users))
    assert await trial.free() == free - len(users)


async def everybody_asks_again(trial: Trial) -> None:
    """The gate hangs, all are turned away and come back, spread: all are served, with few asks each."""
    asked = sum(trial.users.outcomes.values())
    trial.site.freeze("valkey")
    users = [trial.newcomer() for _ in range(200)]
    winning = asyncio.gather(*map(trial.win, users))
    turned_away = trial.users.outcomes[BUSY]
    await wait_until(lambda: trial.users.outcomes[BUSY] - turned_away >= 200, "all were turned away", 30)
    trial.site.thaw("valkey")
    await winning
    assert sum(trial.users.outcomes.values()) - asked <= 20 * len(users)


_FAULTS: tuple[Callable[[Trial], Awaitable[None]], ...] = (
    the_memory_is_full,
    an_answer_is_lost_on_its_way_to_the_user,
    an_answer_of_the_gate_is_lost,
    a_commit_is_lost,
    a_process_of_the_api_hangs,
    the_api_hangs,
    everybody_asks_again,
    a_replica_that_lags_is_promoted,
    the_disk_is_slow,
    the_disk_fails,
)
_NEED_A_COMPILER = (the_disk_is_slow, the_disk_fails)


@pytest.mark.timeout(300)
async def test_each_fault_once_and_every_promise_is_kept(short_dir: Path) -> None:
    """After each fault vouchers are won again; at the end the checker and the audit find nothing."""
    directory = short_dir / "faults"
    directory.mkdir()
    campaign = directory / "campaign.toml"
    campaign.write_text(document(_PLAN), encoding="utf-8")
    fsync, environment = spoilt_disk(directory)
    options = ("--campaign", str(campaign), "--opens-in", "0", "--port", str(free_port()), "--workers", "2")
    site = Site(directory / "site", options, environment)
    try:
        await site.start()
        with HistoryWriter(directory / "history.jsonl") as history:
            users = users_of(site, history, seed=1)
            trial = Trial(site, users, Scene(site, random.Random(1), [_STOCK], fsync), fsync)  # noqa: S311  no secret
            await trial.win()
            for fault in _FAULTS:
                if fsync is None and fault in _NEED_A_COMPILER:
                    continue
                await fault(trial)
                await trial.win()
        evidence = Evidence(directory / "history.jsonl", site, users.names, trial.scene)
        found = await judge(evidence)
        assert [str(each) for each in found.verdicts if not each.ok] == []
        assert found.audit_ok
        assert found.sold[_STOCK] > 200
        assert site.stop() == 0
    finally:
        site.end()
