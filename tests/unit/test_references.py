"""References of users and codes of vouchers."""

from __future__ import annotations

import asyncio
import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from grab_service.references import USER_REF_LENGTH, StockCodes, UserRefs, VoucherCodes, check_letter

CODES = VoucherCodes(b"k" * 32)
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@given(st.text(alphabet="abcXYZ019._-", min_size=1, max_size=64))
def test_a_reference_is_short_plain_and_the_same_every_time(sub: str) -> None:
    """A reference has 23 characters of the URL-safe alphabet and depends on user and pepper only."""
    refs = UserRefs(b"p" * 32)
    assert re.fullmatch(rf"1[A-Za-z0-9_-]{{{USER_REF_LENGTH - 1}}}", refs.of(sub))
    assert refs.of(sub) == UserRefs(b"p" * 32).of(sub)
    assert refs.of(sub) != UserRefs(b"q" * 32).of(sub)


def test_a_reference_names_its_pepper() -> None:
    """Under each version a user has a reference that begins with it; the first is that of the current pepper."""
    old = UserRefs(b"p" * 32)
    refs = UserRefs(b"q" * 32, 2, (old,))
    assert [each[0] for each in refs.all_of("a")] == ["2", "1"]
    assert refs.all_of("a")[1] == old.of("a")
    assert (refs.under(1), refs.under(2), refs.under(3)) == (old, refs, None)
    assert old.mark != refs.mark
    assert "q" * 32 not in repr(refs)


def test_codes_of_all_vouchers_differ() -> None:
    """No two vouchers of a campaign share a code."""
    stocks = ["c-r1-general-1", "c-r1-general-2", "c-r2-general-1"]
    codes = {CODES.code(stock, number) for stock in stocks for number in range(1, 2001)}
    assert len(codes) == 6000


def test_a_code_is_seventeen_letters_without_lookalikes() -> None:
    """Eighty bits and a check letter, in an alphabet without I, L, O and U."""
    assert re.fullmatch(rf"[{LETTERS}]{{17}}", CODES.code("c-r1-general-1", 1))


def test_the_ledger_gets_a_hash_of_the_code() -> None:
    """What is minted is the SHA-256 of what the user is shown."""
    code = CODES.code("c-r1-general-1", 7)
    assert CODES.code_hash("c-r1-general-1", 7) == hashlib.sha256(code.encode()).digest()


async def test_codes_that_were_derived_before_are_the_same() -> None:
    """Of all numbers, derived or not, while they are being derived and after."""
    codes = StockCodes(CODES, "s-1")
    expected = [CODES.code("s-1", number) for number in range(1, 1001)]
    deriving = asyncio.create_task(codes.derive(700))
    for _ in range(5):
        assert [codes.code(number) for number in range(1, 1001)] == expected
        await asyncio.sleep(0)
    await deriving
    assert [codes.code(number) for number in range(1, 1001)] == expected


async def test_codes_of_a_large_stock_are_derived_within_bounds() -> None:
    """Beyond 100,000 a code is derived when it is asked for."""
    codes = StockCodes(CODES, "s-1")
    await codes.derive(100_010)
    assert codes.code(100_005) == CODES.code("s-1", 100_005)
    assert codes.code(100_000) == CODES.code("s-1", 100_000)


@given(st.text(alphabet=LETTERS, min_size=16, max_size=16), st.integers(0, 15), st.sampled_from(LETTERS))
def test_the_check_letter_finds_every_single_wrong_letter(letters: str, position: int, wrong: str) -> None:
    """Any one letter replaced by another changes the check letter."""
    changed = letters[:position] + wrong + letters[position + 1 :]
    assert (check_letter(changed) == check_letter(letters)) == (changed == letters)
