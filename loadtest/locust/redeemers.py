"""People who go shopping with what they won: tills use their vouchers, repeat, reverse and refund."""

from __future__ import annotations

import time

from locust.exception import StopUser

from loadtest.locust.options import data_dir_of
from loadtest.locust.outcomes import CREATED, REPLAYED, Answer
from loadtest.locust.person import Person, new_id, till_token
from locust import task

_WALK_S = (1.0, 6.0)  # from the button to the till
_RIGHT = frozenset({CREATED, REPLAYED})
_PARTS = 10
_REVERSED_BELOW, _REFUNDED_BELOW = 2, 4


class Redeemer(Person):
    """Claims one stock; a winner pays with the voucher at a merchant of its class."""

    kind = "redeemer"
    weight = 3

    @task
    def claim_and_spend(self) -> None:
        """Claim, walk to the shop, pay; of ten payments two are reversed and two are refunded."""
        stock_id = self.dice.choice(self.stock_ids)
        won = self.claim_until_final(stock_id, self.wait_for_opening())
        if not won.has_voucher:
            raise StopUser
        found = self.ask("GET", "/v1/merchants", "look for merchants", in_order=(200,))
        shops = [each for each in found.body.get("data", ()) if won.body["class"] in each["classes"]]
        if shops:
            time.sleep(self.dice.uniform(*_WALK_S))
            self._spend(won, self.dice.choice(shops)["merchant_no"])
        raise StopUser

    def _spend(self, won: Answer, merchant_no: str) -> None:
        order = {
            "out_request_no": new_id("request"),
            "voucher_code": won.body["voucher_code"],
            "merchant_no": merchant_no,
            "order_no": new_id("order"),
            "order_amount_fen": won.body["threshold_fen"] + self.dice.randrange(10_000),
            "channel": "payment_code",
        }
        used = self._till("/v1/redemptions", "redeem", order)
        if used.status != CREATED:
            return
        asked_s = time.time()
        again = self._till("/v1/redemptions", "redeem again", order)
        is_same = again.body.get("redemption_id") == used.body["redemption_id"]
        self.tell("same redemption again", asked_s, None if is_same else "another redemption was told")
        turn = self.dice.randrange(_PARTS)
        redemption_id = used.body["redemption_id"]
        if turn < _REVERSED_BELOW:
            self._till(f"/v1/redemptions/{redemption_id}/reversal", "reverse", {"out_request_no": new_id("reversal")})
        elif turn < _REFUNDED_BELOW:
            returned = {
                "out_request_no": new_id("refund"),
                "redemption_id": redemption_id,
                "refund_amount_fen": order["order_amount_fen"] // 2,
            }
            self._till("/v1/refunds", "refund", returned)

    def _till(self, path: str, row: str, document: dict[str, object]) -> Answer:
        token = till_token(data_dir_of(self.environment).root)
        headers = {"Authorization": f"Bearer {token}"}
        return self.ask("POST", path, row, in_order=_RIGHT, headers=headers, json=document)
