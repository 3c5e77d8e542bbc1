"""What the checker judges: the evidence of a run as plain data, and a few ways to look things up in it.

Instants are Unix milliseconds.  Clients and servers of a run share one machine and so one clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from loadtest.chaos.history import Operation

FENCED = "FENCED"  # a dead letter's reason: its epoch was over, its user was never told yes


class StreamId(NamedTuple):
    """The id of an entry of a stream; its first part is the instant of the claim."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> StreamId:
        """Read ``ms-seq``."""
        ms, _, seq = text.partition("-")
        return cls(int(ms), int(seq or 0))

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


@dataclass(frozen=True, slots=True)
class Round:
    """A round in the ledger.

    Attributes:
        epoch: Its present epoch.
        opens_ms: The first instant at which a claim may be made.
        closes_ms: The first at which it no longer may.
        per_user_max: Vouchers of all its stocks that a user may have, 0 if the round does not say.
    """

    epoch: int
    opens_ms: int
    closes_ms: int
    per_user_max: int = 0


@dataclass(frozen=True, slots=True)
class Stock:
    """A stock in the ledger.

    Attributes:
        round_id: The round it belongs to, a key of ``Books.rounds``.
        quantity: How many vouchers it was to have.
        minted: How many it has.
        limit: Stocks with the same limit give a user one voucher between them.
        gate_tag: The hash tag of its keys in the gate.
    """

    round_id: str
    quantity: int
    minted: int
    limit: str
    gate_tag: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A row of the ledger that says whose a voucher is; ``code_hash`` is the voucher's, in hexadecimal."""

    stock_id: str
    claim_no: int
    user_ref: str
    epoch: int
    stream_ms: int
    stream_seq: int
    code_hash: str

    @property
    def stream_id(self) -> StreamId:
        """The entry that it was made of."""
        return StreamId(self.stream_ms, self.stream_seq)

    def __str__(self) -> str:
        return f"{self.stock_id} number {self.claim_no} ({self.user_ref:.8}…, epoch {self.epoch}, {self.stream_id})"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry that the ledger has refused, with the fields that it had."""

    stock_id: str
    stream_id: str
    reason: str
    entry: Mapping[str, str]

    @property
    def claim_no(self) -> int | None:
        """The number it was about, if that can be read."""
        text = self.entry.get("claim_no", "")
        return int(text) if text.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Books:
    """The ledger at one instant, or everything that was seen in it as it was seen first."""

    rounds: Mapping[str, Round]
    stocks: Mapping[str, Stock]
    claims: Sequence[Claim]
    dead_letters: Sequence[DeadLetter]

    def with_news_of(self, later: Books) -> Books:
        """Return these books with what is new in later ones; what has changed meanwhile stays as it was here."""
        claims = {(claim.stock_id, claim.claim_no): claim for claim in (*later.claims, *self.claims)}
        letters = {(each.stock_id, each.stream_id): each for each in (*later.dead_letters, *self.dead_letters)}
        return Books(
            rounds={**later.rounds, **self.rounds},
            stocks={**later.stocks, **self.stocks},
            claims=list(claims.values()),
            dead_letters=list(letters.values()),
        )


@dataclass(frozen=True, slots=True)
class StockAtGate:
    """A stock at the gate.

    Attributes:
        is_open: Whether the fuse is closed, that is, whether its data mean anything.
        epoch: The epoch it was opened under.
        free: The numbers that nobody holds.
        holders: ``user_ref`` and what he holds, ``claim_no:epoch:ms-seq``.
        entries: The stream of claims: ids and fields.
        committed: The watermark, a stream id.
    """

    is_open: bool
    epoch: int
    free: Sequence[int]
    holders: Mapping[str, str]
    entries: Sequence[tuple[str, Mapping[str, str]]]
    committed: str


@dataclass(frozen=True, slots=True)
class GateState:
    """The gate at rest, by stock."""

    stocks: Mapping[str, StockAtGate]


@dataclass(frozen=True, slots=True)
class Recovery:
    """A time in which the epoch may have been raised, or in which a gate of an earlier epoch could be reached.

    Attributes:
        start_ms: The earliest instant at which it can have happened; rather too early than too late.
        end_ms: The latest; rather too late than too early.
        may_lose: Whether reservations that the ledger had not recorded may be lost by it.  False only if the
            gate's append-only file was whole: a killed process loses nothing, a cut or wiped file does.
    """

    start_ms: float
    end_ms: float
    may_lose: bool = True


@dataclass(frozen=True)
class Case:
    """All evidence of one run.

    Attributes:
        history: Every request of every client.
        earlier: The ledger at some time during the run.
        books: The ledger at its end.
        gate: The gate at its end, when nothing was on its way any more.
        user_refs: The reference of every user of the history.
        recoveries: When the epoch may have been raised.
        planted: Stock and stream id of entries that the run has written into streams by hand.
        tolerance_ms: By how much two readings of the clock may disagree about what came first.
    """

    history: Sequence[Operation]
    earlier: Books
    books: Books
    gate: GateState
    user_refs: Mapping[str, str]
    recoveries: Sequence[Recovery]
    planted: frozenset[tuple[str, str]]
    tolerance_ms: float

    @cached_property
    def claims_of(self) -> Mapping[str, list[Claim]]:
        """Claims by stock, in the order in which they were made."""
        found: dict[str, list[Claim]] = {stock_id: [] for stock_id in self.books.stocks}
        for claim in sorted(self.books.claims, key=lambda claim: claim.stream_id):
            found.setdefault(claim.stock_id, []).append(claim)
        return found

    @cached_property
    def claim_by_user(self) -> Mapping[tuple[str, str], list[Claim]]:
        """Claims by stock and user."""
        found: defaultdict[tuple[str, str], list[Claim]] = defaultdict(list)
        for claim in self.books.claims:
            found[claim.stock_id, claim.user_ref].append(claim)
        return found

    @cached_property
    def operations_of(self) -> Mapping[tuple[str, str], list[Operation]]:
        """Operations by stock and user's reference, in the order of their ends."""
        found: defaultdict[tuple[str, str], list[Operation]] = defaultdict(list)
        for done in sorted(self.history, key=lambda done: done.at_end_ms):
            found[done.stock_id, self.ref_of(done.user)].append(done)
        return found

    @cached_property
    def dead_letters_of(self) -> Mapping[str, list[DeadLetter]]:
        """Dead letters by stock, without those that were planted."""
        found: defaultdict[str, list[DeadLetter]] = defaultdict(list)
        for letter in self.books.dead_letters:
            if (letter.stock_id, letter.stream_id) not in self.planted:
                found[letter.stock_id].append(letter)
        return found

    @cached_property
    def buried(self) -> frozenset[tuple[str, str]]:
        """Stock and stream id of every dead letter."""
        return frozenset((letter.stock_id, letter.stream_id) for letter in self.books.dead_letters)

    def ref_of(self, user: str) -> str:
        """Return a user's reference; one that the caller has not told of has none that a store knows."""
        return self.user_refs.get(user, f"unknown reference of {user}")

    def epoch_of(self, stock_id: str) -> int:
        """Return the present epoch of a stock's round."""
        return self.books.rounds[self.books.stocks[stock_id].round_id].epoch

    def quiet_since_ms(self, instant_ms: float) -> float:
        """Return since when no recovery had touched anything at ``instant_ms``; later than it in a recovery."""
        return max(
            (each.end_ms for each in self.recoveries if each.start_ms <= instant_ms),
            default=float("-inf"),
        )

    def may_be_lost(self, since_ms: float) -> bool:
        """Tell whether a reservation made at ``since_ms`` or later may be lost without a trace."""
        return any(each.may_lose and each.end_ms >= since_ms for each in self.recoveries)
