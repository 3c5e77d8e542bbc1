"""Looks at the picture of the stocks all the while, as a screen of the command room does."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_EVERY_S = 0.25
_TIMEOUT_S = 10.0


class Watcher:
    """Remembers how far the ledger was behind the gate, by stock.

    Attributes:
        url: Where the service answers.
        lag_max: The most claims that were seen on their way to the ledger at once, by stock.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.lag_max: dict[str, int] = {}
        self._over = threading.Event()

    def picture(self) -> list[dict[str, Any]]:
        """Return the stocks as they are now.

        Raises:
            OSError: The service does not answer.
        """
        with urllib.request.urlopen(f"{self.url}/v1/stock", timeout=_TIMEOUT_S) as answer:  # noqa: S310  the loopback
            rows: list[dict[str, Any]] = json.load(answer)["stocks"]
        for row in rows:
            if row["claimed"] is not None and row["booked"] is not None:
                known = self.lag_max.get(row["stock_id"], 0)
                self.lag_max[row["stock_id"]] = max(known, row["claimed"] - row["booked"])
        return rows

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look four times a second meanwhile."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            try:
                self.picture()
            except (OSError, ValueError):
                continue  # a look that fails in the rush says nothing of the ledger
