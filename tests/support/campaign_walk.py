"""A seeded random walk through a campaign's vouchers: many tills at once, against a model that knows what must come."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import asyncpg

from ledger.admin import Action
from ledger.holds import VoucherName
from ledger.redeem import Asked, Order, redeem_together
from ledger.redemption import reversal_request, reverse
from ledger.refund import refund, refund_request, share_fen
from ledger.requests import Answer
from tests.support.review import change
from tests.support.till import CALLER, new_number

REVERSAL_WITHIN = timedelta(hours=12)
_BATCH_MAX = 24
_HELD_MAX = 12
DONE = "DONE"


@dataclass(slots=True, eq=False)
class Use:
    """A redemption as the model knows it."""

    redemption_id: str
    voucher: Voucher
    at: datetime
    amount_fen: int
    refunded_fen: int = 0
    returned_fen: int = 0
    is_reversed: bool = False


@dataclass(slots=True, eq=False)
class Voucher:
    """A voucher as the model knows it; whoever acts on it holds ``lock``, so that the outcome can be told."""

    place: int
    stock_no: int
    claim_no: int
    name: VoucherName
    code_hash: bytes
    category: str
    threshold_fen: int
    discount_fen: int
    state: str = "ISSUED"
    use: Use | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


def word(outcome: object) -> str:
    """Return DONE, a refusal, or the name of an exception."""
    if not isinstance(outcome, Answer):
        return type(outcome).__name__
    return outcome.refusal.value if outcome.refusal else DONE


@dataclass(slots=True)
class Walk:
    """Acts on vouchers at random and holds every answer against the model.

    Attributes:
        pool: Connections to the vault.
        vouchers: All of them, by place.
        merchants: Their numbers by category.
        chance: Decides everything.
        now: The walk's clock.
        until: The end of the vouchers' validity.
        settled_until: What was used before this instant is paid out.
        uses: Every redemption there was.
        told: How often what was answered.
    """

    pool: asyncpg.Pool
    vouchers: list[Voucher]
    merchants: dict[str, list[str]]
    chance: Random
    now: datetime
    until: datetime
    settled_until: datetime | None = None
    uses: list[Use] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    may_expire: bool = False

    async def run(self, walkers: int, uses: int, step: timedelta) -> None:
        """Walk until so many redemptions were made; the clock moves on by ``step`` with each act."""
        target = len(self.uses) + uses

        async def walk() -> None:
            while len(self.uses) < target:
                self.now = min(self.now + step, self.until - timedelta(seconds=1))
                await self.act()

        async with asyncio.TaskGroup() as group:
            for _ in range(walkers):
                group.create_task(walk())

    async def act(self) -> None:
        """Do one thing."""
        kinds = [self.redeem, self.reverse, self.refund, self.race_for_a_voucher, self.race_for_a_use, self.review]
        kind = self.chance.choices(kinds, (30, 12, 24, 6, 6, 4))[0]
        if kind in (self.redeem, self.race_for_a_voucher, self.review) or self.uses:
            await kind()

    def order(self, voucher: Voucher) -> Order:
        """Return an order that may be paid with a voucher, or now and then may not."""
        category = voucher.category if self.chance.random() < 0.95 else self.chance.choice(sorted(self.merchants))
        return Order(
            code_hash=voucher.code_hash,
            merchant_no=self.chance.choice(self.merchants[category]),
            order_no=new_number(),
            order_amount_fen=voucher.threshold_fen + self.chance.randrange(-300, 9_999),
            channel="payment_code",
        )

    def expected(self, voucher: Voucher, order: Order) -> set[str]:
        """Return what a use may be answered."""
        if order.merchant_no not in self.merchants[voucher.category]:
            return {"CATEGORY_NOT_ACCEPTED"}
        if voucher.state == "EXPIRED":
            return {"VOUCHER_EXPIRED"}
        if voucher.state == "USED":
            return {"VOUCHER_USED"}
        if voucher.state in ("HELD", "VOID"):
            return {"VOUCHER_VOID", "VOUCHER_EXPIRED"} if self.may_expire else {"VOUCHER_VOID"}
        outcome = DONE if order.order_amount_fen >= voucher.threshold_fen else "BELOW_THRESHOLD"
        return {outcome, "VOUCHER_EXPIRED"} if self.may_expire else {outcome}

    def used(self, voucher: Voucher, order: Order, outcome: object, at: datetime) -> None:
        """Take a use's answer into the model."""
        said = word(outcome)
        self.told[f"redeem {said}"] += 1
        if said == "VOUCHER_EXPIRED":
            voucher.state = "EXPIRED"
        if said == DONE:
            assert isinstance(outcome, Answer)
            use = Use(str(outcome.body["redemption_id"]), voucher, at, order.order_amount_fen)
            voucher.state, voucher.use = "USED", use
            self.uses.append(use)

    async def redeem(self) -> None:
        """Use some vouchers together, each once, and ask for one of them again."""
        places = self.chance.sample(range(len(self.vouchers)), self.chance.randint(1, _BATCH_MAX))
        chosen = [self.vouchers[place] for place in sorted(places)]
        async with AsyncExitStack() as stack:
            for voucher in chosen:
                await stack.enter_async_context(voucher.lock)
            at = self.now
            orders = [self.order(voucher) for voucher in chosen]
            batch: list[Asked] = [(order.request(CALLER, new_number()), order) for order in orders]
            may = [self.expected(voucher, order) for voucher, order in zip(chosen, orders, strict=True)]
            async with self.pool.acquire() as connection:
                outcomes = await redeem_together(connection, batch, at=at)  # type: ignore[arg-type]  # a proxy with the same methods
                (again,) = await redeem_together(connection, batch[:1], at=at)  # type: ignore[arg-type]  # the same
            for voucher, order, allowed, outcome in zip(chosen, orders, may, outcomes, strict=True):
                assert word(outcome) in allowed, (word(outcome), allowed, voucher)
                self.used(voucher, order, outcome, at)
            assert isinstance(again, Answer)
            assert again.is_replay
            assert word(again) == word(outcomes[0])

    async def race_for_a_voucher(self) -> None:
        """Three terminals want one voucher: one gets it, the others learn that it is used."""
        voucher = self.chance.choice(self.vouchers)
        async with voucher.lock:
            at, orders = self.now, [self.order(voucher) for _ in range(3)]
            if voucher.state != "ISSUED" or any(self.expected(voucher, order) != {DONE} for order in orders):
                return
            outcomes = await asyncio.gather(*(self._redeem(order, at) for order in orders))
            assert sorted(map(word, outcomes)) == [DONE, "VOUCHER_USED", "VOUCHER_USED"]
            for order, outcome in zip(orders, outcomes, strict=True):
                self.used(voucher, order, outcome, at)

    async def review(self) -> None:
        """Hold some vouchers, or end the hold of some that are held."""
        held = [voucher for voucher in self.vouchers if voucher.state == "HELD"]
        action = self.chance.choice([Action.RELEASE, Action.VOID]) if len(held) > _HELD_MAX else Action.HOLD
        chosen = self.chance.sample(held if action is not Action.HOLD else self.vouchers, 3)
        before, after = {
            Action.HOLD: ("ISSUED", "HELD"),
            Action.RELEASE: ("HELD", "ISSUED"),
            Action.VOID: ("HELD", "VOID"),
        }[action]
        async with AsyncExitStack() as stack:
            for voucher in sorted(chosen, key=lambda each: each.place):
                await stack.enter_async_context(voucher.lock)
            async with self.pool.acquire() as connection:
                done = await change(connection, action, [voucher.name for voucher in chosen], self.now)  # type: ignore[arg-type]  # a proxy with the same methods
            for voucher in chosen:
                is_done = voucher.name in done
                assert is_done == (voucher.state == before) or (self.may_expire and not is_done), voucher
                if is_done:
                    voucher.state = after
                    self.told[f"review {action}"] += 1

    async def reverse(self) -> None:
        """Undo a redemption, most often one of the last."""
        use = self._some_use()
        async with use.voucher.lock:
            at = self.now
            must = self._expected_of_reversal(use, at)
            answer = await self._reverse(use, at)
            assert word(answer) == must, (word(answer), must, use)
            self._reversed(use, answer)

    async def refund(self) -> None:
        """Return a part of an order, all of it, or more than there is."""
        use = self._some_use()
        async with use.voucher.lock:
            amount_fen = self._amount(use)
            must = self._expected_of_refund(use, amount_fen)
            answer = await self._refund(use, amount_fen, self.now)
            assert word(answer) == must, (word(answer), must, use)
            self._refunded(use, amount_fen, answer)

    async def race_for_a_use(self) -> None:
        """A reversal and a refund of one order at once: whichever is first, the other is told so."""
        use = self._some_use()
        async with use.voucher.lock:
            at, amount_fen = self.now, self._amount(use)
            first = (self._expected_of_reversal(use, at), self._expected_of_refund(use, amount_fen))
            reversal, answer = await asyncio.gather(self._reverse(use, at), self._refund(use, amount_fen, at))
            said = (word(reversal), word(answer))
            allowed = {first} if first != (DONE, DONE) else set()
            if first[0] == DONE:
                allowed.add((DONE, "ALREADY_REVERSED"))
            if first[1] == DONE:
                allowed.add(("ALREADY_REFUNDED", DONE))
            assert said in allowed, (said, allowed, use)
            self._reversed(use, reversal)
            self._refunded(use, amount_fen, answer)

    def _some_use(self) -> Use:
        return self.chance.choice(self.uses[-200:] if self.chance.random() < 0.7 else self.uses)

    def _amount(self, use: Use) -> int:
        left_fen = use.amount_fen - use.refunded_fen
        return max(1, self.chance.choice([left_fen, left_fen + 1, self.chance.randint(1, use.amount_fen)]))

    def is_settled(self, use: Use) -> bool:
        """Whether a use has been paid out."""
        return self.settled_until is not None and use.at < self.settled_until

    def _expected_of_reversal(self, use: Use, at: datetime) -> str:
        if use.is_reversed:
            return "ALREADY_REVERSED"
        if use.refunded_fen:
            return "ALREADY_REFUNDED"
        if self.is_settled(use):
            return "ALREADY_SETTLED"
        return "REVERSAL_TOO_LATE" if at - use.at > REVERSAL_WITHIN else DONE

    @staticmethod
    def _expected_of_refund(use: Use, amount_fen: int) -> str:
        if use.is_reversed:
            return "ALREADY_REVERSED"
        return DONE if use.refunded_fen + amount_fen <= use.amount_fen else "REFUND_EXCEEDS_ORDER"

    def _reversed(self, use: Use, answer: Answer) -> None:
        self.told[f"reverse {word(answer)}"] += 1
        if word(answer) == DONE:
            use.is_reversed, use.voucher.state, use.voucher.use = True, "ISSUED", None

    def _refunded(self, use: Use, amount_fen: int, answer: Answer) -> None:
        settled = " of what was settled" if self.is_settled(use) else ""
        self.told[f"refund {word(answer)}{settled}"] += 1
        if word(answer) == DONE:
            use.refunded_fen += amount_fen
            use.returned_fen = share_fen(use.voucher.discount_fen, use.refunded_fen, use.amount_fen)
            assert answer.body["discount_returned_total_fen"] == use.returned_fen

    async def _redeem(self, order: Order, at: datetime) -> object:
        async with self.pool.acquire() as connection:
            (outcome,) = await redeem_together(connection, [(order.request(CALLER, new_number()), order)], at=at)  # type: ignore[arg-type]  # a proxy with the same methods
            return outcome

    async def _reverse(self, use: Use, at: datetime) -> Answer:
        request = reversal_request(CALLER, new_number(), use.redemption_id)
        async with self.pool.acquire() as connection:
            return await reverse(connection, request, use.redemption_id, within=REVERSAL_WITHIN, at=at)  # type: ignore[arg-type]  # the same

    async def _refund(self, use: Use, amount_fen: int, at: datetime) -> Answer:
        request = refund_request(CALLER, new_number(), use.redemption_id, amount_fen)
        async with self.pool.acquire() as connection:
            return await refund(connection, request, use.redemption_id, amount_fen, at=at)  # type: ignore[arg-type]  # the same
