"""The journal: every request that changed something, and one in so many of the others.

At the opening nearly every answer is a refusal, and a line for each of them would cost more than the answer.  A line
names the request and what became of it, never who asked, a token, a code or what a path or body holds.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from grab_service.api.ending import Ending

_log = logging.getLogger("grab_service.requests")

_WON_MAX = 500  # winners a line
_OUTCOMES = [ending.outcome for ending in Ending]


class Journal:
    """Logs requests.

    Attributes:
        one_in: How many refusals and reads there are to one that is logged; 0 to log no request at all.
    """

    def __init__(self, one_in: int) -> None:
        self.one_in = one_in
        self._left = 1
        self._won: list[tuple[str, int, str]] = []

    def claim(self, request_id: str, stock_id: str, ending: int) -> None:
        """Keep the claim of a winner for the next line of them."""
        if self.one_in:
            self._won.append((request_id, ending, stock_id))
            if len(self._won) >= _WON_MAX:
                self.flush()

    def flush(self) -> None:
        """Log the claims that were won since the last time: in a rush a line for each would cost more than a claim."""
        if not self._won:
            return
        won = [f"{request_id}:{_OUTCOMES[ending]}:{stock_id}" for request_id, ending, stock_id in self._won]
        self._won.clear()
        _log.info("what=claims won=%s", " ".join(won), extra={"members": {"what": "claims", "won": won}})

    def refused(self, request_id: str, stock_id: str, ending: int, seconds: float) -> None:
        """Log a claim that won nothing and whose turn it is."""
        _tell(request_id, "claim", Ending(ending).name.lower(), seconds, stock=stock_id, one_in=self.one_in)

    def other(self, request_id: str, route: str, method: str, status: int, seconds: float) -> None:
        """Log a request of an ordinary route: what may have changed something, what failed, and some of the reads."""
        if self.one_in and (method not in ("GET", "HEAD") or status >= HTTPStatus.INTERNAL_SERVER_ERROR):
            _tell(request_id, f"{method} {route}", str(status), seconds)
        elif self._is_chosen():
            _tell(request_id, f"{method} {route}", str(status), seconds, one_in=self.one_in)

    def _is_chosen(self) -> bool:
        if not self.one_in:
            return False
        self._left -= 1
        if self._left:
            return False
        self._left = self.one_in
        return True


def _tell(request_id: str, what: str, outcome: str, seconds: float, **facts: str | int) -> None:
    members = {"request_id": request_id, "what": what, "outcome": outcome, "ms": round(seconds * 1000, 2), **facts}
    _log.info("%s", " ".join(f"{name}={value}" for name, value in members.items()), extra={"members": members})
