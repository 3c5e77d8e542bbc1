"""Malformed HTTP over raw sockets, on both servers: bounded, never our failure, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Site
from tests.support.plain_http import http_client
from tests.support.ports import free_port
from tests.support.wait import wait_until

_ANSWER_S = 9.0  # beyond the time that a small body may take
_OTHERS_S = 3.0  # within which another caller is answered meanwhile, on a busy machine
_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})", re.MULTILINE)
_CLAIM = b"POST /v1/stocks/none/claims HTTP/1.1\r\nHost: a\r\n"
_GET = b"GET /v1/stock HTTP/1.1\r\nHost: a\r\n"
_TILL = b"POST /v1/redemptions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"

# Whole, if wrong: each is answered or its connection is closed.
ENDED = {
    "no version": b"GET /v1/stock\r\n\r\n",
    "version of the future": b"GET /v1/stock HTTP/9.9\r\nHost: a\r\n\r\n",
    "unknown method": b"GRAB /v1/stock HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower-case method": b"get /v1/stock HTTP/1.1\r\nHost: a\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "another scheme": b"GET ftp://a/v1/stock HTTP/1.1\r\nHost: a\r\n\r\n",
    "tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
    "dots": b"GET /../../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "encoded slash": b"GET /v1%2fstock HTTP/1.1\r\nHost: a\r\n\r\n",
    "broken escape": b"GET /v1/campaigns/%zz%f HTTP/1.1\r\nHost: a\r\n\r\n",
    "escape that is no UTF-8": b"GET /v1/campaigns/%ff%fe%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes above ASCII in the path": b"GET /v1/campaigns/\xff\xc0\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "query that is no UTF-8": b"GET /v1/merchants?q=%ff&limit=%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "path of 64 KB": b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the path": b"GET /v1/\x00stock HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in a header": _GET + b"X-A: a\x00b\r\n\r\n",
    "nothing but NULs": bytes(4096),
    "header of 64 KB": _GET + b"X-A: " + b"a" * 65_536 + b"\r\n\r\n",
    "token of 64 KB": _CLAIM + b"Authorization: Bearer " + b"a" * 65_536 + b"\r\n\r\n",
    "1,000 headers": _GET + b"".join(b"X-%d: a\r\n" % number for number in range(1000)) + b"\r\n",
    "folded header": _GET + b"X-A: a\r\n b\r\n\r\n",
    "header without a name": _GET + b": a\r\n\r\n",
    "header without a colon": _GET + b"nonsense\r\n\r\n",
    "blank before the colon": _GET + b"Content-Length : 3\r\n\r\nabc",
    "bare line feeds": b"GET /v1/stock HTTP/1.1\nHost: a\n\n",
    "bare carriage returns": b"GET /v1/stock HTTP/1.1\rHost: a\r\r",
    "no host": b"GET /v1/stock HTTP/1.1\r\n\r\n",
    "length and chunks": _CLAIM + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
    "two lengths": _CLAIM + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "length below nothing": _CLAIM + b"Content-Length: -1\r\n\r\n",
    "length that is no number": _CLAIM + b"Content-Length: 0x10\r\n\r\n",
    "length of 30 digits": _CLAIM + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}",
    "length of 5,000 digits": _CLAIM + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n{}",
    "length of 5,000 noughts": _CLAIM + b"Content-Length: " + b"0" * 5_000 + b"\r\n\r\n",
    "length too short": _CLAIM + b"Content-Length: 1\r\nContent-Type: application/json\r\n\r\n{}GARBAGE\r\n\r\n",
    "chunk that is no number": _CLAIM + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunk of 2^64": _CLAIM + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n",
    "chunk that lies": _CLAIM + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}{}{}\r\n0\r\n\r\n",
    "unknown coding": _CLAIM + b"Transfer-Encoding: gzip, grab\r\n\r\n{}",
    "gzip bomb": _TILL + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + b"\x1f\x8b" + bytes(18),
    "upgrade": _GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(509),
    "expectation": _CLAIM + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "pipelining": (_GET + b"\r\n") * 50 + (_CLAIM + b"\r\n") * 50,
    "pipelining into nonsense": _GET + b"\r\n" + b"\xff" * 1000,
}
# Bodies that never end: answered within the time that a body may take.
BODY_WITHHELD = {
    "length too long": _CLAIM + b"Content-Length: 4000\r\nContent-Type: application/json\r\n\r\n{",
    "chunks without end": _CLAIM + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "body withheld": _CLAIM + b"Content-Length: 2\r\n\r\n",
    "chunks without end to a till": _TILL + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "chunks to a route without a body": _GET + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
}
# Heads that never end: only a proxy bounds them for uvicorn.
HEAD_WITHHELD = {
    "nothing": b"",
    "nothing but line ends": b"\r\n" * 100,
    "half a method": b"GE",
    "half a head": _GET,
    "half a header": _GET + b"X-A: aaaa",
}


@dataclass(frozen=True, slots=True)
class Serving:
    """A service in a process of its own.

    Attributes:
        port: Where it answers.
        process: It.
        log: What it says.
    """

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    async def send(self, content: bytes, within_s: float = _ANSWER_S) -> tuple[bytes, bool]:
        """Send bytes; return what came until the connection was closed or was quiet for long, and whether it closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        try:
            with suppress(ConnectionError):
                writer.write(content)
                await asyncio.wait_for(writer.drain(), within_s)
                while part := await asyncio.wait_for(reader.read(65_536), 0.5 if answer else within_s):
                    answer += part
        except TimeoutError:
            return answer, False
        else:
            return answer, True
        finally:
            writer.transport.abort()

    def assert_is_well(self) -> None:
        """See that no process has failed and nothing unexpected was said."""
        assert self.process.poll() is None
        said = self.log.read_text(errors="replace")
        assert not re.search(r"Traceback|panicked|unexpectedly|respawn", said, re.IGNORECASE), said[-3000:]


