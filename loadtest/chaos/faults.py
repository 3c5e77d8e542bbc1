"""What is done to the service: each fault injects, holds for a while, and heals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import asyncpg
import redis.asyncio as redis

from loadtest.chaos.failover import old_primary
from loadtest.chaos.interposer import Spoil, interposed
from loadtest.chaos.scene import Fault, Scene
from loadtest.chaos.site import Site, until

_MENDED_WITHIN_S = 30.0


def kill(part: str) -> Fault:
    """Kill a part."""

    async def inject(scene: Scene) -> None:
        await scene.site.kill(part)
        scene.killed(part)

    return inject


async def kill_supervisor(scene: Scene) -> None:
    """Kill the supervisor and start another, which ends in good order what the first one left."""
    scene.killed("supervisor")
    await scene.site.kill_all_at_the_top()


def freeze(part: str, longest_s: float) -> Fault:
    """Let a part hang for a while."""

    async def inject(scene: Scene) -> None:
        scene.site.freeze(part)
        await asyncio.sleep(scene.dice.uniform(0.3, longest_s))
        scene.site.thaw(part)

    return inject


def harm_file(how: str) -> Fault:
    """Kill the gate, and harm its append-only file before it is started again."""

    async def inject(scene: Scene) -> None:
        directory = scene.site.directory / "valkey"
        async with scene.site.unattended("valkey") as was_killed:
            if was_killed:
                scene.killed("valkey")
            files = list(directory.glob("appendonlydir/*.incr.aof"))
            if how in ("wipe", "remove"):
                shutil.rmtree(directory / "appendonlydir" if how == "wipe" else directory, ignore_errors=True)
                files = []
            for file in files:
                content = bytearray(file.read_bytes())
                if how == "cut":
                    del content[-scene.dice.randint(1, 2000) :]
                elif how == "halve":
                    del content[len(content) // 2 :]
                else:
                    at = scene.dice.randrange(max(1, len(content)))
                    content[at : at + 3] = b"\xff\r\n"
                file.write_bytes(content)

    return inject


async def remove_under_it(scene: Scene) -> None:
    """Remove the gate's directory while it runs, and wait until it was ended for that."""
    pid = scene.site.pid("valkey")
    shutil.rmtree(scene.site.directory / "valkey", ignore_errors=True)
    await until(lambda: scene.site.pid("valkey") not in (None, pid), "the gate is started anew", _MENDED_WITHIN_S)
    scene.killed("valkey")


def on_gate(work: Callable[[redis.Redis, Scene], Awaitable[object]], hold_s: float = 0.0) -> Fault:
    """Do something to the gate by a client; trouble with the gate itself ends it."""

    async def inject(scene: Scene) -> None:
        with contextlib.suppress(redis.RedisError, OSError):
            async with scene.site.gate() as gate:
                await work(gate, scene)
        await asyncio.sleep(hold_s)

    return inject


def setting(choices: Mapping[str, tuple[str, str]], hold_s: float) -> Fault:
    """Change a setting of the gate for a while: one of ``choices``, from name to what is wrong and what is right."""

    async def inject(scene: Scene) -> None:
        name = scene.dice.choice(sorted(choices))
        wrong, right = choices[name]
        await on_gate(lambda gate, _: gate.config_set(name, wrong), hold_s)(scene)

        async def is_right() -> bool:
            with contextlib.suppress(redis.RedisError, OSError):
                async with scene.site.gate() as gate:
                    await gate.config_set(name, right)
                    return True
            return False

        await until(is_right, f"{name} is {right} again", _MENDED_WITHIN_S)

    return inject


async def flush(gate: redis.Redis, scene: Scene) -> None:
    """Delete data or functions by mistake."""
    what = scene.dice.choice(["all", "functions", "both"])
    if what != "all":
        await gate.function_delete("grab")
    if what != "functions":
        await gate.flushall()


async def tamper(gate: redis.Redis, scene: Scene) -> None:
    """Change one key by hand."""
    stock = f"grab:{{{scene.dice.choice(scene.stock_ids)}}}"
    what = scene.dice.choice(["number", "holders", "trim", "rules"])
    if what == "number":
        await gate.lpop(f"{stock}:free")
    elif what == "holders":
        await gate.delete(f"{stock}:holders")
    elif what == "trim":
        await gate.xtrim(f"{stock}:claims", maxlen=1)
    else:
        await gate.hset(f"{stock}:rules", "epoch", "0")


async def poison(gate: redis.Redis, scene: Scene) -> None:
    """Write an entry that no function would write."""
    stock_id = scene.dice.choice(scene.stock_ids)
    epoch = str(await gate.hget(f"grab:{{{stock_id}}}:rules", "epoch") or "1")
    user_ref = "1" + "p" * 22
    entry = scene.dice.choice(
        [
            {"v": "1", "epoch": epoch, "claim_no": "999999", "user_ref": user_ref},
            {"v": "1", "epoch": epoch, "claim_no": "1", "user_ref": user_ref},
            {"v": "1", "epoch": epoch, "claim_no": "0", "user_ref": user_ref},
            {"v": "9", "anything": "goes"},
            {"v": "1", "epoch": "9999999", "claim_no": "2", "user_ref": user_ref},
        ]
    )
    stream_id = await gate.xadd(f"grab:{{{stock_id}}}:claims", entry)  # type: ignore[arg-type]  # redis-py's dictionary is invariant
    scene.planted.add((stock_id, str(stream_id)))


