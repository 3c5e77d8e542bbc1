"""grab_claim against a real server: who gets a voucher, who does not, and what is written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
import redis.asyncio as redis

from grab_service.gate import Holding, Letter
from grab_service.stock import Stock
from tests.lua.conftest import FAR_AHEAD, LIBRARY, LONG_AGO, NOW, Shelf

StockOf = Callable[..., Stock]


async def test_five_vouchers_make_five_winners_of_a_hundred(shelf: Shelf, stock_of: StockOf) -> None:
    """A hundred users at once leave five winners, ninety-five sold-out answers and five entries."""
    stock = await shelf.stand(stock_of())
    replies = await asyncio.gather(*(shelf.gate.claim(stock, [f"user-{i}"]) for i in range(100)))
    assert Counter(reply[0].letter for reply in replies) == {Letter.WON: 5, Letter.SOLD_OUT: 95}
    assert await shelf.client.llen(stock.keys.free) == 0
    entries = await shelf.entries(stock)
    assert [fields["claim_no"] for _, fields in entries] == ["1", "2", "3", "4", "5"]


async def test_answers_of_a_batch_are_in_order_of_arrival(shelf: Shelf, stock_of: StockOf) -> None:
    """The first users of a batch win, the later ones are told that nothing is left."""
    stock = await shelf.stand(stock_of(quantity=2))
    answers = await shelf.gate.claim(stock, ["a", "b", "c", "d"])
    assert [answer.letter for answer in answers] == ["W", "W", "S", "S"]
    assert [answer.holding.claim_no for answer in answers[:2] if answer.holding] == [1, 2]
    assert answers[2].holding is None


async def test_a_user_who_stands_twice_in_a_batch_wins_once(shelf: Shelf, stock_of: StockOf) -> None:
    """The second place of the same user repeats the first one's holding."""
    stock = await shelf.stand(stock_of())
    first, other, again = await shelf.gate.claim(stock, ["a", "b", "a"])
    assert (first.letter, other.letter, again.letter) == ("W", "W", "H")
    assert again.holding == first.holding
    assert len(await shelf.entries(stock)) == 2


async def test_a_winner_who_asks_again_gets_the_same_holding(shelf: Shelf, stock_of: StockOf) -> None:
    """A repeat answers HELD with the first holding, also after sell-out, in a pause and after the end."""
    stock = await shelf.stand(stock_of(quantity=1))
    [won] = await shelf.gate.claim(stock, ["a"])
    assert await shelf.letters(stock, "b") == Letter.SOLD_OUT
    await shelf.gate.set_paused(stock, paused=True)
    await shelf.client.hset(stock.keys.rules, "closes_ms", str(await shelf.now_ms()))
    [again] = await shelf.gate.claim(stock, ["a"])
    assert (again.letter, again.holding) == ("H", won.holding)


async def test_the_entry_carries_what_the_ledger_needs(shelf: Shelf, stock_of: StockOf) -> None:
    """One entry a winner: version, epoch, number and user; its id is in the holding and tells the instant."""
    stock = await shelf.stand(stock_of(), epoch=7)
    before_ms = await shelf.now_ms()
    [answer] = await shelf.gate.claim(stock, ["a"])
    [(stream_id, fields)] = await shelf.entries(stock)
    assert fields == {"v": "1", "epoch": "7", "claim_no": "1", "user_ref": "a"}
    assert answer.holding == Holding.parse(f"1:7:{stream_id}")
    assert before_ms <= answer.holding.stream_id.ms <= await shelf.now_ms()
    assert answer.epoch == 7


async def test_before_the_opening_nobody_wins(shelf: Shelf, stock_of: StockOf) -> None:
    """A millisecond before the opening the answer is NOT_STARTED; at the opening it is WON."""
    stock = stock_of()
    await shelf.rebuild(stock)
    await shelf.open(stock, opens_ms=await shelf.now_ms() + 60_000)
    [early] = await shelf.gate.claim(stock, ["a"])
    assert early.letter == Letter.NOT_STARTED
    await shelf.client.hset(stock.keys.rules, "opens_ms", str(early.now_ms + 1))
    letters = [answer.letter for answer in await shelf.gate.claim(stock, ["a"])]
    while letters == ["N"]:
        letters = [answer.letter for answer in await shelf.gate.claim(stock, ["a"])]
    assert letters == ["W"]
    [(stream_id, _)] = await shelf.entries(stock)
    assert int(stream_id.split("-")[0]) >= early.now_ms + 1


async def test_after_the_end_nobody_wins(shelf: Shelf, stock_of: StockOf) -> None:
    """From closes_at on the answer is ENDED, whatever is left."""
    stock = await shelf.stand(stock_of(opens_at=LONG_AGO, closes_at=NOW - timedelta(seconds=1)))
    assert await shelf.letters(stock, "a") == Letter.ENDED


