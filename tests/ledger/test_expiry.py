"""The end of vouchers: expired once, sealed once, and every fen back in the pool."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ledger.expiry import rounds_to_seal, seal_round
from ledger.record import record
from ledger.upkeep import look_after
from tests.support.till import FUND_FEN, Till
from tests.support.wait import wait_until


async def close_the_round(till: Till) -> None:
    """End the round two minutes ago."""
    await till.vault.execute("UPDATE rounds SET closes_at = now() - interval '2 minutes'")


async def seal(till: Till) -> int:
    """Seal the round."""
    [round_] = await rounds_to_seal(till.vault)
    return await seal_round(till.vault, round_.round_no)


async def test_what_is_not_used_expires_once(till: Till) -> None:
    """Only what was claimed and not used, and only after its validity; batches change nothing about it."""
    await till.redeemed()
    assert await till.expire() == 0
    await till.lapse()
    assert await till.expire(batch_max=1) == 2
    assert await till.expire() == 0
    assert (await till.balances())["RESERVED"] == 7 * 3_000
    assert await till.violated() == []


async def test_who_expires_at_once_expires_once(till: Till, more_tills: list[Till]) -> None:
    """Any number may run at the same time."""
    await till.lapse()
    expired = await asyncio.gather(*(each.expire(batch_max=1) for each in more_tills))
    assert sum(expired) == 3
    assert (await till.balances())["RESERVED"] == 7 * 3_000
    assert await till.violated() == []


async def test_a_sealed_round_returns_what_was_never_claimed(till: Till, more_tills: list[Till]) -> None:
    """Seven of ten vouchers were never claimed; their money returns once, whoever seals."""
    assert await rounds_to_seal(till.vault) == []
    await close_the_round(till)
    returned = await asyncio.gather(*(seal(each) for each in more_tills[:2]), return_exceptions=True)
    assert 7 in returned
    assert await rounds_to_seal(till.vault) == []
    assert (await till.balances())["RESERVED"] == 3 * 3_000
    await till.redeemed()
    await till.lapse()
    assert await till.expire() == 2
    assert await till.balances() == {"EXTERNAL": -FUND_FEN, "PAYABLE": 3_000, "POOL": FUND_FEN - 3_000}
    assert await till.violated() in ([], ["I-7"])  # the round was closed behind the claims' back


async def test_a_sealed_round_records_no_claim(till: Till) -> None:
    """What comes too late was never confirmed: it is refused like an entry of an epoch that is over."""
    await till.books.claim("late")
    row = await till.books.row()
    entries = (await till.books.entries())[-1:]
    await close_the_round(till)
    await seal(till)
    done = await record(till.vault, row, entries)
    assert (done.recorded, [each.reason for each in done.refused]) == (0, ["FENCED"])


async def test_a_round_with_claims_on_their_way_is_not_sealed(till: Till) -> None:
    """First everything that the gate gave out is booked."""
    await till.books.claim("late")
    await close_the_round(till)
    done = await look_after(till.vault, till.books.client)
    assert (done.sealed, len(done.waiting)) == ((), 1)
    async with till.books.working():
        await till.books.wait_booked(4)
    done = await look_after(till.vault, till.books.client)
    assert ([each.never_claimed for each in done.sealed], done.waiting) in (([6], ()), ([], ()))
    assert (await till.balances())["RESERVED"] == 4 * 3_000


async def test_a_worker_expires_and_seals_by_itself(till: Till) -> None:
    """Nobody has to run a command."""
    await till.lapse()
    await close_the_round(till)

    async def is_all_back() -> bool:
        return (await till.balances()).get("RESERVED", 0) == 0

    async with till.books.working(), till.books.working():
        await wait_until(is_all_back, "all money is in the pool again")
    assert await till.balances() == {"EXTERNAL": -FUND_FEN, "POOL": FUND_FEN}


@pytest.mark.parametrize("seconds", [-1, 0, 1])
async def test_the_last_instant_is_exclusive(till: Till, seconds: int) -> None:
    """A voucher is used before its end, and expires from it on."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    await till.vault.execute("UPDATE stocks SET available_until = $1", end)
    at = end + timedelta(seconds=seconds)
    is_in_time = seconds < 0
    assert await till.expire(at=at) == (0 if is_in_time else 3)
    assert ((await till.redeem(at=at)).refusal is None) == is_in_time
