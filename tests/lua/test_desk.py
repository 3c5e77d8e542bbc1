"""The desk, on the real gate: claims that wait travel together, one call at a time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import redis.asyncio as redis

from grab_service import gate as gates
from grab_service.claimant import Claimant
from grab_service.desk import Desk
from grab_service.gate import Answer, Gate, GateUnavailable
from grab_service.pace import Pace
from grab_service.stock import Stock
from tests.lua.conftest import Shelf
from tests.support.wait import wait_until

StockOf = Callable[..., Stock]


def tell(decided: Sequence[tuple[Answer, Claimant[Answer]]]) -> None:
    """Settle claims with the gate's answers alone."""
    for answer, claimant in decided:
        if not claimant.done():
            claimant.set_result(answer)


def queue(desk: Desk[Answer], user_ref: str) -> asyncio.Future[Answer] | None:
    """Queue a claim; return what will be its answer, None if it was turned away."""
    claimant: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    return claimant if desk.claim(user_ref, claimant) else None


class CountingGate(Gate):
    """The real gate, noting the size of each call and how many run at once."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self.sizes: list[int] = []
        self.running = 0
        self.running_max = 0

    async def claim(self, stock: Stock, user_refs: Sequence[str]) -> list[Answer]:
        """Note the call and make it."""
        self.sizes.append(len(user_refs))
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            return await super().claim(stock, user_refs)
        finally:
            self.running -= 1


async def test_claims_that_arrive_together_travel_together(shelf: Shelf, stock_of: StockOf) -> None:
    """A thousand claims of one turn of the loop make a few calls, one after the other, and each its own answer."""
    stock = await shelf.stand(stock_of(quantity=300))
    gate = CountingGate(shelf.client)
    desk = Desk(gate, stock, tell, pace=Pace(1_000_000), interval_s=0, batch_max=256, waiting_max=10_000)
    futures = [queue(desk, f"u{number}") for number in range(1000)]
    answers = await asyncio.gather(*(future for future in futures if future is not None))
    assert Counter(answer.letter for answer in answers) == {"W": 300, "S": 700}
    assert [answer.letter for answer in answers] == ["W"] * 300 + ["S"] * 700
    assert gate.sizes == [256, 256, 256, 232]
    assert gate.running_max == 1


async def test_claims_go_to_the_gate_no_faster_than_the_process_has_stated(shelf: Shelf, stock_of: StockOf) -> None:
    """300 claims at 1,000 a second: all are served, the last call not before those ahead of it are paid for."""
    stock = await shelf.stand(stock_of(quantity=300))
    desk = Desk(shelf.gate, stock, tell, pace=Pace(1000), interval_s=0, batch_max=50, waiting_max=1000)
    began_s = time.monotonic()
    futures = [queue(desk, f"u{number}") for number in range(300)]
    answers = await asyncio.gather(*(future for future in futures if future is not None))
    assert time.monotonic() - began_s >= 0.25 - 0.02  # less than two late timers
    assert {answer.letter for answer in answers} == {"W"}


async def test_desks_of_one_process_take_turns(shelf: Shelf, stock_of: StockOf) -> None:
    """A thousand wait for one stock; whoever comes for another then waits for one call, not for the thousand."""
    pace = Pace(2000)
    wanted, other = (
        await shelf.stand(stock_of(quantity=1000)),
        await shelf.stand(stock_of(quantity=1, class_code="dining")),
    )
    desk = Desk(shelf.gate, wanted, tell, pace=pace, interval_s=0, batch_max=50, waiting_max=1000)
    crowd = [queue(desk, f"u{number}") for number in range(1000)]
    second = queue(Desk(shelf.gate, other, tell, pace=pace, interval_s=0, batch_max=50, waiting_max=1000), "a")
    assert second is not None
    assert (await second).letter == "W"
    served = sum(future is not None and future.done() for future in crowd)
    assert served <= 150
    await asyncio.gather(*(future for future in crowd if future is not None))


async def test_a_full_desk_turns_claims_away_at_once(shelf: Shelf, stock_of: StockOf) -> None:
    """Beyond the bound there is no queue, and those who wait are served all the same."""
    stock = await shelf.stand(stock_of(quantity=3))
    desk = Desk(shelf.gate, stock, tell, pace=Pace(1_000_000), interval_s=0, batch_max=10, waiting_max=2)
    first, second, third = queue(desk, "a"), queue(desk, "b"), queue(desk, "c")
    assert third is None
    assert first is not None
    assert second is not None
    assert [answer.letter for answer in await asyncio.gather(first, second)] == ["W", "W"]


async def test_a_claim_that_was_given_up_still_counts_for_the_user(shelf: Shelf, stock_of: StockOf) -> None:
    """A caller who hangs up has claimed all the same: asking again gives the voucher."""
    stock = await shelf.stand(stock_of())
    desk = Desk(shelf.gate, stock, tell, pace=Pace(1_000_000), interval_s=0, batch_max=10, waiting_max=10)
    gone, here = queue(desk, "a"), queue(desk, "b")
    assert gone is not None
    assert here is not None
    gone.cancel()
    await here
    again = queue(desk, "a")
    assert again is not None
    assert (await again).letter == "H"


async def test_an_unreachable_gate_is_told_to_everyone_who_waits(stock_of: StockOf) -> None:
    """Every claim of the batch gets the error, in bounded time, and the desk works on."""
    client = gates.connect("unix:///nonexistent/valkey.sock", timeout_ms=200)
    desk = Desk(Gate(client), stock_of(), tell, pace=Pace(1_000_000), interval_s=0, batch_max=10, waiting_max=10)
    for _ in range(2):
        futures = [queue(desk, user) for user in ("a", "b")]
        for future in futures:
            assert future is not None
            with pytest.raises(GateUnavailable):
                await asyncio.wait_for(future, 2)
    await client.aclose()


class HangingGate(Gate):
    """A gate whose every call fails, as late as its timeout."""

    def __init__(self, client: redis.Redis, error: Exception) -> None:
        super().__init__(client)
        self.calls = 0
        self._error = error
        self._let_go = asyncio.Event()

    def fail(self) -> None:
        """Let the calls that are under way fail, and all that follow at once."""
        self._let_go.set()

    async def claim(self, stock: Stock, user_refs: Sequence[str]) -> list[Answer]:
        """Wait, then fail."""
        del stock, user_refs
        self.calls += 1
        await self._let_go.wait()
        raise self._error


@pytest.mark.parametrize("error", [GateUnavailable("timed out"), ValueError("a reply that nobody understands")])
async def test_one_failing_call_answers_all_who_waited_when_it_began(
    shelf: Shelf, stock_of: StockOf, error: Exception
) -> None:
    """Five batches are told by one call and not by five; who came during that call has one of his own."""
    gate = HangingGate(shelf.client, error)
    desk = Desk(gate, stock_of(), tell, pace=Pace(1_000_000), interval_s=0, batch_max=10, waiting_max=100)
    before = [queue(desk, f"u{number}") for number in range(50)]
    await wait_until(lambda: gate.calls == 1, "the first call is under way")
    during = [queue(desk, f"v{number}") for number in range(30)]
    gate.fail()
    waiting = [future for future in before + during if future is not None]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert answers == [error] * 80
    assert gate.calls == 2
