"""What the documents tell integrators to run does what they say: each block, in order, against a real service."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.photos import JPEG
from tests.support.rehearsals import Rehearsal, clean_environment
from tests.tidy.project import ROOT

_BOUND_S = 150  # a dozen commands and twice as many calls, each a program of its own, on a machine that is busy
_BASE = "http://127.0.0.1:8000"


@pytest.fixture
def checkout(running: Rehearsal, tmp_path: Path) -> Path:
    """A directory that looks like a checkout whose rehearsal runs, to run commands in."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / ".grab").symlink_to(running.directory)
    (tmp_path / "shop-front.jpg").write_bytes(JPEG)
    return tmp_path


def blocks(document: str, kind: str, url: str) -> str:
    """Return the blocks of a document in one language, as one program for the service at ``url``."""
    found = re.findall(
        rf"^```{kind}\n(.*?)^```$", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found, f"{document} has no {kind}"
    return "\n".join(found).replace(_BASE, url)


def run(argv: list[str], program: str, cwd: Path) -> str:
    """Run a program that is given on standard input; return what it printed."""
    done = subprocess.run(
        argv,
        input=program,
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=_BOUND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.timeout(2 * _BOUND_S)
def test_every_example_of_the_api_works(running: Rehearsal, checkout: Path) -> None:
    """The setting up and every curl call succeed in their order, and so does every Python call, for another user."""
    said = run(["bash", "-euo", "pipefail"], blocks("docs/api.md", "sh", running.url), checkout)
    assert '"discount_returned_fen":1000' in said
    officer = running.token("officer", "--scope", "admin:round admin:read")
    tokens = f'TOKEN = "{running.token("bob")}"\nSTAFF = "{officer}"\n'
    run([sys.executable, "-"], tokens + blocks("docs/api.md", "python", running.url), checkout)


@pytest.mark.timeout(2 * _BOUND_S)
def test_the_three_calls_of_the_readme_work(running: Rehearsal, checkout: Path) -> None:
    """The picture, a voucher, and the list that has it, as in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    program = text.partition("## Three calls\n```sh\n")[2].partition("```")[0].replace(_BASE, running.url)
    said = run(["bash", "-euo", "pipefail"], program, checkout)
    assert said.count('"voucher_code"') >= 2
    assert '"stocks"' in said
