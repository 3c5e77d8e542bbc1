"""``python -m loadtest.chaos``; ``make chaos SEED=7 MINUTES=10``.

Exit codes: 0 every promise was kept, 1 one was broken, 2 the run could not be finished.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import uvloop

from loadtest.chaos.faults import FAULTS
from loadtest.chaos.run import ChaosImpossible, run

_LOG_LINES = 60  # of the service's log that are shown when a run did not go well


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="repeats a schedule of faults")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), default=[], help="inject this fault only")
    parser.add_argument("--keep", action="store_true", help="keep the directory of a run that went well, too")
    parser.add_argument("--json", type=Path, help="write the outcome there")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="grab-chaos-"))
    directory.chmod(0o755)
    print(f"seed {options.seed}, {options.minutes:g} minutes, in {directory}", flush=True)
    try:
        outcome = uvloop.run(run(options.seed, options.minutes, directory, options.only))
    except ChaosImpossible as error:
        print(_last_lines(directory), file=sys.stderr)
        print(f"{error}; seed {options.seed}; everything is kept in {directory}", file=sys.stderr)
        return 2
    print("\n".join(["", *outcome.lines(), "", "every promise was kept" if outcome.ok else "A PROMISE WAS BROKEN"]))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(asdict(outcome) | {"ok": outcome.ok}, indent=2) + "\n")
    if outcome.ok and not options.keep:
        shutil.rmtree(directory)
    else:
        print(f"seed {options.seed}; everything is kept in {directory}")
    if not outcome.ok:
        print(_last_lines(directory))
    return 0 if outcome.ok else 1


def _last_lines(directory: Path) -> str:
    log = directory / "site.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-_LOG_LINES:])


if __name__ == "__main__":
    sys.exit(main())
