"""The web application: FastAPI for the ordinary routes, behind the front that serves the hot ones."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from grab_service import keyring, settings_reader
from grab_service.api import (
    admin_journal,
    audit,
    health,
    merchants,
    ops,
    pages,
    problems,
    public,
    redemptions,
    rehearsal_users,
    scopes,
    vouchers,
)
from grab_service.api.caller import admit, incoming_of
from grab_service.api.docs import hot_routes
from grab_service.api.docs import router as docs_router
from grab_service.api.front import Front
from grab_service.api.problems import Code, Problem
from grab_service.api.reply import Reply
from grab_service.api.scopes import EVERYWHERE, Surface
from grab_service.api.service import Service
from grab_service.api.staff import merchants as staff_merchants
from grab_service.api.staff import session, settlements
from grab_service.api.staff.page import is_of_staff, refusal
from grab_service.settings import Settings

_COLLECT_AFTER = (100_000, 50, 1000)

_CODE_OF_STATUS = {404: Code.RESOURCE_NOT_EXISTS, 405: Code.METHOD_NOT_ALLOWED, 413: Code.TOO_LARGE}


def create_app(chosen: Settings, surface: Surface | None = None) -> ASGIApp:
    """Return the application for these settings; nothing connects before it is started.

    Args:
        chosen: The settings.
        surface: What is served; None for all in a rehearsal, else what is public.

    Raises:
        keyring.KeyringInvalid: A key file is missing or too short.
        scopes.RoutesUnguarded: A route has no entry in the table of scopes.
    """
    if surface is None:
        surface = EVERYWHERE if chosen.rehearsal else Surface.PUBLIC
    service = Service(chosen, keyring.load(chosen))
    service.shows_insides = Surface.ADMIN in surface
    shows_docs = chosen.rehearsal or chosen.docs

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="grab-service 消费券抢券",
        summary="Hands out government consumption vouchers: exactly the stock, provably.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        openapi_url="/openapi.json" if shows_docs else None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=[
            {"name": "claims", "description": "抢券 · claim a voucher"},
            {"name": "vouchers", "description": "我的票券 · the caller's vouchers and tickets"},
            {"name": "merchants", "description": "商户 · submit and find merchants"},
            {"name": "redemptions", "description": "核销 · use vouchers, reverse payments, return goods"},
            {"name": "operations", "description": "运营 · pause and resume a stock"},
            {"name": "public", "description": "公开查询 · campaigns, stock, time"},
            {"name": "health", "description": "运行状态 · probes"},
        ],
        generate_unique_id_function=_operation_id,
        dependencies=[Depends(admit)],
    )
    app.state.service = service
    app.state.heads = audit.Heads()
    app.include_router(hot_routes)
    app.include_router(vouchers.router)
    app.include_router(merchants.router)
    app.include_router(redemptions.router)
    app.include_router(public.router)
    app.include_router(audit.router)
    app.include_router(health.router)
    if shows_docs:
        app.include_router(docs_router)
    app.include_router(ops.router)
    app.include_router(admin_journal.router)
    app.include_router(rehearsal_users.router)
    app.include_router(pages.router)
    app.include_router(session.router)
    app.include_router(staff_merchants.router)
    app.include_router(settlements.router)
    scopes.check(app.routes)
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    front = Front(app, service, surface)
    return _traced(front, chosen) if chosen.otel_endpoint else front


def _traced(app: ASGIApp, chosen: Settings) -> ASGIApp:
    try:
        from grab_service.api.spans import Traced  # noqa: PLC0415  it brings the extra along, which few need
    except ImportError as error:
        raise settings_reader.SettingsInvalid(
            [f"otel_endpoint is set, but the extra 'otel' is not installed: {error}"]
        ) from error
    return Traced(app, chosen.otel_endpoint, chosen.otel_one_in)


def create_app_from_environment() -> ASGIApp:
    """Return the application for the settings of this process's environment (the servers' factory)."""
    app = create_app(settings_reader.load())
    # A sixth of the time of a claim went into looking for cycles, and none is made on its way: what stands by now is
    # never looked at again, what comes is looked at rarely.
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    return app


def create_admin_app_from_environment() -> ASGIApp:
    """Return the application for staff and monitoring alone, for the settings of this process's environment."""
    return create_app(settings_reader.load(), Surface.ADMIN)


def _operation_id(route: APIRoute) -> str:
    return route.operation_id or route.name


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101  registered for this type only
    if is_of_staff(request.url.path):
        return refusal(request, error.code, error.detail)
    return _respond(request, error.code, error.detail, **error.extensions)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this type only
    code = _CODE_OF_STATUS.get(error.status_code, Code.PARAM_ERROR)
    response = _respond(request, code, None)
    response.headers.update(error.headers or {})
    return response


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for this type only
    errors: list[dict[str, Any]] = [
        {"field": ".".join(str(part) for part in item["loc"][1:]), "reason": item["msg"]} for item in error.errors()
    ]
    return _respond(request, Code.PARAM_ERROR, None, errors=errors)


def _respond(request: Request, code: Code, detail: str | None, **extensions: Any) -> Response:
    incoming = incoming_of(request)
    reply: Reply = problems.reply(code, incoming.request_id, incoming.language, detail=detail, **extensions)
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, reply.content_type.decode())
