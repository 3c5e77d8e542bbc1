"""The overload's pure parts, and its generator against a small server of the test's own."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from loadtest.bench.open_loop import BROKEN, GAVE_UP, OpenLoop, Phase
from loadtest.bench.overload import recovery_s, summary, text_of, verdicts_of

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

FULL, HALF = {"201": 10}, {"201": 5, "503": 5}


def figures(first: list[dict[str, int]], after: list[dict[str, int]]) -> dict[str, object]:
    """Return what the generator tells of an overload of one second and half a second after it."""
    latencies = {"201": {"p50": 5.0, "p99": 9.0}, "429": {"p99": 12.0}, "503": {"p99": 7.0}}
    return {
        "phases": [
            {"per_s": 100, "seconds": 1.0, "slices": first, "answered": first, "latency_ms": latencies},
            {"per_s": 10, "seconds": 0.5, "slices": after, "answered": after, "latency_ms": {}},
        ],
        "began_s": 50.0,
        "generator_cpu": 0.1,
    }


def test_goodput_is_what_was_of_use_against_the_peak() -> None:
    """Refusals are no goodput; the worst refusal's percentile counts; memory is a line through its samples."""
    rss = [(50.0, 5_000_000), (50.3, 1_000_000), (50.6, 1_300_000), (50.9, 1_600_000), (51.5, 9_000_000)]
    found = summary(100.0, figures([HALF] * 10, [HALF, FULL, FULL, FULL, FULL]), rss, 1.0)
    assert found["goodput"] == pytest.approx(0.5)
    assert found["offered_per_s"] == 100
    assert found["refusal_p99_ms"] == 12.0
    assert found["rss_slope_mb_per_s"] == pytest.approx(1.0)
    assert found["recovery_s"] == pytest.approx(0.1)
    cells = {verdict.line.what: verdict.cells()[-1] for verdict in verdicts_of([found])}
    assert list(cells.values()) == ["NO", "aim", "NO", "aim"]
    assert "50% of the peak" in text_of(found | {"open_loop": {"generator_cpu": 0.1}})


@pytest.mark.parametrize(
    ("slices", "after_s"), [([], 0.0), ([FULL, {}], 0.0), ([HALF, FULL], 0.1), ([FULL, FULL, HALF], 0.3)]
)
def test_recovery_ends_with_the_last_refusal(slices: list[dict[str, int]], after_s: float) -> None:
    """A good moment between two bad ones is no recovery; a slice in which nothing was due is not bad."""
    assert recovery_s(slices) == pytest.approx(after_s)


@asynccontextmanager
async def listening(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """Serve connections until the last client has hung up; give the port."""
    under_way: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*under_way)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request by its path: its status, in two pieces; ``/0`` hangs up."""
    while request := await reader.read(1000):
        status = request.split(b" ")[1][1:]
        if status == b"0":
            break
        writer.write(b"HTTP/1.1 " + status + b" x\r\nContent-Le")
        await writer.drain()
        writer.write(b"ngth: 2\r\n\r\n")
        await writer.drain()
        writer.write(b"{}")
        await writer.drain()


async def test_every_request_that_was_due_is_counted_once() -> None:
    """Answers that come in pieces are one answer; a connection that breaks is made again."""
    phases = [Phase(400, 0.25), Phase(200, 0.25)]
    paths = itertools.cycle([b"201", b"503", b"409", b"0"])
    loop = OpenLoop(phases, (b"GET /" + path + b" HTTP/1.1\r\n\r\n" for path in paths), 5.0)
    async with listening(serve) as port:
        await asyncio.to_thread(loop.connect, "127.0.0.1", port, 20)
        await asyncio.to_thread(loop.run)
    seen = [sum((Counter(each) for each in phase.slices), Counter()) for phase in phases]
    assert set(seen[0] + seen[1]) == {201, 409, 503, BROKEN}
    assert seen[0].total() == pytest.approx(100, abs=2)
    assert seen[1].total() == pytest.approx(50, abs=2)
    assert seen[0] + seen[1] == sum((Counter(each) for phase in phases for each in phase.answered), Counter())
    assert not loop.is_short
    assert loop.lost == 0


async def test_waiting_for_a_connection_counts_from_the_instant_that_was_meant() -> None:
    """A server that answers nothing: who has no connection gives up, who has one is broken in the end."""

    async def be_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(10)

    phase = Phase(100, 0.3)
    loop = OpenLoop([phase], itertools.repeat(b"a request that is longer than ten bytes"), 0.1)
    async with listening(be_silent) as port:
        await asyncio.to_thread(loop.connect, "127.0.0.1", port, 1)
        await asyncio.to_thread(loop.run)
    seen = sum((Counter(each) for each in phase.slices), Counter())
    assert set(seen) <= {BROKEN, GAVE_UP}
    assert seen.total() == pytest.approx(30, abs=2)


async def test_requests_that_run_out_are_told() -> None:
    """A run that could not offer what it should is not taken for a good one."""
    loop = OpenLoop([Phase(200, 0.1)], iter([b"GET /201 HTTP/1.1\r\n\r\n"]), 1.0)
    async with listening(serve) as port:
        await asyncio.to_thread(loop.connect, "127.0.0.1", port, 2)
        await asyncio.to_thread(loop.run)
    assert loop.is_short
