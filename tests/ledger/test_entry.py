"""Reading entries: the real ones of the real gate, and every way in which one can be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.entry import Entry, Malformed, decode, digest
from tests.ledger.conftest import OpenBooks
from tests.support.books import Books, user_ref
from tests.support.campaigns import small_campaign

REF = user_ref("a")
GOOD = {"v": "1", "epoch": "2", "claim_no": "3", "user_ref": REF}


async def test_what_the_gate_writes_is_what_the_vault_reads(books: Books) -> None:
    """An entry of the real function is decoded whole."""
    [answer] = await books.claim("a")
    [(stream_id, fields)] = await books.entries()
    entry = decode(stream_id, fields)
    assert answer.holding is not None
    assert entry == Entry(
        stream_id, answer.holding.stream_id.ms, answer.holding.stream_id.seq, answer.epoch, 1, REF, None
    )


async def test_with_a_limit_per_round_the_entry_says_which_voucher_it_is(
    open_books: OpenBooks, campaign_id: str
) -> None:
    """The field nth comes through."""
    books = await open_books(small_campaign(campaign_id, per_user_per_round=2))
    await books.claim("a", stock=books.stocks[0])
    await books.claim("a", stock=books.stocks[1])
    [(stream_id, fields)] = await books.entries(books.stocks[1])
    entry = decode(stream_id, fields)
    assert isinstance(entry, Entry)
    assert entry.nth == 2


def test_a_field_that_is_not_known_is_allowed() -> None:
    """Entries may grow."""
    assert isinstance(decode("1-0", GOOD | {"colour": "red"}), Entry)


@pytest.mark.parametrize(
    ("stream_id", "changes", "words"),
    [
        ("1-0", {"v": "2"}, "version"),
        ("1-0", {"v": None}, "version"),
        ("1-0", {"epoch": None}, "epoch"),
        ("1-0", {"epoch": "0"}, "epoch"),
        ("1-0", {"epoch": "-1"}, "epoch"),
        ("1-0", {"epoch": "01"}, "epoch"),
        ("1-0", {"epoch": "1.0"}, "epoch"),
        ("1-0", {"epoch": "٣"}, "epoch"),
        ("1-0", {"claim_no": "0"}, "claim_no"),
        ("1-0", {"claim_no": "2147483648"}, "claim_no"),
        ("1-0", {"claim_no": "x"}, "claim_no"),
        ("1-0", {"claim_no": ""}, "claim_no"),
        ("1-0", {"nth": "0"}, "nth"),
        ("1-0", {"user_ref": None}, "user_ref"),
        ("1-0", {"user_ref": REF + "x"}, "user_ref"),
        ("1-0", {"user_ref": "x" * 22 + "\n"}, "user_ref"),
        ("1-0", {"user_ref": "é" * 23}, "user_ref"),
        ("1", {}, "stream id"),
        ("1-99999999999", {}, "stream id"),
        ("1-2147483648", {}, "stream id"),
        ("x-1", {}, "stream id"),
    ],
)
def test_a_malformed_entry_is_a_value_that_says_what_is_wrong(
    stream_id: str, changes: dict[str, str | None], words: str
) -> None:
    """Nothing is guessed and nothing is raised."""
    fields = {name: value for name, value in (GOOD | changes).items() if value is not None}
    verdict = decode(stream_id, fields)
    assert isinstance(verdict, Malformed)
    assert words in verdict.reason


@given(st.text(), st.dictionaries(st.sampled_from(["v", "epoch", "claim_no", "user_ref", "nth", "x"]), st.text()))
def test_no_entry_raises(stream_id: str, fields: dict[str, str]) -> None:
    """Whatever stands in the stream, reading it gives an entry or a reason."""
    assert isinstance(decode(stream_id, fields), Entry | Malformed)


def test_the_digest_depends_on_the_fields_and_not_on_their_order() -> None:
    """The same fields have one digest, others another."""
    assert digest(GOOD) == digest(dict(reversed(GOOD.items())))
    assert digest(GOOD) != digest(GOOD | {"epoch": "3"})
