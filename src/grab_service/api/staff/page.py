"""What every page of staff has in common: how it is filled in, and how a form of it is believed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import UploadFile

from grab_service.api.caller import STAFF_COOKIE, incoming_of, service_of
from grab_service.api.merchant_form import within
from grab_service.api.problems import Code, Problem
from grab_service.api.scopes import suffices
from grab_service.identity import Distrust, Identity
from grab_service.merchant_list import FILE_BYTES_MAX
from grab_service.templates import render

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
}
REASON_CHARACTERS_MAX = 500
_FIELDS_MAX, _FIELD_BYTES_MAX = 16, 16_384
_FORM_BYTES_MAX = 65_536
_UPLOAD_BYTES_MAX = FILE_BYTES_MAX + _FORM_BYTES_MAX
_SENTENCES = {
    Code.SIGN_ERROR: "请先登录：登录状态无效或已过期。",
    Code.FORBIDDEN: "您的令牌无权进行此操作，或页面已过期，请返回后重试。",
    Code.RESOURCE_NOT_EXISTS: "没有这个页面、商户或结算。",
    Code.SYSTEM_BUSY: "账本数据库暂时无应答，未作任何更改，请稍后再试。",
    Code.TOO_LARGE: "文件过大，请拆分后再上传。",
}


def is_of_staff(path: str) -> bool:
    """Whether a path is one of these pages."""
    return path == "/staff" or path.startswith("/staff/")


def show(request: Request, template: str, status: int = 200, **facts: Any) -> Response:
    """Fill in a page for whoever is signed in."""
    who = visitor(request)
    scopes = who.scopes if who else frozenset()
    shared = {
        "who": who and who.subject,
        "may": lambda route: suffices(route, scopes),
        "csrf": csrf_of(request),
        "notice": "",
        "trouble": "",
    }
    return HTMLResponse(render(f"staff/{template}", **(shared | facts)), status, HEADERS)


def go(path: str) -> Response:
    """Send the browser to another page after a form has done its work, so that loading again does nothing."""
    return RedirectResponse(path, 303, HEADERS)


def refusal(request: Request, code: Code, detail: str | None) -> Response:
    """Answer a refused request of these pages as a page; who is not signed in is asked to."""
    sentence = _SENTENCES.get(code, code.chinese)
    template = "sign_in.html" if code is Code.SIGN_ERROR else "refused.html"
    return show(request, template, code.status, trouble=sentence, detail=detail or "")


def visitor(request: Request) -> Identity | None:
    """Return who is signed in, also on a page that asks nobody; None for nobody who is believed."""
    incoming = incoming_of(request)
    if incoming.identity is not None:
        return incoming.identity
    token = request.cookies.get(STAFF_COOKIE, "")
    verdict = (
        service_of(request).authenticator.identify([b"Bearer " + token.encode()], incoming)
        if token
        else Distrust.MISSING
    )
    return None if isinstance(verdict, Distrust) else verdict


def subject_of(request: Request) -> str:
    """Return who is acting, on a page that was admitted: the subject of the token and nothing else."""
    identity = incoming_of(request).identity
    assert identity is not None  # noqa: S101  the route asks for a scope
    return identity.subject


def csrf_of(request: Request) -> str:
    """Return the field that forms of this session carry; no other site can know it."""
    credential = request.cookies.get(STAFF_COOKIE) or request.headers.get("authorization", "")
    return hmac.new(service_of(request).csrf_key, credential.encode(), hashlib.sha256).hexdigest()


def see_origin(request: Request) -> None:
    """See that a form was sent by one of our own pages.

    Raises:
        Problem: FORBIDDEN.
    """
    origin = urlsplit(request.headers.get("origin", ""))
    if not origin.netloc or origin.netloc != request.headers.get("host", ""):
        raise Problem(Code.FORBIDDEN, "This form was not sent by a page of this site.")


@dataclass(frozen=True, slots=True)
class Form:
    """What a form of ours has brought: its texts by name, and the content of its file; None without one."""

    texts: Mapping[str, str]
    file: bytes | None

    @property
    def reason(self) -> str | None:
        """The reason that is given; None if it is none: a line, not empty, and not too long."""
        reason = self.texts.get("reason", "").strip()
        return reason if reason and reason.isprintable() and len(reason) <= REASON_CHARACTERS_MAX else None


async def form_of(request: Request, *, is_upload: bool = False, has_session: bool = True) -> Form:
    """Return the form of a request, once it is known to come from our own page in this session.

    Raises:
        Problem: FORBIDDEN or TOO_LARGE.
        starlette.exceptions.HTTPException: The form is malformed.
    """
    see_origin(request)
    bounded = Request(request.scope, within(request.receive, _UPLOAD_BYTES_MAX if is_upload else _FORM_BYTES_MAX))
    limits = {"max_files": int(is_upload), "max_fields": _FIELDS_MAX, "max_part_size": _FIELD_BYTES_MAX}
    async with bounded.form(**limits) as form:
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        if has_session and not hmac.compare_digest(texts.get("csrf", "").encode(), csrf_of(request).encode()):
            raise Problem(Code.FORBIDDEN, "The form is of another session.")
        upload = form.get("file")
        return Form(texts, await upload.read() if isinstance(upload, UploadFile) and upload.filename else None)
