"""Commands that run the service or a part of it."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from grab_service import data_dir, keyring, logs, policy, resources, serving, settings_reader
from grab_service import up as bring_up
from grab_service.cli.options import DataDirOption, JsonOption, Refused, chosen_settings, read_file, say, say_json
from grab_service.data_dir import DataDir
from grab_service.pepper_check import see_peppers
from grab_service.references import UserRefs
from grab_service.settings import SERVING, STORES, Settings
from grab_service.stores import StoreUnavailable, open_vault
from ledger import admin, roles
from ledger.exporter import Exporter
from ledger.migrate import Migration, migrate, status
from ledger.signals import Thresholds
from ledger.worker import Worker

_log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 1.0


class Server(StrEnum):
    """An ASGI server."""

    UVICORN = "uvicorn"
    GRANIAN = "granian"


def up(
    *,
    campaign: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What to hand out.", show_default="2023 Qijiang")
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="H", help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 for any.", show_default="8000")] = None,
    directory: Annotated[Path, typer.Option("--data-dir", metavar="DIR", help="Keeps everything.")] = data_dir.DEFAULT,
    opens_in_s: Annotated[
        float | None,
        typer.Option(
            "--opens-in",
            min=0,
            metavar="SECONDS",
            help="Move the campaign: it opens so long after readiness.",
            show_default="as in the file",
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="API processes.", show_default="1")] = None,
    server: Annotated[Server | None, typer.Option(help="ASGI server.", show_default="uvicorn")] = None,
) -> None:
    """Run everything on this machine: servers, campaign, API and ledger worker.

    Prints 'ready http://HOST:PORT' on standard output when claims can be served. Uses the servers that
    GRAB_REDIS_URL and GRAB_DATABASE_URL name, else its own in DIR. SIGINT or SIGTERM: everything ends in good order.
    """
    logs.configure()
    chosen = settings_reader.load(host=host, port=port, workers=workers, server=server and server.value)
    if chosen.jwks_file and not chosen.one_person:
        raise Refused(
            "'grab up' opens and recovers by itself: before real users it needs GRAB_ONE_PERSON=true; "
            "where two persons must agree, run the parts by themselves"
        )
    asyncio.run(
        bring_up.up(
            data=DataDir(directory.resolve()),
            settings=chosen,
            campaign=read_file(campaign or resources.default_campaign()),
            opens_in_s=opens_in_s,
            on_ready=lambda url: say(f"ready {url}"),
        )
    )


def serve() -> None:
    """Run the API; its settings come from GRAB_* and GRAB_SETTINGS_FILE ('grab settings')."""
    chosen = settings_reader.load(SERVING)
    keys = keyring.load(chosen)  # now, in one sentence, rather than in each process
    with contextlib.suppress(StoreUnavailable):  # it serves as soon as the vault answers, and then only what it can
        asyncio.run(_see_peppers(chosen, keys.user_refs))
        if asyncio.run(policy.forbids_start(chosen)):
            raise Refused(policy.ONE_ALONE)
    serving.serve(chosen)


async def _see_peppers(chosen: Settings, refs: UserRefs) -> None:
    async with open_vault(chosen) as vault:
        await see_peppers(vault, refs)


def ledger() -> None:
    """Run a ledger worker; any number may run, they share the stocks and stand in for each other."""
    chosen = settings_reader.load(STORES)
    keyring.refuse_weak_passwords(chosen)
    logs.configure(chosen.log_format)
    if uvloop.run(_work(chosen)):
        raise Refused(policy.ONE_ALONE)


def _thresholds(chosen: Settings) -> Thresholds:
    return Thresholds(
        burst_vouchers_max=chosen.review_burst_max,
        burst_s=chosen.review_burst_s,
        split_s=chosen.review_split_s,
        split_percent_max=chosen.review_split_percent,
        address_users_max=chosen.review_address_users_max,
        address_days=chosen.address_days,
    )


async def _work(chosen: Settings) -> bool:
    """Work until a signal comes; True at once if the vault's policy forbids it."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    worker = Worker(chosen.database_url, chosen.redis_url, _thresholds(chosen))
    async with asyncio.TaskGroup() as tasks:
        if chosen.ledger_metrics_port:
            exporter = Exporter(worker, chosen.redis_url, chosen.host, chosen.ledger_metrics_port)
            tasks.create_task(exporter.run(stop), name="exporter")
        if is_forbidden := await _is_forbidden(chosen, stop):
            stop.set()
        else:
            await worker.run(stop)
    return is_forbidden


async def _is_forbidden(chosen: Settings, stop: asyncio.Event) -> bool:
    """Whether the vault's policy forbids to work; a vault that does not answer is waited for."""
    while not stop.is_set():
        try:
            return await policy.forbids_start(chosen)
        except StoreUnavailable as error:
            _log.warning("waiting for the vault: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_AGAIN_S)
    return False


def migrate_vault(
    *,
    only_status: Annotated[bool, typer.Option("--status", help="Change nothing, list all migrations.")] = False,
    with_roles: Annotated[
        bool, typer.Option("--roles", help="Also make the vault's roles and give each its rights; needs a superuser.")
    ] = False,
    two_persons: Annotated[
        bool, typer.Option("--two-persons", help="Also let two persons agree on grave acts from now on, for ever.")
    ] = False,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the vault's tables up to date; safe to run any number of times."""
    chosen = chosen_settings(directory, ["database_url"])
    if only_status:
        migrations = asyncio.run(_status(chosen))
        if as_json:
            say_json([{"name": each.name, "applied": each.is_applied} for each in migrations])
        for each in [] if as_json else migrations:
            say(f"{'applied' if each.is_applied else 'missing'}  {each.name}")
        return
    applied = asyncio.run(_migrate(chosen, with_roles=with_roles, two_persons=two_persons))
    if as_json:
        say_json({"applied": applied})
    else:
        say("\n".join(f"applied {name}" for name in applied) or "up to date")


async def _migrate(chosen: Settings, *, with_roles: bool, two_persons: bool) -> list[str]:
    async with open_vault(chosen) as vault:
        applied = await migrate(vault)
        if two_persons:
            await admin.let_two_agree(vault, subject=getpass.getuser())
        if with_roles:
            await roles.create(vault)
        return applied


async def _status(chosen: Settings) -> list[Migration]:
    async with open_vault(chosen) as vault:
        return await status(vault)
