"""A process of the API is asked to end while everyone claims: every user has an answer, or a repeat that succeeds."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from grab_service.rehearsal import RehearsalKeys
from tests.support.nginx import NGINX, proxy
from tests.support.plain_http import http_client
from tests.support.ports import free_port
from tests.support.rehearsals import FIRST_STOCK, Rehearsal, clean_environment, grab, is_alive, serving
from tests.support.wait import wait_until

_USERS, _AT_ONCE, _REPEATS = 240, 60, 4
_REGION = "500110"


@dataclass(slots=True)
class Rush:
    """Many users who claim, each again and again, and ask again when they got no answer.

    Attributes:
        rehearsal: Whose keys mint the tickets.
        url: Where they claim.
        answers: By status; 0 is a connection that broke.
        codes: Each user's vouchers as they were told.
    """

    rehearsal: Rehearsal
    url: str
    tag: str
    answers: Counter[int] = field(default_factory=Counter)
    codes: dict[str, set[str]] = field(default_factory=dict)

    async def run(self) -> None:
        """Let everyone claim until each has a voucher as often as was asked."""
        issue = RehearsalKeys(self.rehearsal.directory / "keys").ticket_issuer(now_s=int(time.time()))
        gate = asyncio.Semaphore(_AT_ONCE)
        limits = httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE)
        async with http_client(base_url=self.url, timeout=10, limits=limits) as client:

            async def claim(user: str) -> None:
                headers = {"Authorization": f"Bearer {issue(user, _REGION)}"}
                for _ in range(_REPEATS):
                    async with gate:
                        await wait_until(lambda: self._is_answered(client, user, headers), f"{user} has an answer", 20)

            await asyncio.gather(*(claim(f"{self.tag}-{number}") for number in range(_USERS)))

    async def _is_answered(self, client: httpx.AsyncClient, user: str, headers: dict[str, str]) -> bool:
        try:
            answer = await client.post(f"/v1/stocks/{FIRST_STOCK}/claims", headers=headers)
        except httpx.TransportError:
            self.answers[0] += 1
            return False
        self.answers[answer.status_code] += 1
        if answer.status_code not in (200, 201):
            return False
        self.codes.setdefault(user, set()).add(answer.json()["voucher_code"])
        return True

    @property
    def total(self) -> int:
        """Answers so far."""
        return self.answers.total() - self.answers[0]

    def is_fair(self) -> bool:
        """Whether each user has one voucher, and no two the same."""
        each = [codes for codes in self.codes.values() if len(codes) == 1]
        return len(each) == _USERS == len(set().union(*each))


async def _counted(url: str) -> int:
    async with http_client(base_url=url, timeout=5) as client:
        text = (await client.get("/metrics")).text
    lines = re.findall(rf'^grab_claims_total{{outcome="\w+",stock="{FIRST_STOCK}"}} (\S+)', text, re.MULTILINE)
    assert lines
    return int(sum(map(float, lines)))


@pytest.mark.timeout(180)
async def test_a_worker_that_is_asked_to_end_in_the_rush_loses_nobody(rehearsal: Rehearsal) -> None:
    """One of two processes of one port: who gets no answer asks again and gets one; every answer is counted."""
    await rehearsal.start("--opens-in", "0", "--workers", "2")
    api = rehearsal.pid("api")
    assert api is not None
    before = serving(api)
    assert len(before) == 2
    rush = Rush(rehearsal, rehearsal.url, "worker")
    rushing = asyncio.create_task(rush.run())
    await wait_until(lambda: rush.total > _USERS, "the rush is on")
    os.kill(before[0], signal.SIGTERM)
    await rushing

    assert rush.is_fair()
    assert rush.answers.keys() <= {0, 200, 201, 202, 503}, rush.answers
    await wait_until(lambda: not is_alive(before[0]) and len(serving(api)) == 2, "another worker serves", 20)
    counted = await _counted(rehearsal.url)
    assert rush.total <= counted <= rush.total + rush.answers[0]
    assert grab("audit", "--data-dir", rehearsal.directory).returncode == 0
    assert rehearsal.stop() == 0


@asynccontextmanager
async def _second_api(rehearsal: Rehearsal, port: int) -> AsyncIterator[subprocess.Popen[bytes]]:
    environment = clean_environment(
        GRAB_SETTINGS_FILE=str(rehearsal.directory / "settings.toml"), GRAB_PORT=str(port), GRAB_WORKERS="1"
    )
    process = subprocess.Popen(  # noqa: ASYNC220  returns at once
        [sys.executable, "-m", "grab_service", "serve"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        await wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), "the second API is ready", 20)
        yield process
    finally:
        process.terminate()
        process.wait(20)


async def _answers(url: str) -> bool:
    async with http_client(timeout=5) as client:
        try:
            return (await client.get(url)).status_code == 200
        except httpx.TransportError:
            return False


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")
async def test_behind_the_proxy_nobody_notices_that_an_api_ends(running: Rehearsal, short_dir: Path) -> None:
    """Two APIs behind nginx: one ends in the rush, and no user sees a broken connection or an error."""
    directory = short_dir / "proxy"
    directory.mkdir()
    port = free_port()
    async with _second_api(running, port) as second:
        with proxy(directory, [int(running.url.rpartition(":")[2]), port]) as url:
            await wait_until(lambda: _answers(f"{url}/readyz"), "the proxy answers")
            rush = Rush(running, url, "proxy")
            rushing = asyncio.create_task(rush.run())
            await wait_until(lambda: rush.total > _USERS, "the rush is on")
            second.send_signal(signal.SIGTERM)
            await rushing
            assert second.wait(20) in (0, -signal.SIGTERM)
            assert rush.is_fair()
            assert rush.answers.keys() <= {200, 201}, rush.answers
            async with http_client(base_url=url) as client:
                assert (await client.get("/metrics")).status_code == 404
                for inside in ("/ops", "/v1/ops/events", "/docs", "/openapi.json", "/v1/admin/stocks/x/pause"):
                    assert (await client.get(inside)).status_code == 404, inside
                large = await client.post(f"/v1/stocks/{FIRST_STOCK}/claims", content=b"x" * 5000)
            assert large.status_code == 413
