"""The fuse, and the functions a recovery rebuilds a stock with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis.asyncio as redis

from grab_service.gate import Letter, StreamId
from grab_service.stock import Stock
from tests.lua.conftest import LIBRARY, Shelf

StockOf = Callable[..., Stock]


async def test_reloading_the_library_closes_every_stock(shelf: Shelf, stock_of: StockOf) -> None:
    """After FUNCTION LOAD REPLACE the data stand untouched and every answer is CLOSED."""
    stock = await shelf.stand(stock_of())
    assert await shelf.letters(stock, "a") == Letter.WON
    await shelf.client.function_load(LIBRARY.read_text(), replace=True)
    assert await shelf.letters(stock, "a", "b") == "CC"
    assert (await shelf.gate.look(stock, "a")).letter == Letter.CLOSED
    assert not (await shelf.gate.counts([stock]))[0].is_open


async def test_a_probe_does_not_survive_a_reload(shelf: Shelf, campaign_id: str) -> None:
    """What the library remembers is gone after a reload: this is the proof of the fuse."""
    assert await shelf.call("grab_probe", [], campaign_id, "set") == 1
    assert await shelf.call("grab_probe", [], campaign_id, "ask") == 1
    await shelf.client.function_load(LIBRARY.read_text(), replace=True)
    assert await shelf.call("grab_probe", [], campaign_id, "ask") == 0


async def test_the_identity_of_the_server_is_a_second_fuse(shelf: Shelf, stock_of: StockOf) -> None:
    """Rules that name another server process are not believed, even if the memory says open."""
    stock = await shelf.stand(stock_of())
    await shelf.client.hset(stock.keys.rules, "run_id", "0" * 40)
    assert await shelf.letters(stock, "a") == Letter.CLOSED


async def test_closing_one_stock_leaves_the_others_open(shelf: Shelf, stock_of: StockOf) -> None:
    """grab_close blows one fuse."""
    bad, good = await shelf.stand(stock_of()), await shelf.stand(stock_of(class_code="dining"))
    assert await shelf.call("grab_close", [bad.keys.rules]) == 1
    assert await shelf.call("grab_close", [bad.keys.rules]) == 0
    assert await shelf.letters(bad, "a") == Letter.CLOSED
    assert await shelf.letters(good, "a") == Letter.WON


async def test_an_open_stock_cannot_be_rebuilt(shelf: Shelf, stock_of: StockOf) -> None:
    """Neither begin nor put touches a stock that is serving."""
    stock = await shelf.stand(stock_of())
    assert await shelf.rebuild(stock, epoch=2) == 0
    assert await shelf.call("grab_put_free", [stock.keys.rules, stock.keys.free], 1, 9, 9) == 0
    assert await shelf.call("grab_put_hash", [stock.keys.rules, stock.keys.holders], 1, "x", "9:1:1-1") == 0
    assert (await shelf.gate.counts([stock]))[0].free == 5


async def test_a_stock_is_never_opened_under_an_epoch_it_had(shelf: Shelf, stock_of: StockOf) -> None:
    """A recovery needs a higher epoch than the one before."""
    stock = await shelf.stand(stock_of(), epoch=3)
    await shelf.call("grab_close", [stock.keys.rules])
    assert await shelf.rebuild(stock, epoch=3) == 0
    assert await shelf.rebuild(stock, epoch=4) == 1


async def test_a_recovery_that_was_overtaken_writes_nothing(shelf: Shelf, stock_of: StockOf) -> None:
    """Once a newer epoch rebuilds the stock, the older recovery's calls are refused."""
    stock = stock_of()
    await shelf.rebuild(stock, epoch=1)
    assert await shelf.rebuild(stock, epoch=2) == 1
    assert await shelf.call("grab_put_free", [stock.keys.rules, stock.keys.free], 1, 1, 5) == 0
    assert await shelf.open(stock, epoch=1) == 0
    assert await shelf.open(stock, epoch=2) == 1
    assert (await shelf.gate.counts([stock]))[0].free == 5


@pytest.mark.parametrize("free", ["2 4", "1 5 5 5", ""])
async def test_a_stock_whose_numbers_do_not_add_up_is_not_opened(shelf: Shelf, stock_of: StockOf, free: str) -> None:
    """Free and held numbers together must be the quantity."""
    stock = stock_of()
    await shelf.rebuild(stock, free=free, holders={"a": "1:1:1-1"})
    assert await shelf.open(stock) == -1
    assert await shelf.letters(stock, "b") == Letter.CLOSED


