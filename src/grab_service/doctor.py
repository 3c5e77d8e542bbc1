"""``grab doctor``: checks what the promise depends on and nobody sees until it is too late."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio as redis

from grab_service import keyring, policy, resources
from grab_service.findings import Finding, Verdict
from grab_service.gate import Gate
from grab_service.keyring import KeyringInvalid
from grab_service.pepper_check import unfit
from grab_service.references import VoucherCodes
from grab_service.settings import STORES, Settings, variable_of
from grab_service.store_urls import is_in_the_clear, is_nobody
from grab_service.stores import StoreUnavailable, open_gate, open_vault
from ledger import admin, catalogue, gate_settings, migrate, money, roles, vault_server
from ledger.catalogue import CampaignPepper
from ledger.gate_settings import WrongSetting
from ledger.money import Unfunded
from ledger.vault_server import MintedSample

_GATE_VERSION_MIN = (7, 0)
_CLOCK_WARN_S, _CLOCK_FAIL_S = 0.2, 2.0
_FILES_WARN, _FILES_FAIL = 65_536, 4_096
_DISK_WARN_BYTES, _DISK_FAIL_BYTES = 2 * 10**9, 2 * 10**8
_OTHERS = 0o077


async def examine(settings: Settings, directory: Path | None) -> list[Finding]:
    """Make every check.

    Args:
        settings: The settings of the service.
        directory: The data directory, whose disk is looked at; None for none.
    """
    missing = [variable_of(name) for name in STORES if not getattr(settings, name)]
    if missing:
        return [_fail("settings", f"{' and '.join(missing)} not set", "set it, or name a --data-dir")]
    return [
        *await _look_at_gate(settings),
        *await _look_at_vault(settings),
        *_look_at_key_files(settings),
        *_look_at_urls(settings),
        *_look_at_machine(directory),
    ]


async def _look_at_gate(settings: Settings) -> list[Finding]:
    try:
        async with open_gate(settings) as client:
            info = await client.info()
            began_s, (seconds, microseconds) = time.time(), await client.time()
            findings = [
                _gate_version(info),
                _settings_finding("gate settings", await gate_settings.wrong_settings(client)),
                _append_only_file(info),
                _clock("gate clock", began_s, seconds + microseconds / 1_000_000),
                await _library(client),
            ]
    except StoreUnavailable as error:
        return [_fail("gate", str(error), "start it, or correct GRAB_REDIS_URL")]
    return findings


def _gate_version(info: Mapping[str, Any]) -> Finding:
    product = str(info.get("server_name", "redis"))
    version = str(info.get(f"{product}_version", info["redis_version"]))
    told = f"{product} {version}"
    # Valkey tells under the old name which Redis it is compatible with.
    if tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < _GATE_VERSION_MIN:
        return _fail("gate version", told, "functions need Redis 7.0 or Valkey")
    return _pass("gate version", told)


def _append_only_file(info: Mapping[str, Any]) -> Finding:
    if info.get("aof_last_write_status", "ok") != "ok":
        return _fail(
            "gate journal", "the last write to the append-only file failed", "look at the disk and the server's log"
        )
    return _pass("gate journal", "writes succeed")


async def _library(client: redis.Redis) -> Finding:
    gate, advice = Gate(client), "run 'grab recover'"
    loaded = await gate.library()
    if loaded is None:
        return _fail("gate library", "not loaded, the gate is closed", advice)
    if loaded != resources.library_source():
        return _fail("gate library", "another version's", advice)
    return _pass("gate library", "this version's")


async def _look_at_vault(settings: Settings) -> list[Finding]:
    try:
        async with open_vault(settings) as vault:
            missing = [each.name for each in await migrate.status(vault) if not each.is_applied]
            began_s, instant = time.time(), await vault_server.clock(vault)
            findings = [
                _vault_version(vault),
                _settings_finding("vault settings", await vault_server.wrong_settings(vault)),
                _clock("vault clock", began_s, instant.timestamp()),
            ]
            if missing:
                return [*findings, _fail("vault tables", f"missing: {', '.join(missing)}", "run 'grab migrate'")]
            findings.append(_vault_role(settings, await roles.powers_over_journals(vault)))
            findings.append(_two_persons(settings, is_policy=await admin.must_agree(vault)))
            findings.append(_fund(await money.unfunded(vault)))
            findings.append(_peppers(settings, await catalogue.peppers(vault)))
            sample = await vault_server.minted_sample(vault)
    except migrate.MigrationRefused as error:
        return [_fail("vault tables", str(error), "run the version that fits")]
    except StoreUnavailable as error:
        return [_fail("vault", str(error), "start it, or correct GRAB_DATABASE_URL")]
    return [*findings, _pass("vault tables", "up to date"), _minted(settings, sample)]


def _vault_role(settings: Settings, journals: Sequence[str]) -> Finding:
    name = "vault role"
    if not journals or settings.rehearsal:
        return _pass(name, "not needed in a rehearsal" if journals else "cannot change a journal")
    parts = f"{roles.API}, {roles.LEDGER}, {roles.STAFF}"
    advice = f"run 'grab doctor --fix' as a superuser, and give each part its own login: {parts}"
    return Finding(name, Verdict.WARN, f"could change {len(journals)} journals", advice)


def _fund(missing: Sequence[Unfunded]) -> Finding:
    """Whether every voucher has its money two working days before it is handed out."""
    late = [each for each in missing if money.today(datetime.now(UTC)) >= each.due_on]
    if not late:
        return _pass(
            "fund", f"{len(missing)} rounds wait for it, none is due" if missing else "received for every round"
        )
    told = ", ".join(
        f"{each.campaign_id} {each.round_id} lacks {each.needed_fen} fen, due {each.due_on}" for each in late
    )
    return Finding("fund", Verdict.WARN, told, "nobody can use their vouchers until 'grab fund' has booked it")


def _vault_version(vault: asyncpg.Connection) -> Finding:
    version = vault.get_server_version()
    told = f"PostgreSQL {version.major}.{version.micro}"
    if version.major < vault_server.VERSION_MIN:
        return _fail("vault version", told, f"PostgreSQL {vault_server.VERSION_MIN} or later is needed")
    return _pass("vault version", told)


def _minted(settings: Settings, sample: MintedSample | None) -> Finding:
    """Whether the voucher key is the one that vouchers were minted with: another gives codes that nobody can use."""
    name = "minted codes"
    if sample is None:
        return Finding(name, Verdict.WARN, "no campaign is stored", "run 'grab campaign load FILE'")
    try:
        codes = VoucherCodes(keyring.read_secret("voucher_key_file", settings.voucher_key_file))
    except KeyringInvalid:
        return Finding(name, Verdict.WARN, "cannot be compared without the voucher key")
    if codes.code_hash(sample.stock_id, sample.claim_no) != sample.code_hash:
        return _fail(name, "vouchers were minted with another voucher key", "restore that key")
    return _pass(name, "fit the voucher key")


def _peppers(settings: Settings, stored: Sequence[CampaignPepper]) -> Finding:
    """Whether each campaign with valid vouchers has the very pepper here that it began with: no part starts without."""
    name = "peppers"
    try:
        refs = keyring.read_user_refs(settings)
    except KeyringInvalid:
        return Finding(name, Verdict.WARN, "cannot be compared, since one cannot be read")
    if faults := unfit((each for each in stored if each.is_needed), refs):
        return _fail(name, "; ".join(faults.values()), "restore the very secret that they began with")
    return _pass(name, "fit the campaigns that have valid vouchers")


def _look_at_key_files(settings: Settings) -> list[Finding]:
    name = "keys"
    if not settings.jwt_issuer:
        return [_fail(name, f"{variable_of('jwt_issuer')} is not set", "name the issuer of the app's tokens")]
    try:
        keys = keyring.load(settings)
    except KeyringInvalid as error:
        return [_fail(name, str(error))]
    secrets = [settings.ticket_key_file, settings.voucher_key_file, settings.pepper_file, settings.client_key_file]
    secrets += [settings.ticket_key_other_file, *(path for _, path in keyring.other_peppers(settings))]
    open_to_others = [str(path) for path in secrets if path and path.exists() and path.stat().st_mode & _OTHERS]
    if open_to_others:
        return [Finding(name, Verdict.WARN, f"others may read {', '.join(open_to_others)}", "chmod 600")]
    return [_pass(name, f"all there, {sum(len(each['keys']) for each in keys.key_sets.values())} public")]


def _two_persons(settings: Settings, *, is_policy: bool) -> Finding:
    name = "two persons"
    if is_policy:
        return _pass(name, "must agree on grave acts")
    if settings.rehearsal:
        return _pass(name, "not needed in a rehearsal")
    advice = "run 'grab migrate --two-persons'"
    if policy.asks_for_two(settings):
        return _fail(name, "API and workers do not start where one alone may open, pay and recover", advice)
    return Finding(name, Verdict.WARN, "one alone may open, pay and recover", advice)


def _look_at_urls(settings: Settings) -> list[Finding]:
    if settings.rehearsal:
        return []
    clear = [variable_of(name) for name in STORES if is_in_the_clear(getattr(settings, name))]
    name, findings = "links to stores", []
    if clear:
        advice = "use rediss:// and sslmode=verify-full, or see that nobody else is on that network"
        findings.append(
            Finding(name, Verdict.WARN, f"{' and '.join(clear)} without TLS that checks the server", advice)
        )
    else:
        findings.append(_pass(name, "sockets, this machine or TLS"))
    if is_nobody(settings.redis_url):
        advice = "give each part its own: run 'grab doctor --fix' as a user who may make others"
        findings.append(Finding("gate user", Verdict.WARN, "the default one, who may do everything", advice))
    else:
        findings.append(_pass("gate user", "named"))
    return findings


def _look_at_machine(directory: Path | None) -> list[Finding]:
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    findings = [_above("open files", files_max, _FILES_WARN, _FILES_FAIL, "raise LimitNOFILE or 'ulimit -Hn'")]
    if directory is not None:
        free_bytes = shutil.disk_usage(directory).free
        findings.append(
            _above("disk bytes free", free_bytes, _DISK_WARN_BYTES, _DISK_FAIL_BYTES, f"free some below {directory}")
        )
    return findings


def _above(name: str, found: int, warn_below: int, fail_below: int, advice: str) -> Finding:
    if found == resource.RLIM_INFINITY:
        return _pass(name, "unlimited")
    if found >= warn_below:
        return _pass(name, f"{found:,}")
    return Finding(name, Verdict.FAIL if found < fail_below else Verdict.WARN, f"{found:,}", advice)


def _clock(name: str, asked_at_s: float, told_s: float) -> Finding:
    """Compare a server's clock with this machine's, which stood between the question and now when it was read."""
    ahead_s = max(told_s - time.time(), 0) or min(told_s - asked_at_s, 0)
    detail = f"{ahead_s:+.3f} s against this machine"
    if abs(ahead_s) < _CLOCK_WARN_S:
        return _pass(name, detail)
    verdict = Verdict.FAIL if abs(ahead_s) > _CLOCK_FAIL_S else Verdict.WARN
    return Finding(name, verdict, detail, "let chrony or NTP set both clocks; the gate's decides about the opening")


def _settings_finding(name: str, wrong: Sequence[WrongSetting]) -> Finding:
    if wrong:
        return _fail(name, "; ".join(map(str, wrong)), "correct the server's configuration")
    return _pass(name, "as the promise needs them")


def _pass(name: str, detail: str) -> Finding:
    return Finding(name, Verdict.PASS, detail)


def _fail(name: str, detail: str, advice: str = "") -> Finding:
    return Finding(name, Verdict.FAIL, detail, advice)
