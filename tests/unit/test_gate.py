"""What the gate writes, as it is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grab_service.gate import Holding, StreamId

_NUMBERS = st.integers(0, 2**53)
_HOLDINGS = st.builds(Holding, _NUMBERS, _NUMBERS, st.builds(StreamId, _NUMBERS, _NUMBERS))


def _written(holding: Holding) -> str:
    return f"{holding.claim_no}:{holding.epoch}:{holding.stream_id.ms}-{holding.stream_id.seq}"


@given(st.lists(_HOLDINGS))
def test_holdings_are_read_together_as_each_is_alone(holdings: list[Holding]) -> None:
    """None, one or many."""
    texts = [_written(holding) for holding in holdings]
    assert list(Holding.parse_all(texts)) == [Holding.parse(text) for text in texts] == holdings


@pytest.mark.parametrize("text", ["", "1:2", "1:2:3", "1:2:3-4:5", "a:2:3-4", "1:2:-"])
def test_a_holding_that_is_written_otherwise_is_not_read(text: str) -> None:
    """Nor are those beside it, which would be taken for each other's."""
    for texts in ([text], ["1:2:3-4", text], [text, "1:2:3-4"]):
        with pytest.raises(ValueError, match=r"not written claim_no|invalid literal"):
            list(Holding.parse_all(texts))
