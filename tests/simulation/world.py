"""A simulated world: stores, processes, users, and every step that can happen in it.

A step is a line of text, ``serve worker-0 record_claims`` or ``kill gate tail 3``; a schedule is a list of
steps.  A step that is not possible where it stands is passed over, so any part of a schedule is a schedule.
"""

from __future__ import annotations

import json
from asyncio import Task
from collections.abc import Callable, Iterable

from tests.simulation.actors import LIBRARY, OPENING, QUANTITY, STOCK_ROW, Actors, Api
from tests.simulation.checks import Checks, Violation
from tests.simulation.model_gate import ModelGate
from tests.simulation.model_vault import ModelVault
from tests.simulation.rules import Rule
from tests.simulation.scheduler import Clock, Process, Request

APIS = ("api-0", "api-1")
WORKERS = ("worker-0", "worker-1")
KEEPER, OPERATOR = "keeper", "operator"
USERS = tuple(f"1{number:022d}" for number in range(10))

_TICK_MS = 250
_WAIT_MS = 11_000  # longer than a server waits for a session that hangs in a transaction


class User:
    """A user's app: asks, remembers what it was told, asks again.

    Attributes:
        ref: The user's reference.
        question: The request that is under way.
        is_refused: The latest answer was that all is sold out.
    """

    def __init__(self, ref: str) -> None:
        self.ref = ref
        self.question: object | None = None
        self.is_refused = False


