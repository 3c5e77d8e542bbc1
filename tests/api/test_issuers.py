"""Two issuers outside a rehearsal: the app speaks for users, another for the staff, and neither for the other."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grab_service import keyring
from grab_service.api.scopes import EVERYWHERE
from grab_service.keyring import KeyringInvalid
from grab_service.rehearsal import RehearsalKeys
from tests.api.conftest import Site
from tests.api.test_attacks import App
from tests.api.test_bad_input import assert_clean_refusal
from tests.support.staff import StaffIssuer
from tests.support.wait import wait_until

REASON = {"reason": "门店系统故障"}


@pytest.fixture
def staff(tmp_path: Path) -> StaffIssuer:
    """The issuer of staff tokens."""
    return StaffIssuer(tmp_path)


@pytest.fixture
async def api(site: Site, staff: StaffIssuer) -> httpx.AsyncClient:
    """A client of a service that is no rehearsal; both its surfaces on one port."""
    return await site.serve(surface=EVERYWHERE, rehearsal=False, staff_jwks_file=staff.jwks_file)


def of_the_app(site: Site, scope: str) -> dict[str, str]:
    """Return the header with a token that the app has signed."""
    assert site.settings.jwks_file is not None
    sign = RehearsalKeys(site.settings.jwks_file.parent).signer(
        issuer=site.settings.jwt_issuer, audience="grab", now_s=int(time.time())
    )
    return {"Authorization": f"Bearer {sign('u1', '500110', scope)}"}


async def test_each_issuer_gives_its_own_scopes(site: Site, api: httpx.AsyncClient, staff: StaffIssuer) -> None:
    """The app lets users claim, the staff's issuer lets staff pause."""
    claims, pause = f"/v1/stocks/{site.stock_id}/claims", f"/v1/admin/stocks/{site.stock_id}/pause"
    assert (await api.post(claims, headers=of_the_app(site, "claim"))).status_code == 201
    assert (await api.post(pause, headers=staff.bearer("li", "admin:round"), json=REASON)).status_code == 200


@pytest.mark.parametrize(
    "scope", ["admin:round", "audit:read", "merchant:redeem", "merchant:register", "claim admin:x"]
)
async def test_the_app_can_be_neither_staff_nor_till(site: Site, api: httpx.AsyncClient, scope: str) -> None:
    """Whoever holds the app's signing key is every user, but nobody else: a till signs each request."""
    for path in (f"/v1/admin/stocks/{site.stock_id}/pause", "/v1/redemptions", "/v1/merchants", "/v1/tickets"):
        assert_clean_refusal(await api.post(path, headers=of_the_app(site, scope), json=REASON), 401)


@pytest.mark.parametrize("scope", ["claim", "merchant:redeem", "admin:round claim"])
async def test_the_staffs_issuer_can_be_no_user(
    site: Site, api: httpx.AsyncClient, staff: StaffIssuer, scope: str
) -> None:
    """Staff tokens claim nothing and use no vouchers."""
    for path in (f"/v1/stocks/{site.stock_id}/claims", "/v1/tickets", "/v1/redemptions"):
        assert_clean_refusal(await api.post(path, headers=staff.bearer("li", scope)), 401)


@pytest.mark.parametrize(
    "changes",
    [{"iat": None}, {"iat": 0}, {"exp": int(time.time()) + 86_400}, {"iat": int(time.time()) + 600}],
    ids=["no instant", "an old instant", "a day", "an instant to come"],
)
async def test_a_staff_token_lives_for_minutes(
    site: Site, api: httpx.AsyncClient, staff: StaffIssuer, changes: dict[str, Any]
) -> None:
    """One that does not say when it was issued, or that lasts a day, is refused."""
    headers = staff.bearer("li", "admin:round", **changes)
    assert_clean_refusal(await api.post(f"/v1/admin/stocks/{site.stock_id}/pause", headers=headers, json=REASON), 401)


async def test_the_staffs_keys_are_read_again(
    site: Site, api: httpx.AsyncClient, staff: StaffIssuer, tmp_path: Path
) -> None:
    """A new issuer is believed within seconds, the old one no more; the app's keys among them change nothing."""
    assert site.settings.jwks_file is not None
    path = f"/v1/admin/stocks/{site.stock_id}/resume"
    app_keys = json.loads(site.settings.jwks_file.read_text())
    (tmp_path / "new").mkdir()
    new = StaffIssuer(tmp_path / "new")

    async def says(issuer: StaffIssuer, status: int) -> bool:
        answer = await api.post(path, headers=issuer.bearer("li", "admin:round"), json=REASON)
        return answer.status_code == status

    staff.jwks_file.write_text(json.dumps({"keys": [*app_keys["keys"], *new.key_set()["keys"]]}))
    assert await says(staff, 200)
    staff.jwks_file.write_text(json.dumps(new.key_set()))
    await wait_until(lambda: says(new, 200), "the new issuer is believed")
    assert await says(staff, 401)


async def test_no_key_is_in_both_sets(site: Site, staff: StaffIssuer) -> None:
    """Nothing starts with a key that could sign for users and for staff, whatever it is called there."""
    assert site.settings.jwks_file is not None
    document = json.loads(site.settings.jwks_file.read_text())
    document["keys"][0]["kid"] = "staff"
    staff.jwks_file.write_text(json.dumps(document))
    settings = site.settings.model_copy(update={"rehearsal": False, "staff_jwks_file": staff.jwks_file})
    with pytest.raises(KeyringInvalid, match="in common"):
        keyring.load(settings)


async def test_a_flood_of_forged_tokens_is_turned_away_and_winners_are_served(site: Site) -> None:
    """Above the ration of failed checks a new token is 503 with Retry-After; a ticket wins meanwhile."""
    api = await site.serve(verify_rate_max=1)
    path = f"/v1/stocks/{site.stock_id}/claims"
    app = App(site.settings.jwt_issuer, Ed25519PrivateKey.generate())
    for method, asked in (("POST", path), ("GET", "/v1/me/vouchers")):
        tokens = [app.token(jti=f"{method}-{number}") for number in range(20)]
        flood = [api.request(method, asked, headers={"Authorization": f"Bearer {token}"}) for token in tokens]
        answers = await asyncio.gather(*flood)
        assert {answer.status_code for answer in answers} <= {401, 503}
        turned_away = [answer for answer in answers if answer.status_code == 503]
        assert turned_away
        assert all("retry-after" in answer.headers for answer in turned_away)
    assert (await api.post(path, headers=site.bearer("u1"))).status_code == 201