async def test_window_comes_before_pause_and_pause_before_stock(shelf: Shelf, stock_of: StockOf) -> None:
    """Of several reasons the earlier one is told."""
    stock = await shelf.stand(stock_of(quantity=1), paused=1)
    assert await shelf.letters(stock, "a") == Letter.PAUSED
    await shelf.gate.set_paused(stock, paused=False)
    assert await shelf.letters(stock, "a", "b") == "WS"
    await shelf.gate.set_paused(stock, paused=True)
    assert await shelf.letters(stock, "b") == Letter.PAUSED
    await shelf.client.hset(stock.keys.rules, "closes_ms", "1")
    assert await shelf.letters(stock, "b") == Letter.ENDED


async def test_a_stock_that_was_never_opened_is_closed(shelf: Shelf, stock_of: StockOf) -> None:
    """Without rules nothing is decided."""
    [answer] = await shelf.gate.claim(stock_of(), ["a"])
    assert (answer.letter, answer.epoch) == (Letter.CLOSED, 0)


async def test_sell_out_notes_its_instant_once(shelf: Shelf, stock_of: StockOf) -> None:
    """The rules keep the instant at which the last number went."""
    stock = await shelf.stand(stock_of(quantity=2))
    assert (await shelf.gate.counts([stock]))[0].sold_out_ms == 0
    await shelf.letters(stock, "a")
    assert (await shelf.gate.counts([stock]))[0].sold_out_ms == 0
    [_, last] = await shelf.gate.claim(stock, ["a", "b"])
    assert last.holding is not None
    [counts] = await shelf.gate.counts([stock])
    assert counts.sold_out_ms == last.holding.stream_id.ms
    assert (counts.free, counts.held, counts.entries) == (0, 2, 2)


async def test_the_clock_of_a_gate_never_goes_back(shelf: Shelf, stock_of: StockOf) -> None:
    """After claims in a future hour (a clock set wrong, then right) ids and instants go on from there."""
    future_ms = await shelf.now_ms() + 3_600_000
    try:
        stock = await shelf.stand(stock_of(), clock_floor_ms=future_ms)
        [answer] = await shelf.gate.claim(stock, ["a"])
    finally:
        # The library's clock is one for the whole server: reloading sets it right for the other tests.
        await shelf.client.function_load(LIBRARY.read_text(), replace=True)
    assert answer.holding is not None
    assert answer.holding.stream_id.ms >= future_ms


async def test_opening_another_stock_does_not_set_the_clock_back(shelf: Shelf, stock_of: StockOf) -> None:
    """The clock is one for the whole gate, whichever stock has moved it."""
    future_ms = await shelf.now_ms() + 3_600_000
    try:
        await shelf.stand(stock_of(), clock_floor_ms=future_ms)
        stock = await shelf.stand(stock_of(class_code="dining"))
        [answer] = await shelf.gate.claim(stock, ["a"])
    finally:
        await shelf.client.function_load(LIBRARY.read_text(), replace=True)
    assert answer.now_ms >= future_ms


async def test_the_window_is_exact_to_the_millisecond(shelf: Shelf, stock_of: StockOf) -> None:
    """The opening belongs to the window and the end does not; a clock that stands still shows it."""
    future_ms = await shelf.now_ms() + 3_600_000
    letters = []
    try:
        for class_code, opens_ms, closes_ms in (
            ("early", future_ms + 1, future_ms + 2),
            ("first", future_ms, future_ms + 1),
            ("last", future_ms - 1, future_ms),
        ):
            stock = stock_of(class_code=class_code)
            await shelf.stand(stock, clock_floor_ms=future_ms, opens_ms=opens_ms, closes_ms=closes_ms)
            letters.append(await shelf.letters(stock, "a"))
    finally:
        await shelf.client.function_load(LIBRARY.read_text(), replace=True)
    assert letters == ["N", "W", "E"]


async def test_a_round_limit_counts_over_the_stocks_of_the_round(
    shelf: Shelf, stock_of: StockOf, campaign_id: str
) -> None:
    """With per_user_per_round = 1 a user who has one voucher of the round gets no other, but keeps his own."""
    tag = f"{campaign_id}-r1"
    general = await shelf.stand(stock_of(gate_tag=tag, round_limit=1))
    dining = await shelf.stand(stock_of(gate_tag=tag, round_limit=1, class_code="dining"))
    assert await shelf.letters(general, "a") == Letter.WON
    assert await shelf.letters(dining, "a", "b") == "LW"
    assert await shelf.letters(general, "a") == Letter.HELD
    assert [fields["nth"] for _, fields in await shelf.entries(dining)] == ["1"]


