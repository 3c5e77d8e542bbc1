"""Processes of a simulated world: each an event loop of its own, on one clock that only the world moves.

The service's code runs on these loops as it is.  It can reach another process through a store only, and
each call of a store is a ``Request`` that hangs in the air until the world serves, delays or loses it.  So
the order of everything that can interfere is the world's to choose, and a process can be ended at each await.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeVarTuple

BLOCKED = object()  # what a request gives that must wait: for entries, or for another's lock

_Args = TypeVarTuple("_Args")

_START_MS = 1_700_000_000_000


class Clock:
    """The one clock of a world.

    Attributes:
        now_ms: The time, Unix milliseconds.
    """

    def __init__(self) -> None:
        self.now_ms = _START_MS


class Server(Protocol):
    """What a request is sent to."""

    def trouble(self) -> Exception:
        """Return what a client sees of a connection that was cut."""


class Request:
    """A call of a store that is on its way.

    Attributes:
        process: Who asks.
        verb: What is asked, for labels.
        server: Who is asked.
        perform: Does it: gives the reply, raises what the store answers, or gives BLOCKED and has done nothing.
        on_cut: Called when the connection is cut.
        reply: The future that the caller awaits.
        outcome: Result or error of a request that was served and whose answer is still on its way.
    """

    __slots__ = ("on_cut", "outcome", "perform", "process", "reply", "server", "verb")

    def __init__(
        self, process: Process, verb: str, server: Server, perform: Callable[[], Any], on_cut: Callable[[], None]
    ) -> None:
        self.process = process
        self.verb = verb
        self.server = server
        self.perform = perform
        self.on_cut = on_cut
        self.reply: asyncio.Future[Any] = process.loop.create_future()
        self.outcome: tuple[Any, Exception | None] | None = None

    @property
    def label(self) -> str:
        """How a schedule names it."""
        return f"{self.process.name} {self.verb}"

    def serve(self) -> bool:
        """Do it on the server; False if it must wait."""
        try:
            result = self.perform()
        except Exception as error:  # noqa: BLE001  a store's answer, whatever it is, belongs to the caller
            self.outcome = (None, error)
            return True
        if result is BLOCKED:
            return False
        self.outcome = (result, None)
        return True

    def answer(self) -> None:
        """Let the answer arrive."""
        assert self.outcome is not None
        result, error = self.outcome
        if self.reply.done() or self.process.is_dead:
            return
        if error is None:
            self.reply.set_result(result)
        else:
            self.reply.set_exception(error)

    def cut(self) -> None:
        """Let the caller see its connection cut instead of an answer."""
        self.on_cut()
        self.outcome = (None, self.server.trouble())
        self.answer()


class Process(events.AbstractEventLoop):
    """One process: its event loop, what it has sent, and whether it lives.

    Args:
        name: What schedules call it.
        clock: The world's.
        pending: The world's list of requests on their way.

    Attributes:
        is_dead: Nothing of it runs or has an effect any more.
        is_frozen: Nothing of it runs for now; what it has sent goes on.
        faults: Errors that nobody has caught.
        gate: The gate that its connections lead to.
        at_death: Called when it dies.
    """

    def __init__(self, name: str, clock: Clock, pending: list[Request], gate: Any) -> None:
        self.name = name
        self.is_dead = False
        self.is_frozen = False
        self.faults: list[str] = []
        self.gate = gate
        self.at_death: list[Callable[[], None]] = []
        self._clock = clock
        self._pending = pending
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def loop(self) -> Process:
        """The loop to make futures on."""
        return self

    # -- what asyncio asks of a loop --------------------------------------------------------------------

    def get_debug(self) -> bool:
        """Say that asyncio's debug mode is off."""
        return False

    def time(self) -> float:
        """Return the world's clock in seconds."""
        return self._clock.now_ms / 1000

    def call_soon(
        self, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.Handle:
        """Queue a callback."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue a callback for later."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue a callback for an instant."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        """Make a task of this loop."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep an error that nobody has caught: the world reports it."""
        if not self.is_dead:
            self.faults.append(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")

    # -- what the world does with it --------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether what it was started for is done."""
        return self._tasks[0].done()

    def start(self, main: Coroutine[Any, Any, Any]) -> None:
        """Begin to run."""
        self.create_task(main).add_done_callback(self._ended)
        self.run()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not self.is_dead and not task.cancelled() and task.exception() is not None:
            self.faults.append(f"{self.name} ended: {task.exception()!r}")

    def run(self) -> None:
        """Run everything that can run, up to the next awaits."""
        if self.is_frozen or not self._ready:
            return
        events._set_running_loop(self)
        try:
            while self._ready:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            events._set_running_loop(None)

    def wake(self) -> None:
        """Run the timers whose time has come."""
        if self.is_frozen or self.is_dead:
            return
        now_s = self.time()
        while self._timers and self._timers[0][0] <= now_s:
            handle = heapq.heappop(self._timers)[2]
            if not handle.cancelled():
                self._ready.append(handle)
        self.run()

    def kill(self) -> None:
        """End it at once: from here on nothing it does has any effect, and its memory is gone."""
        self.is_dead, self.is_frozen = True, False
        for mishap in self.at_death:
            mishap()
        while unfinished := [task for task in self._tasks if not task.done()]:
            for task in unfinished:
                task.cancel()
            self.run()
        self._timers.clear()
        for task in self._tasks:
            if not task.cancelled():
                task.exception()  # nobody else will ask for it

    def ask(
        self, verb: str, server: Server, perform: Callable[[], Any], on_cut: Callable[[], None] = lambda: None
    ) -> asyncio.Future[Any]:
        """Send a request; the future gives the answer.

        Raises:
            Exception: What a cut connection looks like, if the process is dead.
        """
        if self.is_dead:
            raise server.trouble()
        request = Request(self, verb, server, perform, on_cut)
        self._pending.append(request)
        return request.reply


def current_process() -> Process:
    """Return the process that is running."""
    process = events._get_running_loop()
    assert isinstance(process, Process)
    return process
