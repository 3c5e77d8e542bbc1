"""What must hold in a simulated world: at every step, and when it has come to rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.simulation.gate_data import text_of
from tests.simulation.model_gate import ModelGate
from tests.simulation.model_vault import Claim, ModelVault


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold (``ARCHITECTURE.md``), and what was seen.

    Attributes:
        invariant: Its id; FAULT for an error of a process that nobody caught.
        seen: What is wrong.
    """

    invariant: str
    seen: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.seen}"


class Checks:
    """Looks at a world from outside; it shares no code with the service.

    Args:
        vault: The vault.

    Attributes:
        violation: The first that was seen.
        yes: The number that each user was told.
    """

    def __init__(self, vault: ModelVault) -> None:
        self.violation: Violation | None = None
        self.yes: dict[str, int] = {}
        self._vault = vault
        self._epoch = 0
        self._counted = 0
        self._sold_out: set[int] = set()
        self._opened: dict[int, int] = {}
        vault.on_commit = self._committed

    def violate(self, invariant: str, seen: str) -> None:
        """Note a violation."""
        if self.violation is None:
            self.violation = Violation(invariant, seen)

    def told_yes(self, user: str, claim_no: int) -> None:
        """A user was told of a voucher."""
        if self.yes.setdefault(user, claim_no) != claim_no:
            self.violate("I-6", f"{user} was told {self.yes[user]} and then {claim_no}")
        if (claim_no, user) not in {(claim.claim_no, claim.user_ref) for claim in self._vault.claims}:
            self.violate("I-4", f"{user} was told {claim_no}, which is not in the ledger")

    def _committed(self, claims: Sequence[Claim]) -> None:
        vault = self._vault
        if vault.epoch < self._epoch:
            self.violate("I-13", f"the epoch went back from {self._epoch} to {vault.epoch}")
        self._epoch = vault.epoch
        numbers = [claim.claim_no for claim in vault.claims]
        if len(set(numbers)) != len(numbers):
            self.violate("I-2", f"numbers with two owners: {sorted(numbers)}")
        if len(numbers) > vault.quantity or not set(numbers) <= set(range(1, vault.quantity + 1)):
            self.violate("I-1", f"numbers {sorted(numbers)} of {vault.quantity}")
        if len({claim.user_ref for claim in vault.claims}) != len(numbers):
            self.violate("I-3", f"a user has two vouchers: {vault.claims}")
        for claim in claims:
            if claim.epoch != vault.epoch:
                self.violate("I-13", f"{claim} was recorded in epoch {vault.epoch}")
        if wrong := {key[0]: reason for key, reason in vault.letters.items() if reason != "FENCED"}:
            self.violate("I-9", f"the vault refused {wrong}")

    def answered(self, gate: ModelGate) -> None:
        """Look at what a gate has answered since the last look."""
        for epoch, letters, free in gate.given:
            if epoch in self._sold_out and "W" in letters:
                self.violate("I-8", f"won after sold out in epoch {epoch}")
            if "S" in letters:
                self._sold_out.add(epoch)
                if free:
                    self.violate("I-8", f"sold out with {free} free in epoch {epoch}")
        gate.given.clear()

    def agree(self, gate: ModelGate) -> None:
        """Look whether an open gate of the ledger's epoch agrees with the ledger."""
        epoch = gate.epoch
        if epoch != self._vault.epoch or not epoch:
            return
        data = gate.data
        held = {user: int(holding.split(":")[0]) for user, holding in data.holders.items()}
        numbers = sorted([*map(int, data.free), *held.values()])
        if numbers != list(range(1, self._vault.quantity + 1)):
            self.violate("I-14", f"free and held are {numbers} in epoch {epoch}")
        for claim in self._vault.claims:
            if held.get(claim.user_ref) != claim.claim_no:
                self.violate("I-14", f"{claim} is not held at the gate in epoch {epoch}")
        if self._opened.get(id(gate)) != epoch:
            self._opened[id(gate)] = epoch
            self._look_at_stream(gate, "when it opened")

    def _look_at_stream(self, gate: ModelGate, when: str) -> None:
        known = {f"{claim.stream_ms}-{claim.stream_seq}" for claim in self._vault.claims}
        known |= {stream_id for stream_id, _ in self._vault.letters}
        if lost := [text_of(stream_id) for stream_id, _ in gate.data.stream if text_of(stream_id) not in known]:
            self.violate("I-14", f"entries {lost} were neither recorded nor refused {when}")

    def at_rest(self, gate: ModelGate, refused: Sequence[str], waiting: Sequence[str]) -> None:
        """Look at a world that has come to rest.

        Args:
            gate: The gate.
            refused: Users who were told that all is sold out, after the last fault.
            waiting: Users who have no answer yet.
        """
        claims = {claim.user_ref: claim.claim_no for claim in self._vault.claims}
        if waiting:
            self.violate("I-9", f"{list(waiting)} wait for ever; gate {gate.epoch}, ledger {self._vault.epoch}")
        if refused and len(claims) != self._vault.quantity:
            self.violate("I-9", f"sold out with {len(claims)} of {self._vault.quantity} owned")
        for user, claim_no in self.yes.items():
            if claims.get(user) != claim_no:
                self.violate("I-4", f"{user} was told {claim_no} and owns {claims.get(user)}")
        held = {user: int(holding.split(":")[0]) for user, holding in gate.data.holders.items()}
        if held != claims:
            self.violate("I-14", f"held at the gate {held}, owned {claims}")
        self._look_at_stream(gate, "at rest")
