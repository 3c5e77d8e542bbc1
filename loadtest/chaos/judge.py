"""The judgement of a run: once nothing is on its way, everything is held against everything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grab_service.keyring import read_secret
from grab_service.references import UserRefs
from loadtest.chaos.books import read_books, read_gate
from loadtest.chaos.check_case import Books, Recovery
from loadtest.chaos.checker import Verdict, check
from loadtest.chaos.history import read_history
from loadtest.chaos.scene import Scene
from loadtest.chaos.site import Site, until

_SETTLED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run leaves.

    Attributes:
        history: What users asked and were told.
        site: The service, which still runs.
        users: Names of all who asked.
        scene: What was done to it.
        earlier: What was seen in the ledger during the run; None if nothing was read.
    """

    history: Path
    site: Site
    users: Collection[str]
    scene: Scene
    earlier: Books | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the evidence says.

    Attributes:
        sold: Rows of the ledger, by stock.
        verdicts: Of the checker.
        audit_ok: Whether the service's own audit agrees.
    """

    sold: dict[str, int]
    verdicts: Sequence[Verdict]
    audit_ok: bool


async def judge(evidence: Evidence) -> Judgement:
    """Wait until the ledger has everything, and judge.

    Raises:
        ChaosImpossible: Something stays on its way.
    """
    site, scene = evidence.site, evidence.scene
    await until(lambda: _has_settled(site), "the ledger has everything", _SETTLED_WITHIN_S)
    async with site.vault() as vault, site.gate() as gate:
        books = await read_books(vault)
        state = await read_gate(gate, books)
    refs = UserRefs(read_secret("pepper_file", Path(site.settings["pepper_file"])))
    windows = [*site.recoveries(), *scene.two_gates]
    verdicts = check(
        read_history(evidence.history),
        books,
        state,
        earlier=evidence.earlier or books,
        user_refs={user: refs.of(user) for user in evidence.users},
        recoveries=[Recovery(start_ms, end_ms) for start_ms, end_ms in windows],
        planted=scene.planted,
    )
    _, text = await site.grab("audit", "--json")
    # The audit reports what was planted, as it should; the checker tells it from what was not.
    ignored = {"I-9"} if scene.planted else set()
    audit_ok = all(each["ok"] for each in json.loads(text)["invariants"] if each["id"] not in ignored)
    return Judgement(dict(Counter(claim.stock_id for claim in books.claims)), verdicts, audit_ok)


async def _has_settled(site: Site) -> bool:
    code, text = await site.grab("status", "--json")
    if code:
        return False
    rows: list[dict[str, Any]] = json.loads(text)["stocks"]
    return all(row["claimed"] == row["booked"] and row["state"] != "RECOVERING" for row in rows)
