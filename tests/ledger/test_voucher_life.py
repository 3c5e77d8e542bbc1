"""Vouchers' lives in whatever order, against a model: every answer is foretold, and every balance to the fen.

After each step the balances are what the model says; at the end no invariant is violated.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from loadtest.bench.sql import statement

from grab_service import embedded
from grab_service.minting import mint
from grab_service.references import VoucherCodes
from ledger import catalogue, expiry, money, settlement
from ledger.redeem import Order, redeem
from ledger.redemption import reversal_request, reverse
from ledger.refund import refund, refund_request, share_fen
from ledger.requests import Answer
from ledger.vault_checks import vault_faults
from tests.support.campaign_walk import DONE, word
from tests.support.campaigns import small_campaign
from tests.support.till import CALLER, FUND_FEN, OTHER_SHOP, SHOP, add_merchant, new_number, receive_fund
from tests.support.voucher_uses import Period, Use

CODES = VoucherCodes(b"voucher key of the tests, 32 bytes")
FACE_FEN, THRESHOLD_FEN = 3_000, 10_000
MINTED, CLAIMED = 5, 4
REVERSAL_WITHIN = timedelta(hours=1)
VALID_FOR = timedelta(hours=6)
LIGHT = settings(
    max_examples=20, stateful_step_count=24, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
T = TypeVar("T")
_numbers = itertools.count(1)

places = st.integers(0, CLAIMED - 1)
shops = st.sampled_from([SHOP, OTHER_SHOP])
picks = st.integers(0, 30)  # of the uses so far: what is drawn must not depend on who won a race
amounts = st.integers(THRESHOLD_FEN - 500, 3 * THRESHOLD_FEN)


class Life(RuleBasedStateMachine):
    """One campaign: five vouchers of a stock, four of them claimed; the other stock is left alone."""

    runner: asyncio.Runner
    vaults: tuple[asyncpg.Connection, asyncpg.Connection]

    @initialize()
    def begin(self) -> None:
        """Load a campaign, let users own vouchers, and book its fund."""
        self.campaign_id = f"life-{next(_numbers)}"
        self.now = datetime.now(UTC)
        self.until = self.now.replace(microsecond=0) + VALID_FOR
        self.state = ["ISSUED"] * CLAIMED
        self.uses: list[Use] = []
        self.frozen: list[Period] = []
        self.last_end = self.now
        self.carried_fen: dict[str, int] = defaultdict(int)
        self.unsettled_fen: dict[str, int] = defaultdict(int)  # events of a merchant that are in no period
        self.payable_fen: dict[str, int] = defaultdict(int)
        self.paid_fen = 0
        self.run(self._begin())

    async def _begin(self) -> None:
        vault, campaign = (
            self.vaults[0],
            small_campaign(self.campaign_id, MINTED, available_until=self.until.isoformat()),
        )
        self.stock_id = next(iter(campaign.stocks())).stock_id
        await catalogue.load_campaign(vault, mint(campaign, CODES))
        rows = [row for row in await catalogue.stock_rows(vault) if row.campaign_id == self.campaign_id]
        await vault.execute("UPDATE rounds SET epoch = 1 WHERE round_no = $1", rows[0].round_no)
        await vault.execute(statement("insert_holders"), rows[0].stock_no, 1, CLAIMED, int(time.time() * 1000) - 60_000)
        await receive_fund(vault, self.campaign_id)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for something."""
        return self.runner.run(work)

    @rule(place=places, shop=shops, amount_fen=amounts)
    def use(self, place: int, shop: str, amount_fen: int) -> None:
        """Use a voucher, which may be used or over, for an order that may be too small."""
        order = self._order(place, shop, amount_fen)
        must = self._must_use(place, amount_fen)
        answer = self.run(self._redeem(0, order))
        assert word(answer) == must
        if must == DONE:
            self._used(place, order, answer)

    @rule(place=places)
    def race_for_a_voucher(self, place: int) -> None:
        """Two terminals want one voucher: one gets it, or neither."""
        orders = [self._order(place, shop, THRESHOLD_FEN) for shop in (SHOP, OTHER_SHOP)]
        must = self._must_use(place, THRESHOLD_FEN)

        async def both() -> list[Answer]:
            return await asyncio.gather(*(self._redeem(number, order) for number, order in enumerate(orders)))

        answers = self.run(both())
        assert sorted(map(word, answers)) == ([DONE, "VOUCHER_USED"] if must == DONE else [must, must])
        for order, answer in zip(orders, answers, strict=True):
            if answer.refusal is None:
                self._used(place, order, answer)

    @precondition(lambda self: self.uses)
    @rule(pick=picks)
    def undo(self, pick: int) -> None:
        """Reverse a use."""
        use = self.uses[pick % len(self.uses)]
        must = self._must_reverse(use)
        assert word(self.run(self._reverse(0, use))) == must
        if must == DONE:
            self._reversed(use)

    @precondition(lambda self: self.uses)
    @rule(pick=picks, quarters=st.integers(1, 5))
    def give_back(self, pick: int, quarters: int) -> None:
        """Return a quarter of an order, several, or more than there is of it."""
        use = self.uses[pick % len(self.uses)]
        amount_fen = max(1, use.amount_fen * quarters // 4)
        must = self._must_refund(use, amount_fen)
        assert word(self.run(self._refund(0, use, amount_fen))) == must
        if must == DONE:
            self._refunded(use, amount_fen)

    @precondition(lambda self: self.uses)
    @rule(pick=picks)
    def race_for_a_use(self, pick: int) -> None:
        """A reversal and a refund of one use at once: whichever is first, the other is told so."""
        use = self.uses[pick % len(self.uses)]
        amount_fen = use.amount_fen - use.refunded_fen or 1
        alone = (self._must_reverse(use), self._must_refund(use, amount_fen))

        async def both() -> tuple[Answer, Answer]:
            return await asyncio.gather(self._reverse(0, use), self._refund(1, use, amount_fen))

        said = tuple(map(word, self.run(both())))
        after_reversal = (DONE, "ALREADY_REVERSED") if alone[0] == DONE else alone
        after_refund = ("ALREADY_REFUNDED", DONE) if alone[1] == DONE else alone
        assert said in {after_reversal, after_refund}
        if said[0] == DONE:
            self._reversed(use)
        elif said[1] == DONE:
            self._refunded(use, amount_fen)

    @rule(minutes=st.sampled_from([1, 30, 90, 200]))
    def wait(self, minutes: int) -> None:
        """Let time pass."""
        self.now += timedelta(minutes=minutes)

    @rule()
    def expire(self) -> None:
        """Expire what is past its validity, as the worker does."""
        self.run(expiry.expire_vouchers(self.vaults[0], at=self.now))
        if self.now >= self.until:
            self.state = ["EXPIRED" if state == "ISSUED" else state for state in self.state]

    @rule()
    def freeze(self) -> None:
        """Freeze all that has happened so far; the period lasts until now."""
        self.now += timedelta(seconds=1)
        freezing = settlement.freeze(
            self.vaults[0], self.campaign_id, self.now, subject="li", reason="due", at=self.now
        )
        frozen = self.run(freezing)
        net_fen = {shop: self.carried_fen[shop] + self.unsettled_fen[shop] for shop in (SHOP, OTHER_SHOP)}
        paid_fen = {shop: max(0, fen) for shop, fen in net_fen.items()}
        assert frozen.paid_fen == sum(paid_fen.values())
        assert frozen.carried_fen == sum(min(0, fen) for fen in net_fen.values())
        uses = [use for use in self.uses if not use.is_frozen]
        for use in uses:
            use.is_frozen = True
        self.carried_fen = defaultdict(int, {shop: min(0, fen) for shop, fen in net_fen.items()})
        self.unsettled_fen.clear()
        self.frozen.append(Period(frozen.settlement_id, paid_fen, uses))

    @precondition(lambda self: self.frozen)
    @rule()
    def pay(self) -> None:
        """Let somebody else agree to the first period that is not paid."""
        period = self.frozen.pop(0)
        approving = settlement.approve(
            self.vaults[0], period.settlement_id, subject="wang", reason="checked", at=self.now
        )
        assert self.run(approving).state == "PAID"
        for shop, fen in period.paid_fen.items():
            self.payable_fen[shop] -= fen
            self.paid_fen += fen
        for use in period.uses:
            use.is_paid = True

    @invariant()
    def every_fen_is_where_the_model_has_it(self) -> None:
        """Fund, pool, what is set aside, owed and paid."""
        used = [use for use in self.uses if not use.is_reversed]
        returned_fen = sum(use.returned_fen for use in used)
        set_aside_fen = FACE_FEN * (2 * MINTED - len(used) - self.state.count("EXPIRED"))
        expected = {
            "EXTERNAL": -FUND_FEN,
            "RESERVED": set_aside_fen,
            "PAYABLE": sum(self.payable_fen.values()),
            "PAID_OUT": self.paid_fen,
            "POOL": FUND_FEN - 2 * MINTED * FACE_FEN + FACE_FEN * self.state.count("EXPIRED") + returned_fen,
        }
        found: dict[str, int] = dict.fromkeys(expected, 0)
        for each in self.run(money.balances(self.vaults[0], self.campaign_id)):
            found[each.kind] += each.balance_fen
            if each.kind == "PAYABLE":
                assert each.balance_fen == self.payable_fen[each.holder]
        assert found == expected

    def teardown(self) -> None:
        """Audit all that the vault alone can answer for."""
        assert self.run(vault_faults(self.vaults[0])) == []

    def _order(self, place: int, shop: str, amount_fen: int) -> Order:
        code_hash = hashlib.sha256(CODES.code(self.stock_id, place + 1).encode()).digest()
        return Order(
            code_hash=code_hash,
            merchant_no=shop,
            order_no=new_number(),
            order_amount_fen=amount_fen,
            channel="payment_code",
        )

    def _must_use(self, place: int, amount_fen: int) -> str:
        if self.state[place] == "USED":
            return "VOUCHER_USED"
        if self.now >= self.until:
            return "VOUCHER_EXPIRED"
        return DONE if amount_fen >= THRESHOLD_FEN else "BELOW_THRESHOLD"

    def _must_reverse(self, use: Use) -> str:
        if use.is_reversed:
            return "ALREADY_REVERSED"
        if use.refunded_fen:
            return "ALREADY_REFUNDED"
        if use.is_paid:
            return "ALREADY_SETTLED"
        return "REVERSAL_TOO_LATE" if self.now - use.at > REVERSAL_WITHIN else DONE

    def _must_refund(self, use: Use, amount_fen: int) -> str:
        if use.is_reversed:
            return "ALREADY_REVERSED"
        return DONE if use.refunded_fen + amount_fen <= use.amount_fen else "REFUND_EXCEEDS_ORDER"

    async def _redeem(self, number: int, order: Order) -> Answer:
        return await redeem(self.vaults[number], order.request(CALLER, new_number()), order, at=self.now)

    async def _reverse(self, number: int, use: Use) -> Answer:
        request = reversal_request(CALLER, new_number(), use.redemption_id)
        return await reverse(self.vaults[number], request, use.redemption_id, within=REVERSAL_WITHIN, at=self.now)

    async def _refund(self, number: int, use: Use, amount_fen: int) -> Answer:
        request = refund_request(CALLER, new_number(), use.redemption_id, amount_fen)
        return await refund(self.vaults[number], request, use.redemption_id, amount_fen, at=self.now)

    def _move(self, shop: str, fen: int) -> None:
        self.payable_fen[shop] += fen
        self.unsettled_fen[shop] += fen

    def _used(self, place: int, order: Order, answer: Answer) -> None:
        redemption_id = str(answer.body["redemption_id"])
        self.uses.append(Use(redemption_id, place, order.merchant_no, self.now, order.order_amount_fen))
        self.state[place] = "USED"
        self._move(order.merchant_no, FACE_FEN)

    def _reversed(self, use: Use) -> None:
        use.is_reversed, self.state[use.place] = True, "ISSUED"
        self._move(use.shop, -FACE_FEN)

    def _refunded(self, use: Use, amount_fen: int) -> None:
        use.refunded_fen += amount_fen
        before_fen, use.returned_fen = use.returned_fen, share_fen(FACE_FEN, use.refunded_fen, use.amount_fen)
        self._move(use.shop, before_fen - use.returned_fen)


@pytest.mark.timeout(180)
def test_whatever_happens_the_books_are_what_the_model_says(
    postgres_server: embedded.Server, template_database: str
) -> None:
    """Examples of two dozen steps each, over one vault."""
    name = f"life_{time.time_ns()}"
    url = urlunsplit(urlsplit(postgres_server.url)._replace(path=f"/{name}"))

    async def open_vault() -> tuple[asyncpg.Connection, asyncpg.Connection]:
        admin = await asyncpg.connect(postgres_server.url)
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
        await admin.close()
        vaults = await asyncpg.connect(url), await asyncpg.connect(url)
        for shop in (SHOP, OTHER_SHOP):
            await add_merchant(vaults[0], shop)
        return vaults

    async def close_vault(vaults: Iterable[asyncpg.Connection]) -> None:
        for vault in vaults:
            await vault.close()

    with asyncio.Runner() as runner:
        Life.runner, Life.vaults = runner, runner.run(open_vault())
        try:
            run_state_machine_as_test(Life, settings=LIGHT)
        finally:
            runner.run(close_vault(Life.vaults))
