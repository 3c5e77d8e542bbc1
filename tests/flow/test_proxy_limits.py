"""The proxy's limits: a block of addresses, a back end by its name, and what the API is told of the sender."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.nginx import NGINX, proxy
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")

# One request, and the next a minute later.
ONE_OF_A_BLOCK = {
    r"(zone=blocks:20m) rate=1000r/s": r"\1 rate=1r/m",
    r"(zone=blocks) burst=10000 nodelay": r"\1",
}
ONE_OF_A_CLIENT = {
    r"(zone=clients:10m) rate=1000r/s": r"\1 rate=1r/m",
    r"(zone=clients) burst=2000 nodelay": r"\1",
}


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that answers with the X-Forwarded-For it was told."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        told = next((line.partition(": ")[2] for line in head if line.lower().startswith("x-forwarded-for")), "")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(told)}\r\nConnection: close\r\n\r\n{told}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def ask(url: str, path: str, source: str, **headers: str) -> httpx.Response:
    """Ask once, from an address of this machine."""
    transport = httpx.AsyncHTTPTransport(local_address=source)
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=10) as client:
        return await client.get(path, headers=headers)


async def is_up(url: str) -> None:
    """Wait until the proxy answers, at a path that no limit of these tests counts."""

    async def answers() -> bool:
        try:
            return (await ask(url, "/metrics", "127.9.9.9")).status_code == 404
        except httpx.TransportError:
            return False

    await wait_until(answers, "the proxy answers")


async def test_a_block_of_addresses_has_one_bucket(tmp_path: Path, echo: int) -> None:
    """A neighbour's request is one too many, told in the API's form; another block's is not."""
    with proxy(tmp_path, [echo], ONE_OF_A_BLOCK) as url:
        await is_up(url)
        assert (await ask(url, "/v1/time", "127.0.5.1")).status_code == 200
        limited = await ask(url, "/v1/time", "127.0.5.200")
        assert (limited.status_code, limited.json()["code"]) == (429, "FREQUENCY_LIMIT_EXCEED")
        assert int(limited.headers["Retry-After"]) >= 1
        assert (await ask(url, "/v1/time", "127.0.6.1")).status_code == 200


async def test_a_back_end_has_one_bucket_that_nobody_else_can_empty(tmp_path: Path, echo: int) -> None:
    """By its name and block: another key is the same client, another's forgery elsewhere is not."""
    bank = 'GRAB-ED25519-SHA256 client_id="bank-1",key_id="bank-1.{}"'
    with proxy(tmp_path, [echo], ONE_OF_A_CLIENT) as url:
        await is_up(url)
        path = "/v1/redemptions/R1"
        assert (await ask(url, path, "127.0.7.1", Authorization=bank.format(1))).status_code == 200
        assert (await ask(url, path, "127.0.7.1", Authorization=bank.format(2))).status_code == 429
        assert (await ask(url, path, "127.0.8.1", Authorization=bank.format(1))).status_code == 200
        other = bank.replace("bank-1", "bank-2").format(1)
        assert (await ask(url, path, "127.0.7.1", Authorization=other)).status_code == 200
        for _ in range(2):
            assert (await ask(url, path, "127.0.7.1", Authorization="Bearer token")).status_code == 200


async def test_the_api_is_told_whom_the_proxy_saw_last(tmp_path: Path, echo: int) -> None:
    """What the sender says of himself stands further left, where nobody believes it."""
    with proxy(tmp_path, [echo]) as url:
        await is_up(url)
        answer = await ask(url, "/v1/time", "127.0.9.1", **{"X-Forwarded-For": "203.0.113.9"})
        assert answer.text == "203.0.113.9, 127.0.9.1"
