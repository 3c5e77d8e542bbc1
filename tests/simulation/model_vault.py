"""A model of the vault: one round with one stock, sessions, transactions and the locks that matter.

It answers the project's own statements, known by their text, under read committed as PostgreSQL does:
a statement waits for rows and keys that another transaction has not committed, and then sees what that
one left.  ``test_model_vault.py`` holds it against the real statements on a real server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg

from ledger.guards import GUARDS
from ledger.record import RECORD_NEW
from ledger.statements import statement
from tests.simulation.rules import Rule
from tests.simulation.scheduler import BLOCKED, Clock

STOCK_NO = ROUND_NO = 1

# What the model answers, by the statement's text.
NAMES = {
    statement(name): name
    for name in (
        "record_claims",
        "classify_claims",
        "insert_dead_letters",
        "raise_epoch",
        "select_stocks",
        "select_guards",
        "count_claims",
        "count_claims_by_stock",
        "select_claims_of_stock",
        "try_lock",
        "unlock",
    )
} | {RECORD_NEW: "record_new_claims"}

_LOCK_TIMEOUT_MS = 5_000  # of a worker's session
_IDLE_IN_TRANSACTION_MS = 10_000


class Claim(NamedTuple):
    """A row of claims."""

    claim_no: int
    user_ref: str
    epoch: int
    stream_ms: int
    stream_seq: int


@dataclass(slots=True)
class Transaction:
    """What a session has done and not committed."""

    claims: list[Claim] = field(default_factory=list)
    letters: list[tuple[str, str, bytes]] = field(default_factory=list)
    epoch: int | None = None  # raised to; the round is locked then
    shares_round: bool = False


class Session:
    """A connection as the server sees it.

    Args:
        vault: The server.
        owner: Name of the process that has connected.
        is_bounded: Whether it has the worker's timeouts.

    Attributes:
        is_over: It has ended; its locks are free.
        used_ms: When it last did something.
        waits_since_ms: When it began to wait for a lock; None if it does not.
    """

    def __init__(self, vault: ModelVault, owner: str, *, is_bounded: bool) -> None:
        self.vault = vault
        self.owner = owner
        self.is_bounded = is_bounded
        self.is_over = False
        self.used_ms = vault.clock.now_ms
        self.waits_since_ms: int | None = None
        self.transaction: Transaction | None = None
        self.advisory: list[tuple[int, int]] = []
        self.seen: tuple[Claim, ...] = ()  # what was committed when the latest insert began

    def trouble(self) -> Exception:
        """Return what a client sees of a cut connection."""
        return ConnectionResetError("cut")

    def end(self) -> None:
        """End it: what is not committed is undone, locks are free."""
        self.is_over, self.transaction = True, None
        self.advisory.clear()
        if self in self.vault.sessions:
            self.vault.sessions.remove(self)

    def perform(self, query: str, args: Sequence[Any]) -> Any:
        """Execute a statement; BLOCKED when it must wait for another transaction.

        Raises:
            OSError: The session has ended.
            asyncpg.PostgresError: The statement is refused.
        """
        if self.is_over:
            raise self.trouble()
        waits_since_ms, self.waits_since_ms = self.waits_since_ms, None
        if waits_since_ms is None:
            self.seen = tuple(self.vault.claims) if NAMES[query].startswith("record") else self.seen
        if self.transaction is not None:
            result = self.vault.statements[NAMES[query]](self, self.transaction, args)
        else:
            alone = Transaction()
            result = self.vault.statements[NAMES[query]](self, alone, args)
            if result is not BLOCKED:
                self.vault.commit(alone)
        now_ms = self.vault.clock.now_ms
        if result is not BLOCKED:
            self.used_ms = now_ms
        elif waits_since_ms is None:
            self.waits_since_ms = now_ms
        elif self.is_bounded and now_ms - waits_since_ms >= _LOCK_TIMEOUT_MS:
            raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        else:
            self.waits_since_ms = waits_since_ms
        return result

    def commit(self) -> None:
        """Commit.

        Raises:
            OSError: The session has ended, and nothing is committed.
        """
        if self.is_over or self.transaction is None:
            raise self.trouble()
        self.vault.commit(self.transaction)
        self.transaction, self.used_ms = None, self.vault.clock.now_ms


class ModelVault:
    """The server.

    Args:
        clock: The world's.
        quantity: Vouchers of the stock.
        stock_row: The stock as ``select_stocks`` gives it.
        broken: Rules that it does not keep.

    Attributes:
        claims: Committed claims, in the order of their commits.
        letters: Committed dead letters: stream id and reason.
        epoch: Of the round.
        on_commit: Called with the claims of each commit.
        sessions: Those that are not over.
    """

    def __init__(
        self, clock: Clock, quantity: int, stock_row: Mapping[str, Any], broken: frozenset[Rule] = frozenset()
    ) -> None:
        self.clock = clock
        self.quantity = quantity
        self.broken = broken
        self.claims: list[Claim] = []
        self.letters: dict[tuple[str, bytes], str] = {}
        self.epoch = 0
        self.run_id: str | None = None
        self.on_commit: Callable[[Sequence[Claim]], None] = lambda _: None
        self.sessions: list[Session] = []
        self._stock_row = stock_row
        self.statements: dict[str, Callable[[Session, Transaction, Sequence[Any]], Any]] = {
            "record_new_claims": self._record_new,
            "record_claims": self._record,
            "classify_claims": self._classify,
            "insert_dead_letters": self._bury,
            "raise_epoch": self._raise_epoch,
            "select_stocks": lambda *_: [{**self._stock_row, "epoch": self.epoch, "gate_run_id": self.run_id}],
            "select_guards": lambda *_: [{"name": name} for names in GUARDS.values() for name in names],
            "count_claims": lambda *_: [{"count": len(self.claims)}],
            "count_claims_by_stock": lambda *_: [{"stock_no": STOCK_NO, "claimed": len(self.claims)}],
            "select_claims_of_stock": lambda *_: [claim._asdict() for claim in sorted(self.claims)],
            "try_lock": self._try_lock,
            "unlock": self._unlock,
        }

    def connect(self, owner: str, *, is_bounded: bool) -> Session:
        """Begin a session."""
        session = Session(self, owner, is_bounded=is_bounded)
        self.sessions.append(session)
        return session

    def expire(self) -> None:
        """End the sessions that have been idle in a transaction for too long."""
        for session in list(self.sessions):
            is_idle = session.transaction is not None and session.waits_since_ms is None
            if session.is_bounded and is_idle and self.clock.now_ms - session.used_ms >= _IDLE_IN_TRANSACTION_MS:
                session.end()

    def commit(self, done: Transaction) -> None:
        """Make what a transaction has done visible to all."""
        if done.epoch is not None:
            self.epoch = done.epoch
        self.claims += done.claims
        for stream_id, reason, digest in done.letters:
            self.letters.setdefault((stream_id, digest), reason)
        if done.claims or done.letters or done.epoch is not None:
            self.on_commit(done.claims)

    def _others(self, session: Session) -> list[Transaction]:
        return [each.transaction for each in self.sessions if each is not session and each.transaction is not None]

    def _record_new(self, session: Session, own: Transaction, args: Sequence[Any]) -> Any:
        """Insert row by row: the first one that is there already refuses them all, one that may be is waited for."""
        others = self._others(session)
        if any(other.epoch is not None for other in others):
            return BLOCKED  # a recovery is raising the epoch
        there, uncommitted = list(self.claims), [claim for other in others for claim in other.claims]
        for claim in _claims_of(args):
            if claim.epoch == self.epoch or Rule.FENCE in self.broken:
                if self._clash(claim, there):
                    raise asyncpg.UniqueViolationError("one_owner_per_voucher or one_voucher_per_user")
                if self._clash(claim, uncommitted):
                    return BLOCKED
                there.append(claim)
        return self._record(session, own, args)

    def _record(self, session: Session, own: Transaction, args: Sequence[Any]) -> Any:
        claims = _claims_of(args)
        others = self._others(session)
        if any(other.epoch is not None for other in others):
            return BLOCKED  # a recovery is raising the epoch
        if Rule.FENCE not in self.broken:
            claims = [claim for claim in claims if claim.epoch == self.epoch]
        uncommitted = [claim for other in others for claim in other.claims]
        if any(self._clash(claim, uncommitted) for claim in claims):
            return BLOCKED
        own.shares_round = True
        inserted: list[Claim] = []
        for claim in claims:
            if self._clash(claim, self.claims) or self._clash(claim, own.claims) or self._clash(claim, inserted):
                continue
            if not 1 <= claim.claim_no <= self.quantity:
                raise asyncpg.ForeignKeyViolationError("claim_is_of_minted_voucher")
            inserted.append(claim)
        own.claims += inserted
        return [{"count": len(inserted)}]

    def _clash(self, claim: Claim, others: Sequence[Claim]) -> bool:
        if claim in others:
            return True
        return any(
            (claim.claim_no == other.claim_no and Rule.ONE_OWNER not in self.broken)
            or (claim.user_ref == other.user_ref and Rule.ONE_VOUCHER not in self.broken)
            for other in others
        )

    def _classify(self, session: Session, own: Transaction, args: Sequence[Any]) -> Any:
        seen = session.seen if Rule.SECOND_STATEMENT in self.broken else self.claims
        return [{"verdict": self._verdict(claim, seen, own)} for claim in _claims_of(args)]

    def _verdict(self, claim: Claim, seen: Sequence[Claim], own: Transaction) -> str:
        if claim in seen or claim in own.claims:
            return "RECORDED"
        return "FENCED" if claim.epoch != self.epoch else "CONFLICT"

    def _bury(self, _: Session, own: Transaction, args: Sequence[Any]) -> None:
        _, stream_ids, reasons, _, digests, _ = args
        own.letters += zip(stream_ids, reasons, digests, strict=True)

    def _raise_epoch(self, session: Session, own: Transaction, args: Sequence[Any]) -> Any:
        _, expected, epoch, run_id, _ = args
        others = self._others(session)
        if any(other.shares_round or other.epoch is not None for other in others):
            return BLOCKED
        if self.epoch != expected:
            return []
        if Rule.RAISE not in self.broken:
            own.epoch = epoch
        self.run_id = run_id
        return [{"epoch": epoch}]

    def _try_lock(self, session: Session, _: Transaction, args: Sequence[Any]) -> Any:
        lock = (args[0], args[1])
        is_free = all(lock not in each.advisory for each in self.sessions if each is not session)
        if is_free:
            session.advisory.append(lock)
        return [{"locked": is_free}]

    def _unlock(self, session: Session, _: Transaction, args: Sequence[Any]) -> Any:
        session.advisory.remove((args[0], args[1]))
        return [{"unlocked": True}]


def _claims_of(args: Sequence[Any]) -> list[Claim]:
    _, numbers, epochs, users, ms, seqs, nths = args
    assert set(nths) <= {None}
    return [Claim(*facts) for facts in zip(numbers, users, epochs, ms, seqs, strict=True)]
