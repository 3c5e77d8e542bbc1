"""Requests that back ends sign: who is believed, for what, and for how long."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from grab_service import signatures
from grab_service.rehearsal import RehearsalKeys
from grab_service.signatures import Signer
from ledger import clients
from tests.api.conftest import Site
from tests.support.merchants import number
from tests.support.photos import JPEG
from tests.support.signing import add_client, ed25519_key, hmac_key, send_signed
from tests.support.till import OTHER_SHOP, SHOP, add_merchant, new_number, receive_fund
from tests.support.wait import wait_until

UNKNOWN = "/v1/redemptions/unknown"


@pytest.fixture
async def bank(site: Site, api: httpx.AsyncClient) -> Signer:
    """A client that may use vouchers at one shop."""
    signer = await add_client(site.vault, "bank-1", merchants=[SHOP])
    await until_answered(api, signer, 404)
    return signer


async def until_answered(api: httpx.AsyncClient, signer: Signer, status: int) -> None:
    """Wait until the service has read the keys: a look at an unknown redemption is answered so."""

    async def is_so() -> bool:
        return (await send_signed(api, signer, "GET", UNKNOWN)).status_code == status

    await wait_until(is_so, f"a request of {signer.key_id} is answered {status}")


async def payment(site: Site, api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Claim a voucher and return the body of a payment with it."""
    await receive_fund(site.vault, site.campaign.campaign_id)
    await add_merchant(site.vault, SHOP)
    claim = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("a"))
    facts = {
        "out_request_no": new_number(),
        "voucher_code": claim.json()["voucher_code"],
        "merchant_no": SHOP,
        "order_no": new_number(),
        "order_amount_fen": 10_000,
        "channel": "payment_code",
    }
    return facts | changes


async def test_a_client_uses_a_voucher(site: Site, api: httpx.AsyncClient, bank: Signer) -> None:
    """A signed request does what a till's token does, and its numbers are the client's, whichever key has signed."""
    body = await payment(site, api)
    first = await send_signed(api, bank, "POST", "/v1/redemptions", json=body)
    assert first.status_code == 201, first.text
    private, key = ed25519_key()
    key_id = await clients.rotate(site.vault, "bank-1", key=key, overlap=timedelta(days=1), actor="test")
    assert key_id == "bank-1.2"
    newer = Signer("bank-1", key_id, private)
    await until_answered(api, newer, 404)
    again = await send_signed(api, newer, "POST", "/v1/redemptions", json=body)
    assert (again.status_code, again.json()) == (201, first.json() | {"replayed": True})
    shown = await send_signed(api, bank, "GET", f"/v1/redemptions/{first.json()['redemption_id']}")
    assert shown.status_code == 200


async def test_another_merchants_redemption_does_not_exist(site: Site, api: httpx.AsyncClient, bank: Signer) -> None:
    """A client sees what its merchants have, and is told 404 of all else, as of what never was."""
    answer = await send_signed(api, bank, "POST", "/v1/redemptions", json=await payment(site, api))
    redemption_id = answer.json()["redemption_id"]
    other = await add_client(site.vault, "bank-2", merchants=[OTHER_SHOP])
    await until_answered(api, other, 404)
    refund = {"out_request_no": new_number(), "redemption_id": redemption_id, "refund_amount_fen": 100}
    answers = [
        await send_signed(api, other, "GET", f"/v1/redemptions/{redemption_id}"),
        await send_signed(api, other, "POST", f"/v1/redemptions/{redemption_id}/reversal"),
        await send_signed(api, other, "POST", "/v1/refunds", json=refund),
    ]
    unknown = await send_signed(api, other, "GET", UNKNOWN)
    for answer in answers:
        assert (answer.status_code, answer.json()["detail"]) == (404, unknown.json()["detail"])


async def test_an_hmac_client_uses_a_derived_secret(site: Site, api: httpx.AsyncClient) -> None:
    """The secret of a key with HMAC is nowhere stored, and it works."""
    signer = await add_client(site.vault, "app-1", key=hmac_key())
    assert site.keys.client_key is not None
    derived = Signer(signer.client_id, signer.key_id, signatures.hmac_secret(site.keys.client_key, signer.key_id))
    await until_answered(api, derived, 404)
    assert await site.vault.fetchval("SELECT public_key FROM client_keys") is None