@pytest.fixture(params=["uvicorn", "granian"])
async def serving(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> AsyncIterator[Serving]:
    """The service under each of the servers it can be run by."""
    port, log = free_port(), tmp_path / "served.log"
    chosen = site.settings.model_copy(update={"port": port, "server": request.param})
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220  returns at once
            [sys.executable, "-m", "grab_service", "serve"],
            env={**os.environ, **chosen.environment()},
            stdout=output,
            stderr=output,
        )
    try:
        running = Serving(port, process, log)
        async with _others(running):
            yield running
        running.assert_is_well()
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


@asynccontextmanager
async def _others(serving: Serving) -> AsyncIterator[None]:
    """Ask as somebody else all the time, on new and on kept connections; each must be answered in time."""
    async with http_client(base_url=f"http://127.0.0.1:{serving.port}", timeout=_OTHERS_S) as client:

        async def is_ready() -> bool:
            with suppress(httpx.TransportError):
                return (await client.get("/readyz")).status_code == 200
            return False

        await wait_until(is_ready, "the API is ready", 30)
        over = asyncio.Event()

        async def ask() -> int:
            asked = 0
            while not over.is_set():
                assert (await client.get("/v1/time")).status_code == 200
                async with http_client(base_url=client.base_url, timeout=_OTHERS_S) as newcomer:
                    assert (await newcomer.get("/v1/stock")).status_code == 200
                asked += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), 0.05)
            return asked

        asking = asyncio.create_task(ask())
        yield
        over.set()
        assert await asking > 0


def _failures(answer: bytes) -> list[bytes]:
    return [status for status in _STATUS.findall(answer) if status >= b"500" and status != b"503"]


async def test_what_is_malformed_is_answered_or_cut_off(serving: Serving) -> None:
    """Each wrong request gets a 4xx or a closed connection in bounded time; no process fails, others are served."""
    cases = ENDED | BODY_WITHHELD
    answers = await asyncio.gather(*(serving.send(content) for content in cases.values()))
    told = dict(zip(cases, answers, strict=True))
    assert {name: answer for name, (answer, _) in told.items() if _failures(answer)} == {}
    assert [name for name, (answer, is_closed) in told.items() if not answer and not is_closed] == []


async def test_one_who_sends_no_head_holds_nothing_but_his_connection(serving: Serving) -> None:
    """Many connections that never finish a head, and some that send a byte at a time, keep nobody else waiting."""
    held = [await asyncio.open_connection("127.0.0.1", serving.port) for _ in range(200)]
    for (_, writer), content in zip(held, list(HEAD_WITHHELD.values()) * 40, strict=True):
        writer.write(content)

    async def drip() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        for byte in _GET + b"Connection: close\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.02)
        answer = await asyncio.wait_for(reader.read(), _ANSWER_S)
        writer.close()
        return answer

    for answer in await asyncio.gather(*(drip() for _ in range(10))):
        assert b"200 OK" in answer
    for _, writer in held:
        writer.transport.abort()


@pytest.mark.timeout(3600)  # the long form waits half a second a round for those that are answered nothing
async def test_changed_bytes_do_no_harm(serving: Serving, examples_max: int) -> None:
    """Good requests with bytes changed, doubled and cut out at random, the writing side closed at the end."""
    randomness = random.Random(examples_max)  # noqa: S311  the same requests each time
    good = [*ENDED.values(), *BODY_WITHHELD.values()]

    def changed() -> bytes:
        content = bytearray(randomness.choice(good)[:6000])
        for _ in range(randomness.randint(1, 8)):
            place = randomness.randrange(len(content) + 1)
            match randomness.randrange(3):
                case 0:
                    content[place:place] = randomness.randbytes(randomness.randint(1, 4))
                case 1:
                    content[place : place + 1] = bytes([randomness.randrange(256)])
                case _:
                    del content[place : place + randomness.randint(1, 20)]
        return bytes(content)

    for _ in range(examples_max):
        answers = await asyncio.gather(*(serving.send(changed(), within_s=0.5) for _ in range(50)))
        assert [answer for answer, _ in answers if _failures(answer)] == []
