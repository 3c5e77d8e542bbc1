"""A world in which every promise is kept, made without any server.

It does what the service promises to do, in plain Python and by a clock of its own: its gate takes
numbers, its ledger records entries, its recoveries raise the epoch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from loadtest.chaos.check_case import (
    FENCED,
    Books,
    Claim,
    DeadLetter,
    GateState,
    Recovery,
    Round,
    Stock,
    StockAtGate,
    StreamId,
)
from loadtest.chaos.checker import Verdict, check
from loadtest.chaos.history import BUSY, PENDING, SOLD_OUT, UNKNOWN, WON, Operation

START_MS = 1_700_000_000_000
STEP_MS = 1000  # between two things in a world that nobody hurries
ROUND = "c/r1"
FULL, PART = "c-r1-general-1", "c-r1-dining-1"  # the stock that sells out, and the one that does not
_CHINA = timezone(timedelta(hours=8))

TOLD, LATE, CUT = "told", "late", "cut"  # what becomes of an answer: it arrives, it is 202, it never comes


def code_of(stock_id: str, claim_no: int) -> str:
    """Return the code of a voucher."""
    return hashlib.sha256(f"{stock_id}:{claim_no}".encode()).hexdigest()[:17].upper()


def hash_of(stock_id: str, claim_no: int) -> str:
    """Return what the ledger keeps of it."""
    return hashlib.sha256(code_of(stock_id, claim_no).encode()).hexdigest()


def ref_of(user: str) -> str:
    """Return a user's reference."""
    return f"1{hashlib.sha256(user.encode()).hexdigest()[:22]}"


def instant(ms: int) -> str:
    """Write an instant as answers do."""
    return datetime.fromtimestamp(ms / 1000, _CHINA).isoformat(timespec="milliseconds")


def holding_of(claim: Claim) -> str:
    """Return what the gate keeps of a claim."""
    return f"{claim.claim_no}:{claim.epoch}:{claim.stream_id}"


def entry_of(claim: Claim) -> dict[str, str]:
    """Return the fields of a claim's entry."""
    return {"v": "1", "epoch": str(claim.epoch), "claim_no": str(claim.claim_no), "user_ref": claim.user_ref}


