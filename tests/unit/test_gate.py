"""What the gate writes, as it is read."""

from __future__ import annotations

import pytest

from grab_service.gate import Holding, StreamId


def test_a_holding_is_read_as_the_gate_writes_it() -> None:
    """Its number, its epoch and its entry."""
    assert Holding.parse("7:3:1700000000123-4") == Holding(7, 3, StreamId(1_700_000_000_123, 4))


@pytest.mark.parametrize("text", ["", "1:2", "1:2:3", "1:2:3-4:5", "a:2:3-4", "1:2:-"])
def test_a_holding_that_is_written_otherwise_is_not_read(text: str) -> None:
    """Rather no answer than another's voucher."""
    with pytest.raises(ValueError, match=r"values to unpack|invalid literal"):
        Holding.parse(text)
