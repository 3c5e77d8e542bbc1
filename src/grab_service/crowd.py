"""A crowd: who holds a voucher of a stock that is too large for everyone in it to be remembered by name.

Eight bytes a holder.  Whoever is not found is certainly not in it; whoever is found very probably is, so the gate is
asked, which it would have been anyway.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterable

_PARTS = 256
_SHIFT, _MASK = 56, (1 << 64) - 1


class Crowd:
    """Many users' references, as Python's own hashes: keyed anew in each process, so nobody can choose them."""

    def __init__(self) -> None:
        self._parts = [array("Q") for _ in range(_PARTS)]
        self._length = 0

    @classmethod
    async def of(cls, user_refs: AsyncIterable[str]) -> Crowd:
        """Take in everyone who comes, perhaps more than once; other work of the process goes on meanwhile."""
        crowd = cls()
        async for user_ref in user_refs:
            number = hash(user_ref) & _MASK
            crowd._parts[number >> _SHIFT].append(number)
        for place, part in enumerate(crowd._parts):
            crowd._parts[place] = array("Q", sorted(set(part)))
            await asyncio.sleep(0)
        crowd._length = sum(map(len, crowd._parts))
        return crowd

    def __contains__(self, user_ref: str) -> bool:
        number = hash(user_ref) & _MASK
        part = self._parts[number >> _SHIFT]
        place = bisect_left(part, number)
        return place < len(part) and part[place] == number

    def __len__(self) -> int:
        return self._length
