"""A running service: a small campaign in the real vault and gate, the ledger worker, and the API over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import redis.asyncio as redis
import uvicorn

from grab_service import embedded, keyring
from grab_service.api.app import create_app
from grab_service.api.line import Line
from grab_service.api.scopes import Surface
from grab_service.campaign import Campaign
from grab_service.minting import mint
from grab_service.references import UserRefs, VoucherCodes
from grab_service.rehearsal import TOKEN_TTL_S, RehearsalKeys
from grab_service.resources import library_source
from grab_service.settings import Settings
from grab_service.tickets import CLAIM_SCOPE, Tickets
from ledger import catalogue
from ledger.recover import recover
from ledger.worker import Worker
from tests.support.campaigns import small_campaign
from tests.support.own_gate import OwnGate
from tests.support.own_vault import OwnVault
from tests.support.plain_http import http_client
from tests.support.ports import free_port
from tests.support.wait import wait_until

CHONGQING, BEIJING = "500110", "110101"


@dataclass(slots=True)
class Site:
    """A service that runs, and the means to talk to it and to disturb it.

    Attributes:
        campaign: What is handed out.
        vault: A connection to its database.
        client: A client of its gate.
        settings: The settings its processes run with.
        connections: The server's ends of those of the API that was served last.
    """

    campaign: Campaign
    vault: asyncpg.Connection
    client: redis.Redis
    settings: Settings
    keys: keyring.Keyring
    exit: AsyncExitStack
    worker_stop: asyncio.Event = field(default_factory=asyncio.Event)
    worker: asyncio.Task[None] | None = None
    connections: set[Any] = field(default_factory=set)

    @property
    def stock_id(self) -> str:
        """The first stock."""
        return next(iter(self.campaign.stocks())).stock_id

    @property
    def codes(self) -> VoucherCodes:
        """Derives the vouchers' codes."""
        return VoucherCodes(self.keys.voucher_key)

    def user_ref(self, user: str) -> str:
        """Return the reference of a user."""
        return UserRefs(self.keys.pepper).of(user)

    def bearer(self, user: str, *, region: str = CHONGQING, ttl_s: int = 600) -> dict[str, str]:
        """Return the header of a user with a ticket."""
        ticket = Tickets(self.keys.ticket_key).issue(self.user_ref(user), region, int(time.time()) + ttl_s)
        return {"Authorization": f"Bearer {ticket}"}

    def jwt(self, user: str, *, region: str = CHONGQING, expires_in_s: int = TOKEN_TTL_S) -> dict[str, str]:
        """Return the header of a user with the app's own token."""
        assert self.settings.jwks_file is not None
        sign = RehearsalKeys(self.settings.jwks_file.parent).signer(
            issuer=self.settings.jwt_issuer,
            audience=self.settings.jwt_audience,
            now_s=int(time.time()) + expires_in_s - TOKEN_TTL_S,
        )
        return {"Authorization": f"Bearer {sign(user, region, CLAIM_SCOPE)}"}

    async def recover(self) -> None:
        """Run a recovery."""
        await recover(self.vault, self.client, library_source())

    def start_worker(self) -> None:
        """Start the ledger worker, which is not running."""
        assert self.worker is None, "a worker that nobody holds would outlive its test"
        self.worker_stop = asyncio.Event()
        worker = Worker(self.settings.database_url, self.settings.redis_url)
        self.worker = asyncio.create_task(worker.run(self.worker_stop))

    async def stop_worker(self) -> None:
        """Stop the ledger worker and wait for its end."""
        if self.worker is not None:
            self.worker_stop.set()
            await asyncio.wait_for(self.worker, 10)
            self.worker = None

    async def serve(
        self, probe: str = "/readyz", *, surface: Surface | None = None, **changes: Any
    ) -> httpx.AsyncClient:
        """Start an API process's application on a port of its own and return a client, once the probe says yes."""
        app = create_app(self.settings.model_copy(update=changes), surface)
        port = free_port()
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            loop="asyncio",
            http=Line,
            proxy_headers=False,  # as `grab serve`: else the connections see no application of ours
            timeout_keep_alive=60,  # a kept connection is never cut off just when a slow machine uses it again
        )
        server = uvicorn.Server(config)
        self.connections = server.server_state.connections
        serving = asyncio.create_task(server.serve())

        async def stop() -> None:
            server.should_exit = True
            await asyncio.wait_for(serving, 10)

        self.exit.push_async_callback(stop)
        client = http_client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        self.exit.push_async_callback(client.aclose)

        async def is_ready() -> bool:
            try:
                return (await client.get(probe)).status_code == 200
            except httpx.TransportError:
                return False

        await wait_until(is_ready, "the API is ready")
        return client


SiteOf = Callable[..., Any]


@pytest.fixture
def make_site(
    tmp_path: Path,
    database_url: str,
    vault: asyncpg.Connection,
    redis_client: redis.Redis,
    valkey_server: embedded.Server,
) -> SiteOf:
    """Return a context manager that brings up a site for a campaign."""

    @asynccontextmanager
    async def site(
        campaign: Campaign,
        *,
        own_gate: OwnGate | None = None,
        own_vault: OwnVault | None = None,
    ) -> AsyncIterator[Site]:
        rehearsal = RehearsalKeys(tmp_path / "keys")
        rehearsal.make()
        settings = Settings(
            redis_url=own_gate.server.url if own_gate else valkey_server.url,
            database_url=own_vault.server.url if own_vault else database_url,
            catalogue_refresh_ms=100,
            snapshot_ms=50,
            # A busy machine is no trouble of the service; tests of the bounds say theirs.
            confirm_timeout_ms=15_000,
            gate_timeout_ms=10_000,
            rehearsal=True,
            one_person=True,  # for those who serve outside a rehearsal
            **rehearsal.settings(),  # type: ignore[arg-type]  # pydantic checks them
        )
        keys = keyring.load(settings)
        async with AsyncExitStack() as stack:
            connection = vault
            if own_vault:
                connection = await asyncpg.connect(own_vault.server.url)
                stack.callback(connection.terminate)
            client = own_gate.client if own_gate else redis_client
            running = Site(campaign, connection, client, settings, keys, stack)
            await catalogue.load_campaign(connection, mint(campaign, running.codes))
            await running.recover()
            running.start_worker()
            stack.push_async_callback(running.stop_worker)
            yield running

    return site


@pytest.fixture
async def site(make_site: SiteOf, campaign_id: str) -> AsyncIterator[Site]:
    """A running site with a small campaign, open since an hour ago."""
    async with make_site(small_campaign(campaign_id)) as running:
        yield running


@pytest.fixture
async def api(site: Site) -> httpx.AsyncClient:
    """A client of the running site's API."""
    return await site.serve()
