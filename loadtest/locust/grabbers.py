"""Most people: one press for each stock at the opening, then they know and leave."""

from __future__ import annotations

import time

from locust.exception import StopUser

from loadtest.locust.person import Person
from locust import task


class OneShotGrabber(Person):
    """Waits for the opening and claims each stock of the round until the answer is final."""

    kind = "grabber"
    weight = 14

    @task
    def grab(self) -> None:
        """Press for each stock, in an order of one's own; the next press follows the last answer."""
        intended_s = self.wait_for_opening()
        for stock_id in self.dice.sample(self.stock_ids, len(self.stock_ids)):
            self.claim_until_final(stock_id, intended_s)
            intended_s = time.time()
        raise StopUser
