"""Admission: what one process knows of a stock by itself, so that nearly every no costs no call.

What is known is never guessed.  Before the opening nobody can hold a voucher, and once the last number is
given or the round has ended no holder is added in the same epoch: so the gate's answer to anybody
follows from the holders, which are read once.  Each look at the gate's figures renews what is known for a
moment; a look that shows another epoch, or no look in time, forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import nlargest
from operator import itemgetter

from grab_service.crowd import Crowd
from grab_service.gate import Counts, Holding, Letter

_OFTEN_PART = 4  # of the limit: whoever asks less of a process in a second is not told of to others


class Memory:
    """What is known of one stock.

    Args:
        lasts_s: How long a look at the gate's figures is believed.
        won_max: Winners of this process that are remembered while the stock is being sold.

    Attributes:
        epoch: The epoch that everything known is of.
    """

    def __init__(self, lasts_s: float, won_max: int) -> None:
        self._lasts_s = lasts_s
        self._won_max = won_max
        self._valid_until_s = 0.0
        self._opens_at_s = 0.0
        self._letter: Letter | None = None  # what is said to whoever holds nothing, once holders are final
        self._holders: Mapping[str, Holding] | None = None  # once they are final and read
        self._crowd: Crowd | None = None  # instead of them, where they are too many
        self._won: dict[str, Holding] = {}
        self.epoch = 0

    def learn(self, counts: Counts, asked_at_s: float) -> bool:
        """Take in a look at the gate's figures; return whether its holders are final and not known yet.

        Args:
            counts: The figures.
            asked_at_s: This process's monotonic clock before the gate was asked.  The gate's clock was
                at ``counts.now_ms`` only later, so instants reckoned from here are never too early.
        """
        if not counts.is_open:
            self.forget()
            return False
        if counts.epoch != self.epoch:
            self.forget()
            self.epoch = counts.epoch
        self._valid_until_s = asked_at_s + self._lasts_s
        # A round that has holders before its opening was moved; then the gate decides.
        is_before = counts.now_ms < counts.opens_ms and counts.held == 0
        self._opens_at_s = asked_at_s + (counts.opens_ms - counts.now_ms) / 1000 if is_before else 0.0
        self._letter = _letter(counts)
        return self._letter is not None and not self.is_complete

    def renew(self, epoch: int, asked_at_s: float) -> None:
        """Believe for longer that all is gone: a claim was just told so by the gate.

        A process that is flooded looks too late, and would ask the gate for everybody just then.

        Args:
            epoch: Under which the gate said so.
            asked_at_s: This process's monotonic clock before the gate was asked.
        """
        if epoch == self.epoch and self.is_complete and self._letter is Letter.SOLD_OUT:
            self._valid_until_s = max(self._valid_until_s, asked_at_s + self._lasts_s)

    @property
    def is_complete(self) -> bool:
        """Whether the holders are known, so that nobody else has to be asked about."""
        return self._holders is not None or self._crowd is not None

    def remember(self, counts: Counts, holders: Mapping[str, Holding] | Crowd) -> None:
        """Keep the holders of a stock that gets no more; they were read after ``counts``, which said so."""
        if counts.epoch != self.epoch or len(holders) != counts.held:
            return
        if isinstance(holders, Crowd):
            self._crowd = holders
        else:
            self._holders, self._won = holders, {}

    def remember_winner(self, user_ref: str, holding: Holding) -> None:
        """Keep a winner whose claim is committed."""
        if holding.epoch == self.epoch and self._holders is None and len(self._won) < self._won_max:
            self._won[user_ref] = holding

    def forget(self) -> None:
        """Know nothing any more."""
        self._valid_until_s = self._opens_at_s = 0.0
        self._letter, self._holders, self._crowd, self._won = None, None, None, {}
        self.epoch = 0

    def recall(self, user_ref: str, now_s: float) -> Letter | Holding | None:
        """Return what the gate would say to a user: a refusal or what he holds; None if it must be asked.

        Args:
            user_ref: The user.
            now_s: This process's monotonic clock.
        """
        if now_s >= self._valid_until_s:
            return None
        if self._holders is not None:
            return self._holders.get(user_ref, self._letter)
        if self._crowd is not None and user_ref not in self._crowd:
            return self._letter
        if now_s < self._opens_at_s:
            return Letter.NOT_STARTED
        return self._won.get(user_ref)

    def opens_in_s(self, now_s: float) -> float:
        """Return how long it is until the opening, by the gate's clock."""
        return self._opens_at_s - now_s


