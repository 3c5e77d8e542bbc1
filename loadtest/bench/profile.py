"""Where the API's time goes, no by no and yes by yes: ``python -m loadtest.bench.profile``, which writes a page.

py-spy looks at the serving process many times a second, native frames included, while sold-out answers and then
vouchers are asked for.  It is no dependency: ``.venv/bin/pip install py-spy``.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grab_service.settings import Settings
from loadtest.bench.cpu import Cores, processes, tree_of
from loadtest.bench.ours import OPEN, SOLD_OUT, Ours, run_ours
from loadtest.bench.processes import BenchImpossible, Load, measure, run_to_the_end

SERVER: str = Settings.model_fields["server"].default
TITLES = {"sold out": "A sold-out answer", "won": "A claim won"}
_TOP = 20
_RATE_HZ = 300
_PER_S_MAX = 60_000
_CONNECTIONS, _WARM_UP = 128, 2_000
_IDLE = ("epoll_wait", "epoll_pwait", "syscall (libc", "__futex_abstimed", "pthread_cond", "select_poll_poll")
_PLACE = re.compile(r"^(?P<function>.+?) \((?P<file>[^()]*?)(?::\d+)?\)$")


def profile_of(folded: str) -> tuple[Counter[str], Counter[str], int]:
    """Read py-spy's folded stacks.

    Returns:
        Samples by function on top of the stack, by function anywhere on it, and in all; a process that waits is left
        out.
    """
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    total = 0
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_named(frame) for frame in stack.split(";") if not frame.startswith("process ")]
        if not frames or any(word in stack.rpartition(";")[2] for word in _IDLE):
            continue
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    return own, within, total


def _named(frame: str) -> str:
    """Return a frame without its line, its file without its path."""
    match = _PLACE.match(frame)
    if match is None:
        return frame
    path = Path(match["file"])
    parts = path.parts[-2:] if path.parent.name in {"api", "asyncio", "grab_service"} else path.parts[-1:]
    name = re.sub(r"\.cpython-\d+-[a-z0-9_-]+(?=\.so)", "", "/".join(parts))
    return f"{match['function']} ({name})"


def table_of(folded: str, cpu_us: float) -> str:
    """Return the functions that take most as a table of Markdown."""
    own, within, total = profile_of(folded)
    if not total:
        raise BenchImpossible("py-spy saw nothing")
    lines = ["| function | itself | µs | with what it calls |", "|---|---|---|---|"]
    for name, count in own.most_common(_TOP):
        share = count / total
        lines.append(f"| `{name}` | {share:.1%} | {share * cpu_us:.1f} | {within[name] / total:.0%} |")
    shown = sum(count for _, count in own.most_common(_TOP)) / total
    lines.append(f"| the other {max(0, len(own) - _TOP)} | {1 - shown:.1%} | {(1 - shown) * cpu_us:.1f} | |")
    return "\n".join(lines)


async def _profiled(service: Ours, stock_id: str, seconds: float, count: int, directory: Path) -> tuple[str, Any]:
    """Return the folded stacks and the figures of one load."""
    (server,) = service.parts()["server"]
    pid = _worker_of(server)
    requests = [service.request(stock_id) for _ in range(count + _WARM_UP)]
    load = Load(requests, _CONNECTIONS, _WARM_UP, seconds)
    path = directory / "folded.txt"
    argv = ["record", "--pid", str(pid), "--native", "--rate", str(_RATE_HZ), "--format", "raw"]
    argv += ["--duration", str(int(seconds)), "--output", str(path)]
    plain = await measure(load, service.port, {service.cores.rest}, {"server": [server]})  # nobody looks on
    again = Load([service.request(stock_id) for _ in range(count + _WARM_UP)], _CONNECTIONS, _WARM_UP, seconds + 2)
    spy = await asyncio.create_subprocess_exec(
        _py_spy(), *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    await measure(again, service.port, {service.cores.rest}, {"server": [server]})
    _, said = await spy.communicate()
    if spy.returncode or not path.is_file():
        raise BenchImpossible(f"py-spy could not look: {said.decode(errors='replace').strip()}")
    return path.read_text(encoding="utf-8"), plain


def _worker_of(root: int) -> int:
    """Return the process of a server's tree that has used most CPU: the one that serves."""
    known = processes()
    return max(tree_of(root, known), key=lambda pid: known[pid].cpu_us)


def _py_spy() -> str:
    found = shutil.which("py-spy", path=f"{Path(sys.executable).parent}") or shutil.which("py-spy")
    if found is None:
        raise BenchImpossible("py-spy is not installed: .venv/bin/pip install py-spy")
    return found


async def _run(options: argparse.Namespace) -> dict[str, tuple[str, Any]]:
    _py_spy()
    directory = Path(tempfile.mkdtemp(prefix="grab-bench-"))
    directory.chmod(0o755)  # noqa: ASYNC240  once a run, so that PostgreSQL's own user can pass
    vouchers = 2 * (options.won + _WARM_UP)
    try:
        async with run_ours(
            directory, Cores.of_this_machine(), server=options.server, workers=1, won=vouchers, tag="profile"
        ) as service:
            found = {
                "sold out": await _profiled(
                    service, SOLD_OUT, options.seconds, int(_PER_S_MAX * options.seconds), directory
                ),
                "won": await _profiled(service, OPEN, options.seconds, options.won, directory),
            }
            verdict = await service.audit()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if not verdict.get("ok"):
        raise BenchImpossible("the audit is red: the figures do not count")
    return found


def page(found: Mapping[str, tuple[str, Any]], server: str) -> str:
    """Return both tables."""
    parts = []
    for name, (folded, figures) in found.items():
        cpu_us = figures["cpu_us"]["server"]
        parts.append(f"## {TITLES[name]}: {cpu_us:.0f} µs of the API under {server}\n\n{table_of(folded, cpu_us)}\n")
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile from the command line; return the exit code: 0 written, 2 it could not be measured."""
    parser = argparse.ArgumentParser(prog="profile", description="Say where the API's time goes.")
    parser.add_argument("--server", choices=("uvicorn", "granian"), default=SERVER, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load (%(default)s)")
    parser.add_argument("--won", type=int, default=30_000, help="vouchers of each load (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("artefacts/profile.md"), help="(%(default)s)")
    options = parser.parse_args(arguments)
    try:
        found = run_to_the_end(_run(options))
        text = page(found, options.server)
    except BenchImpossible as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
