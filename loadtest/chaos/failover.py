"""A fail-over that goes wrong: a replica that lags behind is promoted while the old primary can still be reached."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio as redis

from loadtest.chaos.scene import Scene
from loadtest.chaos.site import Site


def free_port() -> int:
    """Return a TCP port of this machine that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@asynccontextmanager
async def _replica(site: Site, directory: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """Run a replica of the gate that has caught up."""
    directory.mkdir(exist_ok=True)
    path = directory / "r.sock"
    async with site.gate() as gate:
        program = str((await gate.info("server"))["executable"])
        port = free_port()
        await gate.config_set("port", str(port))
    arguments = [
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--dir",
        str(directory),
        "--replicaof",
        f"127.0.0.1 {port}",
    ]
    arguments += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"]
    process = await asyncio.create_subprocess_exec(program, *arguments, stdout=asyncio.subprocess.DEVNULL)
    replica = redis.Redis(unix_socket_path=str(path), decode_responses=True)
    try:
        for _ in range(150):
            with contextlib.suppress(redis.RedisError, OSError):
                if (await replica.info("replication")).get("master_link_status") == "up":
                    break
            await asyncio.sleep(0.02)
        async with site.gate() as gate:
            await gate.config_set("port", "0")
        yield process, path
    finally:
        await replica.aclose()
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(directory, ignore_errors=True)


async def old_primary(scene: Scene) -> None:
    """Promote a replica that lags behind, while the old primary still sells to whoever is connected to it."""
    site, began_ms = scene.site, time.time() * 1000
    name = site.directory / "valkey" / "valkey.sock"
    with contextlib.suppress(redis.RedisError, OSError):
        async with _replica(site, site.directory / "replica") as (_, path):
            async with site.gate() as gate:  # from here on the replica lags
                await gate.execute_command("CLIENT", "KILL", "TYPE", "replica")  # type: ignore[no-untyped-call]  # as above
            await asyncio.sleep(scene.dice.uniform(0.2, 1.0))
            promoted = redis.Redis(unix_socket_path=str(path), decode_responses=True)
            await promoted.replicaof("NO", "ONE")
            await promoted.aclose()
            name.unlink()
            name.symlink_to(path)
            await site.grab("recover")
            await asyncio.sleep(scene.dice.uniform(0.5, 2.0))
            # The old one is fenced for good by its death; the supervisor starts it anew, closed, under its own name.
            await site.kill("valkey")
            scene.killed("valkey")
    scene.two_gates.append((began_ms, time.time() * 1000))
