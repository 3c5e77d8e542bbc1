"""The catalogue of mutants: what is taken away from the project, and which tests must notice."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.guards import guards_of

ROOT = Path(__file__).parents[2]
_CATALOGUE = Path(__file__).parent / "catalogue"
_GUARDS = "vault_guards.toml"
_REMOVAL = "migrations/9999_without.sql"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One guard less.

    Attributes:
        name: Which guard.
        file: The file that is changed, from the project's root.
        text: What is replaced; it must stand there exactly once.  Empty when the file is a new one.
        replacement: What stands there instead.
        tests: Tests of which at least one must fail.
    """

    name: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]

    def fault(self, root: Path = ROOT) -> str | None:
        """Return why it cannot be made of this tree, or None if it can."""
        if missing := [test for test in self.tests if not (root / test.partition("::")[0]).is_file()]:
            return f"there is no {missing[0]}"
        path = root / self.file
        count = path.read_text(encoding="utf-8").count(self.text) if path.is_file() and self.text else 0
        if self.text and count != 1:
            return f"its text stands {count} times in {self.file}"
        if self.text == self.replacement:
            return "it changes nothing"
        return None

    def apply(self, tree: Path) -> None:
        """Change a copy of the project."""
        path = tree / self.file
        before = path.read_text(encoding="utf-8") if self.text else ""
        path.write_text(before.replace(self.text, self.replacement) if self.text else self.replacement, "utf-8")


def all_mutants(root: Path = ROOT) -> list[Mutant]:
    """Return every mutant: those of the catalogue's texts, then one for each guard of the vault."""
    return [*_of_texts(), *_of_guards(root)]


def stale(root: Path = ROOT) -> list[str]:
    """Return what is wrong with the catalogue: mutants that cannot be made, names twice, guards that are gone."""
    mutants = [mutant for mutant in all_mutants(root) if mutant.tests]
    wrong = [f"{mutant.name}: {fault}" for mutant in mutants if (fault := mutant.fault(root))]
    names = Counter(mutant.name for mutant in mutants)
    wrong += (f"{name}: {count} mutants have this name" for name, count in names.items() if count > 1)
    known = {guard.name for guard in guards_of(root / "migrations")}
    wrong += (f"{name}: no migration sets it up" for name in _tests_of_guards() if name not in known)
    return wrong


def unguarded(root: Path = ROOT) -> list[str]:
    """Return the guards for which no test is named that fails without them."""
    return [mutant.name for mutant in all_mutants(root) if not mutant.tests]


def dropped() -> list[tuple[str, str]]:
    """Return name and reason of the checks that no test could miss, since something else does the same."""
    return [(entry["name"], entry["reason"]) for document in _documents() for entry in document.get("dropped", ())]


def _documents() -> list[dict[str, Any]]:
    return [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(_CATALOGUE.glob("*.toml"))]


def _of_texts() -> list[Mutant]:
    return [
        Mutant(
            entry["name"],
            entry.get("file", document.get("file", "")),
            entry["text"],
            entry["replacement"],
            tuple(entry["tests"]),
        )
        for document in _documents()
        for entry in document.get("mutant", ())
    ]


def _tests_of_guards() -> dict[str, Sequence[str]]:
    groups = tomllib.loads((_CATALOGUE / _GUARDS).read_text(encoding="utf-8"))["group"]
    return {f"{group['table']}.{guard}": group["tests"] for group in groups for guard in group["guards"]}


def _of_guards(root: Path) -> list[Mutant]:
    tests = _tests_of_guards()
    return [
        Mutant(guard.name, _REMOVAL, "", guard.removal, tuple(tests.get(guard.name, ())))
        for guard in guards_of(root / "migrations")
    ]
