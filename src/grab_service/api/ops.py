"""What the command room sees and does: a stream of events, and pausing and resuming a stock."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from grab_service import instants
from grab_service.api import health
from grab_service.api.caller import Caller, IncomingFacts, RunningService
from grab_service.api.claims import unknown
from grab_service.api.documented import refusals
from grab_service.api.incoming import Incoming, read_body
from grab_service.api.json_body import JsonRefused, read_json
from grab_service.api.models import PausedStock
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.api.vault import VaultUnavailable
from grab_service.gate import GateUnavailable
from grab_service.identity import Identity
from ledger import pauses
from ledger.pauses import PauseRefused

_log = logging.getLogger(__name__)

router = APIRouter(tags=["operations"])

_REASON_MAX = 200  # characters
_REQUEST_NO_MAX = 2**53 - 1
_EVENT_S = 1.0
_STREAMS_MAX = 50  # of one process; who comes after them polls
_EVENT_ID = re.compile(r"[0-9]{1,15}")  # the instant in ms up to which the browser has heard
_NO_STORE = {"Cache-Control": "no-store"}
_STREAM_HEADERS = {**_NO_STORE, "X-Accel-Buffering": "no"}
_ADMIN_REFUSALS = (
    Code.SIGN_ERROR,
    Code.FORBIDDEN,
    Code.RESOURCE_NOT_EXISTS,
    Code.TOO_LARGE,
    Code.PARAM_ERROR,
    Code.FREQUENCY_LIMIT_EXCEED,
    Code.SYSTEM_BUSY,
)
_REASON_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["reason"],
                "additionalProperties": False,
                "properties": {
                    "reason": {"type": "string", "minLength": 1, "maxLength": _REASON_MAX},
                    "request_no": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": _REQUEST_NO_MAX,
                        "description": "what somebody else has approved, where two persons must agree",
                    },
                },
            }
        }
    },
}
_ADMIN_OPENAPI = {"requestBody": _REASON_BODY, "security": [{"bearer": []}]}


@router.get("/v1/ops/events", operation_id="watchOperations", summary="运营大屏数据流", include_in_schema=False)
async def watch(service: RunningService, request: Request) -> StreamingResponse:
    """Tell once a second how everything is, as server-sent events.

    A stream ends by itself after half the time that a stop may take, and the browser comes back: so
    no stream holds up a process that is to end.  What it has heard before is not told again.
    """
    if service.streams >= _STREAMS_MAX:
        raise Problem(Code.SYSTEM_BUSY, "Too many screens are watching; poll /v1/stock instead.")
    lasts_s = service.settings.shutdown_grace_s / 2
    heard = request.headers.get("last-event-id", "")
    heard_ms = int(heard) if _EVENT_ID.fullmatch(heard) else 0
    return StreamingResponse(
        _events(service, lasts_s, heard_ms), media_type="text/event-stream", headers=_STREAM_HEADERS
    )


async def _events(service: Service, lasts_s: float, heard_ms: int) -> AsyncIterator[bytes]:
    service.streams += 1
    try:
        ends_s = time.monotonic() + lasts_s
        yield b"retry: 200\n" + _event("history", _history(service, heard_ms), heard_ms)
        while True:
            yield _event("picture", _picture(service), service.snapshot.as_of_ms)
            if time.monotonic() + _EVENT_S > ends_s:
                return
            await asyncio.sleep(_EVENT_S)
    finally:
        service.streams -= 1


def _history(service: Service, heard_ms: int) -> dict[str, Any]:
    return {"points": _since(heard_ms, service.history.curve()), "beats": _since(heard_ms, service.pulse.curve())}


def _since(heard_ms: int, curve: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in curve if each["at_ms"] > heard_ms]


def _event(name: str, data: dict[str, Any], at_ms: int) -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"id: {at_ms}\nevent: {name}\ndata: {text}\n\n".encode()


def _picture(service: Service) -> dict[str, Any]:
    server_time = instants.from_ms(time.time_ns() // 1_000_000)
    last, beat = service.history.last, service.pulse.last
    return {
        "stock": json.loads(service.snapshot.body + server_time.encode() + b'"}'),
        "health": health.report(service),
        "point": last and last.to_json(),
        "beat": beat and beat._asdict(),
        "used": service.used,
    }


@router.post(
    "/v1/admin/stocks/{stock_id}/pause",
    operation_id="pauseStock",
    summary="暂停发放",
    response_model=PausedStock,
    responses=refusals(*_ADMIN_REFUSALS),
    openapi_extra=_ADMIN_OPENAPI,
)
async def pause(
    stock_id: str, staff: Caller, incoming: IncomingFacts, service: RunningService, request: Request
) -> JSONResponse:
    """Stop handing out a stock; what users hold stays theirs.

    Where two persons must agree, one alone pauses it for a minute, once an hour; it then goes on by itself.

    暂停发放某券批次，须填写原因；已领取的券不受影响。须双人复核时，单人最多暂停一分钟，一小时一次。
    """
    return await _decide(service, stock_id, staff, await _asked(request, incoming, service), is_paused=True)


@router.post(
    "/v1/admin/stocks/{stock_id}/resume",
    operation_id="resumeStock",
    summary="恢复发放",
    response_model=PausedStock,
    responses=refusals(*_ADMIN_REFUSALS),
    openapi_extra=_ADMIN_OPENAPI,
)
async def resume(
    stock_id: str, staff: Caller, incoming: IncomingFacts, service: RunningService, request: Request
) -> JSONResponse:
    """Go on handing out a stock; what two persons have paused, two resume.

    恢复发放某券批次，须填写原因；双人暂停的须双人恢复。
    """
    return await _decide(service, stock_id, staff, await _asked(request, incoming, service), is_paused=False)


async def _asked(request: Request, incoming: Incoming, service: Service) -> tuple[str, int | None]:
    """Return why, and the number of the approved request if there is one."""
    body = await read_body(incoming, request.receive, service.settings.body_bytes_max)
    if isinstance(body, tuple):
        raise Problem(*body)
    try:
        content = read_json(body)
    except JsonRefused as error:
        raise Problem(Code.PARAM_ERROR, str(error)) from error
    if not isinstance(content, dict) or not content.keys() <= {"reason", "request_no"}:
        raise _wrong("reason", "and request_no are all that may be said")
    reason, request_no = content.get("reason"), content.get("request_no")
    if not isinstance(reason, str) or not reason.strip() or len(reason) > _REASON_MAX or "\x00" in reason:
        raise _wrong("reason", f"must be a text of 1 to {_REASON_MAX} characters")
    if request_no is not None and not (type(request_no) is int and 0 < request_no <= _REQUEST_NO_MAX):
        raise _wrong("request_no", "must be the number of a request")
    return reason.strip(), request_no


def _wrong(field: str, reason: str) -> Problem:
    return Problem(Code.PARAM_ERROR, errors=[{"field": field, "reason": reason}])


async def _decide(
    service: Service, stock_id: str, staff: Identity, asked: tuple[str, int | None], *, is_paused: bool
) -> JSONResponse:
    reason, request_no = asked
    counter = service.counters.get(stock_id)
    if counter is None:
        raise Problem(unknown(service.counters))
    # The vault first: a recovery that comes between the two keeps what was decided.
    try:
        async with service.vault.connection() as connection:
            decided = await pauses.decide(
                connection,
                stock_id,
                is_paused=is_paused,
                subject=staff.subject,
                reason=reason,
                request_no=request_no,
                two_must_agree=service.settings.two_persons,
            )
    except PauseRefused as error:
        raise Problem(Code.FORBIDDEN, f"{error}: see 'grab admin request'.") from error
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer; nothing was changed.") from error
    if decided is None:
        raise Problem(Code.RESOURCE_NOT_EXISTS)
    _log.warning("%s is %s by %s: %r", stock_id, "paused" if is_paused else "resumed", staff.subject, reason)
    try:
        await service.gate.set_paused(counter.stock, is_paused)
    except GateUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger has it; the gate will follow when it answers.") from error
    until = decided.until and instants.from_datetime(decided.until)
    body = {"stock_id": stock_id, "paused": is_paused, "paused_until": until, "reason": reason}
    return JSONResponse(body, headers=_NO_STORE)
