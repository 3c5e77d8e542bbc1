"""Merchants over HTTP: one joins with a photo, everybody finds those that are approved."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from grab_service import photos
from grab_service.rehearsal import RehearsalKeys
from ledger import merchants
from ledger.merchants import State, Verdict
from tests.api.conftest import Site, SiteOf
from tests.support.campaigns import small_campaign
from tests.support.merchants import TOWNS, approve, new_merchant, number
from tests.support.photos import JPEG, PNG, WEBP_LOSSY
from tests.support.wait import wait_until

PHOTO_BYTES_MAX = 4096
GOOD = {
    "merchant_no": number(1),
    "name": "第1超市",
    "address": "人民路1号",
    "town": "古南街道",
    "category": "超市",
    "accepts": "payment_code",
}
Files = dict[str, tuple[str, bytes, str]]


@pytest.fixture
async def site(make_site: SiteOf, campaign_id: str) -> AsyncIterator[Site]:
    """A site whose campaign has two towns."""
    campaign = small_campaign(campaign_id, merchants={"accepts": ["payment_code"], "towns": TOWNS})
    async with make_site(campaign) as running:
        yield running


@pytest.fixture
async def api(site: Site, tmp_path: Path) -> httpx.AsyncClient:
    """A client of an API that keeps photos."""
    return await site.serve(photo_dir=tmp_path / "photos", photo_bytes_max=PHOTO_BYTES_MAX)


def bearer(site: Site, user: str = "owner", scope: str = "merchant:register") -> dict[str, str]:
    """Return the header of a user whose token has this scope."""
    assert site.settings.jwks_file is not None
    keys = RehearsalKeys(site.settings.jwks_file.parent)
    sign = keys.signer(issuer=site.settings.jwt_issuer, audience=site.settings.jwt_audience, now_s=int(time.time()))
    return {"Authorization": f"Bearer {sign(user, '500110', scope)}"}


def front(content: bytes = JPEG, content_type: str = "image/jpeg") -> Files:
    """Return a photo as a part of a form."""
    return {"photo": ("front.jpg", content, content_type)}


async def submit(
    api: httpx.AsyncClient, headers: dict[str, str], files: Files | None = None, **changes: Any
) -> httpx.Response:
    """Submit a merchant."""
    return await api.post("/v1/merchants", headers=headers, data=GOOD | changes, files=files or front())


def errors_of(answer: httpx.Response) -> dict[str, str]:
    """Return the faults of an answer that refuses."""
    assert (answer.status_code, answer.json()["code"]) == (422, "PARAM_ERROR"), answer.text
    return {error["field"]: error["reason"] for error in answer.json()["errors"]}


async def test_a_merchant_joins_with_a_photo(site: Site, api: httpx.AsyncClient, tmp_path: Path) -> None:
    """It waits for the Commission; the photo lies in a file under its own name, not in the database."""
    answer = await submit(api, bearer(site))
    assert answer.status_code == 201, answer.text
    submitted = answer.json()
    assert submitted.pop("submitted_at").endswith("+08:00")
    assert submitted == GOOD | {"accepts": ["payment_code"], "state": "SUBMITTED", "replayed": False}
    stored = await merchants.find(site.vault, number(1))
    assert stored is not None
    assert stored.photo is not None
    path = photos.path_of(tmp_path / "photos", stored.photo.sha256, stored.photo.content_type)
    assert path.read_bytes() == JPEG
    assert stored.submitted_by == site.user_ref("owner")
    [first] = await merchants.journal(site.vault, number(1))
    assert (first.to_state, first.actor) == (State.SUBMITTED, site.user_ref("owner"))


async def test_a_merchant_joins_by_json_too(site: Site, api: httpx.AsyncClient) -> None:
    """The photo comes in base64 then; both forms of the same submission are the same."""
    document = GOOD | {"accepts": ["payment_code"], "photo": base64.b64encode(JPEG).decode()}
    assert (await api.post("/v1/merchants", headers=bearer(site), json=document)).status_code == 201
    again = await submit(api, bearer(site))
    assert (again.status_code, again.json()["replayed"]) == (200, True)


async def test_the_same_submission_again_is_harmless(site: Site, api: httpx.AsyncClient) -> None:
    """Its sender gets the same answer; anybody or anything else learns only that the number is taken."""
    answers = await asyncio.gather(*(submit(api, bearer(site)) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.json()["submitted_at"] for answer in answers}) == 1
    assert len(await merchants.journal(site.vault, number(1))) == 1
    for other in (
        await submit(api, bearer(site), name="另一家"),
        await submit(api, bearer(site), front(PNG)),
        await submit(api, bearer(site, "somebody-else")),
    ):
        assert (other.status_code, other.json()["code"]) == (409, "MERCHANT_EXISTS")
        assert "owner" not in other.text


async def test_every_fault_is_told_with_its_field(site: Site, api: httpx.AsyncClient, tmp_path: Path) -> None:
    """Nothing is stored, no photo either."""
    answer = await submit(
        api,
        bearer(site),
        front(b"GIF89a" + bytes(100)),
        merchant_no="12345",
        name="=1+1",
        town="万盛街道",
        category="烟酒",
        accepts="cash",
    )
    assert errors_of(answer).keys() == {"merchant_no", "name", "town", "category", "accepts", "photo"}
    assert await merchants.find(site.vault, "12345") is None
    assert not (tmp_path / "photos").exists()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"photo": ("x.png", b"<html>", "image/png")}, "is neither"),
        ({"photo": ("x.jpg", JPEG[:300], "image/jpeg")}, "is cut off"),
        ({"photo": ("x.jpg", b"", "image/jpeg")}, "is missing"),
        ({"other": ("x.jpg", JPEG, "image/jpeg")}, "is missing"),
    ],
)
async def test_a_photo_is_judged_by_its_content(site: Site, api: httpx.AsyncClient, files: Files, reason: str) -> None:
    """Neither the name nor the type that the sender claims is believed."""
    errors = errors_of(await submit(api, bearer(site), files))
    assert reason in errors["photo"] if "photo" in files else errors == {"other": "is not a field of this form"}


async def test_the_type_is_that_of_the_content(site: Site, api: httpx.AsyncClient) -> None:
    """A WebP that is called a JPEG is kept as what it is."""
    assert (await submit(api, bearer(site), front(WEBP_LOSSY))).status_code == 201
    stored = await merchants.find(site.vault, number(1))
    assert stored is not None
    assert stored.photo is not None
    assert stored.photo.content_type == "image/webp"


@pytest.mark.parametrize("size", [PHOTO_BYTES_MAX + 1, PHOTO_BYTES_MAX + 40_000, 3_000_000])
async def test_a_large_photo_is_refused(site: Site, api: httpx.AsyncClient, size: int) -> None:
    """A byte above the bound is one too many, and what is far above is not even read to its end."""
    answer = await submit(api, bearer(site), front(JPEG + bytes(size - len(JPEG))))
    assert (answer.status_code, answer.json()["code"]) == (413, "PARAM_ERROR")
    assert (await submit(api, bearer(site), front(JPEG + bytes(PHOTO_BYTES_MAX - len(JPEG))))).status_code == 201


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"hello"),
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("application/json", b'{"name": 5, "accepts": "payment_code"}'),
        ("application/json", b'{"photo": "%%%"}'),
        ("application/json", b"[" * 20_000),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--y\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nopen'),
    ],
)
async def test_a_malformed_form_is_refused(site: Site, api: httpx.AsyncClient, content_type: str, body: bytes) -> None:
    """No bytes make more than a refusal."""
    answer = await api.post("/v1/merchants", headers=bearer(site) | {"Content-Type": content_type}, content=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "PARAM_ERROR")


async def test_a_field_is_sent_once_and_as_what_it_is(site: Site, api: httpx.AsyncClient) -> None:
    """A second name, a file for a text and a text for the photo are refused; several ways of payment are fine."""
    headers = bearer(site)
    twice = await api.post("/v1/merchants", headers=headers, data=GOOD | {"name": ["甲", "乙"]}, files=front())
    assert errors_of(twice) == {"name": "was sent more than once"}
    swapped = await api.post("/v1/merchants", headers=headers, data=GOOD | {"photo": "text"}, files={"x": b"file"})
    assert errors_of(swapped) == {"x": "is not a field of this form", "photo": "must be sent as a file"}
    both = await submit(api, headers, accepts=["scan", "payment_code"])
    assert both.json()["accepts"] == ["payment_code", "scan"]


async def test_who_may_not_register_is_refused_before_the_form_is_read(site: Site, api: httpx.AsyncClient) -> None:
    """A resident's token is not a merchant's; a merchant's terminal may register its merchant."""
    assert (await submit(api, {})).status_code == 401
    assert (await submit(api, bearer(site, scope="claim"))).json()["code"] == "FORBIDDEN"
    assert (await submit(api, site.bearer("u1"))).json()["code"] == "FORBIDDEN"
    assert (await submit(api, bearer(site, scope="merchant:redeem"))).status_code == 201


