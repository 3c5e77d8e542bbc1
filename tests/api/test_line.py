"""Connections that answer claims by themselves: the same HTTP as with any server, whatever comes in whatever pieces."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from fastapi import FastAPI

from grab_service.api import turns
from grab_service.api.line import Line
from tests.api.conftest import Site
from tests.support.ports import free_port
from tests.support.wait import wait_until

_WITHIN_S = 20.0


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(_WITHIN_S):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), headers, body


def _claim(site: Site, stock_id: str, user: str, further: str = "") -> bytes:
    token = site.bearer(user)["Authorization"]
    return f"POST /v1/stocks/{stock_id}/claims HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n{further}\r\n".encode()


async def test_a_claim_turned_away_by_its_first_line_gets_a_whole_answer_and_the_connection_stays(site: Site) -> None:
    """Every place taken: 503 with all that a problem has; once there are places the same connection wins."""
    api = await site.serve(inflight_max=1, confirm_timeout_ms=30_000)
    port = api.base_url.port
    await site.stop_worker()
    first, first_writer = await asyncio.open_connection("127.0.0.1", port)
    first_writer.write(_claim(site, site.stock_id, "u0"))

    async def is_full() -> bool:
        return "\ngrab_inflight_requests 1.0\n" in (await api.get("/metrics")).text

    await wait_until(is_full, "the only place is taken")
    second, second_writer = await asyncio.open_connection("127.0.0.1", port)
    ids = set()
    for further in ("", "Content-Length: 0\r\n", "X-A: 100%\r\n"):
        second_writer.write(_claim(site, site.stock_id, "u1", further))
        status, headers, body = await _answer(second)
        problem = json.loads(body)
        assert (status, problem["code"], problem["status"]) == (503, "SYSTEM_BUSY", 503)
        assert headers["retry-after"] in ("1", "2", "3")
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-content-type-options"] == "nosniff"
        assert problem["request_id"] == headers["request-id"]
        assert problem["server_time"].endswith("+08:00")
        ids.add(headers["request-id"])
    assert len(ids) == 3
    # A body belongs to its request and is none itself, also when it comes later.
    second_writer.write(_claim(site, site.stock_id, "u1", "Content-Type: application/json\r\nContent-Length: 2\r\n"))
    second_writer.write(b"{}")
    assert (await _answer(second))[0] == 503
    site.start_worker()
    assert (await _answer(first))[0] == 201
    second_writer.write(_claim(site, site.stock_id, "u1"))
    assert (await _answer(second))[0] == 201
    first_writer.transport.abort()
    second_writer.transport.abort()


async def test_requests_sent_without_waiting_are_answered_in_their_order(site: Site) -> None:
    """Claims, a claim that waits for the stores, another route: one after the other, also when cut anywhere."""
    api = await site.serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
    every = (
        _claim(site, site.stock_id, "u0")
        + b"GET /v1/stock HTTP/1.1\r\nHost: a\r\n\r\n"
        + _claim(site, site.stock_id, "u0")
        + _claim(site, "none", "u0")
        + _claim(site, site.stock_id, "u1", "Connection: close\r\n")
    )
    for at in range(0, len(every), 97):
        writer.write(every[at : at + 97])
        await writer.drain()
        await asyncio.sleep(0)
    assert [(await _answer(reader))[0] for _ in range(5)] == [201, 200, 200, 404, 201]
    assert await asyncio.wait_for(reader.read(), _WITHIN_S) == b""
    writer.close()


async def test_what_is_no_http_is_refused_after_what_came_before_it(site: Site) -> None:
    """A claim that is answered at once and a line of noise with it: the answer, then 400, then the end."""
    api = await site.serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
    writer.write(_claim(site, "none", "u0") + b"noise\r\n\r\n")
    assert (await _answer(reader))[0] == 404
    rest = await asyncio.wait_for(reader.read(), _WITHIN_S)
    assert rest.startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_who_says_that_no_more_will_come_is_answered_first(site: Site) -> None:
    """A claim, and the end of what its sender sends: its answer, then the end of the connection."""
    api = await site.serve()
    for _ in range(2):  # with the parser, and like one that was read before
        reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
        writer.write(_claim(site, "none", "u0"))
        writer.write_eof()
        assert (await _answer(reader))[0] == 404
        assert await asyncio.wait_for(reader.read(), _WITHIN_S) == b""
        writer.close()


async def test_polls_of_the_stock_are_what_any_server_would_answer(site: Site) -> None:
    """With the picture, without it if it is known, and the same for forms of the request that go to the application."""
    api = await site.serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
    poll = "GET /v1/stock HTTP/1.1\r\nHost: a\r\n"
    writer.write(f"{poll}Request-Id: mine-1\r\n\r\n".encode())
    status, headers, body = await _answer(reader)
    assert (status, headers["request-id"], headers["content-type"]) == (200, "mine-1", "application/json")
    assert headers["cache-control"] == "public, max-age=1"
    assert headers["x-content-type-options"] == "nosniff"
    stocks = json.loads(body)["stocks"]
    assert [stock["stock_id"] for stock in stocks][:1] == [site.stock_id]
    # The answer without a body has no length, so the next one on the connection shows where it ended.
    writer.write(f"{poll}If-None-Match: W/{headers['etag'][2:]}\r\n\r\n".encode())
    writer.write(f"{poll}Content-Length: 0\r\n\r\n".encode())
    lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _WITHIN_S)).decode().lower().split("\r\n")
    assert lines[0] == "http/1.1 304 not modified"
    assert not any(line.startswith(("content-length:", "content-type:")) for line in lines)
    assert (await _answer(reader))[0] == 200
    writer.transport.abort()
    for request in (f"{poll}Connection: close\r\n\r\n", poll.replace("GET", "HEAD") + "Connection: close\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
        writer.write(request.encode())
        whole = await asyncio.wait_for(reader.read(), _WITHIN_S)
        assert whole.startswith(b"HTTP/1.1 200 ")
        assert whole.endswith(b"\r\n\r\n") == request.startswith("HEAD")
        writer.transport.abort()


async def test_more_claims_at_once_than_a_turn_carries_are_all_answered(site: Site) -> None:
    """300 connections that send together: each gets one answer, the first hundreds not only refusals."""
    api = await site.serve(user_rate_max=1000)
    lines = [await asyncio.open_connection("127.0.0.1", api.base_url.port) for _ in range(300)]
    for number, (_, writer) in enumerate(lines):
        writer.write(_claim(site, site.stock_id, f"u{number % 3}"))
    statuses = [(await _answer(reader))[0] for reader, _ in lines]
    assert set(statuses) <= {200, 201}
    assert statuses.count(201) == 3
    for _, writer in lines:
        writer.transport.abort()


async def _line_of(site: Site, port: int | None) -> tuple[Line, asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection; return the server's end of it, and ours."""
    before = set(site.connections)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await wait_until(lambda: len(site.connections - before) == 1, "the connection is the server's")
    [line] = site.connections - before
    assert isinstance(line, Line)
    return line, reader, writer


