"""The chaos run: rounds are sold while parts die, hang and lie, and then all is held against the books."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from grab_service.data_dir import DataDir
from grab_service.rehearsal import RehearsalKeys
from loadtest.chaos.books import read_books
from loadtest.chaos.campaign import Plan, document, stocks_of
from loadtest.chaos.check_case import Books
from loadtest.chaos.checker import Verdict
from loadtest.chaos.failover import free_port
from loadtest.chaos.faults import FAULTS
from loadtest.chaos.history import ENDED, SOLD_OUT, WON, HistoryWriter
from loadtest.chaos.judge import Evidence, judge
from loadtest.chaos.scene import Scene
from loadtest.chaos.site import ChaosImpossible, Site, until
from loadtest.chaos.users import Users
from loadtest.wire import ask

_OPENS_IN_S = 3
_LATE_S = 2.0  # in the calm the late users come within so long
_GAP_S = (0.1, 0.7)  # between faults
_SERVED_WITHIN_S = 60.0
_KILLS_MIN, _KILLS_MIN_FROM_MINUTES = 100, 10.0  # a run that is so long and kills less has not tried hard enough
_AIM_S = 3.0  # within so long after the death of a part somebody new should win
_SHIM = Path(__file__).parent / "fsync_shim.c"


@dataclass(slots=True)
class Outcome:
    """What a run found.

    Attributes:
        seed: Of its schedule.
        kills: Processes that were killed, by part.
        kills_min: How many there must be.
        back_s: By fault, how long until somebody new won a voucher again.
        answers: Answers by what they were.
        sold: Rows of the ledger, by stock.
        verdicts: Of the checker.
        audit_ok: Whether the service's own audit agrees.
        stopped_with: The exit code of ``grab up`` in the end.
    """

    seed: int
    kills: dict[str, int] = field(default_factory=dict)
    kills_min: int = 0
    back_s: dict[str, list[float]] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    sold: dict[str, int] = field(default_factory=dict)
    quantity: int = 0
    verdicts: Sequence[Verdict] = ()
    audit_ok: bool = False
    stopped_with: int | None = None

    @property
    def ok(self) -> bool:
        """Whether every promise was kept and every voucher sold."""
        is_sold_out = bool(self.sold) and set(self.sold.values()) == {self.quantity}
        is_hard = sum(self.kills.values()) >= self.kills_min
        return (
            is_hard
            and is_sold_out
            and self.audit_ok
            and self.stopped_with == 0
            and all(each.ok for each in self.verdicts)
        )

    def lines(self) -> list[str]:
        """Return the report."""
        kills = ", ".join(f"{part} {count}" for part, count in sorted(self.kills.items()))
        lines = [f"seed                  {self.seed}", f"killed                {sum(self.kills.values())}: {kills}"]
        if sum(self.kills.values()) < self.kills_min:
            lines.append(f"TOO FEW KILLS         a run of this length must kill at least {self.kills_min}")
        lines += [f"served again          {_back(name, self.back_s[name])}" for name in sorted(self.back_s)]
        lines.append("answers               " + ", ".join(f"{name} {n}" for name, n in sorted(self.answers.items())))
        lines.append(f"sold                  {sum(self.sold.values())} of {self.quantity * len(self.sold)}")
        lines += [f"{'ok' if each.ok else 'BROKEN':<21} {each}" for each in self.verdicts]
        lines.append(f"audit                 {'all invariants hold' if self.audit_ok else 'VIOLATED'}")
        lines.append(f"grab up ended with    {self.stopped_with}")
        return lines


def _back(name: str, seconds: Sequence[float]) -> str:
    times = f"{len(seconds)} times, median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s"
    if not name.startswith("kill "):
        return f"{name}: {times}"
    return f"{name}: {times}, within {_AIM_S:g} s {sum(each <= _AIM_S for each in seconds)}"


async def run(seed: int, minutes: float, directory: Path, only: Sequence[str] = ()) -> Outcome:
    """Do a whole run in a directory of its own.

    Args:
        seed: Of the schedule of faults and of the users.
        minutes: How long it lasts.
        directory: Where everything is kept.
        only: Names of the faults to inject; all by default.

    Raises:
        ChaosImpossible: The service did not come up or did not come back.
    """
    plan = Plan.of(minutes)
    campaign_file = directory / "campaign.toml"
    campaign_file.write_text(document(plan), encoding="utf-8")
    fsync, environment = spoilt_disk(directory)
    options = (
        "--campaign",
        str(campaign_file),
        "--opens-in",
        str(_OPENS_IN_S),
        "--port",
        str(free_port()),  # every 'grab up' of the run uses it
        "--workers",
        "2",
    )
    site = Site(directory / "site", options, environment)
    kills_min = _KILLS_MIN if minutes >= _KILLS_MIN_FROM_MINUTES and not only else 0
    outcome = Outcome(seed, quantity=plan.quantity, kills_min=kills_min)
    try:
        await site.start()
        with HistoryWriter(directory / "history.jsonl") as history:
            chaos = _Chaos(plan, site, users_of(site, history, seed), fsync, outcome, tuple(only) or tuple(FAULTS))
            await chaos.sell_all()
        evidence = Evidence(directory / "history.jsonl", site, chaos.users.names, chaos.scene, chaos.earlier)
        judgement = await judge(evidence)
        outcome.sold, outcome.verdicts = judgement.sold, judgement.verdicts
        outcome.audit_ok = judgement.audit_ok
        outcome.stopped_with = site.stop()
    finally:
        site.end()
    return outcome


def spoilt_disk(directory: Path) -> tuple[Path | None, dict[str, str]]:
    """Compile what makes a disk slow or broken; nothing where there is no compiler."""
    compiler, shim = shutil.which("cc") or shutil.which("gcc"), directory / "fsync_shim.so"
    if compiler is None:
        return None, {}
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(shim), str(_SHIM), "-ldl"], check=True)
    control = directory / "fsync"
    return control, {"LD_PRELOAD": str(shim), "GRAB_CHAOS_FSYNC": str(control)}


def users_of(site: Site, history: HistoryWriter, seed: int) -> Users:
    """Return users of a service that runs."""
    settings = site.settings
    issue = RehearsalKeys(DataDir(site.directory).keys).ticket_issuer(now_s=int(time.time()))
    return Users(settings["host"], settings["port"], history, issue, random.Random(f"users {seed}"))


@dataclass(slots=True)
class _Chaos:
    plan: Plan
    site: Site
    users: Users
    fsync: Path | None
    outcome: Outcome
    names: Sequence[str]
    scene: Scene = field(init=False)
    earlier: Books | None = None
    probes: int = 0

    def __post_init__(self) -> None:
        self.scene = Scene(self.site, random.Random(f"faults {self.outcome.seed}"), (), self.fsync)

    async def sell_all(self) -> None:
        openings_s = await self._openings_s()
        for number, opens_s in enumerate(openings_s, start=1):
            self.scene.stock_ids = stocks_of(number)
            await asyncio.sleep(max(0.0, opens_s - time.time()))
            await self._sell(number, asyncio.get_running_loop().time())
            async with self.site.vault() as vault:
                books = await read_books(vault)
            self.earlier = self.earlier.with_news_of(books) if self.earlier else books
        self.outcome.answers = dict(self.users.outcomes)
        self.outcome.kills = self.scene.kills

    async def _openings_s(self) -> list[float]:
        _, _, body = await ask(
            self.users.host, self.users.port, b"GET /v1/stock HTTP/1.1\r\nHost: chaos\r\nConnection: close\r\n\r\n"
        )
        return sorted({datetime.fromisoformat(row["opens_at"]).timestamp() for row in json.loads(body)["stocks"]})

    async def _sell(self, number: int, began_s: float) -> None:
        """Sell one round: users come while things break, then more come in the calm and the rest is sold."""
        storm_s, prefix = self.plan.storm_s, f"u{number}"
        until_s = began_s + self.plan.round_s - 1
        rush = asyncio.create_task(
            self.users.rush(self.scene.stock_ids, prefix, self.plan.users, 0.9 * storm_s, until_s)
        )
        try:
            await self._storm(began_s + storm_s)
        except ChaosImpossible:
            rush.cancel()
            raise
        await self.users.rush(self.scene.stock_ids, f"l{number}", self.plan.late_users, _LATE_S, until_s)
        await rush
        for stock_id in self.scene.stock_ids:
            await self._sell_out(stock_id)

    async def _storm(self, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        weights = [FAULTS[name][0] for name in self.names]
        while loop.time() < until_s:
            await asyncio.sleep(self.scene.dice.uniform(*_GAP_S))
            [name] = self.scene.dice.choices(self.names, weights)
            print(f"{time.strftime('%H:%M:%S')}  {name}", flush=True)
            began_s = loop.time()
            await FAULTS[name][1](self.scene)
            if await self._is_served_again():
                self.outcome.back_s.setdefault(name, []).append(loop.time() - began_s)

    async def _is_served_again(self) -> bool:
        """Wait until somebody new wins, and return True; False if nothing is left, and every stock says so."""
        gone: set[str] = set()

        async def is_served() -> bool:
            self.probes += 1
            stock_id = self.scene.stock_ids[self.probes % len(self.scene.stock_ids)]
            outcome, _ = await self.users.claim(f"probe-{self.probes}", stock_id)
            if outcome in (SOLD_OUT, ENDED):
                gone.add(stock_id)
            return outcome == WON or len(gone) == len(self.scene.stock_ids)

        await until(is_served, "a claim is served again", _SERVED_WITHIN_S)
        return len(gone) < len(self.scene.stock_ids)

    async def _sell_out(self, stock_id: str) -> None:
        """Let more users come until they are told that nothing is left."""

        async def is_sold_out() -> bool:
            self.probes += 1
            until_s = asyncio.get_running_loop().time() + _SERVED_WITHIN_S
            return await self.users.claim_until_final(f"late-{self.probes}", stock_id, until_s) in (SOLD_OUT, ENDED)

        await until(is_sold_out, f"{stock_id} is sold out", self.plan.quantity)


__all__ = ["ChaosImpossible", "Outcome", "run"]