async def test_a_rebuilt_stock_goes_on_where_the_ledger_is(shelf: Shelf, stock_of: StockOf) -> None:
    """Rebuilt holders keep their vouchers, free numbers go to new winners, under the new epoch."""
    stock = stock_of()
    await shelf.rebuild(stock, epoch=2, free="1 1 3 5", holders={"a": "2:1:1700000000000-0"})
    assert await shelf.open(stock, epoch=2, booked=1) == 1
    held, won = await shelf.gate.claim(stock, ["a", "b"])
    assert held.holding is not None
    assert (held.letter, held.holding.claim_no, held.holding.epoch, held.epoch) == ("H", 2, 1, 2)
    assert won.holding is not None
    assert (won.letter, won.holding.claim_no, won.holding.epoch) == ("W", 1, 2)


async def test_refusals_are_forgotten_by_a_rebuild(shelf: Shelf, stock_of: StockOf) -> None:
    """What the ledger refused in the old epoch says nothing in the new one."""
    stock = await shelf.stand(stock_of())
    await shelf.client.hset(stock.keys.refused, "1-1", "CONFLICT")
    await shelf.call("grab_close", [stock.keys.rules])
    await shelf.stand(stock, epoch=2)
    assert await shelf.client.exists(stock.keys.refused) == 0


async def test_shared_counters_are_cleared_only_under_a_rebuild(
    shelf: Shelf, stock_of: StockOf, campaign_id: str
) -> None:
    """The counters of a limit over stocks are cleared by the recovery that rebuilds them, by nobody else."""
    stock = await shelf.stand(stock_of(gate_tag=f"{campaign_id}-r1", round_limit=1))
    await shelf.letters(stock, "a")
    taken = [stock.keys.rules, stock.keys.round_taken]
    assert await shelf.call("grab_forget_taken", taken, 1) == 0
    assert await shelf.client.hget(stock.keys.round_taken, "a") == "1"
    await shelf.call("grab_close", [stock.keys.rules])
    await shelf.rebuild(stock, epoch=2)
    assert await shelf.call("grab_forget_taken", taken, 2) == 1
    assert await shelf.client.exists(stock.keys.round_taken) == 0


async def test_calls_of_a_rebuild_are_bounded(shelf: Shelf, stock_of: StockOf) -> None:
    """More than a thousand numbers or pairs in one call are refused."""
    stock = stock_of(quantity=2000)
    await shelf.rebuild(stock, free="")
    with pytest.raises(redis.ResponseError, match="at most 1000 numbers"):
        await shelf.call("grab_put_free", [stock.keys.rules, stock.keys.free], 1, 1, 1001)
    pairs = [str(i) for i in range(2002)]
    with pytest.raises(redis.ResponseError, match="at most 1000 pairs"):
        await shelf.call("grab_put_hash", [stock.keys.rules, stock.keys.holders], 1, *pairs)


async def test_pausing_a_stock_that_was_never_opened_is_refused(shelf: Shelf, stock_of: StockOf) -> None:
    """There is nothing to pause yet."""
    assert not await shelf.gate.set_paused(stock_of(), paused=True)


async def test_rules_of_another_epoch_than_was_opened_are_not_believed(shelf: Shelf, stock_of: StockOf) -> None:
    """Rules that are older or newer than what the memory knows answer CLOSED: they came from somewhere else."""
    stock = await shelf.stand(stock_of(), epoch=2)
    for epoch in ("1", "3"):
        await shelf.client.hset(stock.keys.rules, "epoch", epoch)
        assert await shelf.letters(stock, "a") == Letter.CLOSED
    await shelf.client.hset(stock.keys.rules, "epoch", "2")
    assert await shelf.letters(stock, "a") == Letter.WON


async def test_a_pause_is_one_or_nought(shelf: Shelf, stock_of: StockOf) -> None:
    """Anything else is refused and changes nothing."""
    stock = await shelf.stand(stock_of())
    with pytest.raises(redis.ResponseError, match="0 or 1"):
        await shelf.call("grab_pause", [stock.keys.rules], "yes")
    assert not (await shelf.gate.counts([stock]))[0].is_paused


