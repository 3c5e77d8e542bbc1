"""Winners who wait for the ledger: woken by the watermark, by a recovery, by refusal or by time."""

from __future__ import annotations

import asyncio

import pytest

from grab_service.confirm import Confirmations, Outcome, Settled
from grab_service.gate import Answer, Holding, Letter, Progress, StreamId


def holding(seq: int, epoch: int = 1) -> Holding:
    """Return a holding whose entry is number ``seq`` of its millisecond."""
    return Holding(seq, epoch, StreamId(1000, seq))


def wait(waiting: Confirmations, held: Holding) -> asyncio.Future[Settled]:
    """Let the winner of a holding of the gate's present epoch wait."""
    claim: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
    waiting.settle([(Answer(Letter.WON, held.epoch, 0, held), claim)])
    return claim


class _Again:
    """Waits as often as he is asked to, and notes what he is told."""

    def __init__(self, settled: list[Settled]) -> None:
        self._settled = settled

    def done(self) -> bool:
        """Return that he waits."""
        return False

    def set_result(self, result: Settled) -> None:
        """Note it."""
        self._settled.append(result)

    def set_exception(self, exception: Exception) -> None:
        """Fail: nobody tells him of one."""
        raise AssertionError from exception


def progress(seq: int, epoch: int = 1, refused: tuple[int, ...] = ()) -> Progress:
    """Return progress up to entry ``seq``."""
    return Progress(epoch, StreamId(1000, seq), seq, frozenset(StreamId(1000, number) for number in refused))


async def test_a_winner_is_woken_when_the_watermark_passes_his_entry() -> None:
    """Entries up to the watermark are committed, later ones wait."""
    waiting = Confirmations(timeout_s=60)
    futures = [wait(waiting, holding(seq)) for seq in (1, 2, 3)]
    waiting.advance(progress(2))
    assert [future.done() for future in futures] == [True, True, False]
    assert futures[0].result().outcome is Outcome.COMMITTED
    waiting.advance(progress(3))
    assert futures[2].result().outcome is Outcome.COMMITTED


async def test_a_winner_who_comes_after_the_watermark_does_not_wait() -> None:
    """What is known to be committed is answered at once."""
    waiting = Confirmations(timeout_s=60)
    waiting.advance(progress(5))
    assert (await wait(waiting, holding(5))).outcome is Outcome.COMMITTED


async def test_a_refused_entry_is_not_confirmed_before_or_after() -> None:
    """An entry that the ledger refused is REFUSED to those who wait and to those who come later."""
    waiting = Confirmations(timeout_s=60)
    early = wait(waiting, holding(1))
    waiting.advance(progress(3, refused=(1,)))
    assert early.result().outcome is Outcome.REFUSED
    waiting.advance(progress(4))
    assert (await wait(waiting, holding(1))).outcome is Outcome.REFUSED
    assert (await wait(waiting, holding(2))).outcome is Outcome.COMMITTED
    assert not waiting.is_committed(holding(1), gate_epoch=1)


async def test_a_recovery_wakes_those_who_wait_under_the_old_epoch() -> None:
    """The watermark of a new epoch says nothing of the old one's entries: they must ask again."""
    waiting = Confirmations(timeout_s=60)
    old, new = wait(waiting, holding(1)), wait(waiting, holding(9, epoch=2))
    waiting.advance(progress(5, epoch=2))
    assert old.result().outcome is Outcome.EPOCH_OVER
    assert not new.done()
    waiting.advance(progress(9, epoch=2))
    assert new.result().outcome is Outcome.COMMITTED


async def test_a_new_epoch_begins_with_its_own_watermark() -> None:
    """How far the ledger was under the old epoch says nothing of an entry of the new one, nor does a refusal."""
    waiting = Confirmations(timeout_s=60)
    waiting.advance(progress(9, refused=(2,)))
    waiting.advance(progress(3, epoch=2))
    assert not wait(waiting, holding(5, epoch=2)).done()
    assert (await wait(waiting, holding(2, epoch=2))).outcome is Outcome.COMMITTED