def _letter(counts: Counts) -> Letter | None:
    """Return what the gate says to whoever holds nothing, if no holder is added any more in this epoch."""
    if counts.now_ms >= counts.closes_ms:
        return Letter.ENDED
    if counts.free or counts.now_ms < counts.opens_ms:
        return None
    return Letter.PAUSED if counts.is_paused else Letter.SOLD_OUT


class Rate:
    """Counts the claims of each user in the running second.

    Args:
        per_s_max: How many of one user are answered.
        users_max: How many users are counted; whoever comes after so many others is not held up.

    Attributes:
        per_s_max: As above.
    """

    def __init__(self, per_s_max: int, users_max: int = 200_000) -> None:
        self.per_s_max = per_s_max
        self._users_max = users_max
        self._asked: dict[str, int] = {}
        self._until_s = 0.0
        self._often = max(1, per_s_max // _OFTEN_PART)
        self._hasty: dict[str, int] = {}
        self._barred_until_s: dict[str, float] = {}

    def is_exceeded(self, user_ref: str, now_s: float) -> bool:
        """Count a claim; return whether it is one too many."""
        if now_s >= self._until_s:
            self._asked, self._until_s = {}, now_s + 1.0
        asked = self._asked.get(user_ref, 0) + 1
        if asked > 1 or len(self._asked) < self._users_max:
            self._asked[user_ref] = asked
        if asked > self.per_s_max:
            return True
        if asked >= self._often:
            more = asked if asked == self._often else 1
            self._hasty[user_ref] = self._hasty.get(user_ref, 0) + more
        return now_s < self._barred_until_s.get(user_ref, 0.0)

    def hasty(self, users_max: int) -> dict[str, int]:
        """Return the claims within the limit, of those who asked often since the last time, at most so many users."""
        hasty, self._hasty = self._hasty, {}
        return hasty if len(hasty) <= users_max else dict(nlargest(users_max, hasty.items(), key=itemgetter(1)))

    def bar(self, user_refs: Iterable[str], now_s: float, until_s: float) -> None:
        """Answer no claim of these users until an instant of the monotonic clock; others stay barred as they are."""
        still = {user_ref: ends_s for user_ref, ends_s in self._barred_until_s.items() if ends_s > now_s}
        self._barred_until_s = still | dict.fromkeys(user_refs, until_s)


class Budget:
    """Bounds how often something costly may be done, or be done in vain, within one second.

    Args:
        per_s_max: How often.
    """

    def __init__(self, per_s_max: int) -> None:
        self._per_s_max = per_s_max
        self._spent = 0
        self._until_s = 0.0

    def is_spent(self, now_s: float) -> bool:
        """Whether no more may be tried in the running second."""
        if now_s >= self._until_s:
            self._spent, self._until_s = 0, now_s + 1.0
        return self._spent >= self._per_s_max

    def spend(self) -> None:
        """Count one."""
        self._spent += 1


class Misses:
    """Counts what each caller has asked for in vain within the running minute, as whoever guesses does.

    Args:
        per_minute_max: How often one may.
    """

    _WINDOW_S = 60.0

    def __init__(self, per_minute_max: int) -> None:
        self._per_minute_max = per_minute_max
        self._missed: dict[str, int] = {}
        self._until_s = 0.0

    def wait_s(self, caller: str, now_s: float) -> float:
        """Return how long a caller has to wait before it may ask again, in seconds; 0 if it need not."""
        if now_s >= self._until_s:
            self._missed, self._until_s = {}, now_s + self._WINDOW_S
        return self._until_s - now_s if self._missed.get(caller, 0) >= self._per_minute_max else 0.0

    def count(self, caller: str) -> None:
        """Count one that was in vain."""
        self._missed[caller] = self._missed.get(caller, 0) + 1
