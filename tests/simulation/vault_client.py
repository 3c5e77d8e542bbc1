"""What the service's code holds instead of a connection to PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.simulation.model_vault import NAMES, ModelVault, Transaction
from tests.simulation.scheduler import BLOCKED, Process


class ModelConnection:
    """The calls that the service uses.  Beginnings and savepoints cost no round trip here: nothing depends on them.

    Args:
        process: Whose it is.
        vault: The server.
        is_bounded: Whether the session has the worker's timeouts.
    """

    def __init__(self, process: Process, vault: ModelVault, *, is_bounded: bool) -> None:
        self._process = process
        self._session = vault.connect(process.name, is_bounded=is_bounded)
        self._requests = 0  # on their way
        self._is_closed = False
        process.at_death.append(self.terminate)

    def is_closed(self) -> bool:
        """Whether it has been closed or cut."""
        return self._is_closed or self._session.is_over

    def terminate(self) -> None:
        """Close: what is on its way may still be executed, and then the session ends."""
        self._is_closed = True
        if not self._requests:
            self._session.end()

    async def fetch(self, query: str, *args: Any) -> list[Mapping[str, Any]]:
        """Execute a statement and return its rows."""
        return list(await self._ask(NAMES[query], lambda: self._session.perform(query, args)) or ())

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Execute a statement and return the first value of its first row."""
        rows = await self.fetch(query, *args)
        return next(iter(rows[0].values())) if rows else None

    async def execute(self, query: str, *args: Any) -> None:
        """Execute a statement."""
        await self.fetch(query, *args)

    async def cursor(self, query: str, *args: Any) -> ModelCursor:
        """Open a cursor: rows as they are now."""
        return ModelCursor(await self.fetch(query, *args))

    @asynccontextmanager
    async def transaction(self, *, isolation: str = "", readonly: bool = False) -> AsyncIterator[None]:
        """Run a transaction, or a savepoint within one."""
        assert isolation in ("", "read_committed", "repeatable_read")
        assert (isolation == "repeatable_read") == readonly
        session = self._session
        if self._process.is_dead or self.is_closed():
            raise session.trouble()
        outer = session.transaction
        kept = None if outer is None else (len(outer.claims), len(outer.letters))
        if outer is None:
            session.transaction, session.used_ms = Transaction(), session.vault.clock.now_ms
        try:
            yield
        except BaseException:
            if kept is None:
                session.transaction = None
            elif outer is not None and session.transaction is outer:
                del outer.claims[kept[0] :], outer.letters[kept[1] :]
            raise
        if kept is None:
            await self._ask("COMMIT", session.commit)

    async def _ask(self, verb: str, perform: Callable[[], Any]) -> Any:
        session = self._session
        if self._is_closed or session.is_over:
            raise session.trouble()
        self._requests += 1

        def perform_once() -> Any:
            try:
                result = perform()
            except Exception:
                self._served()
                raise
            if result is not BLOCKED:
                self._served()
            return result

        return await self._process.ask(verb, session, perform_once, self._cut)

    def _served(self) -> None:
        self._requests -= 1
        if self._is_closed and not self._requests:
            self._session.end()

    def _cut(self) -> None:
        self._requests -= 1
        self._session.end()


class ModelCursor:
    """Rows of a snapshot."""

    def __init__(self, rows: list[Mapping[str, Any]]) -> None:
        self._rows = rows

    async def fetch(self, count: int) -> list[Mapping[str, Any]]:
        """Return the next rows."""
        rows, self._rows = self._rows[:count], self._rows[count:]
        return rows
