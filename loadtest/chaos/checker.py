"""The checker: proves from outside that a run kept its promises, or says which it broke.

It is given what clients were told, what the ledger says and what the gate holds, as plain data, and
shares no code with the service.  What it cannot decide it does not hold against the run: a recovery
may explain a SOLD_OUT that was followed by a win, and a lost file a reservation that is gone.

``PROMISES`` is the list of what is promised; the invariants of money (I-10 to I-12, I-17, I-18) are
not about claims and are not judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from loadtest.chaos import check_answers as answers
from loadtest.chaos import check_gate as gates
from loadtest.chaos import check_ledger as ledgers
from loadtest.chaos.check_case import Books, Case, GateState, Recovery
from loadtest.chaos.history import Operation

TOLD_MAX = 5  # faults of an invariant that are told in words; the others are counted
TOLERANCE_MS = 250.0  # one machine has one clock, but a clock is set back now and then


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence says of one invariant.

    Attributes:
        id: ``I-1`` and so on.
        name: What is promised.
        ok: Whether no fault was found.
        faults: The first faults, a sentence each.
        count: How many there are.
    """

    id: str
    name: str
    ok: bool
    faults: tuple[str, ...]
    count: int

    def __str__(self) -> str:
        if self.ok:
            return f"{self.id} holds: {self.name}"
        more = f"; and {self.count - len(self.faults)} more" if self.count > len(self.faults) else ""
        return f"{self.id} is broken: {self.name}: {'; '.join(self.faults)}{more}"


@dataclass(frozen=True, slots=True)
class Promise:
    """An invariant: its id, its name, and what finds its faults."""

    id: str
    name: str
    rules: tuple[Callable[[Case], Iterator[str]], ...]


PROMISES: Sequence[Promise] = (
    Promise("I-1", "cap: no more claims than vouchers, as many vouchers as the quantity", (ledgers.cap,)),
    Promise("I-2", "one owner: a voucher has at most one", (ledgers.one_owner,)),
    Promise("I-3", "one per user: nobody has more vouchers than the limits allow", (ledgers.one_per_user,)),
    Promise("I-4", "no lost yes: what a user was told to have is his in the ledger", (answers.no_lost_yes,)),
    Promise("I-5", "no phantom: nobody owns what he has not asked for", (answers.no_phantom,)),
    Promise("I-6", "stable answer: whoever asks again is told the same voucher", (answers.stable_answer,)),
    Promise("I-7", "opening hours: no claim before opening or after closing", (ledgers.opening_hours,)),
    Promise("I-8", "honest no: sold out is said when it is, and nobody wins after it", (answers.honest_no,)),
    Promise("I-9", "nothing idle: what is sold out is sold, and nobody waits for ever", (answers.nothing_idle,)),
    Promise("I-13", "fence: no claim of an epoch that was not current", (ledgers.fence,)),
    Promise("I-14", "agreement: the gate at rest says what the ledger says", (gates.agreement,)),
    Promise("I-15", "append-only: what the ledger has said it still says", (ledgers.append_only,)),
    Promise("I-16", "idempotency: however often a user asks, it counts once", (ledgers.one_row, gates.one_entry)),
)


def check(
    history: Iterable[Operation],
    books: Books,
    gate: GateState,
    *,
    earlier: Books,
    user_refs: Mapping[str, str],
    recoveries: Iterable[Recovery] = (),
    planted: Iterable[tuple[str, str]] = (),
    tolerance_ms: float = TOLERANCE_MS,
) -> list[Verdict]:
    """Judge a run, after everything has come to rest under an open gate.

    Args:
        history: Every request of every client, those without an answer included.
        books: The ledger at the end.
        gate: The gate at the end.
        earlier: The ledger at some time during the run, the later the more it shows.
        user_refs: The stores' reference of every user of the history.
        recoveries: When the epoch may have been raised, the opening of the gate before the run apart.
        planted: Stock and stream id of entries that the run has written into streams by hand.
        tolerance_ms: By how much two readings of the clock may disagree; more if the run moves clocks.

    Returns:
        One verdict for each of ``PROMISES``, in that order.
    """
    case = Case(
        history=tuple(history),
        earlier=earlier,
        books=books,
        gate=gate,
        user_refs=user_refs,
        recoveries=tuple(recoveries),
        planted=frozenset(planted),
        tolerance_ms=tolerance_ms,
    )
    return [_verdict(promise, case) for promise in PROMISES]


def _verdict(promise: Promise, case: Case) -> Verdict:
    faults = (fault for rule in promise.rules for fault in rule(case))
    told = tuple(islice(faults, TOLD_MAX))
    count = len(told) + sum(1 for _ in faults)
    return Verdict(promise.id, promise.name, not told, told, count)
