"""Runs the API under the ASGI server that the settings name, in as many processes as they say."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from pathlib import Path

import uvicorn
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes, TaskImpl
from granian.http import HTTP1Settings

from grab_service import logs
from grab_service.settings import Settings, variable_of

_log = logging.getLogger(__name__)

_FACTORY = "grab_service.api.app:create_app_from_environment"
_ADMIN_FACTORY = "grab_service.api.app:create_admin_app_from_environment"
_LINE = "grab_service.api.line:Line"
_ADMIN_LOOK_S = 1.0
_BACKLOG_MAX = 4096  # connections that wait to be accepted: everyone comes in the same second
_IDLE_S = 75  # the app's connections outlive the countdown; Granian bounds slow heads by the same
_CONNECTIONS_MAX = 50_000  # of one process of Granian; without it the rest would hang at a number made from the backlog
_HEAD_BYTES_MAX = 65_536  # what Granian buffers of a connection
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  a directory of our own is made there: no disk slows a count down


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first."""
    allow_many_connections()
    with _shared_counts(settings), _admin_beside(settings):
        if settings.server == "granian":
            _serve_with_granian(settings)
        else:
            _serve_with_uvicorn(settings)


@contextmanager
def _shared_counts(settings: Settings) -> Iterator[None]:
    """Let the processes to come share their counts, unless there will be one only or the settings say where."""
    if (settings.workers == 1 and not settings.admin_port) or settings.counts_dir is not None:
        yield
        return
    place = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="grab-counts-", dir=place) as directory:
        os.environ[variable_of("counts_dir")] = directory
        yield


@contextmanager
def _admin_beside(settings: Settings) -> Iterator[None]:
    """Serve staff and monitoring on a port of their own, by a process that ends with this one, however that ends.

    Raises:
        OSError: The port is taken, or this machine has no such address.
    """
    if not settings.admin_port:
        yield
        return
    family = socket.AF_INET6 if ":" in settings.admin_host else socket.AF_INET
    # Shared: one that was killed a moment ago may still be ending.
    address = (settings.admin_host, settings.admin_port)
    with socket.create_server(address, family=family, reuse_port=True) as listening:
        stopping = threading.Event()
        admin = _start_admin(settings, listening)
        keeping = threading.Thread(target=_keep_admin, args=(admin, settings, listening, stopping), daemon=True)
        keeping.start()
        try:
            yield
        finally:
            stopping.set()
            keeping.join()


def _start_admin(settings: Settings, listening: socket.socket) -> SpawnProcess:
    # Spawned: nothing of what other servers do to this process before or after is in it.
    process = multiprocessing.get_context("spawn").Process(
        target=_serve_admin, args=(listening, settings.log_format, settings.shutdown_grace_s), daemon=True
    )
    process.start()
    return process


def _keep_admin(admin: SpawnProcess, settings: Settings, listening: socket.socket, stopping: threading.Event) -> None:
    while not stopping.wait(_ADMIN_LOOK_S):
        if not admin.is_alive():
            _log.error("the process for staff and monitoring has ended (%s) and is started again", admin.exitcode)
            admin = _start_admin(settings, listening)
    admin.terminate()
    admin.join(settings.shutdown_grace_s)


def _serve_admin(listening: socket.socket, log_format: logs.LogFormat, shutdown_grace_s: int) -> None:
    config = uvicorn.Config(
        _ADMIN_FACTORY,
        factory=True,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=shutdown_grace_s,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=logs.configuration(log_format),
    )
    threading.Thread(target=_end_with_parent, daemon=True).start()
    uvicorn.Server(config).run([listening])


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  this is a child
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def allow_many_connections() -> None:
    """Raise this process's limit of open files to what the system allows it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve_with_uvicorn(settings: Settings) -> None:
    uvicorn.run(
        _FACTORY,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=_LINE,
        ws="none",
        lifespan="on",
        backlog=_BACKLOG_MAX,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=logs.configuration(settings.log_format),
    )


def _serve_with_granian(settings: Settings) -> None:
    Granian(
        _FACTORY,
        factory=True,
        address=settings.host,
        port=settings.port,
        workers=settings.workers,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        # docs/adr/0007 has the measurements.  Granian's own kind of task is no asyncio task: no timeout works in it.
        runtime_mode=RuntimeModes.st,
        task_impl=TaskImpl.asyncio,
        websockets=False,
        backlog=_BACKLOG_MAX,
        backpressure=_CONNECTIONS_MAX,
        http1_settings=HTTP1Settings(header_read_timeout=_IDLE_S * 1000, max_buffer_size=_HEAD_BYTES_MAX),
        respawn_failed_workers=True,
        workers_kill_timeout=settings.shutdown_grace_s,
        log_access=False,
        log_dictconfig=logs.configuration(settings.log_format),
    ).serve()