async def test_without_a_place_for_photos_nobody_joins(site: Site) -> None:
    """A service that is not set up for it says so and loses nothing."""
    api = await site.serve()
    assert (await submit(api, bearer(site))).json()["code"] == "SYSTEM_BUSY"
    assert (await api.get("/v1/merchants")).json() == {"data": [], "next_cursor": None}


async def test_only_approved_merchants_are_listed(site: Site, api: httpx.AsyncClient) -> None:
    """A merchant appears with its approval and disappears with its suspension; nobody reads who brought it."""
    await submit(api, bearer(site))
    assert (await api.get("/v1/merchants")).json()["data"] == []
    verdict = {"actor": "officer", "reason": "in order"}
    await merchants.decide(site.vault, [number(1)], Verdict.APPROVE, **verdict)
    answer = await api.get("/v1/merchants")
    assert answer.headers["cache-control"] == "public, max-age=5"
    assert answer.json()["data"] == [GOOD | {"accepts": ["payment_code"], "classes": ["general"]}]
    await merchants.decide(site.vault, [number(1)], Verdict.SUSPEND, **verdict)
    assert (await api.get("/v1/merchants")).json()["data"] == []


async def test_merchants_are_found_page_by_page(site: Site, api: httpx.AsyncClient) -> None:
    """Class, town and a text narrow the list; the cursor goes on where the page ended."""
    await approve(
        site.vault,
        *(new_merchant(n) for n in range(1, 6)),
        new_merchant(6, name="老火锅", category="火锅"),
        new_merchant(7, town="石角镇"),
    )

    async def numbers(**query: Any) -> list[str]:
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await api.get("/v1/merchants", params=query | {"cursor": cursor, "limit": 2})).json()
            found += [each["merchant_no"] for each in page["data"]]
            cursor = page["next_cursor"]
        return found

    everybody = [number(n) for n in range(1, 8)]
    assert await numbers() == everybody
    assert await numbers(**{"class": "dining"}) == [number(6)]
    assert await numbers(**{"class": "general"}) == [*everybody[:5], number(7)]
    assert await numbers(town="石角镇") == [number(7)]
    assert await numbers(q="火锅") == [number(6)]
    assert await numbers(q="%") == []
    assert await numbers(q="\x00") == []
    assert await numbers(q=" ") == everybody