@dataclass
class World:
    """Clients, a gate and a ledger that keep every promise."""

    quantities: dict[str, int]
    now_ms: int = START_MS
    step_ms: int = STEP_MS
    epoch: int = 1
    history: list[Operation] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    earlier: list[Claim] = field(default_factory=list)
    earlier_letters: list[DeadLetter] = field(default_factory=list)
    earlier_epoch: int = 0
    earlier_stocks: dict[str, Stock] = field(default_factory=dict)
    earlier_rounds: dict[str, Round] = field(default_factory=dict)
    earlier_round: Round | None = None
    dead_letters: list[DeadLetter] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    planted: set[tuple[str, str]] = field(default_factory=set)
    round: Round = field(default_factory=lambda: Round(0, START_MS - 1000, START_MS + 10_000_000))
    stocks: dict[str, Stock] = field(default_factory=dict)
    free: dict[str, list[int]] = field(default_factory=dict)
    holders: dict[str, dict[str, str]] = field(default_factory=dict)
    entries: dict[str, list[tuple[str, dict[str, str]]]] = field(default_factory=dict)
    committed: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    unrecorded: list[Claim] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open the gate."""
        for stock_id, quantity in self.quantities.items():
            self.stocks[stock_id] = Stock(ROUND, quantity, quantity, stock_id, "c-r1")
            self.free[stock_id] = list(range(1, quantity + 1))
            self.holders[stock_id], self.entries[stock_id], self.committed[stock_id] = {}, [], "0-0"

    def ask(self, user: str, stock_id: str, fate: str = TOLD, *, lead_ms: int = 10, lag_ms: int = 10) -> None:
        """Let a user claim; the gate decides now, the request began before that and the answer comes after it."""
        began_ms, user_ref = self.now_ms - lead_ms, ref_of(user)
        status, claim = 200, self._held(stock_id, user_ref)
        if claim is None and self.free[stock_id]:
            status, claim = 201, self._take(stock_id, user_ref)
        if fate == TOLD:
            self.record()  # a yes waits for the ledger, and so does everyone behind it
        done = Operation(began_ms, self.now_ms + lag_ms, user, stock_id, UNKNOWN, 0)
        if fate == CUT:
            self.history.append(done)
        elif claim is None:
            self.history.append(replace(done, outcome=SOLD_OUT, status=409))
        elif claim in self.claims:
            told = (claim.claim_no, code_of(stock_id, claim.claim_no), instant(claim.stream_ms))
            number, code, at = told
            self.history.append(
                replace(done, outcome=WON, status=status, claim_no=number, voucher_code=code, claimed_at=at)
            )
        else:
            self.history.append(replace(done, outcome=PENDING, status=202))
        self.now_ms += self.step_ms

    def turn_away(self, user: str, stock_id: str) -> None:
        """Let a user claim while nobody can say anything."""
        self.history.append(Operation(self.now_ms, self.now_ms + 5, user, stock_id, BUSY, 503))

    def record(self) -> None:
        """Let the ledger worker record what waits, and move the watermark."""
        for claim in self.unrecorded:
            self.claims.append(claim)
            self.committed[claim.stock_id] = str(claim.stream_id)
        self.unrecorded.clear()

    def recover(self, *, lost: int = 0, fenced: int = 0, lasts_ms: int = 100) -> None:
        """Raise the epoch: the last entries that are not recorded may be lost or fenced, the rest is drained.

        Args:
            lost: Entries that are gone without a trace, with the whole stream.
            fenced: Entries that are found too late.
            lasts_ms: How long it takes.
        """
        self.recoveries.append(Recovery(self.now_ms, self.now_ms + lasts_ms, may_lose=lost > 0))
        late = [self.unrecorded.pop() for _ in range(min(fenced, len(self.unrecorded)))]
        for _ in range(min(lost, len(self.unrecorded))):
            self.unrecorded.pop()
        self.record()
        for claim in late:
            self.bury(claim, FENCED)
        self.epoch += 1
        for stock_id, quantity in self.quantities.items():
            owned = {claim.claim_no: claim for claim in self.claims if claim.stock_id == stock_id}
            self.free[stock_id] = [number for number in range(1, quantity + 1) if number not in owned]
            self.holders[stock_id] = {claim.user_ref: holding_of(claim) for claim in owned.values()}
            if lost:
                self.entries[stock_id] = []
        self.now_ms += lasts_ms + self.step_ms

    def bury(self, claim: Claim, reason: str) -> DeadLetter:
        """Refuse an entry."""
        letter = DeadLetter(claim.stock_id, str(claim.stream_id), reason, entry_of(claim))
        self.dead_letters.append(letter)
        return letter

    def dream(self, user: str, stock_id: str) -> None:
        """Let a user win at a gate of an earlier epoch, which nobody believes any more."""
        self.history.append(Operation(self.now_ms - 10, self.now_ms + 10, user, stock_id, UNKNOWN, 0))
        self.bury(Claim(stock_id, 1, ref_of(user), self.epoch - 1, self.now_ms, 99, hash_of(stock_id, 1)), FENCED)

    def plant(self, user: str, stock_id: str, claim_no: int) -> None:
        """Write an entry into the stream by hand, in a user's name; the ledger refuses it."""
        claim = Claim(stock_id, claim_no, ref_of(user), self.epoch, self.now_ms, 0, hash_of(stock_id, claim_no))
        self.entries[stock_id].append((str(claim.stream_id), entry_of(claim)))
        self.committed[stock_id] = str(claim.stream_id)
        self.planted.add((stock_id, str(claim.stream_id)))
        self.bury(claim, "FORBIDDEN")

    def look_early(self) -> None:
        """Take the earlier of the two pictures of the ledger."""
        self.earlier, self.earlier_letters = list(self.claims), list(self.dead_letters)
        self.earlier_epoch = self.epoch

    def judge(self) -> list[Verdict]:
        """Give the evidence to the checker."""
        rounds = {ROUND: replace(self.round, epoch=self.round.epoch or self.epoch)}
        before = {ROUND: replace(self.earlier_round or self.round, epoch=self.earlier_epoch)}
        at_gate = {
            stock_id: StockAtGate(
                stock_id not in self.closed,
                self.epoch,
                self.free[stock_id],
                self.holders[stock_id],
                self.entries[stock_id],
                self.committed[stock_id],
            )
            for stock_id in self.holders
        }
        return check(
            self.history,
            Books(rounds, self.stocks, self.claims, self.dead_letters),
            GateState(at_gate),
            earlier=Books(
                before | self.earlier_rounds, self.stocks | self.earlier_stocks, self.earlier, self.earlier_letters
            ),
            user_refs={done.user: ref_of(done.user) for done in self.history},
            recoveries=self.recoveries,
            planted=self.planted,
        )

    def broken(self) -> set[str]:
        """Return which invariants the checker calls broken."""
        return {verdict.id for verdict in self.judge() if not verdict.ok}

    # What forgeries change ---------------------------------------------------------------------------

    def claim_of(self, user: str, stock_id: str) -> Claim:
        """Return a user's row."""
        [found] = (one for one in self.claims if (one.stock_id, one.user_ref) == (stock_id, ref_of(user)))
        return found

    def change_row(self, user: str, stock_id: str, **changes: object) -> Claim:
        """Change a user's row in the ledger alone."""
        before = self.claim_of(user, stock_id)
        after = replace(before, **changes)  # type: ignore[arg-type]  # names and types are the forger's business
        self.claims[self.claims.index(before)] = after
        return after

    def change_everywhere(self, user: str, stock_id: str, **changes: object) -> None:
        """Change a user's row, and his holding and entry at the gate with it."""
        before = self.claim_of(user, stock_id)
        self.forget_at_gate(before)
        self.hold(self.change_row(user, stock_id, **changes))

    def forget_at_gate(self, claim: Claim) -> None:
        """Take holding and entry of a claim from the gate."""
        del self.holders[claim.stock_id][claim.user_ref]
        self.entries[claim.stock_id] = [one for one in self.entries[claim.stock_id] if one[0] != str(claim.stream_id)]

    def hold(self, claim: Claim) -> None:
        """Put holding and entry of a claim to the gate."""
        self.holders[claim.stock_id][claim.user_ref] = holding_of(claim)
        self.entries[claim.stock_id].append((str(claim.stream_id), entry_of(claim)))

    def answers_of(self, user: str, stock_id: str) -> list[int]:
        """Return where in the history a user's operations on a stock are."""
        return [at for at, one in enumerate(self.history) if (one.user, one.stock_id) == (user, stock_id)]

    def change_answer(self, at: int, **changes: object) -> None:
        """Change one operation of the history; ``at`` is its place."""
        self.history[at] = replace(self.history[at], **changes)  # type: ignore[arg-type]  # as above

    def _held(self, stock_id: str, user_ref: str) -> Claim | None:
        if user_ref not in self.holders[stock_id]:
            return None
        both = [*self.claims, *self.unrecorded]
        return next(claim for claim in both if (claim.stock_id, claim.user_ref) == (stock_id, user_ref))

    def _take(self, stock_id: str, user_ref: str) -> Claim:
        number = self.free[stock_id].pop(0)
        code_hash = hash_of(stock_id, number)
        latest = max((StreamId.parse(name) for name, _ in self.entries[stock_id]), default=StreamId(0, 0))
        seq = latest.seq + 1 if latest.ms == self.now_ms else 0
        claim = Claim(stock_id, number, user_ref, self.epoch, self.now_ms, seq, code_hash)
        self.unrecorded.append(claim)
        self.hold(claim)
        return claim


def honest_world() -> World:
    """Return the world that forgeries are made of: one recovery, one stock sold out, one not.

    Epoch 1: of FULL ann wins, and bob, who is told to wait and asks again; of PART ann wins, and hal
    is told to wait, is fenced and never comes back.  Epoch 2: of FULL cid wins, hears nothing and
    asks again, dan takes the last of four, eve is told that it is sold out; of PART fay wins, and gus
    is told to wait and never comes back; two of five are left.
    """
    world = World({FULL: 4, PART: 5})
    world.ask("ann", FULL)
    world.ask("bob", FULL, LATE)
    world.ask("ann", PART)
    world.ask("bob", FULL)
    world.ask("hal", PART, LATE)
    world.turn_away("eve", FULL)
    world.recover(fenced=1)
    world.look_early()
    world.ask("cid", FULL, CUT)
    world.ask("cid", FULL)
    world.ask("fay", PART)
    world.ask("gus", PART, LATE)
    world.ask("dan", FULL)
    world.ask("eve", FULL)
    world.ask("ann", FULL)
    return world
