"""What anyone needs to check: the heads of the chains, and for a user what proves his claim; see docs/audit.md."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from grab_service import instants
from grab_service.api.caller import Caller, RunningService, ref_of
from grab_service.api.claims import unknown
from grab_service.api.documented import refusals
from grab_service.api.models import AuditHeads, ClaimProof
from grab_service.api.problems import Code, Problem
from grab_service.api.vault import Vault, VaultUnavailable
from ledger.certificate import own_row, proof_of
from ledger.journals import Journal, journals

router = APIRouter()

_KEPT_S = 2.0  # the sealer is slower, and a public route must cost the vault nothing


class Heads:
    """The heads of all chains, read from the vault at most every two seconds, whoever asks how often."""

    def __init__(self) -> None:
        self._body: dict[str, Any] = {}
        self._read_at_s = float("-inf")
        self._reading = asyncio.Lock()

    async def body(self, vault: Vault) -> dict[str, Any]:
        """Return the answer.

        Raises:
            VaultUnavailable: The vault does not answer.
        """
        async with self._reading:
            if time.monotonic() - self._read_at_s >= _KEPT_S:
                async with vault.connection() as connection:
                    found = await journals(connection)
                as_of = instants.from_ms(time.time_ns() // 1_000_000)
                self._body = {"as_of": as_of, "journals": [_head(each) for each in found if each.hash is not None]}
                self._read_at_s = time.monotonic()
        return self._body


def heads_of(request: Request) -> Heads:
    """Return what this process remembers of the heads."""
    return cast("Heads", request.app.state.heads)


@router.get(
    "/v1/audit/head",
    tags=["public"],
    operation_id="getAuditHead",
    summary="账本哈希链头",
    response_model=AuditHeads,
    responses=refusals(Code.SYSTEM_BUSY),
)
async def get_audit_head(service: RunningService, heads: Annotated[Heads, Depends(heads_of)]) -> JSONResponse:
    """Return the newest block of every chain; whoever keeps it can show later that nothing before it was changed.

    各日志哈希链的最新区块；留存后可据此核验账本未被改动。
    """
    try:
        body = await heads.body(service.vault)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer.") from error
    return JSONResponse(body, headers={"Cache-Control": "public, max-age=2"})


@router.get(
    "/v1/stocks/{stock_id}/claims/me/proof",
    tags=["vouchers"],
    operation_id="getMyProof",
    summary="我的领取证明",
    response_model=ClaimProof,
    responses=refusals(
        Code.SIGN_ERROR, Code.FORBIDDEN, Code.FREQUENCY_LIMIT_EXCEED, Code.SYSTEM_BUSY, Code.RESOURCE_NOT_EXISTS
    ),
)
async def get_my_proof(stock_id: str, caller: Caller, service: RunningService) -> JSONResponse:
    """Return what proves that the caller's claim stands in the stock's public list; it is for the caller alone.

    返回本人领取记录的证明，可与公开名单核对；请妥善保管。
    """
    counter = service.counters.get(stock_id)
    if counter is None:
        raise Problem(unknown(service.counters))
    user_ref = ref_of(caller, counter)
    try:
        async with service.vault.connection() as connection:
            row = await own_row(connection, stock_id, user_ref)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer.") from error
    if row is None:
        raise Problem(Code.RESOURCE_NOT_EXISTS, "The ledger has no claim of yours of this stock.")
    return JSONResponse(proof_of(stock_id, row), headers={"Cache-Control": "no-store"})


def _head(journal: Journal) -> dict[str, Any]:
    assert journal.hash is not None and journal.sealed_at is not None  # noqa: S101, PT018  it has a block
    return {
        "journal": journal.name,
        "block_no": journal.block_no,
        "rows": journal.row_count,
        "hash": journal.hash.hex(),
        "sealed_at": instants.from_datetime(journal.sealed_at),
    }
