"""Places: bounded, and fair between stocks."""

from __future__ import annotations

from grab_service.places import Places


def test_one_stock_may_use_every_place() -> None:
    """Nobody else wants them; the next one is turned away."""
    places = Places(10)
    for _ in range(10):
        assert not places.are_full("a")
        places.take("a")
    assert places.are_full("a")
    places.leave("a")
    assert not places.are_full("a")


def test_a_stock_that_takes_all_places_does_not_keep_another_out() -> None:
    """The other gets its share at once, and no more than that until the first has given places back."""
    places = Places(10)
    for _ in range(10):
        places.take("a")
    for _ in range(5):
        assert not places.are_full("b")
        places.take("b")
    assert places.are_full("b")
    assert places.are_full("a")
    for _ in range(6):
        places.leave("a")
    assert not places.are_full("a")
    assert not places.are_full("b")


def test_what_is_given_back_leaves_nothing_behind() -> None:
    """Stocks without claims under way have no share, and what a path names is not kept."""
    places = Places(2)
    for stock in ("a", "b", "c"):
        places.take(stock)
        assert not places.are_full("x") or places.taken >= 2
        places.leave(stock)
    assert places.taken == 0
    places.take("a")
    places.take("a")
    assert places.are_full("a")
    assert not places.are_full("b")
