"""The keeper: opens the gate whenever it answers and is closed.

A gate that was restarted, emptied or lost its library answers closed until it has been rebuilt.  On
one machine nobody need be called for that, since the ledger's fence makes a recovery safe at any time.
Where the vault's policy is that two persons must agree, they are called for: nothing opens by itself.
"""

from __future__ import annotations

import asyncio
import logging

import asyncpg
import redis.asyncio as redis

from grab_service import resources
from grab_service.campaign import Campaign
from grab_service.gate import Gate
from grab_service.settings import Settings
from grab_service.stock import Stock
from grab_service.stores import StoreUnavailable, open_gate, open_vault
from ledger import admin, catalogue
from ledger.recover import RecoveryFailed, RecoveryReport, recover

_log = logging.getLogger(__name__)

_LOOK_S = 0.3
_LOOK_BOUND_S = 3.0  # a look is a few reads; a connection that has died in silence is noticed by this
_RETRY_S = (0.3, 1.0)  # pause after a failure: first, longest; what it waits for is on this machine


async def stored_stocks(vault: asyncpg.Connection) -> list[Stock]:
    """Return the stocks of every campaign that is stored."""
    documents = await catalogue.documents(vault)
    return [stock for document in documents.values() for stock in Campaign.from_document(document).stocks()]


async def open_the_gate(settings: Settings, *, from_gate: bool = False, deed_no: int | None = None) -> RecoveryReport:
    """Rebuild the gate from the vault and open it.

    Args:
        settings: Where the stores are.
        from_gate: Whether a vault that was restored is refilled first.
        deed_no: The deed that two persons have agreed on; None where nobody need.

    Raises:
        RecoveryFailed: It must not be opened.
        StoreUnavailable: A store does not answer.
    """
    async with open_vault(settings) as vault, open_gate(settings) as client:
        if deed_no is None:
            await _see_that_nobody_need_agree(vault)
        return await recover(vault, client, resources.library_source(), from_gate=from_gate, deed_no=deed_no)


async def _see_that_nobody_need_agree(vault: asyncpg.Connection) -> None:
    """Leave the gate as it is where two persons must agree; a recovery would close it before the vault refuses."""
    if await admin.must_agree(vault):
        raise RecoveryFailed("two persons must agree on a recovery: 'grab recover' says how")


async def keep_open(settings: Settings) -> None:
    """Look after the gate until cancelled."""
    library, pause_s = resources.library_source(), _RETRY_S[0]
    while True:
        try:
            async with open_vault(settings) as vault, open_gate(settings) as client:
                while True:
                    if not await _is_open(vault, client, library):
                        await _see_that_nobody_need_agree(vault)
                        _log.warning("the gate is closed, rebuilding it from the ledger")
                        await recover(vault, client, library)
                    pause_s = _RETRY_S[0]
                    await asyncio.sleep(_LOOK_S)
        except (StoreUnavailable, RecoveryFailed) as error:
            _log.warning("cannot look after the gate, trying again in %g s: %s", pause_s, error)
        except Exception:  # noqa: BLE001  a fault in the keeper must end neither it nor the service
            _log.exception("a fault in the keeper; the service goes on, and so does it in %g s", pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _RETRY_S[1])


async def _is_open(vault: asyncpg.Connection, client: redis.Redis, library: str) -> bool:
    """Whether the gate has this library and is open for every stock of the vault.

    Raises:
        TimeoutError, StoreUnavailable: A store does not answer.
    """
    gate = Gate(client)
    async with asyncio.timeout(_LOOK_BOUND_S):
        if await gate.library() != library:
            return False
        return all(counts.is_open for counts in await gate.counts(await stored_stocks(vault)))
