"""How often one may ask: buckets that refill and forget, and rations that one flooder does not eat up."""

from __future__ import annotations

import pytest

from grab_service.limits import BURST_S, Buckets, Ration


def test_a_bucket_gives_a_burst_and_then_a_rate() -> None:
    """Ten a second: fifty at once, then one every tenth of a second, and the wait is told."""
    buckets = Buckets(10)
    at_once = [buckets.wait_s("a", 0.0) for _ in range(int(10 * BURST_S))]
    assert set(at_once) == {0.0}
    assert buckets.wait_s("a", 0.0) == pytest.approx(0.1)
    assert buckets.wait_s("a", 0.1) == 0.0
    assert buckets.wait_s("a", 0.1) > 0.0
    assert buckets.wait_s("b", 0.1) == 0.0


def test_a_full_bucket_is_no_fuller_after_a_day() -> None:
    """Whoever has not asked for long has a burst, no more."""
    buckets = Buckets(1)
    assert buckets.wait_s("a", 0.0) == 0.0
    waits = [buckets.wait_s("a", 86_400.0) for _ in range(int(BURST_S) + 1)]
    assert [wait > 0 for wait in waits] == [False] * int(BURST_S) + [True]


def test_who_asked_longest_ago_is_forgotten_first() -> None:
    """The memory is bounded, and an active caller keeps his empty bucket."""
    buckets = Buckets(0.2, keys_max=2)
    assert buckets.wait_s("flooder", 0.0) == 0.0
    for number in range(10):
        assert buckets.wait_s("flooder", 0.0) > 0.0
        assert buckets.wait_s(f"other-{number}", 0.0) == 0.0


def test_a_block_that_floods_spends_its_own_ration_only() -> None:
    """Others are checked as before, within the same second."""
    ration = Ration(per_s_max=10, per_block_max=3)
    for _ in range(3):
        assert not ration.is_spent("flooder", 0.0)
        ration.spend("flooder")
    assert ration.is_spent("flooder", 0.5)
    assert not ration.is_spent("other", 0.5)
    assert not ration.is_spent(None, 0.5)
    assert not ration.is_spent("flooder", 1.0)


def test_many_blocks_together_have_one_ration() -> None:
    """A flood from everywhere costs a bounded share too."""
    ration = Ration(per_s_max=10, per_block_max=3)
    for number in range(10):
        assert not ration.is_spent(f"block-{number}", 0.0)
        ration.spend(f"block-{number}")
    assert ration.is_spent("other", 0.5)
    assert ration.is_spent(None, 0.5)
