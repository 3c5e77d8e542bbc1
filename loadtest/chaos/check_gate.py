"""What must hold between the gate at rest and the ledger: I-14 and the entries of I-16.

Each function is one promise: it yields a sentence for every fault that it finds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from loadtest.chaos.check_case import Case, Claim, StockAtGate, StreamId


def agreement(case: Case) -> Iterator[str]:
    """I-14: at rest the gate's holders are the ledger's owners, its numbers are all there, its entries are recorded."""
    for stock_id, stock in case.books.stocks.items():
        at_gate = case.gate.stocks.get(stock_id)
        if at_gate is None or not at_gate.is_open:
            yield f"{stock_id} is closed at the gate: what it holds means nothing, and nobody is served"
        else:
            yield from _numbers(stock_id, at_gate, stock.quantity)
            yield from _holders(case, stock_id, at_gate)
            yield from _entries(case, stock_id, at_gate)


def one_entry(case: Case) -> Iterator[str]:
    """I-16, in the corridor: within an epoch a user has at most one entry of a stock, a number at most one user."""
    for stock_id, at_gate in case.gate.stocks.items():
        ids: defaultdict[str, set[str]] = defaultdict(set)
        for stream_id, fields in at_gate.entries:
            if fields.get("epoch") == str(at_gate.epoch) and (stock_id, stream_id) not in case.planted:
                ids[f"the user {fields.get('user_ref', '?'):.8}…"].add(stream_id)
                ids[f"the number {fields.get('claim_no', '?')}"].add(stream_id)
        for whose, those in ids.items():
            if len(those) > 1:
                named = ", ".join(sorted(those))
                yield f"{whose} has {len(those)} entries of {stock_id} in epoch {at_gate.epoch}: {named}"


def _numbers(stock_id: str, at_gate: StockAtGate, quantity: int) -> Iterator[str]:
    """Free and held numbers are 1..quantity, each once."""
    held = [int(holding.partition(":")[0]) for holding in at_gate.holders.values()]
    times = Counter([*at_gate.free, *held])
    for number in range(1, quantity + 1):
        if times[number] != 1:
            free_times, held_times = at_gate.free.count(number), held.count(number)
            yield f"{stock_id} number {number} is {free_times} times free and {held_times} times held"
    for number in sorted(set(times) - set(range(1, quantity + 1))):
        yield f"{stock_id} number {number} is at the gate, the stock has 1..{quantity}"


def _holders(case: Case, stock_id: str, at_gate: StockAtGate) -> Iterator[str]:
    """A holder is an owner, unless the ledger has refused his entry; an owner is a holder."""
    owners = {claim.user_ref: claim for claim in case.claims_of[stock_id]}
    for claim in owners.values():
        if at_gate.holders.get(claim.user_ref) != _holding(claim):
            yield f"{claim} owns what the gate calls {at_gate.holders.get(claim.user_ref, 'nobody’s')}"
    for user_ref, holding in at_gate.holders.items():
        is_refused = (stock_id, holding.rpartition(":")[2]) in case.buried
        if user_ref not in owners and not is_refused:
            yield f"the user {user_ref:.8}… holds {holding} of {stock_id} at the gate and owns nothing in the ledger"


def _entries(case: Case, stock_id: str, at_gate: StockAtGate) -> Iterator[str]:
    """An entry of this epoch is recorded or refused."""
    recorded = {
        (claim.stream_id, str(claim.epoch), str(claim.claim_no), claim.user_ref) for claim in case.claims_of[stock_id]
    }
    for name, fields in at_gate.entries:
        epoch, claim_no, user_ref = (fields.get(field, "") for field in ("epoch", "claim_no", "user_ref"))
        is_recorded = (StreamId.parse(name), epoch, claim_no, user_ref) in recorded
        if epoch == str(at_gate.epoch) and not is_recorded and (stock_id, name) not in case.buried:
            yield f"{stock_id}: the entry {name} (number {claim_no}) is neither recorded nor refused"


def _holding(claim: Claim) -> str:
    return f"{claim.claim_no}:{claim.epoch}:{claim.stream_id}"
