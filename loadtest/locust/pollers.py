"""Screens and pages that show what is left: they ask for changes only."""

from __future__ import annotations

from loadtest.locust.person import Person
from locust import constant_pacing, task

_NOT_MODIFIED = 304


class Poller(Person):
    """Polls the picture of the stocks once a second with ``If-None-Match``."""

    kind = "poller"
    weight = 1
    wait_time = constant_pacing(1)

    def on_start(self) -> None:
        """Nothing is known yet."""
        self.headers = {}
        self.etag = ""

    @task
    def poll(self) -> None:
        """Ask for the picture if it has changed."""
        headers = {"If-None-Match": self.etag} if self.etag else {}
        with self.client.get("/v1/stock", headers=headers, name="poll", catch_response=True) as response:
            if response.status_code not in (200, _NOT_MODIFIED):
                response.failure(f"status {response.status_code}")
                return
            if response.status_code == _NOT_MODIFIED:
                response.request_meta["name"] = "poll unchanged"
            self.etag = response.headers.get("ETag", self.etag)
            response.success()
