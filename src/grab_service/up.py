"""``grab up``: a whole service on one machine, brought up in order, kept up, and taken down in order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from grab_service import embedded, instants, keyring
from grab_service.campaign import Campaign
from grab_service.data_dir import DataDir
from grab_service.gate import Gate
from grab_service.keeper import keep_open, open_the_gate, stored_stocks
from grab_service.minting import CodeHashes, hash_codes, mint_hashed, seasoned
from grab_service.pepper_check import see_peppers
from grab_service.references import VoucherCodes
from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import FILE_VARIABLE, Settings
from grab_service.stock import Stock
from grab_service.stores import StoreUnavailable, open_gate, open_vault
from grab_service.supervisor import Program, Supervisor, end_leftover
from ledger import catalogue, money
from ledger.migrate import migrate

_log = logging.getLogger(__name__)

_SERVER_READY_S = 30.0
_API_READY_S = 60.0
_POLL_S = 0.05
# From fixing the opening to readiness: storing what was minted, opening the gate, and the API seeing it.
_PREPARATION_S = 3.0
_STORED_PER_S = 25_000
_DRAIN_S = 10.0
_CANCEL_AGAIN_S = 0.5
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  names what is listened on; nothing is bound here
_COMMANDS = {"api": "serve", "ledger": "ledger"}

# In the order in which they are ended: first those who ask, then those who answer.
_STOP_SIGNALS = {
    "api": signal.SIGTERM,
    "ledger": signal.SIGTERM,
    "valkey": signal.SIGTERM,
    "postgres": signal.SIGINT,  # its clients are cut off
}
_STOP_S = 20.0


class UpFailed(Exception):
    """The service could not be brought up; the message says why and what to do."""


async def up(
    *,
    data: DataDir,
    settings: Settings,
    campaign: Campaign,
    opens_in_s: float | None,
    on_ready: Callable[[str], None],
) -> None:
    """Run the whole service until SIGINT or SIGTERM.

    Args:
        data: Where everything is kept; what an earlier run left there is taken up again.
        settings: The settings; servers and keys that they do not name are the data directory's own.
        campaign: What is handed out, unless it is stored there already.
        opens_in_s: Move the campaign so that its first round opens so long after readiness; None to leave it.
        on_ready: Called with the service's URL when claims can be served.

    Raises:
        Exception: It did not come up; the message says why, and nothing is left running.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        data.make()
    except OSError as error:
        raise UpFailed(f"cannot keep data in {data.root}: {error.strerror}; see --data-dir") from error
    with _alone(data):
        site = _Site(data, settings)
        try:
            if await _unless(stop, site.supervisor.trouble, site.come_up(campaign, opens_in_s)):
                on_ready(_url(site.settings.host, site.settings.port))
                await _unless(stop, None, site.keep_up())
        finally:
            await site.go_down()


