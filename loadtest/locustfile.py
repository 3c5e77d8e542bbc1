"""The closed loop: users who wait for the opening, press the button once for each stock, and watch.

    locust -f loadtest/locustfile.py --headless -u 500 -r 500 -t 60s --host http://127.0.0.1:8000

Outcomes are rows of their own (``claim 201``, ``claim SOLD_OUT``); a refusal is a success, 5xx and
broken connections are failures.  Latencies of a closed loop hide waiting: the storm tells those.
"""

from __future__ import annotations

import itertools
import os
import time
from datetime import datetime
from pathlib import Path

from locust import FastHttpUser, constant_pacing, task
from locust.exception import StopUser

from grab_service.data_dir import DEFAULT, DataDir
from grab_service.rehearsal import RehearsalKeys

_DATA_DIR = DataDir(Path(os.environ.get("GRAB_DATA_DIR", DEFAULT)).resolve())
_REGION = "500110"
_ASKS_MAX = 20
_numbers = itertools.count()


class OneShotGrabber(FastHttpUser):
    """Waits for the opening, claims each stock of the round until the answer is final, and leaves."""

    weight = 9

    def on_start(self) -> None:
        """Get a ticket and wait for the opening."""
        user = f"locust-{os.getpid()}-{int(time.time())}-{next(_numbers)}"
        issue = RehearsalKeys(_DATA_DIR.keys).ticket_issuer(now_s=int(time.time()))
        self.headers = {"Authorization": f"Bearer {issue(user, _REGION)}"}
        rows = self.client.get("/v1/stock", name="stock before").json()["stocks"]
        open_rows = [row for row in rows if row["state"] in ("SCHEDULED", "OPEN")]
        if not open_rows:
            raise StopUser
        self.stock_ids = [row["stock_id"] for row in open_rows if row["round_id"] == open_rows[0]["round_id"]]
        opens_s = datetime.fromisoformat(open_rows[0]["opens_at"]).timestamp()
        time.sleep(max(0.0, opens_s - time.time()))

    @task
    def claim(self) -> None:
        """Claim every stock once."""
        for stock_id in self.stock_ids:
            for _ in range(_ASKS_MAX):
                wait_s = self._ask(stock_id)
                if wait_s is None:
                    break
                time.sleep(wait_s)
        raise StopUser

    def _ask(self, stock_id: str) -> float | None:
        """Ask once; return how long to wait before asking again, None if the answer is final."""
        path = f"/v1/stocks/{stock_id}/claims"
        with self.client.post(path, headers=self.headers, name="claim", catch_response=True) as response:
            status = response.status_code
            if status in (200, 201, 202, 409):
                code = response.json().get("code", status)
                response.request_meta["name"] = f"claim {code}"
                response.success()
                if status == 202 or code == "NOT_STARTED":  # noqa: PLR2004  accepted
                    return float(response.headers.get("Retry-After", 1))
                return None
            response.failure(f"status {status}")
            return float(response.headers.get("Retry-After", 1)) if status else 1.0


class Poller(FastHttpUser):
    """A dashboard that polls the stock picture once a second and asks for changes only."""

    weight = 1
    wait_time = constant_pacing(1)

    def on_start(self) -> None:
        """Nothing is known yet."""
        self.etag = ""

    @task
    def poll(self) -> None:
        """Ask for the picture if it has changed."""
        headers = {"If-None-Match": self.etag} if self.etag else {}
        with self.client.get("/v1/stock", headers=headers, name="stock", catch_response=True) as response:
            if response.status_code in (200, 304):
                self.etag = response.headers.get("ETag", self.etag)
                response.success()
            else:
                response.failure(f"status {response.status_code}")
