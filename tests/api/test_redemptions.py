"""Using vouchers over HTTP: what tills are told, who may act for whom, and what a user then sees."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import Settings
from ledger.admin import Action
from ledger.holds import VoucherName
from ledger.lockouts import lockouts, unlock
from tests.api.conftest import Site
from tests.support.review import change
from tests.support.till import HOTPOT, OTHER_SHOP, SHOP, add_merchant, new_number, receive_fund


def cashier(settings: Settings, user: str = "till", scope: str = "merchant:redeem merchant:refund") -> dict[str, str]:
    """Return the header of a rehearsal's till."""
    assert settings.jwks_file is not None
    sign = RehearsalKeys(settings.jwks_file.parent).signer(
        issuer=settings.jwt_issuer, audience=settings.jwt_audience, now_s=int(time.time())
    )
    return {"Authorization": f"Bearer {sign(user, '500110', scope)}"}


class Shop:
    """A till of a shop, and the user who comes to it."""

    def __init__(self, site: Site, api: httpx.AsyncClient, code: str) -> None:
        self.site = site
        self.api = api
        self.code = code
        self.headers = cashier(site.settings)

    def payment(self, **changes: Any) -> dict[str, Any]:
        """Return the body of a payment of 100.00 yuan."""
        facts = {
            "out_request_no": new_number(),
            "voucher_code": self.code,
            "merchant_no": SHOP,
            "order_no": new_number(),
            "order_amount_fen": 10_000,
            "channel": "payment_code",
        }
        return facts | changes

    async def redeem(self, body: dict[str, Any] | None = None) -> httpx.Response:
        """Use the voucher."""
        return await self.api.post("/v1/redemptions", json=body or self.payment(), headers=self.headers)

    async def redeemed(self) -> str:
        """Use the voucher, and return the id of the redemption."""
        answer = await self.redeem()
        assert answer.status_code == 201, answer.text
        return str(answer.json()["redemption_id"])

    async def reverse(self, redemption_id: str, **more: Any) -> httpx.Response:
        """Reverse the payment."""
        return await self.api.post(f"/v1/redemptions/{redemption_id}/reversal", headers=self.headers, **more)

    async def refund(self, redemption_id: str, amount_fen: int, number: str | None = None) -> httpx.Response:
        """Return goods."""
        body = {
            "out_request_no": number or new_number(),
            "redemption_id": redemption_id,
            "refund_amount_fen": amount_fen,
        }
        return await self.api.post("/v1/refunds", json=body, headers=self.headers)

    async def state(self) -> str:
        """Return the voucher's state as its owner sees it."""
        answer = await self.api.get("/v1/me/vouchers", headers=self.site.bearer("a"))
        [voucher] = answer.json()["data"]
        return str(voucher["state"])


@pytest.fixture
async def shop(site: Site, api: httpx.AsyncClient) -> Shop:
    """An approved shop, a campaign with its money, and a user with a voucher."""
    await receive_fund(site.vault, site.campaign.campaign_id)
    await add_merchant(site.vault, SHOP)
    claim = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("a"))
    assert claim.status_code == 201
    return Shop(site, api, claim.json()["voucher_code"])


async def test_a_voucher_is_used_and_everybody_sees_it(shop: Shop) -> None:
    """The till learns what the consumer pays, its repeat gets the same, and the user's voucher is USED."""
    body = shop.payment()
    assert await shop.state() == "ISSUED"
    first = await shop.redeem(body)
    assert first.status_code == 201
    told = first.json()
    assert (told["discount_fen"], told["payable_fen"], told["state"]) == (3_000, 7_000, "USED")
    assert told["redeemed_at"].endswith("+08:00")
    assert not told["replayed"]
    again = await shop.redeem(body)
    assert (again.status_code, again.json()) == (201, told | {"replayed": True})
    assert await shop.state() == "USED"
    shown = await shop.api.get(f"/v1/redemptions/{told['redemption_id']}", headers=shop.headers)
    assert shown.status_code == 200
    assert shown.json().items() >= {name: told[name] for name in told if name != "replayed"}.items()