async def test_a_revoked_key_is_refused_at_once(site: Site, api: httpx.AsyncClient, bank: Signer) -> None:
    """Already the next request is refused, though this process has not heard of it; then so is the key."""
    assert await clients.revoke(site.vault, bank.key_id)
    refused = await send_signed(api, bank, "GET", UNKNOWN)
    assert (refused.status_code, refused.json()["code"]) == (401, "SIGN_ERROR")

    async def is_unknown() -> bool:
        detail: str = (await send_signed(api, bank, "GET", UNKNOWN)).json()["detail"]
        return "not known" in detail

    await wait_until(is_unknown, "the key is forgotten")
    assert not await clients.revoke(site.vault, bank.key_id)


async def test_a_revoked_client_is_refused_with_all_its_keys(site: Site, api: httpx.AsyncClient, bank: Signer) -> None:
    """A client ends as a whole, and gets no further key."""
    assert await clients.revoke(site.vault, "bank-1")
    await until_answered(api, bank, 401)
    _, key = ed25519_key()
    assert await clients.rotate(site.vault, "bank-1", key=key, overlap=timedelta(), actor="test") is None


async def test_a_rotated_key_ends_after_the_overlap(site: Site, api: httpx.AsyncClient, bank: Signer) -> None:
    """Without an overlap the old key ends with the rotation."""
    private, key = ed25519_key()
    key_id = await clients.rotate(site.vault, "bank-1", key=key, overlap=timedelta(), actor="test")
    assert key_id is not None
    await until_answered(api, bank, 401)
    await until_answered(api, Signer("bank-1", key_id, private), 404)


async def test_a_client_is_no_user(site: Site, api: httpx.AsyncClient, bank: Signer) -> None:
    """What belongs to users is closed to clients: claims, tickets, vouchers."""
    for method, path, status in (
        ("POST", f"/v1/stocks/{site.stock_id}/claims", 401),
        ("POST", "/v1/tickets", 403),
        ("GET", "/v1/me/vouchers", 403),
    ):
        assert (await send_signed(api, bank, method, path)).status_code == status


async def test_a_large_body_of_a_client_is_refused_by_the_route(api: httpx.AsyncClient, bank: Signer) -> None:
    """A signature is no way around the bounds of a route."""
    answer = await send_signed(api, bank, "POST", "/v1/redemptions", json={"x": "y" * 10_000})
    assert answer.status_code == 413


async def test_a_client_registers_a_merchant_with_its_photo(site: Site, tmp_path: Path) -> None:
    """A form with a file is signed like any other body; the journal names the client."""
    api = await site.serve(photo_dir=tmp_path / "photos")
    app = await add_client(site.vault, "app-1", scopes=["merchant:register"], merchants=[])
    form = {
        "merchant_no": number(1),
        "name": "第1超市",
        "address": "人民路1号",
        "town": "古南街道",
        "category": "超市",
        "accepts": "payment_code",
    }
    photo = {"photo": ("front.jpg", JPEG, "image/jpeg")}

    async def is_registered() -> bool:
        return (await send_signed(api, app, "POST", "/v1/merchants", data=form, files=photo)).status_code == 201

    await wait_until(is_registered, "the merchant is registered")
    assert await site.vault.fetchval("SELECT submitted_by FROM merchants") == "client:app-1"
    assert (await send_signed(api, app, "GET", UNKNOWN)).status_code == 403


async def test_the_apps_keys_are_read_again_when_their_file_changes(
    site: Site, api: httpx.AsyncClient, tmp_path: Path
) -> None:
    """A key that is added is believed within seconds, one that was taken out no more, a broken file changes nothing."""
    assert site.settings.jwks_file is not None
    old = _bearer(site, RehearsalKeys(site.settings.jwks_file.parent))
    other = RehearsalKeys(tmp_path / "other")
    other.make()
    document = json.loads((other.directory / "jwks.json").read_text())
    document["keys"][0]["kid"] = "rehearsal"
    assert (await api.get("/v1/me/vouchers", headers=old)).status_code == 200
    site.settings.jwks_file.write_text("{")
    assert (await api.get("/v1/me/vouchers", headers=old)).status_code == 200
    site.settings.jwks_file.write_text(json.dumps(document))
    new = _bearer(site, other)

    async def is_believed() -> bool:
        return (await api.get("/v1/me/vouchers", headers=new)).status_code == 200

    await wait_until(is_believed, "the new key is believed")
    assert (await api.get("/v1/me/vouchers", headers=old)).status_code == 401


def _bearer(site: Site, keys: RehearsalKeys) -> dict[str, str]:
    sign = keys.signer(issuer=site.settings.jwt_issuer, audience=site.settings.jwt_audience, now_s=int(time.time()))
    return {"Authorization": f"Bearer {sign('u1', '500110', 'claim')}"}
