"""A port for staff and monitoring, beside several processes of either server."""

from __future__ import annotations

import os
import signal

import httpx
import pytest

from tests.support.plain_http import http_client
from tests.support.ports import free_port
from tests.support.rehearsals import Rehearsal
from tests.support.wait import wait_until


@pytest.mark.parametrize("server", ["uvicorn", "granian"])
async def test_staff_and_monitoring_have_a_port_of_their_own(rehearsal: Rehearsal, server: str) -> None:
    """It tells the counts of all processes and serves no claims; after the API was killed it is there again."""
    port = free_port()
    await rehearsal.start("--opens-in", "0", "--workers", "2", "--server", server, GRAB_ADMIN_PORT=str(port))
    async with http_client(base_url=f"http://127.0.0.1:{port}", timeout=5) as admin:

        async def counts_all() -> bool:
            try:
                text = (await admin.get("/metrics")).text
            except httpx.TransportError:
                return False
            return "grab_api_processes 3.0" in text

        await wait_until(counts_all, "the metrics are told", 30)
        for answer in (await admin.get("/ops"), await admin.get(f"{rehearsal.url}/v1/time")):
            assert answer.status_code == 200
            assert answer.headers.get("server", "") == ""
        assert (await admin.post("/v1/stocks/qijiang-2023-r1-general-1/claims")).status_code == 404
        api = rehearsal.pid("api")
        assert api is not None
        os.kill(api, signal.SIGKILL)
        await wait_until(lambda: rehearsal.pid("api") not in (None, api), "the API is started again", 30)
        await wait_until(counts_all, "the metrics are told again", 30)