class _Site:
    """The parts of the service and the order in which they come and go."""

    def __init__(self, data: DataDir, settings: Settings) -> None:
        self._data = data
        self._rehearsal = RehearsalKeys(data.keys)
        self.settings = settings
        self.supervisor = Supervisor(data)

    async def come_up(self, campaign: Campaign, opens_in_s: float | None) -> None:
        for name, stop_signal in _STOP_SIGNALS.items():
            await end_leftover(self._data, name, stop_signal, _STOP_S)
        self._rehearsal.make()
        own: dict[str, Any] = {**self._rehearsal.settings(), "photo_dir": self._data.photos}
        # Users are made up only where nobody else's tokens are believed.
        own["rehearsal"] = not self.settings.jwks_file
        self._settle(port=_free_port(self.settings), **_unset(self.settings, own))
        await self._ask_named_servers()
        await self._start_servers()
        self._keep_settings()
        async with open_vault(self.settings) as vault:
            for name in await migrate(vault):
                _log.info("applied migration %s", name)
        # While they start, the campaign is loaded: the API answers 503 until the gate is open.
        self._start_own("ledger", _STOP_S)
        self._start_own("api", self.settings.shutdown_grace_s + _STOP_S)
        hashes = await self._hashes(campaign)
        await self._wait_until_api_answers("/livez")
        # Only now are the instants fixed: what took long is done.
        campaign, ready_at = await self._schedule(campaign, opens_in_s)
        await self._load(campaign, hashes)
        report = await open_the_gate(self.settings)
        _log.info("the gate is open for %d stocks", len(report.stocks))
        await self._wait_until_api_answers("/readyz")
        if ready_at is not None:
            await _sleep_until(ready_at)

    async def keep_up(self) -> None:
        await keep_open(self.settings)

    async def go_down(self) -> None:
        _log.info("stopping")
        for name in _STOP_SIGNALS:
            if name == "ledger" and self.supervisor.runs(name):
                await self._wait_until_ledger_has_all()
            await self.supervisor.stop(name)
        _log.info("stopped")

    def _settle(self, **values: Any) -> None:
        self.settings = self.settings.model_copy(update=values)

    async def _ask_named_servers(self) -> None:
        """Make sure that they answer, before anything is started."""
        if self.settings.redis_url:
            async with open_gate(self.settings) as client:
                await client.ping()
        if self.settings.database_url:
            async with open_vault(self.settings):
                pass

    async def _start_servers(self) -> None:
        if not self.settings.redis_url:
            self._settle(redis_url=await self._start_server(embedded.valkey(self._data.server("valkey"))))
        if not self.settings.database_url:
            # Making a new database takes a second or two.
            server = await asyncio.to_thread(embedded.postgres, self._data.server("postgres"))
            self._settle(database_url=await self._start_server(server))

    async def _start_server(self, server: embedded.Server) -> str:
        self.supervisor.start(
            Program(
                name=server.name,
                argv=server.argv,
                environment=os.environ,
                stop_signal=_STOP_SIGNALS[server.name],
                stop_bound_s=_STOP_S,
                prepare=server.prepare,
                is_whole=server.is_whole,
                mend=server.mend,
            )
        )
        await server.wait_ready(_SERVER_READY_S)
        _log.info("%s answers", server.name)
        return server.url

    def _keep_settings(self) -> None:
        """Leave the settings for commands that are to speak to this service; they may hold passwords."""
        self._data.settings_file.touch(mode=0o600)
        self._data.settings_file.write_text(self.settings.toml(), encoding="utf-8")

    def _start_own(self, name: str, stop_bound_s: float) -> None:
        inherited = {key: value for key, value in os.environ.items() if key != FILE_VARIABLE}
        self.supervisor.start(
            Program(
                name=name,
                argv=(sys.executable, "-P", "-m", "grab_service", _COMMANDS[name]),
                environment=inherited | self.settings.environment(),
                stop_signal=_STOP_SIGNALS[name],
                stop_bound_s=stop_bound_s,
            )
        )

    async def _schedule(self, campaign: Campaign, opens_in_s: float | None) -> tuple[Campaign, datetime | None]:
        """Return the campaign with the instants that stand, and before when it is not to be called ready."""
        async with open_vault(self.settings) as vault:
            stored = (await catalogue.documents(vault)).get(campaign.campaign_id)
        if stored is not None:
            if opens_in_s is not None:
                _log.warning("%s is stored already: its instants stand, --opens-in is ignored", campaign.campaign_id)
            return _opening_at(campaign, _opening(Campaign.from_document(stored))), None
        if opens_in_s is None:
            return campaign, None
        if not opens_in_s:  # nobody can claim before readiness
            return _opening_at(campaign, datetime.now(UTC)), None
        storing_s = sum(stock.quantity for stock in campaign.stocks()) / _STORED_PER_S
        ready_at = datetime.now(UTC) + timedelta(seconds=_PREPARATION_S + storing_s)
        return _opening_at(campaign, ready_at + timedelta(seconds=opens_in_s)), ready_at

    async def _hashes(self, campaign: Campaign) -> CodeHashes:
        codes = VoucherCodes(keyring.read_secret("voucher_key_file", self.settings.voucher_key_file))
        return await asyncio.to_thread(hash_codes, campaign, codes)

    async def _load(self, campaign: Campaign, hashes: CodeHashes) -> None:
        refs = keyring.read_user_refs(self.settings)
        async with open_vault(self.settings) as vault:
            await catalogue.load_campaign(vault, seasoned(mint_hashed(campaign, hashes), refs))
            await see_peppers(vault, refs)
            if not await money.balances(vault, campaign.campaign_id):
                await money.receive_fund(vault, money.rehearsed(campaign.campaign_id, campaign.fund_fen))
        _log.info("%s opens at %s", campaign.campaign_id, instants.from_datetime(_opening(campaign)))

    async def _wait_until_api_answers(self, path: str) -> None:
        host = _ANY_ADDRESS.get(self.settings.host, self.settings.host)
        url = _url(host, self.settings.port) + path
        # Several processes share the port: so many answers in a row that each of them was probably asked.
        needed = 1 if self.settings.workers == 1 else 4 * self.settings.workers
        in_a_row, loop = 0, asyncio.get_running_loop()
        deadline_s = loop.time() + _API_READY_S
        while in_a_row < needed:
            is_ready = await asyncio.to_thread(_answers_200, url)
            in_a_row = in_a_row + 1 if is_ready else 0
            if loop.time() > deadline_s:
                raise UpFailed(
                    f"{path} of the API does not say yes within {_API_READY_S:g} s: see {self._data.log('api')}"
                )
            await asyncio.sleep(0 if is_ready else _POLL_S)

    async def _wait_until_ledger_has_all(self) -> None:
        """Give the ledger some time to record what the gate has given out; the next start would do it as well."""
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with (
                asyncio.timeout(_DRAIN_S),
                open_vault(self.settings) as vault,
                open_gate(self.settings) as client,
            ):
                gate, stocks = Gate(client), await stored_stocks(vault)
                while await _is_behind(gate, stocks):  # noqa: ASYNC110  the fact is in another process
                    await asyncio.sleep(_POLL_S)


