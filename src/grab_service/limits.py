"""How often one may ask: bounded token buckets by caller, and a ration of costly checks that fail.

All of it is a process's own memory.  A limit that processes share would be a write for each request, and
whoever gets nothing must write nothing; over all processes the proxy limits by address.
"""

from __future__ import annotations

from grab_service.admission import Budget

BURST_S = 5.0  # seconds' worth of requests that may come at once
_KEYS_MAX = 50_000


class Buckets:
    """A bucket of tokens for each caller, refilled all the time; those that asked longest ago are forgotten first.

    Args:
        per_s: Requests a second that one caller may send in the long run.
        keys_max: Callers that are remembered.
    """

    def __init__(self, per_s: float, keys_max: int = _KEYS_MAX) -> None:
        self._per_s = per_s
        self._burst = per_s * BURST_S
        self._keys_max = keys_max
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, key: str, now_s: float) -> float:
        """Take a token; return 0, or how long it is until there is one, in seconds."""
        left, at_s = self._left.pop(key, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._per_s)
        wait_s = 0.0
        if left >= 1.0:
            left -= 1.0
        else:
            wait_s = (1.0 - left) / self._per_s
        if len(self._left) >= self._keys_max:
            del self._left[next(iter(self._left))]
        self._left[key] = (left, now_s)  # at the end: the first one is the one that asked longest ago
        return wait_s


class Ration:
    """Bounds how often a costly check may fail within one second, for one block of addresses and for all together.

    A block that has used up its share spends nothing of the others' any more, so one flooder keeps nobody else out.

    Args:
        per_s_max: How often in all.
        per_block_max: How often for one block.
    """

    def __init__(self, per_s_max: int, per_block_max: int) -> None:
        self._all = Budget(per_s_max)
        self._per_block_max = per_block_max
        self._of_block: dict[str, int] = {}  # no longer than there are failures in a second
        self._until_s = 0.0

    def is_spent(self, block: str | None, now_s: float) -> bool:
        """Whether no more may be checked for this block in the running second."""
        if now_s >= self._until_s:
            self._of_block, self._until_s = {}, now_s + 1.0
        if block is not None and self._of_block.get(block, 0) >= self._per_block_max:
            return True
        return self._all.is_spent(now_s)

    def spend(self, block: str | None) -> None:
        """Count a check that failed."""
        self._all.spend()
        if block is not None:
            self._of_block[block] = self._of_block.get(block, 0) + 1
