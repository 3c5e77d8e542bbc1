"""What every person has in common: an identity, the round he came for, and answers that are named."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Collection
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from locust.exception import StopUser

from grab_service import settings_reader
from grab_service.data_dir import DataDir
from grab_service.identity import TILL_SCOPES
from grab_service.rehearsal import RehearsalKeys
from loadtest.locust.options import data_dir_of
from loadtest.locust.outcomes import CLAIM_IN_ORDER, Answer, retry_after_s
from loadtest.locust.timing import reaction_s
from locust import FastHttpUser

REGION = "500110"
_ASKS_MAX = 30
_numbers = itertools.count()
_began_s = int(time.time())


def new_id(kind: str) -> str:
    """Return an id that no other person, process or run has."""
    return f"{kind}-{_began_s}-{os.getpid()}-{next(_numbers)}"


@lru_cache
def till_token(directory: Path) -> str:
    """Return a till's token of the rehearsal in this directory; it acts for every merchant."""
    data = DataDir(directory)
    chosen = settings_reader.load(file=data.settings_file)
    sign = RehearsalKeys(data.keys).signer(
        issuer=chosen.jwt_issuer, audience=chosen.jwt_audience, now_s=int(time.time())
    )
    return sign("till", REGION, " ".join(sorted(TILL_SCOPES)))


class Person(FastHttpUser):
    """Somebody who came for the round that opens next.

    Attributes:
        kind: How the report calls these people.
        stock_ids: The stocks of the round.
    """

    abstract = True
    kind = "person"
    connection_timeout = 15.0
    network_timeout = 30.0

    def on_start(self) -> None:
        """Connect, get a ticket, and learn when the round opens by the server's clock."""
        data = data_dir_of(self.environment)
        self.user_id = new_id(self.kind)
        self.dice = random.Random(self.user_id)
        issue = RehearsalKeys(data.keys).ticket_issuer(now_s=int(time.time()))
        self.headers = {"Authorization": f"Bearer {issue(self.user_id, REGION)}"}
        answer = self.ask("GET", "/v1/stock", "look at the stocks", in_order=(200,))
        rows = [row for row in answer.body.get("stocks", ()) if row["state"] in ("SCHEDULED", "OPEN")]
        if not rows:
            raise StopUser
        self.stock_ids = [row["stock_id"] for row in rows if row["round_id"] == rows[0]["round_id"]]
        self.opens_s = datetime.fromisoformat(rows[0]["opens_at"]).timestamp() - self._clock_offset_s()

    def _clock_offset_s(self) -> float:
        before_s = time.time()
        answer = self.ask("GET", "/v1/time", "ask the time", in_order=(200,))
        if answer.status == 0 or "server_time" not in answer.body:
            return 0.0
        return datetime.fromisoformat(answer.body["server_time"]).timestamp() - (before_s + time.time()) / 2

    def ask(
        self,
        method: str,
        path: str,
        row: str,
        *,
        in_order: Collection[int],
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        """Ask once; the row of the report is named after the outcome of what can have several."""
        with self.client.request(
            method, path, headers=headers or self.headers, name=row, catch_response=True, **more
        ) as response:
            answer = Answer(
                response.status_code or 0, _document(response), retry_after_s(response.headers.get("Retry-After"))
            )
            if method == "POST":
                response.request_meta["name"] = f"{row} {answer.name}"
            if answer.is_in_order(in_order):
                response.success()
            else:
                response.failure(f"{answer.status} {answer.name}")
        return answer

    def wait_for_opening(self) -> float:
        """Wait until this person presses the button; return the instant at which he meant to."""
        intended_s = max(self.opens_s, time.time()) + reaction_s(self.dice)
        time.sleep(max(0.0, intended_s - time.time()))
        return intended_s

    def claim(self, stock_id: str, row: str = "claim") -> Answer:
        """Claim once."""
        return self.ask("POST", f"/v1/stocks/{stock_id}/claims", row, in_order=CLAIM_IN_ORDER)

    def claim_until_final(self, stock_id: str, intended_s: float) -> Answer:
        """Claim until the answer is final, and count the time from the instant at which it was meant to be asked."""
        answer = Answer(0, {})
        for _ in range(_ASKS_MAX):
            answer = self.claim(stock_id)
            wait_s = answer.ask_again_in_s
            if wait_s is None:
                break
            time.sleep(wait_s)
        self.tell("claim (intended)", intended_s)
        if answer.has_voucher:
            self.tell("claim WON (intended)", intended_s)
        return answer

    def tell(self, row: str, since_s: float, fault: str | None = None) -> None:
        """Add a row of the report that is no request: a time that counts from an instant, or a broken promise."""
        self.environment.events.request.fire(
            request_type="TIME",
            name=row,
            response_time=(time.time() - since_s) * 1000,
            response_length=0,
            exception=AssertionError(fault) if fault else None,
            context={},
        )


def _document(response: Any) -> dict[str, Any]:
    try:
        found = response.json()
    except (ValueError, TypeError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}