async def test_a_round_limit_of_two_numbers_the_vouchers(shelf: Shelf, stock_of: StockOf, campaign_id: str) -> None:
    """Entries say which voucher of the round it is for the user, so that the ledger can hold the limit too."""
    tag = f"{campaign_id}-r1"
    stocks = [await shelf.stand(stock_of(gate_tag=tag, round_limit=2, class_code=code)) for code in ("a", "b", "c")]
    assert [await shelf.letters(stock, "x") for stock in stocks] == ["W", "W", "L"]
    assert [(await shelf.entries(stock))[0][1]["nth"] for stock in stocks[:2]] == ["1", "2"]


async def test_a_limit_over_rounds_refuses_the_second_round(shelf: Shelf, stock_of: StockOf, campaign_id: str) -> None:
    """With limit_scope = "campaign" a class and tier is given once a user in the whole campaign."""
    first = await shelf.stand(stock_of(gate_tag=campaign_id, spans_rounds=True))
    second = await shelf.stand(stock_of(gate_tag=campaign_id, spans_rounds=True, round_id="r2"))
    assert await shelf.letters(first, "a") == Letter.WON
    assert await shelf.letters(second, "a", "b") == "LW"
    assert await shelf.letters(first, "a") == Letter.HELD


async def test_a_refused_entry_is_never_confirmed_again(shelf: Shelf, stock_of: StockOf) -> None:
    """A holder whose entry the ledger refused is told REFUSED, not HELD."""
    stock = await shelf.stand(stock_of())
    [answer] = await shelf.gate.claim(stock, ["a"])
    assert answer.holding is not None
    [(stream_id, _)] = await shelf.entries(stock)
    keys = [stock.keys.progress, stock.keys.refused]
    assert await shelf.call("grab_confirm", keys, 1, 0, "0-0", stream_id, stream_id, "CONFLICT") == 1
    assert await shelf.letters(stock, "a", "b") == "RW"
    assert (await shelf.gate.look(stock, "a")).letter == Letter.REFUSED


async def test_looking_wins_nothing(shelf: Shelf, stock_of: StockOf) -> None:
    """A look says what is held and leaves every number where it is."""
    stock = await shelf.stand(stock_of())
    assert (await shelf.gate.look(stock, "a")).letter == Letter.ABSENT
    [won] = await shelf.gate.claim(stock, ["a"])
    looked = await shelf.gate.look(stock, "a")
    assert (looked.letter, looked.holding) == (Letter.HELD, won.holding)
    assert (await shelf.gate.counts([stock]))[0].held == 1


@pytest.mark.parametrize("count", [0, 1001])
async def test_the_size_of_a_batch_is_bounded(shelf: Shelf, stock_of: StockOf, count: int) -> None:
    """An empty or oversized batch is refused and writes nothing."""
    stock = await shelf.stand(stock_of())
    keys = stock.keys
    names = [keys.rules, keys.free, keys.holders, keys.claims, keys.refused, keys.round_taken, keys.class_tier_taken]
    with pytest.raises(redis.ResponseError, match="1 to 1000 users"):
        await shelf.client.fcall("grab_claim", 7, *names, *(f"u{i}" for i in range(count)))
    assert (await shelf.gate.counts([stock]))[0].held == 0


async def test_an_entry_that_cannot_be_written_takes_no_number(shelf: Shelf, stock_of: StockOf) -> None:
    """When the stream refuses an entry, those before it keep their vouchers and nothing else changes."""
    stock = await shelf.stand(stock_of())
    await shelf.client.xadd(stock.keys.claims, {"v": "1"}, id=f"{int(FAR_AHEAD.timestamp() * 1000)}-0")
    assert await shelf.letters(stock, "a", "b") == "CC"
    [counts] = await shelf.gate.counts([stock])
    assert (counts.free, counts.held) == (5, 0)


async def test_winners_before_an_entry_that_cannot_be_written_keep_their_vouchers(
    shelf: Shelf, stock_of: StockOf
) -> None:
    """The stream has room for one entry more: its winner has a voucher, those after him have lost nothing."""
    stock, future_ms = stock_of(), await shelf.now_ms() + 3_600_000
    await shelf.client.xadd(stock.keys.claims, {"v": "1"}, id=f"{future_ms}-{2**64 - 2}")
    try:
        await shelf.stand(stock)
        assert await shelf.letters(stock, "a", "b", "c") == "WCC"
        assert await shelf.letters(stock, "a", "b") == "HC"
        [counts] = await shelf.gate.counts([stock])
    finally:
        await shelf.client.function_load(LIBRARY.read_text(), replace=True)
    assert (counts.free, counts.held) == (4, 1)