async def test_an_older_recovery_cannot_begin_beside_a_newer_one(shelf: Shelf, stock_of: StockOf) -> None:
    """What the newer one has put there stays, and it opens the stock."""
    stock = stock_of()
    await shelf.rebuild(stock, epoch=3)
    begin = [stock.keys.rules, stock.keys.free, stock.keys.holders, stock.keys.refused]
    assert await shelf.call("grab_rebuild", begin, 2) == 0
    assert await shelf.client.llen(stock.keys.free) == 5
    assert await shelf.open(stock, epoch=3) == 1


async def test_a_rebuild_forgets_numbers_and_holders(shelf: Shelf, stock_of: StockOf) -> None:
    """What the gate knew is gone; what the ledger knows is put there anew."""
    stock = await shelf.stand(stock_of())
    await shelf.letters(stock, "a")
    await shelf.call("grab_close", [stock.keys.rules])
    begin = [stock.keys.rules, stock.keys.free, stock.keys.holders, stock.keys.refused]
    assert await shelf.call("grab_rebuild", begin, 2) == 1
    assert await shelf.client.exists(stock.keys.free) == 0
    assert await shelf.client.exists(stock.keys.holders) == 0


async def test_an_open_stock_is_not_rebuilt_whatever_its_rules_say(shelf: Shelf, stock_of: StockOf) -> None:
    """The memory outranks the data: with rules of a rebuild that were restored, nothing is written or opened again."""
    stock = await shelf.stand(stock_of())
    await shelf.client.hset(stock.keys.rules, "rebuilding", "1")
    assert await shelf.call("grab_put_free", [stock.keys.rules, stock.keys.free], 1, 9, 9) == 0
    assert await shelf.call("grab_put_hash", [stock.keys.rules, stock.keys.holders], 1, "x", "9:1:1-1") == 0
    assert await shelf.open(stock) == 0
    assert (await shelf.gate.counts([stock]))[0].free == 5


async def test_the_rules_of_an_open_stock_know_nothing_of_its_rebuild(shelf: Shelf, stock_of: StockOf) -> None:
    """A recovery that comes back late finds no rebuild that it could go on with."""
    stock = await shelf.stand(stock_of())
    assert not await shelf.client.hexists(stock.keys.rules, "rebuilding")


async def test_after_a_recovery_the_watermark_stands_at_the_end_of_the_stream(shelf: Shelf, stock_of: StockOf) -> None:
    """What was drained is not read again: also not the id of an entry that somebody has deleted since."""
    stock = await shelf.stand(stock_of())
    assert (await shelf.gate.progress(stock)).committed == StreamId(0, 0)
    await shelf.letters(stock, "a", "b")
    last = (await shelf.entries(stock))[-1][0]
    await shelf.client.xdel(stock.keys.claims, last)
    await shelf.call("grab_close", [stock.keys.rules])
    await shelf.stand(stock, epoch=2)
    assert (await shelf.gate.progress(stock)).committed == StreamId.parse(last)


async def test_a_gate_with_a_consumer_group_of_former_times_goes_on(shelf: Shelf, stock_of: StockOf) -> None:
    """What that group was given and has not acknowledged is no obstacle: a recovery drains the stream itself."""
    stock = await shelf.stand(stock_of())
    await shelf.client.xgroup_create(stock.keys.claims, "ledger", "0", mkstream=True)
    await shelf.letters(stock, "a", "b")
    await shelf.client.xreadgroup("ledger", "ledger", {stock.keys.claims: ">"}, count=1)
    await shelf.call("grab_close", [stock.keys.rules])
    await shelf.stand(stock, epoch=2)
    last = (await shelf.entries(stock))[-1][0]
    assert (await shelf.gate.progress(stock)).committed == StreamId.parse(last)
    assert await shelf.letters(stock, "c") == "W"


async def test_a_verdict_replaces_the_one_before(shelf: Shelf, campaign_id: str) -> None:
    """An invariant that is watched no more is told no more."""
    key = f"grab:watch:{campaign_id}"
    await shelf.call("grab_tell", [key], 10_000, "I-1", "ok", "I-2", "ok")
    await shelf.call("grab_tell", [key], 10_000, "I-1", "ok")
    assert await shelf.client.hgetall(key) == {"I-1": "ok"}
