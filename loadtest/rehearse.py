"""A rehearsal from nothing: servers, campaign, merchants, money, people, audit, and a report that stays.

``make rehearse`` runs it.  Exit codes: 0 every service level was reached and the audit holds, 1 not, 2 it
could not be run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grab_service.data_dir import DataDir
from loadtest.locust import slo
from loadtest.locust.figures import Figures
from loadtest.locust.paper import Rehearsal
from loadtest.storm import audit_of
from loadtest.watcher import Watcher

ROOT = Path(__file__).parents[1]
_READY_WITHIN_S = 120.0
_BOOKED_WITHIN_S = 60.0
_END_WITHIN_S = 60.0
_PEOPLE_COME_AND_GO_S = 180.0  # beside the time to the opening and that after it
_MERCHANT_NO = 898_500_000_000_000
_MERCHANTS_A_CATEGORY = 3


class RehearsalImpossible(Exception):
    """It could not be run; the message says what failed."""


def scaled(campaign: str, scale: int) -> str:
    """Return a campaign file with so many times fewer vouchers and less money.

    A small machine sells a small round out; every rule and every sum stays as it is.
    """

    def shrink(match: re.Match[str]) -> str:
        return f"{match[1]}{int(match[2].replace('_', '')) // scale}"

    figures = r"^((?:fund_fen|budget_fen|[a-z]+-\d+) *= *)([\d_]+)"
    return re.sub(figures, shrink, campaign, flags=re.MULTILINE)


def merchants_of(campaign: dict[str, Any]) -> str:
    """Return a list of made-up merchants, some of each category, as a bank would send it."""
    towns, ways = campaign["merchants"]["towns"], campaign["merchants"]["accepts"]
    categories = [name for each in campaign["classes"] for name in each["merchant_categories"]] * _MERCHANTS_A_CATEGORY
    lines = [
        f"{_MERCHANT_NO + number},演练商户{number}号,人民路{number}号,{towns[number % len(towns)]},{category},{ways[0]}"
        for number, category in enumerate(categories, start=1)
    ]
    return "\n".join(("merchant_no,name,address,town,category,accepts", *lines)) + "\n"


def grab(*arguments: str | Path, may_say_no: bool = False) -> str:
    """Run a command of the service, and return what it printed.

    Raises:
        RehearsalImpossible: It failed; exit code 1 is no failure where the command ``may_say_no``.
    """
    argv = [sys.executable, "-m", "grab_service", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode > may_say_no:
        raise RehearsalImpossible(f"grab {' '.join(map(str, arguments[:2]))}: {done.stderr or done.stdout}")
    return done.stdout


@contextmanager
def service(options: argparse.Namespace, data: DataDir, campaign: Path) -> Iterator[str]:
    """Run ``grab up`` meanwhile; yields where it answers.

    Raises:
        RehearsalImpossible: It did not become ready, or it did not end when it was told to.
    """
    opening = ("--opens-in", str(options.opens_in), "--workers", str(options.workers))
    where = ("--port", "0", "--data-dir", str(data.root), "--campaign", str(campaign))
    argv = [sys.executable, "-m", "grab_service", "up", *where, *opening]
    data.root.mkdir(parents=True, exist_ok=True)
    out, log = data.root / "up.out", data.root / "up.log"
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(argv, stdout=stdout, stderr=stderr, start_new_session=True)
    try:
        until_s = time.monotonic() + _READY_WITHIN_S
        while not out.read_text().startswith("ready "):
            if process.poll() is not None or time.monotonic() > until_s:
                raise RehearsalImpossible(f"'grab up' did not become ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield out.read_text().split()[1]
    finally:
        _end(process, data)


def _end(process: subprocess.Popen[bytes], data: DataDir) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_WITHIN_S)
    except subprocess.TimeoutExpired as error:
        # Its children have groups of their own, so that they outlive a supervisor that dies.
        for group in (process.pid, *(int(file.read_text()) for file in data.root.glob("run/*.pid"))):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        process.wait()
        raise RehearsalImpossible(f"'grab up' did not end within {_END_WITHIN_S:g} s and was killed") from error


def booked_stocks(watcher: Watcher) -> list[dict[str, Any]]:
    """Return the picture of the stocks once nothing is on its way to the ledger any more, or after a minute."""
    until_s = time.monotonic() + _BOOKED_WITHIN_S
    while True:
        rows = watcher.picture()
        if all(row["claimed"] == row["booked"] for row in rows) or time.monotonic() > until_s:
            return rows
        time.sleep(0.5)


def run_people(options: argparse.Namespace, data: DataDir, url: str) -> None:
    """Run the locust suite against the service; its artefacts go to the directory of the report.

    Raises:
        RehearsalImpossible: It ended without figures, or did not end.
    """
    to = options.output
    argv = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), "--headless"]
    argv += ["--host", url, "--processes", str(options.processes), "--stop-timeout", "5", "--only-summary"]
    argv += ["--data-dir", str(data.root), "--people", str(options.people), "--tail-s", str(options.tail_s)]
    argv += ["--slo", str(options.slo), "--figures", str(to / "figures.json"), "--html", str(to / "locust.html")]
    argv += ["--json-file", str(to / "locust")]
    bound_s = options.opens_in + options.tail_s + _PEOPLE_COME_AND_GO_S
    try:
        code = subprocess.run(argv, check=False, cwd=ROOT, timeout=bound_s).returncode
    except subprocess.TimeoutExpired as error:
        raise RehearsalImpossible(f"locust did not end within {bound_s:g} s: is the opening to come?") from error
    if not (to / "figures.json").is_file():
        raise RehearsalImpossible(f"locust ended with {code} and left no figures")


def rehearse(options: argparse.Namespace, data: DataDir) -> Rehearsal:
    """Rehearse, and return what is to be reported.

    Raises:
        RehearsalImpossible: It could not be run.
        slo.SloInvalid: The service levels are not understood.
    """
    levels = slo.read_levels(options.slo)
    text = scaled(options.campaign.read_text(encoding="utf-8"), options.scale)
    campaign = tomllib.loads(text)
    data.root.mkdir(parents=True, exist_ok=True)
    campaign_file, merchants_file = data.root / "campaign.toml", data.root / "merchants.csv"
    campaign_file.write_text(text, encoding="utf-8")
    merchants_file.write_text(merchants_of(campaign), encoding="utf-8")
    with service(options, data, campaign_file) as url:
        here = ("--data-dir", data.root)
        grab("merchants", "import", merchants_file, "--approve", "--reason", "rehearsal", *here)
        grab("fund", campaign["campaign_id"], str(campaign["fund_fen"]), "--reference", "rehearsal", *here)
        versions = versions_of(json.loads(grab("doctor", "--json", *here, may_say_no=True)))
        watcher = Watcher(url)
        before = watcher.picture()
        with watcher.watching():
            run_people(options, data, url)
        after = booked_stocks(watcher)
        verdict = audit_of(data)
    figures = Figures.read(options.output / "figures.json")
    opens_at = datetime.fromisoformat(before[0]["opens_at"])
    circumstances = {
        "发放规模": f"方案的 1/{options.scale}" if options.scale > 1 else "与方案相同",
        "进程": f"API {options.workers} 个，压测 {options.processes} 个，与 Valkey、PostgreSQL、入账进程同在一台机器",
        "处理器": f"{len(_processors())} 核",
        "请求": f"{figures.total('requests'):,} 次，失败 {figures.total('failures'):,} 次",
        "版本": versions,
    }
    rows = [
        {**row, "lag_max": watcher.lag_max.get(row["stock_id"], 0)}
        for row in after
        if row["round_id"] == before[0]["round_id"]
    ]
    return Rehearsal(
        campaign["name"],
        opens_at.strftime("%Y-%m-%d %H:%M:%S（北京时间）"),
        int(opens_at.timestamp()),
        circumstances,
        figures,
        slo.judge(levels, figures),
        rows,
        verdict,
    )


def versions_of(doctor: dict[str, Any]) -> str:
    """Return what was rehearsed: the service with its commit, if this is a checkout, and both servers."""
    found = {each["name"]: each["detail"] for each in doctor["checks"]}
    argv = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        commit = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        commit = ""
    service = f"grab-service {version('grab-service')}" + (f"（提交 {commit}）" if commit else "")
    return "，".join((service, found["gate version"], found["vault version"], f"Python {platform.python_version()}"))


def _processors() -> list[str]:
    return re.findall(r"^processor\s", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)


def leave(report: Rehearsal, directory: Path) -> None:
    """Write the page and the verdict."""
    (directory / "report.html").write_text(report.page(), encoding="utf-8")
    # With a mark of its order of bytes, so that a spreadsheet reads the Chinese.
    (directory / "figures.csv").write_text(report.sheet(), encoding="utf-8-sig")
    verdict = {"ok": report.is_good, "slo": slo.to_json(report.judged), "audit": report.audit, "stocks": report.stocks}
    (directory / "verdict.json").write_text(json.dumps(verdict, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def keep_logs(data: DataDir, directory: Path) -> None:
    """Copy what the service and its parts have logged beside the report, for who looks for the cause."""
    to = directory / "log"
    to.mkdir(exist_ok=True)
    for file in (*data.root.glob("log/*"), *data.root.glob("up.*")):
        shutil.copy(file, to)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearse from the command line; return the exit code."""
    options = _options(arguments)
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="grab-rehearsal-") as temporary:
        data = DataDir(Path(temporary).resolve() / "data")
        try:
            report = rehearse(options, data)
        except (RehearsalImpossible, slo.SloInvalid, OSError) as error:
            keep_logs(data, options.output)
            print(f"rehearse: {error}\nrehearse: logs are in {options.output / 'log'}", file=sys.stderr)
            return 2
        if not report.is_good:
            keep_logs(data, options.output)
    leave(report, options.output)
    for each in report.judged:
        print(f"{'met   ' if each.is_good else 'MISSED'} {each.level.name}: {each.reached}")
    print(f"audit {'holds' if report.audit.get('ok') else 'DOES NOT HOLD'}; report: {options.output / 'report.html'}")
    return 0 if report.is_good else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rehearse", description="Rehearse a launch from nothing and report it.")
    campaign = ROOT / "campaigns" / "qijiang-2023.toml"
    parser.add_argument("--campaign", type=Path, default=campaign, help="what is handed out")
    parser.add_argument("--scale", type=int, default=10, help="hand out so many times less (%(default)s); 1: as it is")
    parser.add_argument("--people", type=int, default=1500, help="people of every kind together (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="of the people (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="API processes (%(default)s)")
    parser.add_argument("--opens-in", type=int, default=40, help="seconds from readiness to the opening (%(default)s)")
    parser.add_argument("--tail-s", type=float, default=40.0, help="how long people stay after it (%(default)s)")
    parser.add_argument("--slo", type=Path, default=ROOT / "loadtest" / "slo.toml", help="the service levels")
    parser.add_argument("--output", type=Path, default=ROOT / "artefacts" / "rehearsal", help="where the report goes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