class World:
    """Stores, processes and users.

    Args:
        broken: Rules that are switched off.

    Attributes:
        clock: The time.
        pending: Requests on their way, oldest first.
        gate: The gate that is meant to serve.
        old_gate: A gate that a fail-over has replaced and that some processes still reach.
    """

    def __init__(self, broken: frozenset[Rule] = frozenset()) -> None:
        self.broken = broken
        self.clock = Clock()
        self.pending: list[Request] = []
        self.vault = ModelVault(self.clock, QUANTITY, STOCK_ROW, broken)
        self.checks = Checks(self.vault)
        self.gate = ModelGate(self.clock, broken)
        self.old_gate: ModelGate | None = None
        self.actors = Actors(self)
        self.processes: dict[str, Process] = {}
        self.users = {str(number): User(ref) for number, ref in enumerate(USERS)}
        self._apis: dict[str, Api] = {}
        self._run_ids = iter(range(2, 10_000))
        self._verbs: dict[str, Callable[[str], bool]] = {
            "serve": lambda what: self._serve(what, is_slow=False),
            "slow": lambda what: self._serve(what, is_slow=True),
            "answer": self._answer,
            "cut": self._cut,
            "lose": self._lose,
            "tick": lambda _: self._tick(_TICK_MS),
            "wait": lambda _: self._tick(_WAIT_MS),
            "ask": self._ask,
            "hang-up": self._hang_up,
            "crash": self._crash,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "kill-gate": self._kill_gate,
            "flush-gate": lambda _: self._damage(self.gate.flush),
            "fail-over": self._fail_over,
            "move": self._move,
            "cut-vault": self._cut_vault,
            "recover": lambda _: self._recover(),
        }

    def begin(self) -> None:
        """Open the gate under the first epoch, and start every process."""
        self.vault.epoch = 1
        self.gate.load(LIBRARY)
        for function, args in OPENING:
            assert self.gate.call(function, args) == 1
        for name in (*APIS, *WORKERS, KEEPER):
            self._start(name, self.gate)

    @property
    def violation(self) -> Violation | None:
        """The first violation."""
        return self.checks.violation

    def step(self, text: str) -> bool:
        """Take a step and look at the invariants; False if it is not possible now."""
        verb, _, what = text.partition(" ")
        if not self._verbs[verb](what):
            return False
        for gate in (self.gate, self.old_gate):
            if gate is not None:
                if gate.given:
                    self.checks.answered(gate)
                self.checks.agree(gate)
        for process in self.processes.values():
            for fault in process.faults:
                self.checks.violate("FAULT", fault)
        return True

    def end(self) -> None:
        """End every process."""
        for process in self.processes.values():
            process.kill()

    # -- processes --------------------------------------------------------------------------------------

    def _start(self, name: str, gate: ModelGate) -> None:
        process = Process(name, self.clock, self.pending, gate)  # type: ignore[abstract]  # it opens no files or sockets
        self.processes[name] = process
        if name in APIS:
            self._apis[name] = Api(self.actors, forgets_epochs=Rule.SOLD_OUT_BY_EPOCH in self.broken)
            process.start(self._apis[name].serve())
        elif name in WORKERS:
            process.start(self.actors.work())
        else:
            process.start(self.actors.keep_open() if name == KEEPER else self.actors.recover_by_hand())

    def _crash(self, name: str) -> bool:
        process = self.processes.get(name)
        if process is None:
            return False
        process.kill()
        if name == OPERATOR:
            del self.processes[name]
            return True
        if name in APIS:
            for user in self.users.values():
                if isinstance(user.question, Task) and user.question.get_loop() is process:
                    user.question = None
        self._start(name, process.gate)
        return True

    def _freeze(self, name: str) -> bool:
        process = self.processes.get(name)
        if process is None or process.is_frozen:
            return False
        process.is_frozen = True
        return True

    def _thaw(self, name: str) -> bool:
        process = self.processes.get(name)
        if process is None or not process.is_frozen:
            return False
        process.is_frozen = False
        process.wake()
        return True

    def _recover(self) -> bool:
        operator = self.processes.get(OPERATOR)
        if operator is not None:
            if not operator.has_ended:
                return False
            operator.kill()
        self._start(OPERATOR, self.gate)
        return True

    # -- requests ---------------------------------------------------------------------------------------

    def _find(self, label: str, *, is_served: bool) -> Request | None:
        for request in self.pending:
            if (request.outcome is not None) == is_served and request.label == label:
                return request
        return None

    def _serve(self, label: str, *, is_slow: bool) -> bool:
        request = self._find(label, is_served=False)
        if request is None or not request.serve():
            return False
        if not is_slow:
            self._deliver(request)
        return True

    def _answer(self, label: str) -> bool:
        request = self._find(label, is_served=True)
        if request is None:
            return False
        self._deliver(request)
        return True

    def _deliver(self, request: Request) -> None:
        self.pending.remove(request)
        request.answer()
        request.process.run()

    def _cut(self, label: str) -> bool:
        request = self._find(label, is_served=False) or self._find(label, is_served=True)
        if request is None:
            return False
        self._cut_off([request])
        return True

    def _lose(self, label: str) -> bool:
        request = self._find(label, is_served=False)
        if request is None or not request.serve():
            return False
        self._cut_off([request])
        return True

    def _cut_off(self, requests: Iterable[Request]) -> None:
        for request in list(requests):
            self.pending.remove(request)
            request.cut()
        for process in list(self.processes.values()):
            process.run()

    def _tick(self, duration_ms: int) -> bool:
        self.clock.now_ms += duration_ms
        self.vault.expire()
        for process in list(self.processes.values()):
            process.wake()
        return True

    # -- users ------------------------------------------------------------------------------------------

    def _ask(self, what: str) -> bool:
        number, _, name = what.partition(" ")
        user, process = self.users[number], self.processes[name]
        if user.question is not None:
            return False
        question = user.question = process.create_task(self._apis[name].claim(user.ref))
        question.add_done_callback(lambda done: self._told(user, done))
        process.run()
        return True

    def _told(self, user: User, question: Task[tuple[int, bytes]]) -> None:
        if user.question is not question:
            return  # the user has hung up
        user.question = None
        if question.cancelled():
            return
        status, body = question.result()
        told = json.loads(body)
        user.is_refused = status == 409
        if status in (200, 201):
            self.checks.told_yes(user.ref, told["claim_no"])
        elif user.is_refused and told["code"] != "SOLD_OUT":
            self.checks.violate("FAULT", f"told {told['code']} in the middle of the round")

    def _hang_up(self, number: str) -> bool:
        user = self.users[number]
        was_waiting, user.question = user.question is not None, None
        return was_waiting

    # -- the stores' mishaps ----------------------------------------------------------------------------

    def _kill_gate(self, how: str) -> bool:
        """Kill the gate and start it again on what its file holds.

        Unseen: requests on their way had not been sent yet, and their clients connect anew without a word.
        """
        gate, (damage, _, unseen) = self.gate, how.partition(" ")
        kept = {"whole": 0, "wipe": len(gate.history), "half": len(gate.history) // 2}
        lost = kept[damage] if damage in kept else int(damage)
        history = gate.history
        data = ModelGate(self.clock).data if lost >= len(history) else history[len(history) - 1 - lost]
        gate.restart(data, str(next(self._run_ids)))
        if not unseen:
            self._cut_off([request for request in self.pending if request.server is gate])
        return True

    def _damage(self, damage: Callable[[], None]) -> bool:
        damage()
        return True

    def _fail_over(self, lag: str) -> bool:
        if self.old_gate is not None:
            return False
        history = self.gate.history
        replica = ModelGate(self.clock, self.broken)
        replica.open_epoch = self.gate.open_epoch  # kept only where the fuse is broken
        replica.restart(history[max(0, len(history) - 1 - int(lag))], str(next(self._run_ids)))
        self.old_gate, self.gate = self.gate, replica
        self._move(KEEPER)
        return True

    def _move(self, name: str) -> bool:
        process = self.processes.get(name)
        if process is None or process.gate is self.gate:
            return False
        old, process.gate = process.gate, self.gate
        self._cut_off([request for request in self.pending if request.server is old and request.process is process])
        if all(each.gate is self.gate for each in self.processes.values()):
            self.old_gate = None
        return True

    def _cut_vault(self, name: str) -> bool:
        """Cut the sessions of one process, or all of them; who has asked nothing does not notice yet."""
        for connection in list(self.vault.sessions):
            if name in ("", connection.owner):
                connection.end()
        self._cut_off(
            [
                request
                for request in self.pending
                if not isinstance(request.server, ModelGate) and name in ("", request.process.name)
            ]
        )
        return True
