"""Made-up users, so that the page can be tried without the app; not there outside a rehearsal."""

from __future__ import annotations

import secrets
import time

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from grab_service import instants
from grab_service.api.caller import RunningService
from grab_service.api.problems import Code, Problem

router = APIRouter(include_in_schema=False)

_NO_STORE = {"Cache-Control": "no-store"}


@router.post("/rehearsal/token")
async def make_up_user(service: RunningService) -> JSONResponse:
    """Issue a ticket for a user who did not exist before; it allows claims and nothing else."""
    if not service.settings.rehearsal:
        raise Problem(Code.RESOURCE_NOT_EXISTS, "This is no rehearsal; the app signs users in.")
    user = f"rehearsal-{secrets.token_hex(8)}"
    region = next((region for campaign in service.campaigns.values() for region in campaign.eligible_regions), "")
    expires_at_s = int(time.time()) + service.settings.ticket_ttl_s
    user_ref, *other_refs = service.user_refs.all_of(user)
    ticket = service.tickets.issue(user_ref, region.ljust(6, "0"), expires_at_s, other_refs)
    body = {"token": ticket, "user": user, "expires_at": instants.from_ms(expires_at_s * 1000)}
    return JSONResponse(body, headers=_NO_STORE)
