"""The polled picture: states and when its tag changes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from grab_service import snapshot
from grab_service.gate import Counts, StreamId
from grab_service.snapshot import StockState
from tests.lua.conftest import NOW, make_stock

STOCK = make_stock("c")
OPEN = Counts(
    is_open=True,
    epoch=1,
    now_ms=1_000_000,
    opens_ms=999_000,
    closes_ms=2_000_000,
    is_paused=False,
    sold_out_ms=0,
    free=3,
    held=2,
    entries=2,
    committed_epoch=1,
    committed=StreamId(0, 0),
    booked=1,
)


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        (OPEN, StockState.OPEN),
        (replace(OPEN, is_open=False), StockState.RECOVERING),
        (None, StockState.RECOVERING),
        (replace(OPEN, now_ms=998_999), StockState.SCHEDULED),
        (replace(OPEN, now_ms=999_000), StockState.OPEN),
        (replace(OPEN, is_paused=True), StockState.PAUSED),
        (replace(OPEN, free=0), StockState.SOLD_OUT),
        (replace(OPEN, free=0, is_paused=True), StockState.SOLD_OUT),
        (replace(OPEN, now_ms=2_000_000), StockState.ENDED),
        (replace(OPEN, now_ms=2_000_000, free=0), StockState.ENDED),
    ],
)
def test_the_state_of_a_stock(counts: Counts | None, state: StockState) -> None:
    """Window, stock and pause make the state; what cannot be trusted is RECOVERING."""
    assert snapshot.state_of(counts) is state


def test_the_tag_changes_with_figures_and_not_with_the_clock() -> None:
    """A later picture of the same figures has the same tag, a claim changes it."""
    first = snapshot.take([(STOCK, OPEN)], gate_answers=True, now_ms=0)
    later = snapshot.take([(STOCK, replace(OPEN, now_ms=1_500_000))], gate_answers=True, now_ms=0)
    claimed = snapshot.take([(STOCK, replace(OPEN, held=3, free=2))], gate_answers=True, now_ms=0)
    assert first.etag == later.etag != claimed.etag
    assert first.as_of_ms != later.as_of_ms


def test_while_the_gate_is_away_the_last_figures_stand_as_recovering() -> None:
    """Figures stay what they were, the state says that they are not current."""
    picture = snapshot.take([(STOCK, OPEN)], gate_answers=False, now_ms=5_000)
    [row] = json.loads(picture.body + b'"}')["stocks"]
    assert (row["claimed"], row["state"]) == (2, "RECOVERING")
    assert picture.as_of_ms == 5_000


def test_figures_are_null_before_the_gate_has_ever_answered() -> None:
    """Nothing is made up."""
    [row] = json.loads(snapshot.take([(STOCK, None)], gate_answers=False, now_ms=0).body + b'"}')["stocks"]
    assert (row["claimed"], row["remaining"], row["booked"]) == (None, None, None)


def test_a_sold_out_stock_says_since_when() -> None:
    """The instant has the offset of the scheme."""
    counts = replace(OPEN, free=0, sold_out_ms=int((NOW + timedelta(0)).timestamp() * 1000))
    [row] = json.loads(snapshot.take([(STOCK, counts)], gate_answers=True, now_ms=0).body + b'"}')["stocks"]
    assert row["sold_out_at"].endswith("+08:00")
