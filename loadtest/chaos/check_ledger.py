"""What must hold of the ledger by itself: I-1, I-2, I-3, I-7, I-13, I-15 and the rows of I-16.

Each function is one promise: it yields a sentence for every fault that it finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from loadtest.chaos.check_case import FENCED, Books, Case, DeadLetter


def cap(case: Case) -> Iterator[str]:
    """I-1: a stock has as many vouchers as its quantity, no more claims than that, and no number outside."""
    for stock_id, stock in case.books.stocks.items():
        claims = case.claims_of[stock_id]
        if stock.minted != stock.quantity:
            yield f"{stock_id} has {stock.minted} vouchers, its quantity is {stock.quantity}"
        if len(claims) > stock.quantity:
            yield f"{stock_id} has {len(claims)} claims, its quantity is {stock.quantity}"
        for claim in claims:
            if not 1 <= claim.claim_no <= stock.quantity:
                yield f"{claim} is not one of 1..{stock.quantity}"


def one_owner(case: Case) -> Iterator[str]:
    """I-2: a voucher, by its number and by its code, is claimed at most once."""
    owners = Counter((claim.stock_id, claim.claim_no) for claim in case.books.claims)
    for (stock_id, claim_no), count in owners.items():
        if count > 1:
            yield f"{stock_id} number {claim_no} has {count} owners"
    codes = {(claim.stock_id, claim.claim_no): claim.code_hash for claim in case.books.claims}
    for code_hash, count in Counter(codes.values()).items():
        if count > 1:
            yield f"{count} vouchers have the same code (hash {code_hash:.8}…)"


def one_per_user(case: Case) -> Iterator[str]:
    """I-3: a user has at most one voucher under each limit, and no more of a round than it allows."""
    stocks, rounds = case.books.stocks, case.books.rounds
    under_limit = Counter((stocks[claim.stock_id].limit, claim.user_ref) for claim in case.books.claims)
    for (limit, user_ref), count in under_limit.items():
        if count > 1:
            yield f"the user {user_ref:.8}… has {count} vouchers under the limit {limit}"
    of_round = Counter((stocks[claim.stock_id].round_id, claim.user_ref) for claim in case.books.claims)
    for (round_id, user_ref), count in of_round.items():
        if 0 < rounds[round_id].per_user_max < count:
            yield f"the user {user_ref:.8}… has {count} vouchers of the round {round_id}"


def opening_hours(case: Case) -> Iterator[str]:
    """I-7: no claim was made before its round opened, or when it had closed."""
    for claim in case.books.claims:
        hours = case.books.rounds[case.books.stocks[claim.stock_id].round_id]
        if not hours.opens_ms <= claim.stream_ms < hours.closes_ms:
            yield f"{claim} was made outside {hours.opens_ms}..{hours.closes_ms}"


def fence(case: Case) -> Iterator[str]:
    """I-13: no claim is of an epoch that was not current: none is above its round's, none goes back, none was fenced.

    Recovery lets the gate's clock begin where the ledger's latest claim is, so within a stock a later
    epoch's claims are never earlier than an earlier epoch's.
    """
    fenced = {
        (letter.stock_id, letter.stream_id, letter.entry.get("epoch"), letter.entry.get("user_ref"))
        for letter in case.books.dead_letters
        if letter.reason == FENCED
    }
    for stock_id, claims in case.claims_of.items():
        epoch, at_gate = case.epoch_of(stock_id), case.gate.stocks.get(stock_id)
        if at_gate is not None and at_gate.is_open and at_gate.epoch != epoch:
            yield f"{stock_id} is sold under epoch {at_gate.epoch}, its round is at {epoch}"
        highest, highest_before, instant_ms = 0, 0, 0
        for claim in claims:
            if not 1 <= claim.epoch <= epoch:
                yield f"{claim}: its round is at epoch {epoch}"
            if claim.stream_ms > instant_ms:
                highest_before, instant_ms = highest, claim.stream_ms
            if claim.epoch < highest_before:
                yield f"{claim} comes after claims of epoch {highest_before}"
            highest = max(highest, claim.epoch)
            if (stock_id, str(claim.stream_id), str(claim.epoch), claim.user_ref) in fenced:
                yield f"{claim} was refused as of an epoch that is over, and is recorded all the same"


def append_only(case: Case) -> Iterator[str]:
    """I-15: what stood in the ledger during the run stands in it unchanged at the end; epochs only grow."""
    earlier, books = case.earlier, case.books
    now = {(claim.stock_id, claim.claim_no): claim for claim in books.claims}
    for claim in set(earlier.claims) - set(books.claims):
        yield f"{claim} was in the ledger, which now has {now.get((claim.stock_id, claim.claim_no), 'nothing')}"
    buried_now = {_facts(letter) for letter in books.dead_letters}
    for letter in earlier.dead_letters:
        if _facts(letter) not in buried_now:
            yield f"the dead letter {letter.stream_id} of {letter.stock_id} ({letter.reason}) is gone or has changed"
    yield from _changed_catalogue(earlier, books)


def one_row(case: Case) -> Iterator[str]:
    """I-16, in the ledger: however often a user asks for a stock, it gives him one voucher."""
    for (stock_id, user_ref), claims in case.claim_by_user.items():
        if len(claims) > 1:
            yield f"the user {user_ref:.8}… has {len(claims)} claims of {stock_id}"


def _changed_catalogue(earlier: Books, books: Books) -> Iterator[str]:
    for stock_id, stock in earlier.stocks.items():
        if books.stocks.get(stock_id) != stock:
            yield f"the stock {stock_id} was {stock} and is {books.stocks.get(stock_id)}"
    for round_id, before in earlier.rounds.items():
        after = books.rounds.get(round_id)
        if after is None:
            yield f"the round {round_id} is gone"
        elif (after.opens_ms, after.closes_ms, after.per_user_max) != (
            before.opens_ms,
            before.closes_ms,
            before.per_user_max,
        ):
            yield f"the round {round_id} was {before} and is {after}"
        elif after.epoch < before.epoch:
            yield f"the epoch of the round {round_id} went back from {before.epoch} to {after.epoch}"


def _facts(letter: DeadLetter) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
    return letter.stock_id, letter.stream_id, letter.reason, tuple(sorted(letter.entry.items()))