async def test_what_follows_a_claim_that_is_turned_away_is_timed_for_itself(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that waits to be refused, and a poll behind it: the poll took no longer than it has been there."""
    monkeypatch.setattr(turns, "REFUSALS", 1)
    api = await site.serve(inflight_max=1, confirm_timeout_ms=30_000)
    port = api.base_url.port
    await site.stop_worker()
    holder, _, holding = await _line_of(site, port)
    holder.data_received(_claim(site, site.stock_id, "u0"))

    async def is_full() -> bool:
        return "\ngrab_inflight_requests 1.0\n" in (await api.get("/metrics")).text

    await wait_until(is_full, "the only place is taken")
    began_s = time.monotonic()
    (first, first_reader, first_writer), (second, second_reader, second_writer) = [
        await _line_of(site, port) for _ in range(2)
    ]
    first.data_received(_claim(site, site.stock_id, "u1"))
    second.data_received(_claim(site, site.stock_id, "u2"))
    second.data_received(b"GET /v1/stock HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await _answer(first_reader))[0] == 503
    assert [(await _answer(second_reader))[0] for _ in range(2)] == [503, 200]
    text = (await api.get("/metrics")).text
    [sum_s] = re.findall(r'^http_request_duration_seconds_sum{.*route="/v1/stock".*} (.*)$', text, re.MULTILINE)
    assert float(sum_s) <= time.monotonic() - began_s
    for writer in (holding, first_writer, second_writer):
        writer.transport.abort()


async def test_nobody_passes_those_who_wait_when_too_many_do(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that only the parser can read comes when as many wait as may: it is refused, who waited is served."""
    monkeypatch.setattr(turns, "WAITING_MAX", 1)
    api = await site.serve()
    (first, first_reader, first_writer), (second, second_reader, second_writer) = [
        await _line_of(site, api.base_url.port) for _ in range(2)
    ]
    first.data_received(_claim(site, site.stock_id, "u1"))
    second.data_received(_claim(site, site.stock_id, "u2", "Connection: keep-alive\r\n"))
    assert (await _answer(second_reader))[0] == 503
    assert (await _answer(first_reader))[0] == 201
    for writer in (first_writer, second_writer):
        writer.transport.abort()


@asynccontextmanager
async def _bare(idle_s: int) -> AsyncIterator[int]:
    """Serve an application that is not ours, and yield the port."""
    port = free_port()
    config = uvicorn.Config(
        FastAPI(),
        host="127.0.0.1",
        port=port,
        http=Line,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=idle_s,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())

    async def is_up() -> bool:
        return server.started

    await wait_until(is_up, "the server is up")
    try:
        yield port
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, _WITHIN_S)


async def test_who_never_sends_a_whole_head_is_cut_off() -> None:
    """After the time for which a connection may be idle."""
    async with _bare(idle_s=1) as port:
        for sent in (b"", b"GET / HT"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), _WITHIN_S) == b""
            writer.close()


async def test_a_head_without_end_is_refused() -> None:
    """A header goes on and on: 400 once there are more than 64 KB of it, and the connection ends."""
    async with _bare(idle_s=60) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ")
        answer = asyncio.create_task(reader.read())
        while not answer.done() and not writer.transport.is_closing():
            writer.write(b"a" * 8192)
            await asyncio.wait({answer}, timeout=0.01)
        with suppress(ConnectionError):  # if it ended while more of the header was on its way
            assert (await asyncio.wait_for(answer, _WITHIN_S)).startswith(b"HTTP/1.1 400 ")
        writer.transport.abort()
