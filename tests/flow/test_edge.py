"""The proxy as it is handed out: what it answers by itself, and what slow, hasty and numerous callers get."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.nginx import NGINX, proxy
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")

_CLAIM = "/v1/stocks/any/claims"
_MEMBERS = {"type", "title", "status", "detail", "code", "message", "request_id", "server_time"}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A proxy whose API is away, with bounds that are soon reached."""
    directory = tmp_path_factory.mktemp("edge")
    changes = {
        "zone=claims:20m rate=200r/s": "zone=claims:1m rate=1r/s",
        "zone=claims burst=2000": "zone=claims burst=3",
        "client_header_timeout 10s": "client_header_timeout 1s",
    }
    with socket.socket() as away:
        away.bind(("127.0.0.1", 0))  # and nobody listens: no other server can take the port
        with proxy(directory, [away.getsockname()[1]], changes) as url:
            yield url


async def _ready(url: str) -> None:
    async def listens() -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.close()
            return True
        return False

    await wait_until(listens, "the proxy listens")


def _assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    document = answer.json()
    assert (answer.status_code, document["status"], document["code"]) == (status, status, code)
    assert document.keys() == _MEMBERS
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["retry-after"] in ("1", "2", "3")
    assert document["request_id"] == answer.headers["request-id"]
    told = datetime.fromisoformat(document["server_time"])
    assert told.utcoffset() == timedelta(hours=8)
    assert abs(told.timestamp() - time.time()) < 60


async def test_without_an_api_the_proxy_says_busy_as_the_api_would(edge: str) -> None:
    """The whole problem document, in the caller's language, under the caller's request id if it is a sane one."""
    await _ready(edge)
    async with httpx.AsyncClient(base_url=edge, timeout=20) as client:
        chinese = await client.get("/v1/stock", headers={"Request-Id": "mine-1"})
        english = await client.get("/v1/stock", headers={"Request-Id": 'x"y', "Accept-Language": "en-GB"})
    for answer in (chinese, english):
        _assert_problem(answer, 503, "SYSTEM_BUSY")
    assert (chinese.json()["message"], chinese.json()["request_id"]) == ("系统繁忙，请稍后再试", "mine-1")
    assert (english.json()["message"], english.headers["content-language"]) == (
        "The service is busy; please try again.",
        "en",
    )
    assert len(english.json()["request_id"]) == 32


async def test_an_address_that_claims_too_fast_is_told_to_wait(edge: str) -> None:
    """Above rate and burst 429 at once; other routes are not touched by it."""
    await _ready(edge)
    async with httpx.AsyncClient(base_url=edge, timeout=20) as client:
        answers = await asyncio.gather(*(client.post(_CLAIM) for _ in range(12)))
        assert (await client.get("/v1/stock")).status_code == 503
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 6
    for answer in refused:
        _assert_problem(answer, 429, "FREQUENCY_LIMIT_EXCEED")


async def test_a_head_that_does_not_come_ends_the_connection_and_keeps_nobody_waiting(edge: str) -> None:
    """Many half heads are open; others are answered; then the halves are cut off."""
    await _ready(edge)
    port = int(edge.rpartition(":")[2])
    halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
    for _, writer in halves:
        writer.write(b"GET /v1/stock HTTP/1.1\r\nHost:")
    async with httpx.AsyncClient(base_url=edge, timeout=20) as client:
        assert (await client.get("/v1/stock")).status_code == 503

    async def is_cut_off(reader: asyncio.StreamReader) -> bool:
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True

    assert all(await asyncio.wait_for(asyncio.gather(*(is_cut_off(reader) for reader, _ in halves)), 15))
    for _, writer in halves:
        writer.close()


async def test_an_address_with_too_many_requests_under_way_is_told_so(tmp_path: Path) -> None:
    """Requests that an API does not answer hold their connections; the next one of that address is refused at once."""
    over, hanging = asyncio.Event(), set[asyncio.StreamWriter]()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.add(writer)
        await over.wait()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        hanging.discard(writer)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    api_port = server.sockets[0].getsockname()[1]
    with proxy(tmp_path, [api_port], {"limit_conn connections 2000": "limit_conn connections 8"}) as url:
        await _ready(url)
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            asked = [asyncio.create_task(client.get("/v1/stock")) for _ in range(12)]
            await wait_until(lambda: sum(task.done() for task in asked) == 4, "those beyond eight are answered")
            for answer in [task.result() for task in asked if task.done()]:
                _assert_problem(answer, 429, "FREQUENCY_LIMIT_EXCEED")
            over.set()
            answers = await asyncio.gather(*asked)
            assert Counter(answer.status_code for answer in answers) == {429: 4, 503: 8}
        server.close()
        await wait_until(lambda: not hanging, "the API's end has closed every connection")
