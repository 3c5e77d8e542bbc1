"""Takes away one guard after the other and demands that the tests notice: ``make mutants``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.mutants.mutant import Mutant, all_mutants, dropped, stale, unguarded
from tests.mutants.workbench import Result, Workbench, workbench

_AT_ONCE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants that are asked for; return 0 only if each was noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="run those whose name has this in it")
    parser.add_argument("--list", action="store_true", help="list the mutants and the checks that have none")
    options = parser.parse_args(arguments)
    chosen = [
        mutant for mutant in all_mutants() if not options.only or any(part in mutant.name for part in options.only)
    ]
    if options.list:
        _say(f"{mutant.name:52} {mutant.file}" for mutant in chosen)
        _say(f"{name:52} not a mutant: {reason}" for name, reason in dropped())
        return 0
    wrong = [*stale(), *(f"{name}: no test is named that fails without it" for name in unguarded())]
    if wrong:
        _say(f"the catalogue is wrong: {sentence}" for sentence in wrong)
        return 1
    if not chosen:
        _say(["no mutant has this name"])
        return 1
    with workbench() as bench:
        return _run(bench, chosen)


def _run(bench: Workbench, mutants: Sequence[Mutant]) -> int:
    began_s = time.monotonic()
    tests = needed_tests(mutants)
    whole = bench.run_whole(tests)
    _say([f"without a mutant: {'green' if whole.is_green else 'NOT GREEN: ' + whole.words} ({whole.took_s:.0f} s)"])
    if not whole.is_green:
        return 1
    survivors: list[str] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for mutant, result in zip(mutants, pool.map(bench.run, mutants), strict=True):
            _say([f"{_verdict(result):9} {mutant.name:48} {result.took_s:5.1f} s  {result.words}"])
            if not result.is_red:
                survivors.append(mutant.name)
    killed = len(mutants) - len(survivors)
    _say([f"{len(mutants)} mutants, {killed} killed, in {time.monotonic() - began_s:.0f} s"])
    _say(f"SURVIVED: {name}" for name in survivors)
    return 1 if survivors else 0


def needed_tests(mutants: Iterable[Mutant]) -> list[str]:
    """Return each test that some mutant names once; a test of a file that is named as a whole is not named again."""
    tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
    return [test for test in tests if "::" not in test or test.partition("::")[0] not in tests]


def _verdict(result: Result) -> str:
    if result.is_red:
        return "killed"
    return "SURVIVED" if result.is_green else "BROKEN"


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)  # noqa: T201  this is its output


if __name__ == "__main__":
    sys.exit(main())
