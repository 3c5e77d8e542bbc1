"""Grave acts want two persons: one asks, another approves, and the approval permits exactly one act."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import asyncpg

from ledger.statements import statement

_INSERT_REQUEST = statement("insert_admin_request")
_INSERT_APPROVAL = statement("insert_admin_approval")
_INSERT_ACT = statement("insert_admin_act")
_SELECT_REQUEST = statement("select_admin_request")
_SELECT_JOURNAL = statement("select_admin_journal")

APPROVAL_LASTS = timedelta(hours=24)


class Action(StrEnum):
    """What one person must not do alone."""

    CLIENTS = "clients"
    FUND = "fund"
    OPEN = "open"
    PAUSE = "pause"
    RECOVER = "recover"
    SETTLE = "settle"


class Disapproved(Exception):
    """A request cannot be approved so; the message says why."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the journal; ``step`` is REQUESTED, APPROVED or BEGUN."""

    request_no: int
    step: str
    action: Action
    target: str
    subject: str
    reason: str
    at: datetime


async def request(vault: asyncpg.Connection, action: Action, target: str, *, reason: str, subject: str) -> int:
    """Write down who asks for what, and why; return the number of the request.

    Raises:
        asyncpg.CheckViolationError: A text is empty or too long.
    """
    number: int = await vault.fetchval(_INSERT_REQUEST, action, target, reason, subject)
    return number


async def action_of(vault: asyncpg.Connection, request_no: int) -> Action | None:
    """Return what was asked for under a number, None if nothing was."""
    row = await vault.fetchrow(_SELECT_REQUEST, request_no)
    return None if row is None else Action(row["action"])


async def approve(vault: asyncpg.Connection, request_no: int, *, reason: str, subject: str) -> None:
    """Approve a request.

    Raises:
        Disapproved: There is none, it was approved already, or by whoever has asked.
        asyncpg.CheckViolationError: The reason is empty or too long.
    """
    row = await vault.fetchrow(_SELECT_REQUEST, request_no)
    if row is None:
        raise Disapproved(f"there is no request {request_no}")
    if row["requested_by"] == subject:
        raise Disapproved(f"{subject} has asked for it; somebody else must approve")
    if await vault.fetchval(_INSERT_APPROVAL, request_no, subject, reason) is None:
        raise Disapproved(f"request {request_no} is approved already")


async def begin(vault: asyncpg.Connection, request_no: int, action: Action, target: str, *, subject: str) -> bool:
    """Use up the approval of a request just before acting; False if it does not permit this very act, or no more."""
    begun = await vault.fetchval(_INSERT_ACT, request_no, action, target, subject, APPROVAL_LASTS)
    return begun is not None


async def journal(vault: asyncpg.Connection, steps_max: int) -> list[Step]:
    """Return the latest steps, the last one first."""
    rows = await vault.fetch(_SELECT_JOURNAL, steps_max)
    return [Step(**{**row, "action": Action(row["action"])}) for row in rows]
