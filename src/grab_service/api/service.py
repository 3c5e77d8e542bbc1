"""A running API process: its connections, its counters and the few tasks that keep them current."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from grab_service import gate as gates
from grab_service import policy, resources, snapshot
from grab_service.addresses import Proxies
from grab_service.admission import Memory, Misses, Rate
from grab_service.api import trust
from grab_service.api.claims import Claims
from grab_service.api.counter import Counter, Counters
from grab_service.api.history import History
from grab_service.api.instruments import GATE_POOL, INFLIGHT, VAULT_POOL, Instruments
from grab_service.api.journal import Journal
from grab_service.api.limits import Limits
from grab_service.api.pulse import Pulse
from grab_service.api.till import Till
from grab_service.api.vault import Vault, VaultUnavailable
from grab_service.api.whence import Whence
from grab_service.auth import Authenticator
from grab_service.campaign import Campaign
from grab_service.clients import Clients
from grab_service.confirm import Confirmations, Watch
from grab_service.desk import Desk
from grab_service.gate import Gate, GateUnavailable
from grab_service.keyring import Keyring
from grab_service.pace import Pace
from grab_service.pepper_check import unfit
from grab_service.places import Places
from grab_service.presence import Presence, Work
from grab_service.probe import Probe
from grab_service.references import StockCodes, VoucherCodes
from grab_service.settings import Settings
from grab_service.shared_rate import SharedRate
from grab_service.snapshot import Snapshot
from grab_service.stock import Stock
from grab_service.tickets import Tickets
from ledger.catalogue import CampaignPepper

_log = logging.getLogger(__name__)

_LIBRARY_CHECK_S = 1.0
_CANCEL_AGAIN_S = 0.1
_COUNTS_OF_REFRESHES = 5  # one count of used vouchers, which reads all of them, to so many looks at the catalogue


class Service:
    """Everything one API process holds, from start-up to shut-down.

    Attributes:
        settings: The settings.
        authenticator: Says who is asking with a token.
        clients: Says who is asking with a signature.
        proxies: Whose word about a sender's address is believed.
        limits: Says who asks too often.
        whence: Remembers who took tickets from where.
        tickets: Issues tickets.
        codes: Derives voucher codes.
        user_refs: Derives users' references.
        csrf_key: Derives what the forms of staff carry; the same in every process.
        counters: The stocks that are served, by id.
        not_served: Campaigns whose peppers are not here.
        campaigns: The campaigns by id.
        presence: Asks for a proof of presence before a ticket is given; None if none is asked for.
        claims: Answers claims.
        places: Counts the claims under way.
        till: Brings uses of vouchers to the vault.
        misses: Who shows voucher codes that nobody knows, in this minute; the vault counts days.
        snapshot: The polled picture of every stock.
        history: What the stocks did in the last minutes.
        pulse: What all processes answered in the last minutes.
        used: Vouchers that are used, of all campaigns; None before they were counted.
        shows_insides: Whether health may name stocks and causes: where staff and monitoring ask.
        streams: How many screens this process is telling events.
        verdicts: What the continuous watch says of each invariant; empty while nobody watches.
        differences: By how many vouchers it found gate and vault to differ, by kind; empty while nobody watches.
        probe: Looks at the gate's figures again and again.
        instruments: What the process measures of its own work.
    """

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self.settings = settings
        self.tickets = Tickets(keyring.ticket_key, keyring.other_ticket_key)
        self.codes = VoucherCodes(keyring.voucher_key)
        self.csrf_key = hmac.digest(keyring.ticket_key, b"forms of staff", "sha256")
        self.user_refs = keyring.user_refs
        self.authenticator = Authenticator(
            key_sets=keyring.key_sets,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            tickets=self.tickets,
            user_refs=self.user_refs,
            remembered_max=settings.token_cache_max,
            failures_per_s_max=settings.verify_rate_max,
            failures_per_block_max=settings.verify_rate_block_max,
            checks_per_s_max=settings.check_rate_max,
            staff_ttl_max_s=settings.staff_token_ttl_max_s,
        )
        self.clients = Clients()
        self.proxies = Proxies.read(settings.trusted_proxies)
        self.limits = Limits(settings)
        self.whence = Whence(keyring.pepper, is_kept=settings.address_days > 0)
        self._keyring = keyring
        self.counters = Counters()
        self.campaigns: dict[str, Campaign] = {}
        self.presence: Presence | None = (
            Work(keyring.pepper, settings.presence_bits) if settings.presence == "work" else None
        )
        self._rate = Rate(settings.user_rate_max)
        self.claims = Claims(
            self.counters,
            self.authenticator,
            self._rate,
            by_ticket_only=self.presence is not None,
        )
        self.snapshot: Snapshot = snapshot.take([], gate_answers=False, now_ms=_now_ms())
        self.vault_answers = False
        self.library_is_ours = False
        self.verdicts: Mapping[str, str] = {}
        self.differences: Mapping[str, int] = {}
        self.places = Places(settings.inflight_max)
        self._pace = Pace(settings.claims_per_s_max)
        self.instruments = Instruments(settings.counts_dir, Journal(settings.log_one_refusal_in))
        self.history = History(settings.snapshot_ms)
        self.pulse = Pulse(self.instruments.sheets)
        self.used: int | None = None
        self.shows_insides = True
        self.streams = 0
        self.gate: Gate
        self.probe: Probe
        self.vault: Vault
        self.till: Till
        self.misses = Misses(settings.unknown_codes_max)
        self._exit = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self.not_served: frozenset[str] = frozenset()
        self._told: set[str] = set()  # why something is not served, once
        self._has_policy = not policy.asks_for_two(settings)

    async def start(self) -> None:
        """Connect, and keep everything current from now on; a store that is down is waited for."""
        settings = self.settings
        client = gates.connect(settings.redis_url, settings.gate_timeout_ms)
        self._exit.push_async_callback(client.aclose)
        self.gate = Gate(client)
        self.vault = await Vault.open(settings.database_url)
        self._exit.push_async_callback(self.vault.close)
        self.till = Till(self.vault, self.settings.unknown_codes_day_max)
        self._keep(self._refresh_catalogue())
        self.probe = Probe(self.gate, self.counters, settings.holders_remembered_max, self._keep)
        self._keep(self._keep_looking())
        self._keep(self._refresh_snapshot())
        self._keep(self._check_library())
        self._keep(SharedRate(self.gate, self._rate).run())
        self._keep(
            self.instruments.run(
                {
                    INFLIGHT: lambda: self.places.taken,
                    GATE_POOL: lambda: self.gate.busy_connections,
                    VAULT_POOL: lambda: self.vault.busy_connections,
                }
            )
        )
        self._keep(self.pulse.run(lambda: self.snapshot.as_of_ms))
        self._keep(self._count_used())
        self._keep(self.whence.run(self.vault))
        self._keep(trust.renew_clients(self.clients, self.vault, self._keyring, settings.catalogue_refresh_ms))
        self._keep(trust.renew_key_set(self.authenticator, settings, self._keyring))
        self._keep(trust.renew_ticket_keys(self.tickets, settings, self._keyring))

    async def stop(self) -> None:
        """End the tasks and close the connections."""
        while self._tasks:
            # More than once: the Redis client can swallow a cancellation that meets the end of a read.
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_CANCEL_AGAIN_S)
        await self._exit.aclose()
        self.instruments.close()

    @property
    def is_ready(self) -> bool:
        """Whether claims can be served: stocks are known, the gate is open for them and speaks our library."""
        return bool(
            self.counters
            and self.library_is_ours
            and self.snapshot.gate_answers
            and len(self.snapshot.figures) == len(self.counters)
            and all(counts is not None and counts.is_open for _, counts in self.snapshot.figures)
        )

    @property
    def ledger_lag_s(self) -> float | None:
        """For how long the oldest claim that is not booked has been waiting; None while the gate does not tell."""
        last = self.history.last
        return None if last is None else last.lag_ms / 1000

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # asyncio holds tasks weakly: one that nobody keeps may vanish.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("a task of this process has died, which must not happen", exc_info=error)

    async def _refresh_catalogue(self) -> None:
        while True:
            try:
                documents, rows, peppers = await self.vault.campaigns()
                is_permitted = await self._is_permitted()
            except VaultUnavailable as error:
                if self.vault_answers:
                    _log.warning("the ledger's database does not answer: %s", error)
                self.vault_answers = False
            else:
                self.vault_answers = True
                served = self._with_pepper([each for each in peppers if is_permitted and each.campaign_id in documents])
                if served.keys() != self.campaigns.keys():
                    self._take_in({name: Campaign.from_document(documents[name]) for name in served}, served)
                for row in rows:
                    if row.stock_id in self.counters:
                        self.counters[row.stock_id].confirmations.vault_epoch = row.epoch
            await asyncio.sleep(self.settings.catalogue_refresh_ms / 1000)

    async def _is_permitted(self) -> bool:
        """Whether anything may be served, as far as the vault's policy goes, which is never lowered."""
        if not self._has_policy:
            self._has_policy = await self.vault.two_must_agree()
            if not self._has_policy and policy.ONE_ALONE not in self._told:
                self._told.add(policy.ONE_ALONE)
                _log.error("nothing is served: %s", policy.ONE_ALONE)
        return self._has_policy

    async def _count_used(self) -> None:
        while True:
            with suppress(VaultUnavailable):
                self.used = await self.vault.used_vouchers()
            await asyncio.sleep(_COUNTS_OF_REFRESHES * self.settings.catalogue_refresh_ms / 1000)

    def _with_pepper(self, peppers: Iterable[CampaignPepper]) -> dict[str, str]:
        """Return the versions of the campaigns whose peppers are here; the others are not served."""
        faults = unfit(peppers, self.user_refs)
        for campaign_id in faults.keys() - self._told:
            _log.error("%s is not served: %s", campaign_id, faults[campaign_id])
        self._told |= faults.keys()
        self.not_served = frozenset(faults)
        self.counters.is_whole = not any(each.is_needed for each in peppers if each.campaign_id in faults)
        return {each.campaign_id: str(each.version) for each in peppers if each.campaign_id not in faults}

    def _take_in(self, campaigns: dict[str, Campaign], versions: Mapping[str, str]) -> None:
        new: list[Counter] = []
        for campaign in campaigns.values():
            for stock in campaign.stocks():
                if stock.stock_id not in self.counters:
                    counter = self._counter(stock, tuple(campaign.eligible_regions))
                    counter.pepper_version = versions[campaign.campaign_id]
                    self.counters[stock.stock_id] = counter
                    self.instruments.know(stock.stock_id)
                    new.append(counter)
        self._keep(_derive_codes(new))
        self.campaigns = campaigns
        if self._watch is not None:
            self._watch.cancel()
        listener = gates.connect(self.settings.redis_url, self.settings.gate_timeout_ms)
        watched = {name: (counter.stock, counter.confirmations) for name, counter in self.counters.items()}
        self._watch = self._keep(Watch(listener, self.gate, watched).run())
        _log.info("serving %d stocks of %s", len(self.counters), ", ".join(sorted(campaigns)))

    def _counter(self, stock: Stock, eligible_regions: tuple[str, ...]) -> Counter:
        settings = self.settings
        confirmations = Confirmations(settings.confirm_timeout_ms / 1000, waits_for_ledger=settings.ack == "ledger")
        return Counter(
            stock=stock,
            desk=Desk(
                self.gate,
                stock,
                confirmations.settle,
                pace=self._pace,
                interval_s=settings.gate_interval_ms / 1000,
                batch_max=settings.gate_batch_max,
                waiting_max=settings.claims_waiting_max,
                observe=self.instruments.script,
                on_sold_out=self.probe.sold_out,
            ),
            confirmations=confirmations,
            eligible_regions=eligible_regions,
            codes=StockCodes(self.codes, stock.stock_id),
            memory=Memory(settings.memory_ms / 1000, settings.holders_remembered_max),
        )

    async def _keep_looking(self) -> None:
        period_s = min(self.settings.snapshot_ms, self.settings.memory_ms // 2 or self.settings.snapshot_ms) / 1000
        while True:
            await self.probe.look()
            await asyncio.sleep(period_s)

    async def _refresh_snapshot(self) -> None:
        while True:
            probe = self.probe
            figures = [(each.stock, probe.figures.get(each.stock.stock_id)) for each in self.counters.values()]
            self.snapshot = snapshot.take(figures, gate_answers=probe.gate_answers, now_ms=_now_ms())
            self.history.note(self.snapshot, probe.gate_ms)
            await asyncio.sleep(self.settings.snapshot_ms / 1000)

    async def _check_library(self) -> None:
        ours = resources.library_source()
        while True:
            try:
                is_ours = await self.gate.library() == ours
                self.verdicts, self.differences = await self.gate.watched()
            except GateUnavailable:
                is_ours, self.verdicts, self.differences = False, {}, {}
            if self.library_is_ours and not is_ours:
                _log.error("the gate's function library is missing or not this version's: run 'grab recover'")
            self.library_is_ours = is_ours
            await asyncio.sleep(_LIBRARY_CHECK_S)


async def _derive_codes(counters: Iterable[Counter]) -> None:
    """Derive the codes of stocks before anybody waits for one, one stock after the other."""
    for counter in counters:
        await counter.codes.derive(counter.stock.quantity)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
