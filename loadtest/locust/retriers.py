"""Impatient people: they press again although they have an answer, and must get the same one."""

from __future__ import annotations

import time

from locust.exception import StopUser

from loadtest.locust.person import Person
from locust import task

_AGAIN = 3
_PAUSE_S = 0.3


class Retrier(Person):
    """Claims one stock, then asks again a few times: whoever has won must be told the same voucher each time."""

    kind = "retrier"
    weight = 3

    @task
    def press_again_and_again(self) -> None:
        """Claim until the answer is final, and repeat it."""
        stock_id = self.dice.choice(self.stock_ids)
        first = self.claim_until_final(stock_id, self.wait_for_opening())
        for _ in range(_AGAIN):
            time.sleep(_PAUSE_S)
            asked_s = time.time()
            again = self.claim(stock_id, "claim again")
            if first.has_voucher and again.has_voucher:
                is_same = again.body["voucher_code"] == first.body["voucher_code"]
                self.tell("same voucher again", asked_s, None if is_same else "another voucher was told")
        raise StopUser
