"""Merchants in the vault: they are submitted, decided on, listed; the journal of decisions says who and why."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any

import asyncpg

from ledger import catalogue
from ledger.merchant_facts import MerchantRules, NewMerchant, Photo
from ledger.statements import statement

_INSERT_MERCHANTS = statement("insert_merchants")
_INSERT_DECISIONS = statement("insert_merchant_decisions")
_LOCK_MERCHANTS = statement("lock_merchants")
_SELECT_KNOWN = statement("select_known_merchants")
_SELECT_MERCHANT = statement("select_merchant")
_SELECT_MERCHANTS = statement("select_merchants")
_SELECT_DECISIONS = statement("select_merchant_decisions")

PAGE_MAX = 100
ACTOR_CHARACTERS_MAX = 64
REASON_CHARACTERS_MAX = 500


class State(StrEnum):
    """Where a merchant stands; only an approved one can take vouchers."""

    SUBMITTED = "SUBMITTED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    SUSPENDED = "SUSPENDED"


class Verdict(Enum):
    """What can be decided on a merchant: the state that it must be in, and the state that follows."""

    APPROVE = (State.SUBMITTED, State.APPROVED)
    REJECT = (State.SUBMITTED, State.REJECTED)
    SUSPEND = (State.APPROVED, State.SUSPENDED)
    RESUME = (State.SUSPENDED, State.APPROVED)

    def __init__(self, begins: State, ends: State) -> None:
        self.begins = begins
        self.ends = ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchant:
    """A stored merchant.

    Attributes:
        photo: The shop front; None for a merchant of a bank's list.
        submitted_by: Who brought it: the user's reference, or the actor of an import.
    """

    merchant_no: str
    name: str
    address: str
    town: str
    category: str
    accepts: tuple[str, ...]
    state: State
    photo: Photo | None
    submitted_by: str
    submitted_at: datetime

    def says(self, facts: NewMerchant) -> bool:
        """Whether it was submitted with exactly these facts."""
        return facts == NewMerchant(
            merchant_no=self.merchant_no,
            name=self.name,
            address=self.address,
            town=self.town,
            category=self.category,
            accepts=self.accepts,
            photo=self.photo,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One row of a merchant's journal; the first has no state to come from."""

    decision_no: int
    from_state: State | None
    to_state: State
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which merchants are asked for; None leaves a fact open.

    Attributes:
        text: A part of the name or address, in any case of letters.
        after: The number after which the page begins; empty for the first page.
        limit: Merchants of a page, at most ``PAGE_MAX``.
    """

    state: State | None = None
    town: str | None = None
    categories: Collection[str] | None = None
    text: str | None = None
    after: str = ""
    limit: int = PAGE_MAX


@dataclass(frozen=True, slots=True)
class Page:
    """Merchants in the order of their numbers, and where the next page begins; None if this is the last."""

    merchants: Sequence[Merchant]
    next_after: str | None


async def stored_rules(connection: asyncpg.Connection) -> MerchantRules:
    """Return what the stored campaigns ask of a merchant."""
    return MerchantRules.of_documents((await catalogue.documents(connection)).values())


async def known_numbers(connection: asyncpg.Connection, merchant_nos: Collection[str]) -> frozenset[str]:
    """Return those of the numbers that belong to a stored merchant."""
    return frozenset(row["merchant_no"] for row in await connection.fetch(_SELECT_KNOWN, list(merchant_nos)))


async def submit(
    connection: asyncpg.Connection, merchants: Sequence[NewMerchant], *, actor: str, reason: str
) -> frozenset[str]:
    """Store merchants as SUBMITTED; return the numbers of those that were taken already and are left as they are.

    The caller has checked their facts by the campaign's rules; the vault checks the form.

    Raises:
        asyncpg.IntegrityConstraintViolationError: Facts, actor or reason have not the form they must have.
    """
    facts = json.dumps([_facts_of(merchant) for merchant in merchants], ensure_ascii=False)
    stored = {row["merchant_no"] for row in await connection.fetch(_INSERT_MERCHANTS, facts, actor, reason)}
    return frozenset(merchant.merchant_no for merchant in merchants if merchant.merchant_no not in stored)


async def decide(
    connection: asyncpg.Connection, merchant_nos: Collection[str], verdict: Verdict, *, actor: str, reason: str
) -> dict[str, str]:
    """Decide on merchants, on all of them or on none.

    Returns why not, by the number of each that stands in the way; nothing was changed then.

    Raises:
        asyncpg.IntegrityConstraintViolationError: Actor or reason have not the form they must have.
    """
    rules = await stored_rules(connection)
    async with connection.transaction():
        rows = {row["merchant_no"]: row for row in await connection.fetch(_LOCK_MERCHANTS, list(merchant_nos))}
        obstacles = {number: _obstacle(rows.get(number), verdict, rules) for number in merchant_nos}
        refusals = {number: obstacle for number, obstacle in obstacles.items() if obstacle is not None}
        if not refusals:
            await connection.execute(_INSERT_DECISIONS, list(rows), verdict.ends, actor, reason)
    return refusals


async def find(connection: asyncpg.Connection, merchant_no: str) -> Merchant | None:
    """Return a merchant."""
    row = await connection.fetchrow(_SELECT_MERCHANT, merchant_no)
    return None if row is None else _merchant_of(row)


async def search(connection: asyncpg.Connection, wanted: Search) -> Page:
    """Return a page of merchants."""
    limit = min(wanted.limit, PAGE_MAX)
    rows = await connection.fetch(
        _SELECT_MERCHANTS,
        wanted.state,
        wanted.town,
        None if wanted.categories is None else list(wanted.categories),
        wanted.text,
        wanted.after,
        limit + 1,
    )
    merchants = [_merchant_of(row) for row in rows[:limit]]
    return Page(merchants, merchants[-1].merchant_no if len(rows) > limit else None)


async def journal(connection: asyncpg.Connection, merchant_no: str) -> list[Decision]:
    """Return every decision on a merchant, oldest first."""
    return [
        Decision(
            decision_no=row["decision_no"],
            from_state=row["from_state"] and State(row["from_state"]),
            to_state=State(row["to_state"]),
            actor=row["actor"],
            reason=row["reason"],
            at=row["at"],
        )
        for row in await connection.fetch(_SELECT_DECISIONS, merchant_no)
    ]


def _obstacle(row: asyncpg.Record | None, verdict: Verdict, rules: MerchantRules) -> str | None:
    if row is None:
        return "is not known"
    if row["state"] != verdict.begins:
        return f"is {row['state']}, not {verdict.begins}"
    if verdict.ends is State.APPROVED:
        return next((f"{fault.field} {fault.reason}" for fault in rules.approval_faults_of(row["accepts"])), None)
    return None


def _facts_of(merchant: NewMerchant) -> dict[str, Any]:
    return {
        "merchant_no": merchant.merchant_no,
        "name": merchant.name,
        "address": merchant.address,
        "town": merchant.town,
        "category": merchant.category,
        "accepts": merchant.accepts,
        "photo_sha256": merchant.photo and merchant.photo.sha256.hex(),
        "photo_type": merchant.photo and merchant.photo.content_type,
    }


def _merchant_of(row: asyncpg.Record) -> Merchant:
    facts = dict(row)
    sha256, content_type = facts.pop("photo_sha256"), facts.pop("photo_type")
    accepts, state = tuple(facts.pop("accepts")), State(facts.pop("state"))
    photo = None if sha256 is None else Photo(sha256, content_type)
    return Merchant(**facts, accepts=accepts, state=state, photo=photo)
