"""Pauses of stocks: the vault keeps what was decided and by whom, the gate follows.

Where two persons must agree, one alone pauses a stock for a minute, once an hour; the watch resumes it.
Two decide on anything longer, and on its end.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from ledger import admin
from ledger.admin import Action, Deed
from ledger.statements import statement

ALONE = timedelta(seconds=60)
_WATCH = "the watch"

_SELECT = statement("select_pause")
_UPDATE = statement("update_pause")
_SELECT_OVER = statement("select_pauses_over")


class PauseRefused(Exception):
    """A stock is not paused or resumed so; the message says why."""


@dataclass(frozen=True, slots=True)
class Pause:
    """What holds of a stock since now; ``until`` is when a pause ends by itself, None for never."""

    is_paused: bool
    until: datetime | None


async def decide(
    vault: asyncpg.Connection,
    stock_id: str,
    *,
    is_paused: bool,
    subject: str,
    reason: str,
    request_no: int | None = None,
    two_must_agree: bool = False,
) -> Pause | None:
    """Pause a stock or resume it, and write down who did and why; None if there is no such stock.

    Args:
        vault: A connection, outside a transaction or in one of isolation READ COMMITTED.
        stock_id: Which stock.
        is_paused: Whether it is to be paused.
        subject: Who decides.
        reason: Why.
        request_no: The request that somebody else has approved; None for what one does alone.
        two_must_agree: Whether two must agree although the vault's policy does not ask for it.

    Raises:
        PauseRefused: The request does not permit it, or one person may not do it alone.
    """
    action = Action.PAUSE if is_paused else Action.RESUME
    try:
        async with vault.transaction(isolation="read_committed"):
            stored = await vault.fetchrow(_SELECT, stock_id)
            if stored is None:
                return None
            if request_no is not None and not await admin.begin(vault, request_no, action, stock_id, subject=subject):
                raise PauseRefused(f"request {request_no} does not permit to {action} {stock_id}, or no more")
            until = None
            if is_paused and request_no is None and (two_must_agree or await admin.must_agree(vault)):
                until = stored["now"] + ALONE
            deed = Deed(action=action, target=stock_id, subject=subject, reason=reason, request_no=request_no)
            before = _facts(stored["paused"], stored["paused_until"])
            number = await admin.write_down(vault, deed, before=before, after=_facts(is_paused, until))
            await vault.execute(_UPDATE, stock_id, is_paused, until, number)
            return Pause(is_paused, until)
    except asyncpg.RestrictViolationError as error:
        raise PauseRefused(str(error)) from error
    except asyncpg.CheckViolationError as error:
        raise PauseRefused("the reason is empty or too long") from error


async def end_those_over(vault: asyncpg.Connection) -> list[str]:
    """Resume the stocks whose pause has ended by itself, and return their ids."""
    resumed: list[str] = []
    for row in await vault.fetch(_SELECT_OVER):
        # Refused only if two persons have decided since it was read: then theirs stands.
        with contextlib.suppress(PauseRefused):
            await decide(
                vault, row["stock_id"], is_paused=False, subject=_WATCH, reason="the minute of one person is over"
            )
            resumed.append(row["stock_id"])
    return resumed


def _facts(is_paused: bool, until: datetime | None) -> dict[str, Any]:
    return {"paused": is_paused, "until": until and until.isoformat()}
