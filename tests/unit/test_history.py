"""The curve of the last minutes."""

from __future__ import annotations

from datetime import UTC, datetime

from grab_service.api.history import History
from grab_service.gate import Counts, StreamId
from grab_service.snapshot import Snapshot, take
from tests.support.campaigns import small_campaign

STOCK = next(iter(small_campaign("history").stocks()))
START_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)


def picture(after_ms: int, claimed: int, booked: int, *, gate_answers: bool = True) -> Snapshot:
    """Return a snapshot of one stock."""
    counts = Counts(
        is_open=True,
        epoch=1,
        now_ms=START_MS + after_ms,
        opens_ms=START_MS,
        closes_ms=START_MS + 1_000_000,
        is_paused=False,
        sold_out_ms=0,
        free=1000 - claimed,
        held=claimed,
        entries=claimed,
        committed_epoch=1,
        committed=StreamId(0, 0),
        booked=booked,
    )
    return take([(STOCK, counts)], gate_answers=gate_answers, now_ms=START_MS + after_ms)


def lag_after(*figures: tuple[int, int, int]) -> int:
    """Return the lag of the last of these pictures."""
    history = History(100)
    for each in figures:
        history.note(picture(*each), gate_ms=1.0)
    assert history.last is not None
    return history.last.lag_ms


def test_nothing_lags_when_all_is_booked() -> None:
    """Claims that are in the vault wait for nothing."""
    assert lag_after((0, 0, 0), (100, 50, 50)) == 0


def test_the_lag_is_the_age_of_the_oldest_claim_that_is_not_booked() -> None:
    """A hundred claims in each 100 ms; the vault has 150 of them: the next one was made 150 ms ago."""
    assert lag_after((0, 0, 0), (100, 100, 0), (200, 200, 100), (300, 300, 150)) == 150


def test_a_ledger_that_stands_still_lags_ever_more() -> None:
    """Nothing is booked any more: the lag grows with the clock, also when nobody claims."""
    assert lag_after((0, 10, 10), (100, 20, 10), (200, 20, 10), (5200, 20, 10)) == 5200


def test_what_the_gate_did_not_tell_is_left_out() -> None:
    """While the gate is away the curve has a gap instead of old figures."""
    history = History(100)
    history.note(picture(0, 1, 1, gate_answers=False), gate_ms=1.0)
    assert history.last is None
    assert history.curve() == []


def test_what_was_told_before_the_gate_went_away_is_not_the_latest() -> None:
    """An old figure would look like a good one; the curve keeps it."""
    history = History(100)
    history.note(picture(0, 1, 1), gate_ms=1.0)
    history.note(picture(100, 1, 1, gate_answers=False), gate_ms=1.0)
    assert history.last is None
    assert len(history.curve()) == 1


def test_the_curve_is_thinned_out_and_bounded() -> None:
    """Ten points a second become one, and nothing older than the span is kept."""
    history = History(100)
    for number in range(7000):
        history.note(picture(number * 100, 0, 0), gate_ms=1.0)
    curve = history.curve()
    assert 590 <= len(curve) <= 600
    assert curve[-1]["at_ms"] - curve[0]["at_ms"] < 600_000
