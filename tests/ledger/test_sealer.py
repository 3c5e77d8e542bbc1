"""The worker's sealing: some blocks at a time, of all journals in turn, and nothing that a chain would call wrong."""

from __future__ import annotations

import pytest

from ledger import chain, seal
from ledger.journals import journals
from ledger.seal import Sealer, seal_now
from tests.ledger.test_seal import INSERT, faults
from tests.support.till import Till


async def test_a_row_that_comes_late_is_no_fault_of_the_rows_above_it(
    unsealed: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New rows are sealed before all are looked at, but in full blocks only: a short one says that it took all."""
    monkeypatch.setattr(seal, "BLOCK_ROWS_MAX", 2)
    monkeypatch.setattr(chain, "BLOCK_ROWS_MAX", 2)
    vault, sealer = unsealed.vault, Sealer("")
    await vault.execute(INSERT.format(claim_no=5, recorded_at="now() - interval '5 minutes'"))
    while await sealer.seal_some(vault):
        pass
    await vault.execute(INSERT.format(claim_no=4, recorded_at="now() - interval '2 minutes'"))
    for claim_no in (6, 7, 8):
        await vault.execute(INSERT.format(claim_no=claim_no, recorded_at="now()"))
    sealed = [block.rows for block in await sealer.seal_some(vault)]
    assert sealed == [2]
    await seal_now(vault)
    claims = f"claims/{unsealed.books.stock.stock_id}"
    assert [each.row_count for each in await journals(vault) if each.name == claims] == [8]
    assert await faults(vault) == []


async def test_a_busy_journal_does_not_keep_the_others_unsealed(
    unsealed: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker seals some blocks of one journal, then some of the next, however many the first still has."""
    monkeypatch.setattr(seal, "BLOCK_ROWS_MAX", 1)
    sealer = Sealer("")
    of = [{block.journal.split("/")[0] for block in await sealer.seal_some(unsealed.vault)} for _ in range(2)]
    assert of[0] | of[1] == {"claims", "money"}
    while await sealer.seal_some(unsealed.vault):
        pass
    assert await faults(unsealed.vault) == []
