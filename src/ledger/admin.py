"""What staff do: grave acts want two persons, and every deed is written down with who, why, before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import asyncpg

from ledger.statements import statement

_INSERT_REQUEST = statement("insert_admin_request")
_INSERT_APPROVAL = statement("insert_admin_approval")
_INSERT_ACT = statement("insert_admin_act")
_SELECT_REQUEST = statement("select_admin_request")
_SELECT_JOURNAL = statement("select_admin_journal")
_SELECT_POLICY = statement("select_vault_policy")
_INSERT_POLICY = statement("insert_vault_policy")
_INSERT_DEED = statement("insert_admin_deed")

APPROVAL_LASTS = timedelta(hours=24)


class Action(StrEnum):
    """What one person must not do alone."""

    CLIENTS = "clients"
    FUND = "fund"
    HOLD = "hold"
    OPEN = "open"
    PAUSE = "pause"
    RECOVER = "recover"
    RELEASE = "release"
    RESUME = "resume"
    SETTLE = "settle"
    VOID = "void"


REVOKE = "revoke"  # taking trust away needs nobody else
UNLOCK = "unlock"  # nor does letting a till go on that showed unknown codes
_POLICY = "policy"


class Disapproved(Exception):
    """A request cannot be approved so; the message says why."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the journal; ``step`` is REQUESTED, APPROVED, BEGUN or DONE; ``before`` and ``after`` are JSON."""

    request_no: int | None
    step: str
    action: str
    target: str
    subject: str
    reason: str
    at: datetime
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What somebody does.

    Attributes:
        action: An ``Action``, or one that needs nobody else.
        target: To what exactly.
        subject: Who does it.
        reason: Why.
        request_no: The act that two persons have agreed on; None for what one does alone.
    """

    action: str
    target: str
    subject: str
    reason: str
    request_no: int | None = None


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


async def reason_of(vault: asyncpg.Connection, request_no: int) -> str:
    """Return why something was asked for, under a number that stands for a request."""
    row = await vault.fetchrow(_SELECT_REQUEST, request_no)
    assert row is not None  # noqa: S101  requests are never removed
    return str(row["reason"])


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
    return [Step(**row) for row in rows]


async def must_agree(vault: asyncpg.Connection) -> bool:
    """Whether the vault's policy asks for two persons; once it does, it does for ever."""
    return bool(await vault.fetchval(_SELECT_POLICY))


async def let_two_agree(vault: asyncpg.Connection, *, subject: str) -> bool:
    """Set the policy that two persons must agree, for ever; False if it is set already."""
    async with vault.transaction():
        if await vault.fetchval(_INSERT_POLICY) is None:
            return False
        deed = Deed(action=_POLICY, target="two persons", subject=subject, reason="the vault is set up")
        await write_down(vault, deed, after={"two_persons": True})
        return True


async def write_down(
    vault: asyncpg.Connection,
    deed: Deed,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> int:
    """Write a deed into the journal, in the transaction in which it is done; return its number.

    Raises:
        asyncpg.IntegrityConstraintViolationError: Two persons have not agreed on it, or a text is empty or too long.
    """
    texts = [None if facts is None else json.dumps(facts, ensure_ascii=False) for facts in (before, after)]
    number: int = await vault.fetchval(
        _INSERT_DEED, deed.action, deed.target, deed.subject, deed.reason, *texts, deed.request_no
    )
    return number
