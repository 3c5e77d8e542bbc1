"""Copies the project, changes the copy and runs tests there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import ROOT, Mutant

_PARTS = ("src", "lua", "migrations", "campaigns", "loadtest", "deploy", "tests", "pyproject.toml")
_IGNORED = shutil.ignore_patterns("__pycache__", "node_modules", "vendor")
_RUN_S = 300.0
_GREEN, _RED = 0, 1
_VERDICT = re.compile(r"^(FAILED|ERROR) (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """How tests ended in a copy.

    Attributes:
        is_green: All passed.
        is_red: A test failed; a run that could not begin is neither.
        words: What failed, or the end of what was printed.
        took_s: How long it took.
    """

    is_green: bool
    is_red: bool
    words: str
    took_s: float


@contextmanager
def workbench() -> Iterator[Workbench]:
    """Give a workbench; its copies are removed in the end."""
    path = Path(tempfile.mkdtemp(prefix="mut-"))
    path.chmod(0o755)  # the database's server may run as another user
    try:
        yield Workbench(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Workbench:
    """Copies of the project, and test runs in them.

    Args:
        directory: Where the copies are made.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._whole = directory / "whole"
        self._whole.mkdir()
        for name in _PARTS:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self._whole / name, ignore=_IGNORED)
            else:
                shutil.copy2(ROOT / name, self._whole / name)

    def run_whole(self, tests: Sequence[str]) -> Result:
        """Run tests in the copy that nothing was taken from."""
        return _run(self._whole, tests, search=_search_path(self._whole))

    def run_installed(self, tests: Sequence[str]) -> Result:
        """Run tests in a copy with the packages that are installed, which must be refused."""
        return _run(self._whole, tests, search=str(self._whole))

    def run(self, mutant: Mutant) -> Result:
        """Run a mutant's tests in a copy of its own."""
        tree = Path(tempfile.mkdtemp(prefix="m-", dir=self._directory))
        tree.chmod(0o755)
        try:
            shutil.copytree(self._whole, tree, ignore=shutil.ignore_patterns("t"), dirs_exist_ok=True)
            mutant.apply(tree)
            return _run(tree, mutant.tests, search=_search_path(tree))
        finally:
            shutil.rmtree(tree, ignore_errors=True)


def _search_path(tree: Path) -> str:
    return os.pathsep.join((str(tree / "src"), str(tree)))


def _run(tree: Path, tests: Sequence[str], *, search: str) -> Result:
    temporary = tree / "t"  # short, since sockets lie below it
    temporary.mkdir(exist_ok=True)
    temporary.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-ra", "--no-header", "--tb=no"]
    command += ["-p", "tests.mutants.origin", "-p", "no:cacheprovider", *tests]
    began_s = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=inherited | {"PYTHONPATH": search, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_RUN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Result(False, False, f"did not end within {_RUN_S:g} s", time.monotonic() - began_s)
    verdict = _VERDICT.search(output)
    words = verdict[2] if verdict else output.strip()[-500:]
    code = process.returncode
    return Result(code == _GREEN, code == _RED, words, time.monotonic() - began_s)
