"""A body of JSON means one thing: what two readers could understand differently is refused by whatever writes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import httpx
import pytest

from grab_service.api.json_body import DEPTH_MAX, JsonRefused, read_json
from tests.api.conftest import Site
from tests.api.test_bad_input import assert_clean_refusal
from tests.api.test_ops import staff
from tests.api.test_redemptions import cashier
from tests.support.photos import JPEG
from tests.support.till import SHOP

_TWISTS = {
    "a member twice": b'{"order_amount_fen":1,"order_amount_fen":10000,"reason":"a","reason":"b","photo":""}',
    "a member twice, escaped": rb'{"reason":"a","re\u0061son":"b"}',
    "a member twice, deeper": b'{"reason":{"a":1,"a":2}}',
    "byte order mark": b'\xef\xbb\xbf{"reason":"a"}',
    "NaN": b'{"order_amount_fen":NaN}',
    "Infinity": b'{"order_amount_fen":-Infinity}',
    "a number that cannot be held": b'{"order_amount_fen":1e999}',
    "half a surrogate pair": rb'{"reason":"\ud800"}',
    "half a surrogate pair in a name": rb'{"\udfff":"a"}',
    "too deep": b'{"reason":' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}",
    "endlessly deep": b"[" * 2000,
    "not UTF-8": b'{"reason":"\xff"}',
    "two values": b"{} {}",
}


@pytest.fixture
async def api(site: Site, tmp_path: Path) -> httpx.AsyncClient:
    """A client of a service that takes merchants' photos."""
    return await site.serve(photo_dir=tmp_path / "photos")


@pytest.mark.parametrize("twist", _TWISTS)
async def test_no_route_takes_a_body_that_means_two_things(site: Site, api: httpx.AsyncClient, twist: str) -> None:
    """422 without a member's name, so that the body itself was refused; nothing was written."""
    till, user = cashier(site.settings), site.jwt("u1")
    routes = {
        f"/v1/stocks/{site.stock_id}/claims": user,
        "/v1/tickets": user,
        "/v1/redemptions": till,
        "/v1/redemptions/R1/reversal": till,
        "/v1/refunds": till,
        "/v1/merchants": till,
        f"/v1/admin/stocks/{site.stock_id}/pause": staff(site),
        f"/v1/admin/stocks/{site.stock_id}/resume": staff(site),
    }
    for path, caller in routes.items():
        headers = caller | {"Content-Type": "application/json"}
        answer = await api.post(path, content=_TWISTS[twist], headers=headers)
        assert_clean_refusal(answer, 422)
        assert "errors" not in answer.json(), path
    for table in ("claims", "requests", "merchants"):
        assert await site.vault.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608  fixed names


@pytest.mark.parametrize(
    "wrong", [{"order_amount_fen": "10000"}, {"order_amount_fen": 1e4}, {"order_amount_fen": True}, {"order_no": 1}]
)
async def test_no_value_is_taken_for_one_of_another_type(
    site: Site, api: httpx.AsyncClient, wrong: dict[str, object]
) -> None:
    """A till that sends money as text or with a point is told so."""
    payment = {
        "out_request_no": "n-1",
        "voucher_code": "0" * 17,
        "merchant_no": SHOP,
        "order_no": "o-1",
        "order_amount_fen": 10_000,
        "channel": "payment_code",
    }
    answer = await api.post("/v1/redemptions", json=payment | wrong, headers=cashier(site.settings))
    assert_clean_refusal(answer, 422)
    assert [error["field"] for error in answer.json()["errors"]] == list(wrong)


def test_what_is_plain_is_read() -> None:
    """Empty, nested within the bound, large and Chinese bodies are what they say."""
    assert read_json(b"") == {}
    assert read_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX) != []
    photo = base64.b64encode(JPEG * 50).decode()
    document = {"name": "重百超市", "surrogates": "𠮷", "photo": photo, "numbers": [1, -2.5, 1e3]}
    assert read_json(json.dumps(document).encode()) == document
    assert read_json(json.dumps(document, ensure_ascii=False).encode()) == document
    with pytest.raises(JsonRefused, match="deeper"):
        read_json(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))
