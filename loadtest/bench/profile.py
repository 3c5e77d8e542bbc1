"""Where the API's time goes, no by no and yes by yes: ``python -m loadtest.bench.profile``, which writes a page.

While sold-out answers and then vouchers are asked for, py-spy looks many times a second at which Python function the
serving process is in, and perf at which library.  Neither is a dependency: ``.venv/bin/pip install py-spy``, and
``apt-get install linux-perf``.
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
from dataclasses import dataclass
from pathlib import Path

from grab_service.settings import Settings
from loadtest.bench.cpu import Cores, processes, tree_of
from loadtest.bench.ours import OPEN, SOLD_OUT, Ours, run_ours
from loadtest.bench.processes import BenchImpossible, Load, go, measure, run_to_the_end, warm_load

SERVER: str = Settings.model_fields["server"].default
TITLES = {"sold out": "A sold-out answer", "won": "A claim won"}
_TOP = 20
_RATE_HZ = 300
_PER_S_MAX = 60_000
_CONNECTIONS, _WARM_UP = 128, 2_000
_LIBRARIES = 8
_LIBRARY = re.compile(r"^\s*(?P<share>[\d.]+)%\s+(?P<name>\S+)")
_PLACE = re.compile(r"^(?P<function>.+?) \((?P<file>[^()]*?)(?::\d+)?\)$")


def profile_of(folded: str) -> tuple[Counter[str], Counter[str], int]:
    """Read py-spy's folded stacks.

    Returns:
        Samples by function on top of the stack, by function anywhere on it, and in all.
    """
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    total = 0
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_named(frame) for frame in stack.split(";") if not frame.startswith("process ")]
        if not frames:
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


def table_of(folded: str) -> str:
    """Return the Python functions that take most as a table of Markdown.

    Raises:
        BenchImpossible: There is nothing to tell.
    """
    own, within, total = profile_of(folded)
    if not total:
        raise BenchImpossible("py-spy saw nothing")
    lines = ["| function | itself, of the time in Python | with what it calls |", "|---|---|---|"]
    for name, count in own.most_common(_TOP):
        lines.append(f"| `{name}` | {count / total:.1%} | {within[name] / total:.0%} |")
    shown = sum(count for _, count in own.most_common(_TOP)) / total
    lines.append(f"| the other {max(0, len(own) - _TOP)} | {1 - shown:.1%} | |")
    return "\n".join(lines)


def libraries_of(told: str) -> str:
    """Return perf's shares by library as a table of Markdown, empty if it told nothing."""
    found = [match for line in told.splitlines() if (match := _LIBRARY.match(line))][:_LIBRARIES]
    rows = [f"| `{match['name']}` | {float(match['share']):.1f}% |" for match in found]
    return "\n".join(["| library | of the CPU |", "|---|---|", *rows]) if rows else ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one load.

    Attributes:
        folded: py-spy's stacks, of the time in which Python ran.
        libraries: perf's report by library; empty without perf.
        cpu_us: Of the API per request, while nobody looked on.
    """

    folded: str
    libraries: str
    cpu_us: float


async def _profiled(service: Ours, stock_id: str, seconds: float, count: int, directory: Path) -> Seen:
    """Measure a load, and look on at two more."""
    server = service.parts()["server"]

    def load() -> Load:
        requests = [service.request(stock_id) for _ in range(count + _WARM_UP)]
        return Load(requests, _CONNECTIONS, _WARM_UP, seconds)

    async def watched(*argv: str) -> None:
        async with warm_load(load(), service.port, {service.cores.rest}) as process:
            watcher = await asyncio.create_subprocess_exec(
                *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            await go(process)
            _, said = await watcher.communicate()
        if watcher.returncode:
            raise BenchImpossible(f"{argv[0]} could not look: {said.decode(errors='replace').strip()}")

    figures = await measure(load(), service.port, {service.cores.rest}, {"server": server})
    pid, duration = str(_worker_of(server[0])), str(int(seconds) + 1)
    path, data = directory / "folded.txt", directory / "perf.data"
    options = ("--gil", "--rate", str(_RATE_HZ), "--format", "raw", "--duration", duration, "--output", str(path))
    await watched(_py_spy(), "record", "--pid", pid, *options)
    libraries = ""
    if perf := shutil.which("perf"):
        await watched(perf, "record", "-e", "cpu-clock", "-p", pid, "-o", str(data), "--", "sleep", duration)
        report = await asyncio.create_subprocess_exec(
            perf,
            "report",
            "-i",
            str(data),
            "--sort",
            "dso",
            "--stdio",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await report.communicate()
        libraries = output.decode(errors="replace")
    return Seen(path.read_text(encoding="utf-8"), libraries, float(figures["cpu_us"]["server"]))


def _worker_of(root: int) -> int:
    """Return the process of a server's tree that has used most CPU: the one that serves."""
    known = processes()
    return max(tree_of(root, known), key=lambda pid: known[pid].cpu_us)


def _py_spy() -> str:
    found = shutil.which("py-spy", path=f"{Path(sys.executable).parent}") or shutil.which("py-spy")
    if found is None:
        raise BenchImpossible("py-spy is not installed: .venv/bin/pip install py-spy")
    return found


async def _run(options: argparse.Namespace) -> dict[str, Seen]:
    _py_spy()
    directory = Path(tempfile.mkdtemp(prefix="grab-bench-"))
    directory.chmod(0o755)  # noqa: ASYNC240  once a run, so that PostgreSQL's own user can pass
    vouchers = 3 * (options.won + _WARM_UP)
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


def page(found: Mapping[str, Seen], server: str) -> str:
    """Return the tables of both."""
    parts = []
    for name, seen in found.items():
        parts.append(f"## {TITLES[name]}: {seen.cpu_us:.0f} µs of the API under {server}\n")
        parts += [table_of(seen.folded), "", libraries_of(seen.libraries), ""]
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