async def test_news_of_an_old_epoch_confirm_nothing() -> None:
    """A late announcement from before a recovery is ignored."""
    waiting = Confirmations(timeout_s=60)
    waiting.advance(progress(1, epoch=2))
    future = wait(waiting, holding(3, epoch=2))
    waiting.advance(progress(9, epoch=1))
    assert not future.done()


async def test_news_of_an_epoch_to_come_do_not_confirm_the_present_one() -> None:
    """A holding of a later epoch than the last announcement waits for its own epoch's news."""
    waiting = Confirmations(timeout_s=60)
    waiting.advance(progress(9, epoch=1))
    assert not wait(waiting, holding(1, epoch=2)).done()
    assert not waiting.is_committed(holding(1, epoch=2), gate_epoch=2)


async def test_the_watermark_does_not_go_back() -> None:
    """Two announcements in the wrong order leave the later one standing."""
    waiting = Confirmations(timeout_s=60)
    waiting.advance(progress(5))
    waiting.advance(progress(2))
    assert waiting.is_committed(holding(4), gate_epoch=1)
    assert wait(waiting, holding(4)).done()


async def test_nobody_waits_longer_than_the_timeout() -> None:
    """A sweep answers LATE to those whose time is over, and forgets them."""
    waiting = Confirmations(timeout_s=0)
    future = wait(waiting, holding(1))
    waiting.sweep()
    assert future.result().outcome is Outcome.LATE
    assert not waiting.are_awaited


async def test_who_asks_again_has_the_whole_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recovery lets him wait a second time: when his first time would be over, he is not told that he is late."""
    now_s = 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s)
    settled: list[Settled] = []
    who = _Again(settled)
    waiting = Confirmations(timeout_s=60)
    waiting.settle([(Answer(Letter.WON, 1, 0, holding(1)), who)])
    waiting.advance(progress(0, epoch=2))
    assert [each.outcome for each in settled] == [Outcome.EPOCH_OVER]
    now_s += 40
    waiting.settle([(Answer(Letter.WON, 2, 0, holding(1, epoch=2)), who)])
    now_s += 40
    waiting.sweep()
    assert len(settled) == 1
    waiting.advance(progress(1, epoch=2))
    assert [each.outcome for each in settled[1:]] == [Outcome.COMMITTED]
    now_s += 60
    waiting.sweep()
    assert len(settled) == 2


async def test_winners_who_ask_again_while_the_ledger_is_away_are_not_piled_up() -> None:
    """However often they ask, what is kept is bounded by those who wait now, and they are still woken in order."""
    over, waiting = Confirmations(timeout_s=0), Confirmations(timeout_s=60)
    for _ in range(100):
        for seq in range(1, 11):
            wait(over, holding(seq))
        over.sweep()
        assert over.kept == 0

    here = [wait(waiting, holding(seq)) for seq in (3, 1, 2)]
    for _ in range(100):
        wait(waiting, holding(9)).cancel()
    waiting.advance(progress(2))
    assert [future.done() for future in here] == [False, True, True]
    here.append(wait(waiting, holding(4)))
    here[0].cancel()
    waiting.sweep()
    assert waiting.kept <= 2
    waiting.advance(progress(4))
    assert here[3].result().outcome is Outcome.COMMITTED


async def test_a_winner_who_gave_up_is_forgotten() -> None:
    """A cancelled wait disturbs nobody."""
    waiting = Confirmations(timeout_s=60)
    gone, here = wait(waiting, holding(1)), wait(waiting, holding(2))
    gone.cancel()
    waiting.advance(progress(2))
    assert here.result().outcome is Outcome.COMMITTED
    waiting.sweep()
    assert not waiting.are_awaited
    await asyncio.sleep(0)


async def test_a_holding_of_an_earlier_epoch_is_in_the_ledger() -> None:
    """The gate was rebuilt from the ledger, so what it holds from before is committed."""
    assert Confirmations(timeout_s=60).is_committed(holding(1, epoch=1), gate_epoch=2)
