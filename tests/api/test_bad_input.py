"""Bad input: a clear 4xx, no effect, no 5xx and nothing of our insides in the answer."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.conftest import Site


async def nothing_happened(site: Site) -> bool:
    """Whether no voucher went anywhere."""
    held = sum([await site.client.hlen(stock.keys.holders) for stock in site.campaign.stocks()])
    return held == 0 and await site.vault.fetchval("SELECT count(*) FROM claims") == 0


def assert_clean_refusal(response: httpx.Response, *statuses: int) -> None:
    """Check that an answer is a problem document of one of these statuses without a trace in it."""
    assert response.status_code in statuses, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    for inside in ("Traceback", 'File "', "asyncpg", "redis", "pydantic"):
        assert inside not in response.text


STRANGE_STOCKS = [
    "",
    " ",
    "%20",
    "GENERAL",
    "{id}%20",
    "%20{id}",
    "{ID}",
    "{id}%00",
    "{id}%0A",
    "{id}{{x}}",
    "{id}:rules",
    "{id}%2F",
    "..%2F{id}",
    "{id}%E2%80%AE",
    "{id}%ED%A0%80",
    "x" * 8000,
    "test-r0-general-1",
    "test-r-1-general-1",
    "test-r9223372036854775808-general-1",
    "test-r1e3-general-1",
    "test-rtrue-general-1",
]


@pytest.mark.parametrize("strange", STRANGE_STOCKS)
async def test_a_strange_stock_is_not_found(site: Site, api: httpx.AsyncClient, strange: str) -> None:
    """Whatever the path says, only an exact id is a stock."""
    stock_id = strange.replace("{id}", site.stock_id).replace("{ID}", site.stock_id.upper())
    response = await api.post(f"/v1/stocks/{stock_id}/claims", headers=site.bearer("u1"))
    assert_clean_refusal(response, 404, 405)
    assert await nothing_happened(site)


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b'{"user":"u2"}', "application/json", 422),
        (b'{"stock_id":"x"}', "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b"{", "application/json", 422),
        (b"{}", "text/plain", 422),
        (b'{"a":1,"a":2}', "application/json", 422),
        (b"[" * 4000, "application/json", 422),
        (b"\xff\xfe{}", "application/json", 422),
        (b"\xef\xbb\xbf{}", "application/json", 422),
        (b"x" * 5000, "application/json", 413),
        (b"x" * 1_000_000, "application/json", 413),
    ],
)
async def test_a_body_that_says_anything_is_refused(
    site: Site, api: httpx.AsyncClient, content: bytes, content_type: str, status: int
) -> None:
    """Who and what is in token and path; a body has nothing to say."""
    for path in (f"/v1/stocks/{site.stock_id}/claims", "/v1/tickets"):
        headers = site.jwt("u1") | {"Content-Type": content_type}
        assert_clean_refusal(await api.post(path, content=content, headers=headers), status)
    assert await nothing_happened(site)


@pytest.mark.parametrize("content", [b"", b"{}", b" {} "])
async def test_an_empty_body_is_accepted(site: Site, api: httpx.AsyncClient, content: bytes) -> None:
    """Clients that insist on a body may send an empty object."""
    headers = site.bearer("u1") | {"Content-Type": "application/json"}
    response = await api.post(f"/v1/stocks/{site.stock_id}/claims", content=content, headers=headers)
    assert response.status_code == 201


@pytest.mark.parametrize("token", ["x", "a.b.c", "t1.1.2.3.4", "é" * 10, "x" * 5000])
async def test_a_bad_token_is_refused_everywhere(site: Site, api: httpx.AsyncClient, token: str) -> None:
    """401 with the reason on every route that wants a user."""
    headers = {b"Authorization": f"Bearer {token}".encode()}
    path = f"/v1/stocks/{site.stock_id}/claims"
    for response in (
        await api.post(path, headers=headers),
        await api.get(f"{path}/me", headers=headers),
        await api.get("/v1/me/vouchers", headers=headers),
        await api.post("/v1/tickets", headers=headers),
    ):
        assert_clean_refusal(response, 401)
        assert response.json()["code"] == "SIGN_ERROR"
        assert response.headers["www-authenticate"] == "Bearer"


async def test_two_tokens_are_refused(site: Site, api: httpx.AsyncClient) -> None:
    """Two Authorization headers name nobody."""
    values = [("Authorization", site.bearer(user)["Authorization"]) for user in ("u1", "u2")]
    assert_clean_refusal(await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=values), 401)
    assert await nothing_happened(site)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused(site: Site, api: httpx.AsyncClient, method: str) -> None:
    """Only POST claims; a GET with a token wins nothing."""
    path = f"/v1/stocks/{site.stock_id}/claims"
    response = await api.request(method, path, headers=site.bearer("u1"))
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert await nothing_happened(site)


@pytest.mark.parametrize(
    "path", ["/x//", "/v1", "/v1/stock/", "/v1//stock", "/v1/stocks", "/v1/%2e%2e/v1/stock", "/v2/x"]
)
async def test_unknown_paths_are_not_found(api: httpx.AsyncClient, path: str) -> None:
    """No redirect, no surprise."""
    response = await api.get(path)
    assert_clean_refusal(response, 404)


async def test_an_unknown_state_is_told_with_its_field(site: Site, api: httpx.AsyncClient) -> None:
    """A bad query names the parameter."""
    response = await api.get("/v1/me/vouchers?state=GONE", headers=site.bearer("u1"))
    assert_clean_refusal(response, 422)
    assert response.json()["errors"][0]["field"] == "state"


async def test_the_callers_request_id_comes_back_if_it_is_a_sane_one(api: httpx.AsyncClient) -> None:
    """A good id is kept, a bad one replaced, in header and body alike."""
    good = await api.get("/v1/campaigns/none", headers={"Request-Id": "abc-1"})
    assert good.headers["request-id"] == good.json()["request_id"] == "abc-1"
    bad = await api.get("/v1/campaigns/none", headers={"Request-Id": "a b\t<script>"})
    assert bad.headers["request-id"] == bad.json()["request_id"]
    assert "script" not in bad.text


async def raw(api: httpx.AsyncClient, data: bytes) -> bytes:
    """Send bytes as they are and return what comes back within two seconds."""
    url = urlsplit(str(api.base_url))
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(65_536), 2)
    except TimeoutError:
        return b""
    finally:
        writer.close()


HEAD = b"POST {path} HTTP/1.1\r\nHost: x\r\n{auth}"
MALFORMED = {
    "unknown method": b"BREW {path} HTTP/1.1\r\nHost: x\r\n{auth}\r\n",
    "no http": b"hello\r\n\r\n",
    "bad version": b"POST {path} HTTP/9.9\r\nHost: x\r\n\r\n",
    "both lengths": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "length is a word": HEAD + b"Content-Length: many\r\n\r\n",
    "bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "nul in a header": HEAD + b"X: a\x00b\r\n\r\n",
    "huge header": HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": HEAD + b"".join(b"X%d: y\r\n" % number for number in range(20_000)) + b"\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_http_does_no_harm(site: Site, api: httpx.AsyncClient, name: str) -> None:
    """The server answers 4xx or closes; it never answers 5xx, hands nothing out and serves the next caller."""
    path = f"/v1/stocks/{site.stock_id}/claims".encode()
    auth = f"Authorization: {'x' * 10}\r\n".encode()
    answer = await raw(api, MALFORMED[name].replace(b"{path}", path).replace(b"{auth}", auth))
    assert not answer.startswith(b"HTTP/1.1 5")
    assert b"Traceback" not in answer
    assert await nothing_happened(site)
    assert (await api.get("/livez")).status_code == 200


async def test_a_body_that_never_ends_holds_nobody_up(site: Site, api: httpx.AsyncClient) -> None:
    """While one client dawdles over its body others are served; it has claimed nothing."""
    head = f"POST /v1/stocks/{site.stock_id}/claims HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    head += f"Authorization: {site.bearer('u1')['Authorization']}\r\n\r\n"
    dawdling = asyncio.create_task(raw(api, head.encode() + json.dumps({}).encode()))
    response = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u2"))
    assert response.status_code == 201
    assert await dawdling == b""
    assert await site.vault.fetchval("SELECT count(*) FROM claims") == 1
