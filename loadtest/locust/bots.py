"""Programs that ask many times a second from before the opening on: they are told 429 and win one voucher at most."""

from __future__ import annotations

import time

from locust.exception import StopUser

from loadtest.locust.outcomes import Answer
from loadtest.locust.person import Person
from locust import task

_EARLY_S = 2.0
_LASTS_S = 6.0
_PAUSE_S = 0.02  # 50 asks a second, where 20 are answered


class Bot(Person):
    """Hammers one stock with one identity; it does not obey ``Retry-After``."""

    kind = "bot"
    weight = 1

    @task
    def hammer(self) -> None:
        """Ask as fast as it may until some seconds after the opening."""
        stock_id = self.dice.choice(self.stock_ids)
        time.sleep(max(0.0, self.opens_s - _EARLY_S - time.time()))
        codes: set[str] = set()
        ends_s = time.time() + _EARLY_S + _LASTS_S
        while time.time() < ends_s:
            answer: Answer = self.claim(stock_id, "bot")
            if answer.has_voucher:
                codes.add(answer.body["voucher_code"])
            time.sleep(_PAUSE_S)
        self.tell("bot has one voucher at most", ends_s, None if len(codes) <= 1 else f"{len(codes)} vouchers")
        raise StopUser