@contextmanager
def _alone(data: DataDir) -> Iterator[None]:
    """Make sure that nobody else runs this directory."""
    with data.lock.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise UpFailed(f"another 'grab up' (process {lock.read().strip()}) runs on {data.root}") from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


async def _unless(stop: asyncio.Event, trouble: asyncio.Future[str] | None, work: Coroutine[Any, Any, None]) -> bool:
    """Do ``work`` and return True, or give it up when stopped and return False.

    Raises:
        UpFailed: There was trouble before it was done.
    """
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    awaited: set[asyncio.Future[Any]] = {working, stopping, *([trouble] if trouble else [])}
    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        await working
        return True
    while not working.done():
        # More than once: the Redis client can swallow a cancellation that meets the end of a read.
        working.cancel()
        await asyncio.wait({working}, timeout=_CANCEL_AGAIN_S)
    if trouble is not None and trouble.done():
        raise UpFailed(trouble.result())
    return False


def _unset(settings: Settings, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``values`` that the settings do not have."""
    return {name: value for name, value in values.items() if not getattr(settings, name)}


def _free_port(settings: Settings) -> int:
    """Return the port to listen on; any that is free where the settings say 0.

    Raises:
        UpFailed: Another program listens there, or this machine has no such address.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        reason = error.strerror or str(error)
        raise UpFailed(
            f"cannot listen on {settings.host}, port {settings.port}: {reason}; see --host and --port"
        ) from error


async def _sleep_until(ready_at: datetime) -> None:
    left_s = (ready_at - datetime.now(UTC)).total_seconds()
    if left_s < 0:
        _log.warning("getting ready took %.1f s longer than planned: the opening comes so much sooner", -left_s)
    await asyncio.sleep(left_s)


async def _is_behind(gate: Gate, stocks: Sequence[Stock]) -> bool:
    return any(counts.is_open and counts.booked < counts.held for counts in await gate.counts(stocks))


def _opening_at(campaign: Campaign, instant: datetime) -> Campaign:
    return campaign.shifted(instant - _opening(campaign))


def _opening(campaign: Campaign) -> datetime:
    return min(round_.opens_at for round_ in campaign.rounds)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _answers_200(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  always http, to this machine
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
