"""A crowd: nobody in it is ever taken for somebody who is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from grab_service.crowd import Crowd


async def _coming(user_refs: Iterable[str]) -> AsyncIterator[str]:
    for user_ref in user_refs:
        yield user_ref


async def test_everyone_in_it_is_found_and_others_are_not() -> None:
    """Ten thousand who are in it, ten thousand who are not."""
    crowd = await Crowd.of(_coming(f"in-{number}" for number in range(10_000)))
    assert len(crowd) == 10_000
    assert all(f"in-{number}" in crowd for number in range(10_000))
    assert not any(f"out-{number}" in crowd for number in range(10_000))


async def test_whoever_is_told_twice_counts_once() -> None:
    """A scan of a hash that is being resized may tell a field again."""
    assert len(await Crowd.of(_coming(["a", "b", "a", "c", "b"]))) == 3


async def test_nobody_is_in_an_empty_crowd() -> None:
    """It has no first and no last place."""
    crowd = await Crowd.of(_coming([]))
    assert len(crowd) == 0
    assert "a" not in crowd
