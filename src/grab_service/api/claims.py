"""``POST /v1/stocks/{stock_id}/claims``: the request that everyone sends in the same second.

Served as bare ASGI in front of FastAPI's router; nearly every answer is a refusal, and a refusal
must cost almost nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from grab_service.admission import Rate
from grab_service.api import problems
from grab_service.api.counter import Counter, Counters
from grab_service.api.ending import Ending
from grab_service.api.incoming import Incoming
from grab_service.api.problems import CHINESE, ENGLISH, Code, form
from grab_service.api.reply import NO_STORE, Reply
from grab_service.api.scopes import CLAIM_ROUTE, TABLE
from grab_service.auth import Authenticator
from grab_service.claimant import Claimant
from grab_service.confirm import Outcome, Settled
from grab_service.gate import GateUnavailable, Holding, Letter
from grab_service.identity import Distrust, Identity

_ASKS_MAX = 3  # a recovery between claim and confirmation makes a request ask again, this often at most

_PENDING_RETRY_S = (1, 2)  # spread, so that those who wait for the ledger do not come back together

_REFUSALS: Mapping[str, Code] = {
    Letter.CLOSED: Code.SYSTEM_BUSY,
    Letter.REFUSED: Code.SYSTEM_BUSY,
    Letter.NOT_STARTED: Code.NOT_STARTED,
    Letter.ENDED: Code.ENDED,
    Letter.PAUSED: Code.PAUSED,
    Letter.SOLD_OUT: Code.SOLD_OUT,
    Letter.LIMIT: Code.LIMIT_REACHED,
}
_FORMS = {
    language: {letter: form(code, language) for letter, code in _REFUSALS.items()} for language in (CHINESE, ENGLISH)
}
_TICKET_FIRST = "Claims are taken with a ticket only: POST /v1/challenges, then POST /v1/tickets with the answer."
_ALLOWED = TABLE[CLAIM_ROUTE]


@dataclass(slots=True)
class Asked:
    """A claim about which the stores are asked.

    Attributes:
        counter: Of the stock.
        user_ref: Who claims.
        incoming: The request.
        asks: How often they have been asked.
        has_won: Whether one of their answers was that it is won now.
    """

    counter: Counter
    user_ref: str
    incoming: Incoming
    asks: int = 0
    has_won: bool = False


class Claims:
    """Answers claims.

    Args:
        counters: The stocks that are served.
        authenticator: Says who is asking.
        rate: Says who asks too often.
        by_ticket_only: Whether a claim needs a ticket, since only for one a proof of presence was shown.
    """

    def __init__(
        self,
        counters: Counters,
        authenticator: Authenticator,
        rate: Rate,
        *,
        by_ticket_only: bool,
    ) -> None:
        self._counters = counters
        self._authenticator = authenticator
        self._rate = rate
        self._by_ticket_only = by_ticket_only

    def answer_at_once(self, stock_id: str, incoming: Incoming, now_s: float) -> Reply | Asked:
        """Answer the claim of whoever the token names, if that needs no store; else return what to ask them.

        Args:
            stock_id: What is claimed.
            incoming: The request.
            now_s: This process's monotonic clock.
        """
        identity = self._authenticator.identify(incoming.authorization, incoming)
        request_id, language = incoming.request_id, incoming.language
        if not isinstance(identity, Identity):
            if identity is Distrust.UNCHECKED:
                return busy(Ending.BUSY_CHECKS, request_id, language, identity.value)
            return problems.reply(Code.SIGN_ERROR, request_id, language, detail=identity.value)
        if _ALLOWED.isdisjoint(identity.scopes):
            return problems.reply(Code.FORBIDDEN, request_id, language)
        if self._by_ticket_only and not identity.is_by_ticket:
            return problems.reply(Code.PRESENCE_REQUIRED, request_id, language, detail=_TICKET_FIRST)
        counter = self._counters.get(stock_id)
        if counter is None:
            return problems.reply(unknown(self._counters), request_id, language)
        if not identity.region.startswith(counter.eligible_regions):
            return problems.reply(Code.NOT_ELIGIBLE, request_id, language)
        if self._rate.is_exceeded(identity.user_ref, now_s):
            return problems.reply(Code.FREQUENCY_LIMIT_EXCEED, request_id, language)
        user_ref = identity.ref_under(counter.pepper_version)
        if user_ref is None:
            return problems.reply(Code.SIGN_ERROR, request_id, language, detail=Distrust.PEPPER.value)
        return self._recall(counter, user_ref, now_s, language, request_id) or Asked(counter, user_ref, incoming)

    def ask(self, claim: Asked, claimant: Claimant[Settled]) -> Reply | None:
        """Ask the stores about a claim that could not be answered at once.

        Args:
            claim: The claim.
            claimant: Is told what it came to; ``told`` says what that means.

        Returns:
            The answer if too many wait; then nobody is told.
        """
        if not claim.counter.desk.claim(claim.user_ref, claimant):
            incoming = claim.incoming
            return busy(Ending.BUSY_QUEUE, incoming.request_id, incoming.language, "Too many claims are waiting.")
        claim.asks += 1
        return None

    def told(self, claim: Asked, settled: Settled | Exception) -> Reply | None:
        """Return the answer to a claim about which the stores have been asked; None if they must be asked again."""
        request_id, language, counter = claim.incoming.request_id, claim.incoming.language, claim.counter
        if isinstance(settled, GateUnavailable):
            return busy(Ending.BUSY_GATE, request_id, language, "The gate did not answer.")
        if isinstance(settled, Exception):  # the desk has logged it, once for all who waited
            return problems.reply(Code.SYSTEM_ERROR, request_id, language)
        answer, outcome = settled
        if answer.epoch < counter.confirmations.vault_epoch:
            return problems.reply(Code.SYSTEM_BUSY, request_id, language, detail="The gate is being recovered.")
        if answer.holding is None:
            opens_in_s = (counter.opens_ms - answer.now_ms) / 1000
            return _refusal(answer.letter, counter, opens_in_s, request_id, language)
        claim.has_won = claim.has_won or answer.letter == Letter.WON
        if outcome is Outcome.COMMITTED:
            counter.memory.remember_winner(claim.user_ref, answer.holding)
            body = counter.voucher_body(answer.holding, replayed=not claim.has_won)
            return Reply(201 if claim.has_won else 200, body)
        if outcome is Outcome.LATE:
            return _pending(counter.stock.stock_id)
        if outcome is Outcome.REFUSED or claim.asks == _ASKS_MAX:
            return problems.reply(Code.SYSTEM_BUSY, request_id, language, detail="The claim is being recovered.")
        return None

    def _recall(self, counter: Counter, user_ref: str, now_s: float, language: str, request_id: str) -> Reply | None:
        """Answer from what this process knows; None if the gate must be asked."""
        memory = counter.memory
        known = memory.recall(user_ref, now_s)
        if known is None or memory.epoch < counter.confirmations.vault_epoch:
            return None
        if isinstance(known, Holding):
            if not counter.confirmations.is_committed(known, memory.epoch):
                return None
            return Reply(200, counter.voucher_body(known, replayed=True))
        opens_in_s = memory.opens_in_s(now_s) if known is Letter.NOT_STARTED else 0.0
        return _refusal(known, counter, opens_in_s, request_id, language)


def _pending(stock_id: str) -> Reply:
    wait_s = random.randint(*_PENDING_RETRY_S)  # noqa: S311  spreads load, hides nothing
    body = json.dumps({"state": "PENDING", "stock_id": stock_id}).encode()
    return Reply(202, body, headers=(NO_STORE, (b"retry-after", str(wait_s).encode())))


def busy(ending: Ending, request_id: str, language: str, detail: str) -> Reply:
    """Return that a claim was turned away, and for what reason it is counted."""
    return problems.reply(Code.SYSTEM_BUSY, request_id, language, detail=detail, ending=ending)


def unknown(counters: Counters) -> Code:
    """Return the code for an id that is not known; a process that does not serve all there is cannot say no."""
    return Code.RESOURCE_NOT_EXISTS if counters and counters.is_whole else Code.SYSTEM_BUSY


def _refusal(letter: str, counter: Counter, opens_in_s: float, request_id: str, language: str) -> Reply:
    if letter != Letter.NOT_STARTED:
        return _FORMS[language][letter].filled_in(request_id)
    made = form(Code.NOT_STARTED, language, None, counter.opens_at)
    return made.filled_in(request_id, max(1, ceil(opens_in_s)))
