"""Looks for published weaknesses of the pinned dependencies: ``python tools/audit_dependencies.py``.

Ends with 0 if there are none but those that requirements/audit-ignore.toml names with a reason and an end,
with 1 if there are or if an end has come, with 2 if nobody could be asked; ``--when-reachable`` lets that pass.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "run.lock"
IGNORED = ROOT / "requirements" / "audit-ignore.toml"
_ANSWER_S = "10"
_GIVEN_UP_S = 300


def ignored(text: str, today: dt.date) -> tuple[list[str], list[str]]:
    """Return the ids that are ignored, and sentences about entries that are not in order."""
    ids, wrong = [], []
    for entry in tomllib.loads(text).get("ignored", []):
        name, until = entry.get("id"), entry.get("until")
        if not name or not entry.get("reason") or not isinstance(until, dt.date):
            wrong.append(f"{name}: an entry needs id, reason and until")
        elif until < today:
            wrong.append(f"{name}: was to be ignored until {until}: look at it again")
        else:
            ids.append(name)
    return ids, wrong


def judge(report: dict[str, Any] | None) -> tuple[int, list[str]]:
    """Return the exit code and what to say of a report of pip-audit; None if it could not make one."""
    if report is None:
        return 2, ["no weakness is known or unknown: the database of weaknesses cannot be reached from here"]
    weak = [
        f"{each['name']} {each['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version'}"
        for each in report["dependencies"]
        for found in each.get("vulns", [])
    ]
    if weak:
        return 1, weak
    unknown = [each["name"] for each in report["dependencies"] if "skip_reason" in each]
    if unknown:
        return 2, [f"{len(unknown)} of {len(report['dependencies'])} could not be looked up, {unknown[0]} among them"]
    return 0, [f"{len(report['dependencies'])} dependencies, no published weakness"]


def _ask(ids: list[str]) -> dict[str, Any] | None:
    argv = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--require-hashes", "--format", "json"]
    argv += ["--progress-spinner", "off", "--timeout", _ANSWER_S, "--requirement", str(LOCK)]
    argv += [part for name in ids for part in ("--ignore-vuln", name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_GIVEN_UP_S)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return None
    return report


def main() -> int:
    """Ask, tell, and return the exit code."""
    ids, wrong = ignored(IGNORED.read_text(encoding="utf-8"), dt.datetime.now(dt.UTC).date())
    code, sentences = (1, wrong) if wrong else judge(_ask(ids))
    for sentence in sentences:
        print(f"audit: {sentence}")
    return 0 if code == 2 and "--when-reachable" in sys.argv else code


if __name__ == "__main__":
    sys.exit(main())
