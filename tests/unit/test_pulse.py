"""What was answered second by second, from the counts of all processes."""

from __future__ import annotations

import pytest

from grab_service.api.ending import Ending
from grab_service.api.instruments import Instruments
from grab_service.api.journal import Journal
from grab_service.api.pulse import Pulse, quantile
from grab_service.api.reply import Reply


def answer(instruments: Instruments, status: int, seconds: float, times: int = 1) -> None:
    """Count claims that were answered."""
    instruments.claims([("r", "s", Reply(status, b"", ending=Ending.SOLD_OUT), 0.0)] * times, seconds)
    instruments.flush()


def test_a_second_tells_what_was_answered_in_it() -> None:
    """Rates are of the second, success is of the minute, polls count as requests."""
    instruments = Instruments(None, Journal(0))
    pulse = Pulse(instruments.sheets)
    answer(instruments, 201, 0.01, 4)
    pulse.look(1000, 1.0)
    answer(instruments, 409, 0.001, 90)
    answer(instruments, 503, 0.001, 6)
    instruments.stock_picture(200, 0.001)
    pulse.look(2000, 2.0)
    first, second = pulse.curve()
    assert (first["requests_per_s"], first["refused_per_s"], first["success"]) == (4, 0, 1)
    assert (second["requests_per_s"], second["refused_per_s"], second["failed_per_s"]) == (48.5, 45, 3)
    assert second["success"] == 0.94
    assert second["at_ms"] == 2000


def test_a_slow_answer_shows_for_ten_seconds_and_a_failure_for_a_minute() -> None:
    """Afterwards nothing is told of what nobody asked for."""
    instruments = Instruments(None, Journal(0))
    pulse = Pulse(instruments.sheets)
    answer(instruments, 500, 0.45)
    for second in range(1, 62):
        pulse.look(second * 1000, 1.0)
    beats = pulse.curve()
    assert [beat["at_ms"] for beat in beats if beat["p99_ms"] is not None] == [1000 * each for each in range(1, 11)]
    assert [beat["success"] for beat in beats] == [0.0] * 60 + [None]


@pytest.mark.parametrize(
    ("taken_s", "expected_s"), [([0.004] * 100, 0.004975), ([0.004] * 50 + [0.09] * 50, 0.099), ([9.0], 5.0)]
)
def test_the_quantile_is_estimated_within_its_bucket(taken_s: list[float], expected_s: float) -> None:
    """As Prometheus does it: evenly within a bucket, never above the last bound."""
    instruments = Instruments(None, Journal(0))
    pulse = Pulse(instruments.sheets)
    for each in taken_s:
        answer(instruments, 201, each)
    pulse.look(1000, 1.0)
    assert pulse.last is not None
    assert pulse.last.p99_ms == pytest.approx(expected_s * 1000, abs=0.01)


def test_nothing_has_no_quantile() -> None:
    """No claim, no latency."""
    assert quantile([0] * 14, 0.99) is None
