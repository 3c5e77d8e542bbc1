"""Which peers there are, what each needs, how each is started and asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import redis.asyncio as redis

from loadtest.bench.cpu import Cores
from loadtest.bench.processes import database, free_port, listening, running, store

OPEN, SOLD_OUT = "open", "sold-out"  # the peers' stocks
NGINX, FASTIFY, FASTAPI, TUNED, POSTGRES = (
    "nginx + Lua + Redis",
    "Fastify + ioredis",
    "FastAPI + redis-py",  # as pip installs and starts it
    "FastAPI + redis-py, tuned",  # the same program under a server that is set up for speed
    "FastAPI + PostgreSQL, tuned",
)

_HERE = Path(__file__).parent
NODE_PACKAGES = _HERE.parents[2] / "artefacts" / "peers"
_NODE_HINT = "make bench-peers"
_NGINX_HINT = "apt-get install nginx-light libnginx-mod-http-lua lua-nginx-redis"
_LUA_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
_LEFT = 100_000_000
# What "pip install fastapi uvicorn redis" and "uvicorn app:app" give; said here since more is installed on this side.
_AS_IT_COMES = ("--loop", "asyncio", "--http", "h11")
_FOR_SPEED = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that listens.

    Attributes:
        port: Where.
        server: Its process, with all its descendants.
        store: The process of its store.
    """

    port: int
    server: int
    store: int


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    Attributes:
        name: How the table names it.
        missing: What is not installed and how to install it, None when it can be run.
        has_json_body: Whether the user is named in a JSON body, else in the header ``X-User``.
    """

    name: str
    missing: str | None
    has_json_body: bool

    def request(self, stock: str, user: str) -> bytes:
        """Return a claim of this peer."""
        head = f"POST /v1/stocks/{stock}/claims HTTP/1.1\r\nHost: bench\r\n"
        if self.has_json_body:
            body = json.dumps({"user": user})
            return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        return f"{head}X-User: {user}\r\nContent-Length: 0\r\n\r\n".encode()


def roster() -> list[Peer]:
    """Return every peer, those that cannot be run here included."""
    return [
        Peer(NGINX, _nginx_missing(), has_json_body=False),
        Peer(FASTIFY, _node_missing(), has_json_body=False),
        Peer(FASTAPI, None, has_json_body=True),
        Peer(TUNED, None, has_json_body=True),
        Peer(POSTGRES, None, has_json_body=True),
    ]


def _nginx_missing() -> str | None:
    program = _nginx()
    if program is None:
        return f"nginx is not installed: {_NGINX_HINT}"
    facts = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stderr
    if "lua" not in facts and not all((_module_dir() / name).is_file() for name in _LUA_MODULES):
        return f"nginx has no Lua module: {_NGINX_HINT}"
    return None


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/openresty/nginx/sbin")


def _module_dir() -> Path:
    return Path("/usr/lib/nginx/modules")


def _node_missing() -> str | None:
    if shutil.which("node") is None:
        return "Node is not installed"
    if not all((NODE_PACKAGES / "node_modules" / name).is_dir() for name in ("fastify", "ioredis")):
        return f"its packages are not installed: {_NODE_HINT}"
    return None


@asynccontextmanager
async def run_peer(peer: Peer, directory: Path, cores: Cores, workers: int) -> AsyncIterator[Running]:
    """Run a peer with a store of its own: the server on its core, the store on the other.

    Raises:
        BenchImpossible: It does not listen.
    """
    async with AsyncExitStack() as stack:
        port, log = free_port(), directory / "server.log"
        if peer.name == POSTGRES:
            url, store_pid = await stack.enter_async_context(database(directory, {cores.rest}))
            connection = await asyncpg.connect(url)
            await connection.execute((_HERE / "schema.sql").read_text(encoding="utf-8"))
            await connection.close()
            environment = {"BENCH_DATABASE_URL": url}
            argv = _uvicorn("fastapi_postgres", port, workers, _FOR_SPEED)
        else:
            url, store_pid = await stack.enter_async_context(store(directory, {cores.rest}))
            script = await _prepare(url)
            socket = url.removeprefix("unix://")
            environment = {"BENCH_STORE_URL": url, "BENCH_STORE_SOCKET": socket, "BENCH_PORT": str(port)}
            if peer.name == NGINX:
                argv = _nginx_argv(directory, socket, script, port)
            elif peer.name == FASTIFY:
                argv = ["node", str(_HERE / "fastify.js")]
                environment |= {"NODE_PATH": str(NODE_PACKAGES / "node_modules"), "NODE_ENV": "production"}
            else:
                argv = _uvicorn("fastapi_redis", port, workers, _FOR_SPEED if peer.name == TUNED else _AS_IT_COMES)
        server = await stack.enter_async_context(running(argv, log, {cores.server}, environment=environment))
        await listening(server, port, log)
        yield Running(port, server.pid, store_pid)


async def _prepare(url: str) -> str:
    """Put the stocks into the store and load the script; return its name."""
    client = redis.Redis.from_url(url, decode_responses=True)
    await client.mset({f"left:{OPEN}": _LEFT, f"left:{SOLD_OUT}": 0})
    script = await client.script_load((_HERE / "claim.lua").read_text(encoding="utf-8"))
    await client.aclose()
    return str(script)


def _uvicorn(module: str, port: int, workers: int, options: Sequence[str]) -> list[str]:
    argv = [sys.executable, "-m", "uvicorn", f"loadtest.bench.peers.{module}:app", "--port", str(port), *options]
    return [*argv, "--workers", str(workers), "--timeout-keep-alive", "300", "--backlog", "4096"]


def _nginx_argv(directory: Path, socket: str, script: str, port: int) -> list[str]:
    modules = [_module_dir() / name for name in _LUA_MODULES]
    values = {
        "MODULES": "\n".join(f"load_module {path};" for path in modules if path.is_file()),
        "DIRECTORY": str(directory),
        "STORE": f"unix:{socket}",
        "SCRIPT": script,
        "PORT": str(port),
        "PEERS": str(_HERE),
    }
    text = (_HERE / "nginx.conf").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    path = directory / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    return [_nginx() or "nginx", "-p", str(directory), "-c", str(path)]
