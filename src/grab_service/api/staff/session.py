"""Signing in and out: a staff token becomes a cookie, for as long as the token is believed."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from grab_service import resources
from grab_service.api.caller import STAFF_COOKIE, RunningService, incoming_of
from grab_service.api.staff.page import HEADERS, form_of, go, show, visitor
from grab_service.identity import Distrust, Issuer

router = APIRouter(include_in_schema=False)


@router.get("/staff")
async def begin(request: Request) -> Response:
    """Show what there is, or ask who is there."""
    return show(request, "start.html" if visitor(request) else "sign_in.html", detail="")


@router.post("/staff/session")
async def sign_in(request: Request, service: RunningService) -> Response:
    """Take a staff token into the cookie."""
    token = (await form_of(request, has_session=False)).texts.get("token", "").strip()
    verdict = service.authenticator.identify([b"Bearer " + token.encode()], incoming_of(request))
    if isinstance(verdict, Distrust):
        return show(request, "sign_in.html", 401, trouble="令牌无效或已过期。", detail=verdict.value)
    if not any(Issuer.STAFF.may_give([scope]) for scope in verdict.scopes):
        return show(request, "sign_in.html", 403, trouble="这不是工作人员的令牌。", detail="")
    answer = go("/staff")
    answer.set_cookie(
        STAFF_COOKIE, token, path="/staff", httponly=True, samesite="strict", secure=not service.settings.rehearsal
    )
    return answer


@router.post("/staff/session/end")
async def sign_out(request: Request) -> Response:
    """Forget the token."""
    await form_of(request)
    answer = go("/staff")
    answer.delete_cookie(STAFF_COOKIE, path="/staff")
    return answer


@router.get("/staff/style.css")
async def get_style() -> Response:
    """Serve what the pages look like."""
    content = resources.page("staff/style.css").read_bytes()
    return Response(content, media_type="text/css", headers=HEADERS | {"Cache-Control": "private, max-age=300"})