async def test_a_code_may_be_typed_by_hand(shop: Shop) -> None:
    """Small letters, hyphens and blanks do no harm."""
    code = shop.code.lower()
    answer = await shop.redeem(shop.payment(voucher_code=f" {code[:4]}-{code[4:]}"))
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"voucher_code": "0" * 17}, 404, "RESOURCE_NOT_EXISTS"),
        ({"voucher_code": "券" * 17}, 404, "RESOURCE_NOT_EXISTS"),
        ({"order_amount_fen": 9_999}, 409, "BELOW_THRESHOLD"),
        ({"merchant_no": OTHER_SHOP}, 403, "MERCHANT_NOT_APPROVED"),
        ({"channel": "scan"}, 409, "CHANNEL_NOT_ACCEPTED"),
        ({"order_amount_fen": 10_000.5}, 422, "PARAM_ERROR"),
        ({"order_amount_fen": "10000"}, 422, "PARAM_ERROR"),
        ({"order_amount_fen": True}, 422, "PARAM_ERROR"),
        ({"order_amount_fen": -1}, 422, "PARAM_ERROR"),
        ({"order_amount_fen": 2**63}, 422, "PARAM_ERROR"),
        ({"merchant_no": "12345678901234"}, 422, "PARAM_ERROR"),
        ({"merchant_no": "12345678901234\n"}, 422, "PARAM_ERROR"),
        ({"out_request_no": ""}, 422, "PARAM_ERROR"),
        ({"out_request_no": "a" * 65}, 422, "PARAM_ERROR"),
        ({"order_no": "a\u0000b"}, 422, "PARAM_ERROR"),
        ({"user_id": "a"}, 422, "PARAM_ERROR"),
        ({"voucher_code": None}, 422, "PARAM_ERROR"),
    ],
)
async def test_what_is_wrong_has_its_code_and_no_effect(
    shop: Shop, changes: dict[str, Any], status: int, code: str
) -> None:
    """A refusal is a problem document, a refusal of the books the same at every repeat."""
    body = shop.payment(**changes)
    for _ in range(2):
        answer = await shop.redeem(body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
    assert await shop.state() == "ISSUED"


async def test_a_voucher_that_nobody_has_claimed_is_no_voucher_yet(shop: Shop) -> None:
    """Its code exists and is worth nothing."""
    answer = await shop.redeem(shop.payment(voucher_code=shop.site.codes.code(shop.site.stock_id, 5)))
    assert (answer.status_code, answer.json()["code"]) == (409, "VOUCHER_NOT_ISSUED")


async def test_a_voucher_is_for_its_own_kind_of_shop(shop: Shop) -> None:
    """A hotpot restaurant takes no general voucher."""
    await add_merchant(shop.site.vault, HOTPOT, category="火锅")
    answer = await shop.redeem(shop.payment(merchant_no=HOTPOT))
    assert (answer.status_code, answer.json()["code"]) == (409, "CATEGORY_NOT_ACCEPTED")


async def test_an_order_takes_one_voucher(shop: Shop) -> None:
    """A second one on the same order is refused, and stays usable."""
    body = shop.payment()
    assert (await shop.redeem(body)).status_code == 201
    claim = await shop.api.post(f"/v1/stocks/{shop.site.stock_id}/claims", headers=shop.site.bearer("b"))
    second = shop.payment(order_no=body["order_no"], voucher_code=claim.json()["voucher_code"])
    answer = await shop.redeem(second)
    assert (answer.status_code, answer.json()["code"]) == (409, "ORDER_HAS_VOUCHER")
    assert (await shop.redeem(second | {"order_no": new_number(), "out_request_no": new_number()})).status_code == 201


async def test_a_voucher_without_money_cannot_be_used(site: Site, api: httpx.AsyncClient) -> None:
    """The fund has not come: the till is told so, and the voucher waits."""
    await add_merchant(site.vault, SHOP)
    claim = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("a"))
    shop = Shop(site, api, claim.json()["voucher_code"])
    answer = await shop.redeem()
    assert (answer.status_code, answer.json()["code"]) == (409, "FUND_NOT_RECEIVED")
    assert await shop.state() == "ISSUED"


