"""What must hold between what users were told and the ledger: I-4, I-5, I-6, I-8 and I-9.

Each function is one promise: it yields a sentence for every fault that it finds.  Where a recovery
came between two facts, it may explain what would be a fault without it; then nothing is said.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate

from loadtest.chaos.check_case import FENCED, Case, Claim, StreamId
from loadtest.chaos.history import PENDING, SOLD_OUT, WON, Operation


def no_lost_yes(case: Case) -> Iterator[str]:
    """I-4: a voucher that a user was told to have is his in the ledger: number, code and instant."""
    for told in case.history:
        if told.outcome != WON:
            continue
        claims = case.claim_by_user.get((told.stock_id, case.ref_of(told.user)), [])
        if not any(_is(claim, told) for claim in claims):
            has = " and ".join(map(str, claims)) or "nothing"
            number = f"{told.stock_id} number {told.claim_no} of {told.claimed_at}"
            yield f"{told.user} was told to have {number}, the ledger has {has}"


def no_phantom(case: Case) -> Iterator[str]:
    """I-5: nobody owns what he has not asked for before, and each claim is of an entry of its own."""
    entries: dict[tuple[str, int, StreamId], Claim] = {}
    for claim in case.books.claims:
        asked = case.operations_of.get((claim.stock_id, claim.user_ref), [])
        if not asked:
            yield f"{claim} was not asked for by anybody"
        elif min(done.at_start_ms for done in asked) > claim.stream_ms + case.tolerance_ms:
            yield f"{claim} was made before its user asked for it"
        if claim.stream_ms <= 0 or claim.stream_seq < 0:
            yield f"{claim} is of no entry of the stream"
        first = entries.setdefault((claim.stock_id, claim.epoch, claim.stream_id), claim)
        if first is not claim:
            yield f"{claim} is of the same entry as {first}"


def stable_answer(case: Case) -> Iterator[str]:
    """I-6: whoever is told of his voucher twice is told the same."""
    for (stock_id, _), operations in case.operations_of.items():
        told = {(done.claim_no, done.voucher_code, done.claimed_at) for done in operations if done.outcome == WON}
        if len(told) > 1:
            numbers = sorted(f"{claim_no} of {claimed_at}" for claim_no, _, claimed_at in told)
            yield f"{operations[0].user} was told {len(told)} different vouchers of {stock_id}: {', '.join(numbers)}"


def honest_no(case: Case) -> Iterator[str]:
    """I-8: SOLD_OUT is said when every number is reserved, and from then on nobody wins, until the next recovery.

    Nobody wins: neither does a request that began after a SOLD_OUT had ended take a voucher, nor does
    a user own one whose very first request began after it.
    """
    noes = _noes(case)
    for stock_id, those in noes.items():
        yield from _not_all_reserved(case, stock_id, those)
    after = {stock_id: _Noes(those) for stock_id, those in noes.items()}
    for done in case.history:
        if done.has_just_won and done.stock_id in after:
            ended_ms = after[done.stock_id].first_end_ms(case.quiet_since_ms(done.at_end_ms))
            if ended_ms < done.at_start_ms:
                yield f"{done.user} won {done.stock_id} {_later(done.at_start_ms, ended_ms)} it was said to be sold out"
    for claim in case.books.claims:
        asked = case.operations_of.get((claim.stock_id, claim.user_ref), [])
        if asked and claim.stock_id in after:
            began_ms = min(done.at_start_ms for done in asked)
            ended_ms = after[claim.stock_id].first_end_ms(case.quiet_since_ms(claim.stream_ms + case.tolerance_ms))
            if ended_ms < began_ms:
                yield f"{claim} was first asked for {_later(began_ms, ended_ms)} it was said to be sold out"


def nothing_idle(case: Case) -> Iterator[str]:
    """I-9: what was said to be sold out in the last epoch is sold, and nobody waits for ever."""
    for stock_id, those in _noes(case).items():
        if any(no.at_start_ms > case.quiet_since_ms(float("inf")) for no in those):
            epoch = str(case.epoch_of(stock_id))
            sold = {claim.claim_no for claim in case.claims_of[stock_id]}
            stuck = {
                letter.claim_no
                for letter in case.dead_letters_of.get(stock_id, [])
                if letter.reason != FENCED and letter.entry.get("epoch") == epoch
            }
            idle = _numbers(case, stock_id) - sold - stuck
            if idle:
                yield f"{stock_id} was said to be sold out, and {len(idle)} numbers are idle: {_few(idle)}"
    for (stock_id, user_ref), operations in case.operations_of.items():
        last = operations[-1]
        if last.outcome == PENDING and not _has_ended(case, stock_id, user_ref, operations):
            yield f"{last.user} was told to wait for {stock_id}, and nothing became of it"
    for stock_id, at_gate in case.gate.stocks.items():
        ids = [StreamId.parse(name) for name, fields in at_gate.entries if fields.get("epoch") == str(at_gate.epoch)]
        if ids and at_gate.is_open and max(ids) > StreamId.parse(at_gate.committed):
            yield f"{stock_id}: the watermark stands at {at_gate.committed}, the last entry is {max(ids)}"


class _Noes:
    """SOLD_OUT answers of one stock, to be asked which of those after an instant ended first."""

    def __init__(self, noes: Sequence[Operation]) -> None:
        by_start = sorted(noes, key=lambda no: no.at_start_ms)
        self._starts = [no.at_start_ms for no in by_start]
        self._first_ends = list(accumulate((no.at_end_ms for no in reversed(by_start)), min))[::-1]

    def first_end_ms(self, since_ms: float) -> float:
        """Return when the first to end of those ended that began after ``since_ms``, infinity if there is none."""
        position = bisect_right(self._starts, since_ms)
        return self._first_ends[position] if position < len(self._starts) else float("inf")


def _noes(case: Case) -> Mapping[str, list[Operation]]:
    found: defaultdict[str, list[Operation]] = defaultdict(list)
    for done in case.history:
        if done.outcome == SOLD_OUT:
            found[done.stock_id].append(done)
    return found


def _not_all_reserved(case: Case, stock_id: str, noes: Sequence[Operation]) -> Iterator[str]:
    """Of each quiet time between recoveries, judge the SOLD_OUT that ended first: it is the boldest."""
    boldest: dict[float, Operation] = {}
    for no in noes:
        quiet_since_ms = case.quiet_since_ms(no.at_end_ms)
        if no.at_start_ms > quiet_since_ms and not case.may_be_lost(no.at_start_ms):
            first = boldest.setdefault(quiet_since_ms, no)
            if no.at_end_ms < first.at_end_ms:
                boldest[quiet_since_ms] = no
    for quiet_since_ms, no in boldest.items():
        by_ms = no.at_end_ms + case.tolerance_ms
        reserved = {claim.claim_no for claim in case.claims_of[stock_id] if claim.stream_ms <= by_ms}
        reserved |= {
            letter.claim_no
            for letter in case.dead_letters_of.get(stock_id, [])
            if letter.claim_no is not None
            and quiet_since_ms - case.tolerance_ms <= StreamId.parse(letter.stream_id).ms <= by_ms
        }
        free = _numbers(case, stock_id) - reserved
        if free:
            yield f"{no.user} was told {stock_id} is sold out while {len(free)} numbers were free: {_few(free)}"


def _has_ended(case: Case, stock_id: str, user_ref: str, operations: Sequence[Operation]) -> bool:
    """Tell whether a user who waits owns a voucher, or his reservation was fenced or may be lost."""
    return (
        (stock_id, user_ref) in case.claim_by_user
        or any(letter.entry.get("user_ref") == user_ref for letter in case.dead_letters_of.get(stock_id, []))
        or case.may_be_lost(min(done.at_start_ms for done in operations if done.outcome == PENDING))
    )


def _is(claim: Claim, told: Operation) -> bool:
    return (
        claim.claim_no == told.claim_no
        and claim.stream_ms == _ms(told.claimed_at)
        and claim.code_hash == _code_hash(told.voucher_code or "")
    )


def _code_hash(voucher_code: str) -> str:
    """Return what the ledger keeps of a code: SHA-256 of its letters, in capitals and without separators."""
    return hashlib.sha256(voucher_code.replace("-", "").upper().encode()).hexdigest()


def _ms(instant: str | None) -> int | None:
    try:
        return round(datetime.fromisoformat(instant or "").timestamp() * 1000)
    except ValueError:
        return None


def _numbers(case: Case, stock_id: str) -> set[int]:
    return set(range(1, case.books.stocks[stock_id].quantity + 1))


def _few(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)[:5])) + (", …" if len(numbers) > 5 else "")  # noqa: PLR2004  a few


def _later(instant_ms: float, than_ms: float) -> str:
    return f"{instant_ms - than_ms:.0f} ms after"
