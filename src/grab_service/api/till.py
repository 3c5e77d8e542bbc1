"""The desk of the tills in one process: uses of vouchers that are waiting travel to the vault together.

While one transaction is in flight, arrivals queue up; the next one takes them all, in order of arrival.
So the balances, which a transaction locks until its commit, are changed once for many uses exactly when
there are many, and a use that comes alone is not held up.
"""

from __future__ import annotations

import asyncio
from collections import deque

from grab_service.api.vault import Vault, VaultUnavailable
from ledger.redeem import Asked, Order, redeem_together
from ledger.requests import Answer, Contended, Request

_BATCH_MAX = 48  # uses a transaction: what the vault does in a small part of a second
_WAITING_MAX = 4_096  # more are turned away at once


class Till:
    """Brings uses of vouchers to the vault, one transaction at a time.

    Args:
        vault: The vault.
        unknown_codes_max: So many unknown codes within a day lock a caller at a merchant.
    """

    def __init__(self, vault: Vault, unknown_codes_max: int) -> None:
        self._vault = vault
        self._unknown_codes_max = unknown_codes_max
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._serving: asyncio.Task[None] | None = None

    def redeem(self, request: Request, order: Order) -> asyncio.Future[Answer]:
        """Queue a use; the future gives the vault's answer.

        It raises ``Contended`` when others were faster every time, and ``VaultUnavailable`` when the vault is in
        trouble; in trouble the outcome is unknown until the request is repeated.

        Raises:
            VaultUnavailable: Too many are waiting already.
        """
        if len(self._waiting) >= _WAITING_MAX:
            raise VaultUnavailable("too many uses of vouchers are waiting")
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append(((request, order), answer))
        if self._serving is None:
            # The task begins in the next turn of the loop, when all that has arrived in this one is queued.
            self._serving = self._loop.create_task(self._serve())
        return answer

    async def _serve(self) -> None:
        try:
            while self._waiting:
                await self._ask([self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH_MAX))])
        finally:
            self._serving = None

    async def _ask(self, batch: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        try:
            async with self._vault.connection() as connection:
                outcomes = await redeem_together(
                    connection, [asked for asked, _ in batch], unknown_codes_max=self._unknown_codes_max
                )
        except Exception as error:  # noqa: BLE001  whatever it is, those who wait must learn of it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue  # the caller has gone
            if isinstance(outcome, Answer):
                future.set_result(outcome)
            else:
                future.set_exception(outcome if isinstance(outcome, Contended) else VaultUnavailable(str(outcome)))