@pytest.mark.parametrize(
    "query", [{"class": "other"}, {"limit": 0}, {"limit": 101}, {"limit": "x"}, {"cursor": "x"}, {"q": "x" * 101}]
)
async def test_a_malformed_search_is_refused(api: httpx.AsyncClient, query: dict[str, Any]) -> None:
    """A parameter that is wrong is not ignored."""
    assert errors_of(await api.get("/v1/merchants", params=query)).keys() == query.keys()


async def test_the_list_says_busy_while_the_vault_is_away(site: Site, api: httpx.AsyncClient) -> None:
    """Nobody waits for a vault that does not answer, and searches recover by themselves."""
    await site.vault.execute("ALTER TABLE merchants RENAME TO away")
    answers = await asyncio.gather(*(api.get("/v1/merchants") for _ in range(8)))
    assert {answer.json()["code"] for answer in answers} == {"SYSTEM_BUSY"}
    await site.vault.execute("ALTER TABLE away RENAME TO merchants")

    async def is_back() -> bool:
        return (await api.get("/v1/merchants")).status_code == 200

    await wait_until(is_back, "the list is back")


async def test_a_merchant_of_another_campaign_is_not_of_a_class(site: Site, api: httpx.AsyncClient) -> None:
    """A category that no class names belongs to no voucher, and stands in no class's list."""
    await approve(site.vault, replace(new_merchant(1), category="加油站"))
    assert (await api.get("/v1/merchants")).json()["data"][0]["classes"] == []
    assert (await api.get("/v1/merchants", params={"class": "general"})).json()["data"] == []
