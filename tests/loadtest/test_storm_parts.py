"""The storm's parts: its connections, its arrivals, its figures, and a proof that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from loadtest.crowd import Claim, Crowd, arrivals
from loadtest.proof import faults_of
from loadtest.report import percentiles_ms
from loadtest.wire import Line, ask, header_number, retry_after_s

from grab_service.references import VoucherCodes

CODES = VoucherCodes(b"k" * 32)
STOCK = "c-r1-general-1"


class Scripted:
    """A server that answers each request with the next of its scripted answers, byte by byte if asked to."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.by_byte = False
        self.requests = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the script or the client ends."""
        while self.answers and await reader.readuntil(b"\r\n\r\n"):
            self.requests += 1
            answer = self.answers.pop(0)
            if not answer:
                break
            for part in [answer[i : i + 1] for i in range(len(answer))] if self.by_byte else [answer]:
                writer.write(part)
                await writer.drain()
        writer.close()


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    """A scripted server on a free port."""
    script = Scripted()
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    yield script
    server.close()


def answer(status: str, body: bytes = b"", headers: bytes = b"") -> bytes:
    """Return a response."""
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (status.encode(), headers, len(body), body)


def claim(user: str = "u", **changes: Any) -> Claim:
    """Return a claim that is due."""
    return Claim(user, STOCK, 0.0, b"POST / HTTP/1.1\r\n\r\n", **changes)


def test_headers_are_read_whatever_their_case() -> None:
    """Numbers of headers, and None where there is none."""
    headers = b"HTTP/1.1 503 x\r\nContent-Length: 12\r\nRETRY-AFTER: 3"
    assert header_number(headers, b"content-length:") == 12
    assert retry_after_s(headers) == 3
    assert retry_after_s(b"HTTP/1.1 200 OK") is None


async def test_an_answer_in_single_bytes_is_one_answer(scripted: Scripted) -> None:
    """However the bytes arrive, one callback brings the whole answer."""
    scripted.by_byte = True
    scripted.answers = [answer("201 Created", b'{"a":1}')]
    status, _, body = await ask("127.0.0.1", scripted.port, b"GET / HTTP/1.1\r\n\r\n")
    assert (status, body) == (201, b'{"a":1}')


async def test_a_broken_connection_is_an_answer_too(scripted: Scripted) -> None:
    """A request on a connection that ends is told as broken, also when it is sent after the end."""
    scripted.answers = [b""]
    statuses: list[int] = []
    told = asyncio.Event()

    def take(_: Line, status: int, *__: bytes) -> None:
        statuses.append(status)
        told.set()

    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(lambda: Line(take), "127.0.0.1", scripted.port)
    for _ in range(2):
        line.send(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(told.wait(), 5)
        told.clear()
    assert statuses == [0, 0]


async def test_the_crowd_asks_again_where_the_server_says_so(scripted: Scripted) -> None:
    """503, 202, too early and a broken connection are asked again; the last answer counts."""
    busy, early = (
        answer("503 Busy", b"{}", b"retry-after: 0\r\n"),
        answer("409 Conflict", b'{"code":"NOT_STARTED"}', b"retry-after: 0\r\n"),
    )
    won = answer("201 Created", b'{"claim_no":1,"voucher_code":"x"}')
    scripted.answers = [busy, early, b"", won]
    winners: list[Claim] = []
    one = claim()
    crowd = Crowd("127.0.0.1", scripted.port, [one], asks_max=10, on_win=winners.append)
    await crowd.connect(1)
    await asyncio.wait_for(crowd.run(), 10)
    assert (one.final, one.asks, winners) == ("201", 4, [one])
    assert crowd.tally.answers == {"503": 1, "409 NOT_STARTED": 1, "broken": 1, "201": 1}


async def test_the_crowd_gives_up_after_its_bound(scripted: Scripted) -> None:
    """A server that is always busy ends the storm all the same."""
    scripted.answers = [answer("503 Busy", b"{}", b"retry-after: 0\r\n")] * 5
    one = claim()
    crowd = Crowd("127.0.0.1", scripted.port, [one], asks_max=3, on_win=lambda _: None)
    await crowd.connect(1)
    await asyncio.wait_for(crowd.run(), 10)
    assert (one.final, one.asks) == ("503", 3)


def test_nobody_arrives_before_the_opening() -> None:
    """Arrivals are fixed by the seed, never early, and spread as asked."""
    delays = arrivals(10_000, 0.3, seed=1)
    assert delays == arrivals(10_000, 0.3, seed=1)
    assert min(delays) >= 0
    assert 0.2 < sorted(delays)[6826] < 0.4


def test_percentiles_are_of_the_data() -> None:
    """p50 to max of a thousand known latencies."""
    spread = percentiles_ms([number / 1000 for number in range(1, 1001)])
    assert spread == {"p50": 501.0, "p90": 901.0, "p99": 991.0, "p99.9": 1000.0, "max": 1000.0}
    assert percentiles_ms([]) == {}


def storm_of(numbers: list[int], losers: int = 1) -> list[Claim]:
    """Return the claims of a storm in which these numbers were won."""
    winners = [
        claim(f"w{place}", final="201", voucher={"claim_no": number, "voucher_code": CODES.code(STOCK, number)})
        for place, number in enumerate(numbers)
    ]
    return winners + [claim(f"l{number}", final="409 SOLD_OUT") for number in range(losers)]


def proof(claims: list[Claim]) -> list[str]:
    """Return the faults of a storm on a stock of three."""
    return faults_of(claims, {STOCK: 3}, {STOCK: 3}, CODES)


def test_a_storm_in_which_all_went_well_has_no_faults() -> None:
    """Three of three, each once."""
    assert proof(storm_of([2, 1, 3])) == []
    assert proof(storm_of([1], losers=0)) == []


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1, 2], "2 winners, 3 were there"),
        ([1, 2, 2], "given twice"),
        ([1, 2, 4], "not 1..3"),
        ([1, 2, 3, 3], "4 winners"),
    ],
)
def test_a_gap_or_a_repeat_is_found(numbers: list[int], words: str) -> None:
    """Said to be sold out and not sold exactly."""
    assert any(words in fault for fault in proof(storm_of(numbers)))


def test_a_wrong_code_a_double_winner_and_an_unfinished_claim_are_found() -> None:
    """Each fault is told by its own sentence."""
    claims = storm_of([1, 2, 3])
    assert claims[0].voucher
    claims[0].voucher["voucher_code"] = "X"
    claims[1].user = claims[2].user
    claims.append(claim("z", final="503", asks=30))
    faults = proof(claims)
    assert len(faults) == 3
    assert any("another code" in fault for fault in faults)
    assert any("a user won twice" in fault for fault in faults)
    assert any("'503'" in fault for fault in faults)