def wire(server: str, spoil: Spoil, hold_s: float) -> Fault:
    """Cut every connection to a server, and spoil those that are made for a while."""

    async def inject(scene: Scene) -> None:
        directory = scene.site.directory / server
        socket = next(iter([*directory.glob("valkey.sock"), *directory.glob(".s.PGSQL.5432")]), None)
        if socket is None:
            return
        async with interposed(socket, spoil):
            await cut_all(scene.site, server)
            await asyncio.sleep(hold_s)
        await cut_all(scene.site, server)

    return inject


async def cut_all(site: Site, server: str) -> None:
    """Cut every connection to a server."""
    with contextlib.suppress(Exception):  # the way may be spoilt for us as well
        if server == "valkey":
            async with site.gate() as gate:
                for kind in ("pubsub", "normal"):
                    await gate.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        else:
            async with site.vault() as vault:
                await vault.execute(_statement("cut_connections"))


async def lock_claims(scene: Scene) -> None:
    """Hold a lock that keeps the ledger from recording."""
    hold_s = scene.dice.uniform(0.5, 3.0)
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        async with scene.site.vault() as vault, vault.transaction():
            await vault.execute(_statement("lock_claims"), timeout=_MENDED_WITHIN_S)
            await asyncio.sleep(hold_s)


def _statement(name: str) -> str:
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")


async def two_recoveries(scene: Scene) -> None:
    """Run two recoveries at once, beside a service that needs none."""
    await asyncio.gather(scene.site.grab("recover"), scene.site.grab("recover"))


async def kill_a_recovery(scene: Scene) -> None:
    """Begin a recovery and kill it somewhere in the middle."""
    try:
        await asyncio.wait_for(scene.site.grab("recover"), scene.dice.uniform(0.3, 0.8))
    except TimeoutError:
        scene.killed("recovery")


async def zombie(scene: Scene) -> None:
    """Freeze the ledger worker with what it has read, raise the epoch, and let it go on."""
    scene.site.signal("ledger", signal.SIGSTOP)
    try:
        await asyncio.sleep(scene.dice.uniform(0.2, 1.0))
        await scene.site.grab("recover")
    finally:
        scene.site.signal("ledger", signal.SIGCONT)


def disk(delay_ms: int, error: int, hold_s: float) -> Fault:
    """Let every fsync of the gate take so long, or fail."""

    async def inject(scene: Scene) -> None:
        if scene.fsync is None:
            return
        pid = scene.site.pid("valkey")
        scene.fsync.write_text(f"{delay_ms} {error}\n")
        await asyncio.sleep(hold_s)
        scene.fsync.unlink()
        if pid is not None and scene.site.pid("valkey") != pid:
            scene.killed("valkey")

    return inject


_WRONG_SETTINGS = {  # what the promise rests on; the watch closes the gate until it is right again
    "appendfsync": ("everysec", "always"),
    "appendonly": ("no", "yes"),
    "maxmemory-policy": ("allkeys-lru", "noeviction"),
    "no-appendfsync-on-rewrite": ("yes", "no"),
}

FAULTS: dict[str, tuple[int, Fault]] = {
    "kill api": (11, kill("api")),
    "kill ledger": (12, kill("ledger")),
    "kill valkey": (14, kill("valkey")),
    "kill postgres": (11, kill("postgres")),
    "kill supervisor": (2, kill_supervisor),
    "freeze api": (2, freeze("api", 3.0)),
    "freeze ledger": (2, freeze("ledger", 3.0)),
    "freeze valkey": (2, freeze("valkey", 3.0)),
    "freeze postgres": (1, freeze("postgres", 3.0)),
    "gate file cut": (3, harm_file("cut")),
    "gate file halved": (2, harm_file("halve")),
    "gate file wiped": (2, harm_file("wipe")),
    "gate file damaged": (2, harm_file("damage")),
    "gate directory removed": (1, harm_file("remove")),
    "gate directory removed under it": (1, remove_under_it),
    "gate flushed": (2, on_gate(flush)),
    "gate tampered with": (2, on_gate(tamper, 2.5)),
    "gate out of memory": (1, setting({"maxmemory": ("1mb", "0")}, 2.0)),
    "gate with a wrong setting": (2, setting(_WRONG_SETTINGS, 3.0)),
    "poisoned entry": (2, on_gate(poison, 0.5)),
    "gate's wire slow": (1, wire("valkey", Spoil(delay_s=0.3), 2.0)),
    "gate's wire cut": (2, wire("valkey", Spoil(cut_after=20_000), 2.0)),
    "vault's wire slow": (1, wire("postgres", Spoil(delay_s=0.2), 2.0)),
    "vault's wire cut": (2, wire("postgres", Spoil(cut_after=5_000), 2.0)),
    "gate's answers lost": (1, wire("valkey", Spoil(cut_at=b"grab_claim"), 1.0)),
    "vault's commits lost": (1, wire("postgres", Spoil(cut_at=b"COMMIT"), 1.0)),
    "vault locked": (1, lock_claims),
    "two recoveries": (1, two_recoveries),
    "recovery killed": (2, kill_a_recovery),
    "zombie worker": (2, zombie),
    "old primary": (2, old_primary),
    "gate's disk slow": (1, disk(800, 0, 2.0)),
    "gate's disk fails": (1, disk(0, errno.EIO, 0.5)),
}
