"""Guards that guard, in short: `make mutants` takes away every one, this the four that all else rests on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from tests.mutants.guards import guards_of
from tests.mutants.mutant import ROOT, all_mutants, stale, unguarded
from tests.mutants.run import needed_tests
from tests.mutants.workbench import workbench

NAMED = ("the fence", "the fuse", "the second-statement classification", "the free-list check")

GUARDS_IN_FORCE = (
    "SELECT conrelid::regclass || '.' || conname FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u', 'f', 'c') AND conislocal"
    " UNION SELECT indrelid::regclass || '.' || relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
    " WHERE indisunique AND relnamespace = 'public'::regnamespace"
    " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"
    " UNION SELECT tgrelid::regclass || '.' || tgname FROM pg_trigger WHERE NOT tgisinternal"
    " UNION SELECT tgrelid::regclass || '.' || tgname || '.always' FROM pg_trigger WHERE tgenabled = 'A'"
)


@pytest.mark.timeout(400)
def test_without_one_of_these_guards_its_test_fails() -> None:
    """With all of them the tests pass; without the fence, the fuse, the classification or the check, its own fails."""
    mutants = [mutant for mutant in all_mutants() if mutant.name in NAMED]
    assert len(mutants) == len(NAMED)
    with workbench() as bench, ThreadPoolExecutor(2) as pool:
        whole = pool.submit(bench.run_whole, needed_tests(mutants))
        results = dict(zip([mutant.name for mutant in mutants], pool.map(bench.run, mutants), strict=True))
    assert whole.result().is_green, whole.result().words
    assert {name: result.words for name, result in results.items() if not result.is_red} == {}


def test_a_run_that_would_test_the_installed_packages_is_refused() -> None:
    """The copy is what is tested: with another path to the packages no test begins."""
    with workbench() as bench:
        result = bench.run_installed(["tests/unit/test_confirm.py"])
    assert not result.is_green
    assert not result.is_red
    assert "is not of" in result.words


def test_every_mutant_can_be_made() -> None:
    """Each text stands once in its file, each test's file is there, and the catalogue names no guard that is gone."""
    assert stale() == []


def test_every_guard_of_the_vault_has_a_test_that_misses_it() -> None:
    """None is without a test that fails when it is taken away."""
    assert unguarded() == []


async def test_no_guard_of_the_vault_is_overlooked(vault: asyncpg.Connection) -> None:
    """What the migrations say, as it is read here, is what the database has: keys, checks, indexes and triggers."""
    found = {row[0] for row in await vault.fetch(GUARDS_IN_FORCE) if not row[0].startswith("schema_migrations.")}
    assert found == {guard.name for guard in guards_of(ROOT / "migrations")}