async def test_a_reversal_that_comes_too_late_is_refused(site: Site, shop: Shop) -> None:
    """The time that the settings give is over at once here; the voucher stays used."""
    redemption_id = await shop.redeemed()
    shop.api = await site.serve(reversal_window_s=0)
    answer = await shop.reverse(redemption_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "REVERSAL_TOO_LATE")
    assert await shop.state() == "USED"


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 422), (b"{", 422), (b"[]", 422), (b"\xff", 422), (b'"' + b"x" * 5_000 + b'"', 413), (b"[" * 3_000, 422)],
)
async def test_a_body_that_is_none_is_refused(shop: Shop, content: bytes, status: int) -> None:
    """What is no object of JSON, or too long, is refused."""
    headers = shop.headers | {"Content-Type": "application/json"}
    for path in ("/v1/redemptions", "/v1/refunds"):
        answer = await shop.api.post(path, content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, "PARAM_ERROR")


async def test_a_number_is_for_one_request(shop: Shop) -> None:
    """The same number with another body is refused."""
    body = shop.payment()
    await shop.redeem(body)
    answer = await shop.redeem(body | {"order_amount_fen": 10_001})
    assert (answer.status_code, answer.json()["code"]) == (422, "REQUEST_NO_REUSED")


async def test_two_terminals_at_once(shop: Shop) -> None:
    """One is served; the others learn nothing about its order."""
    answers = await asyncio.gather(*(shop.redeem() for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    [served] = [answer.json() for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "VOUCHER_USED"
            assert served["order_no"] not in answer.text
            assert served["redemption_id"] not in answer.text


@pytest.mark.parametrize("with_number", [True, False])
async def test_a_reversal_gives_the_voucher_back(shop: Shop, with_number: bool) -> None:
    """The same request again is answered the same, with the caller's number or without; the voucher is usable."""
    redemption_id = await shop.redeemed()
    more = {"json": {"out_request_no": new_number()}} if with_number else {}
    first = await shop.reverse(redemption_id, **more)
    again = await shop.reverse(redemption_id, **more)
    assert first.status_code == again.status_code == 200
    assert (first.json()["state"], first.json()["voucher_state"]) == ("REVERSED", "ISSUED")
    assert again.json() == first.json() | {"replayed": True}
    assert await shop.state() == "ISSUED"
    other = await shop.reverse(redemption_id, json={"out_request_no": new_number()})
    assert (other.status_code, other.json()["code"]) == (409, "ALREADY_REVERSED")
    await shop.redeemed()


async def test_a_refund_keeps_the_voucher_used(shop: Shop) -> None:
    """Partial refunds return the share; above the order is refused, and so is a reversal afterwards."""
    redemption_id, number = await shop.redeemed(), new_number()
    first = await shop.refund(redemption_id, 5_000, number)
    assert (first.status_code, first.json()["discount_returned_fen"]) == (201, 1_500)
    again = await shop.refund(redemption_id, 5_000, number)
    assert again.json() == first.json() | {"replayed": True}
    for answer, code in (
        (await shop.refund(redemption_id, 5_001), "REFUND_EXCEEDS_ORDER"),
        (await shop.reverse(redemption_id), "ALREADY_REFUNDED"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert await shop.state() == "USED"


async def test_a_till_acts_for_its_merchant_alone(shop: Shop) -> None:
    """A token names its merchants; what is of another does not exist for it; a claimant may do nothing here."""
    redemption_id = await shop.redeemed()
    assert shop.site.settings.jwks_file is not None
    keys = RehearsalKeys(shop.site.settings.jwks_file.parent)
    settings = shop.site.settings
    for merchants, status in (([], 404), ([OTHER_SHOP], 404), ([SHOP], 200), (["*"], 200), ("*", 401), ([1], 401)):
        sign = keys.signer(
            issuer=settings.jwt_issuer, audience=settings.jwt_audience, now_s=int(time.time()), merchants=merchants
        )
        headers = {"Authorization": f"Bearer {sign('x', '500110', 'merchant:redeem')}"}
        answer = await shop.api.get(f"/v1/redemptions/{redemption_id}", headers=headers)
        assert answer.status_code == status
        if status == 404:
            refused = await shop.api.post("/v1/redemptions", json=shop.payment(), headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
    claimant = await shop.api.get(f"/v1/redemptions/{redemption_id}", headers=shop.site.bearer("a"))
    assert (claimant.status_code, claimant.json()["code"]) == (403, "FORBIDDEN")


async def test_who_takes_payments_need_not_return_goods(shop: Shop) -> None:
    """A till that may redeem reverses and looks, and gives nothing back; one that may refund takes no voucher."""
    redemption_id = await shop.redeemed()
    shop.headers = cashier(shop.site.settings, scope="merchant:refund")
    assert (await shop.redeem()).status_code == 403
    assert (await shop.api.get(f"/v1/redemptions/{redemption_id}", headers=shop.headers)).status_code == 200
    assert (await shop.refund(redemption_id, 100)).status_code == 201
    shop.headers = cashier(shop.site.settings, scope="merchant:redeem")
    assert (await shop.refund(redemption_id, 100)).status_code == 403
    assert (await shop.reverse(redemption_id)).json()["code"] == "ALREADY_REFUNDED"


@pytest.mark.parametrize("redemption_id", ["R0", "%00", "R%2F", "a" * 65, "券"])
async def test_what_does_not_exist(shop: Shop, redemption_id: str) -> None:
    """Unknown and impossible ids are not found."""
    for answer in (
        await shop.api.get(f"/v1/redemptions/{redemption_id}", headers=shop.headers),
        await shop.reverse(redemption_id),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "RESOURCE_NOT_EXISTS")


async def test_whoever_guesses_codes_is_stopped(site: Site, shop: Shop) -> None:
    """After so many unknown codes a caller is 429 at that merchant, with a good code too; others go on."""
    api = await site.serve(unknown_codes_max=3)
    guesses = [await _pay(api, shop, voucher_code=f"{number:017d}") for number in range(5)]
    assert [answer.status_code for answer in guesses] == [404, 404, 404, 429, 429]
    assert 0 < int(guesses[-1].headers["retry-after"]) <= 60
    assert (await _pay(api, shop)).status_code == 429
    elsewhere = await _pay(api, shop, merchant_no=OTHER_SHOP)
    assert elsewhere.status_code == 403
    assert elsewhere.json()["code"] == "MERCHANT_NOT_APPROVED"


async def test_whoever_goes_on_guessing_is_locked_in_every_process(site: Site, shop: Shop) -> None:
    """Two processes count together; then both answer 423, to a good code too, until staff let the till go on."""
    one, other = [await site.serve(unknown_codes_day_max=3) for _ in range(2)]
    guesses = [
        (await _pay(api, shop, voucher_code=f"{number:017d}")).status_code
        for number, api in enumerate((one, other, one, other, one))
    ]
    assert guesses == [404, 404, 404, 423, 423]
    body = shop.payment()
    refused = await other.post("/v1/redemptions", json=body, headers=shop.headers)
    assert (refused.status_code, refused.json()["code"]) == (423, "TILL_LOCKED")
    [locked] = await lockouts(site.vault, 10)
    await unlock(site.vault, locked.caller, locked.merchant_no, subject="li", reason="a broken scanner")
    assert (await other.post("/v1/redemptions", json=body, headers=shop.headers)).status_code == 201


async def _pay(api: httpx.AsyncClient, shop: Shop, **changes: Any) -> httpx.Response:
    return await api.post("/v1/redemptions", json=shop.payment(**changes), headers=shop.headers)


async def test_a_held_voucher_is_void_until_it_is_released(shop: Shop) -> None:
    """The till is told so, in its language; the owner sees VOID, and ISSUED again after the release."""
    voucher = VoucherName(shop.site.stock_id, 1)
    assert await change(shop.site.vault, Action.HOLD, [voucher]) == [voucher]
    assert await shop.state() == "VOID"
    refused = await shop.redeem()
    assert (refused.status_code, refused.json()["code"]) == (409, "VOUCHER_VOID")
    assert "暂停使用" in refused.json()["message"]
    assert await change(shop.site.vault, Action.RELEASE, [voucher]) == [voucher]
    assert await shop.state() == "ISSUED"
    await shop.redeemed()
