"""Traces: one span a request that is chosen, told to an OpenTelemetry collector.

This module is loaded where the setting ``otel_endpoint`` names a collector, and only there: it brings the extra
``otel`` along.  A span names the template of its route, never what a path, a token or a body holds.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grab_service.api.instruments import CLAIM_ROUTE, STOCK_ROUTE

_SERVICE = "grab-service"
_TRACES_PATH = "/v1/traces"
_TOLD_EVERY_MS = 1000
_ANSWER_S = 2  # a collector that takes longer loses what it was told; requests never wait for it
_FAILED = 500  # statuses from here on
_CARRIED = (b"traceparent", b"tracestate")


class Traced:
    """Traces the requests of an application.

    A caller's ``traceparent`` decides whether its request is traced; of the others one in so many is.

    Args:
        app: The application.
        endpoint: Base URL of a collector that takes OTLP over HTTP.
        one_in: How many requests without a ``traceparent`` there are to one that is traced.
    """

    def __init__(self, app: ASGIApp, endpoint: str, one_in: int) -> None:
        self._app = app
        self._carrier = TraceContextTextMapPropagator()
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(1 / one_in)),
            resource=Resource.create({"service.name": _SERVICE, "service.version": version(_SERVICE)}),
        )
        # The queue is bounded: what a collector does not take in time is dropped.
        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + _TRACES_PATH, timeout=_ANSWER_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_TOLD_EVERY_MS))
        self._tracer = self._provider.get_tracer(_SERVICE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the process, at the end of which the last spans are told."""
        if scope["type"] == "http":
            await self._trace(scope, receive, send)
            return

        async def ending(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                await asyncio.to_thread(self._provider.shutdown)
            await send(message)

        await self._app(scope, receive, ending)

    async def _trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        span = self._tracer.start_span(method, self._context_of(scope), SpanKind.SERVER)
        if not span.is_recording():
            await self._app(scope, receive, send)
            return

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                status: int = message["status"]
                headers = dict(message["headers"])
                span.set_attribute("http.response.status_code", status)
                span.set_attribute("grab.request_id", headers.get(b"request-id", b"").decode("latin-1"))
                if status >= _FAILED:
                    span.set_status(Status(StatusCode.ERROR))
            await send(message)

        try:
            await self._app(scope, receive, telling)
        finally:
            route = _route_of(scope)
            span.update_name(f"{method} {route}" if route else method)
            span.set_attribute("http.request.method", method)
            if route:
                span.set_attribute("http.route", route)
            span.end()

    def _context_of(self, scope: Scope) -> Context:
        carried = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}
        return self._carrier.extract(carried, Context())


def _route_of(scope: Scope) -> str:
    """Return the template of the route; empty for what matches none."""
    path: str = scope["path"]
    if path == STOCK_ROUTE:
        return STOCK_ROUTE
    prefix, _, suffix = CLAIM_ROUTE.partition("{stock_id}")
    if scope["method"] == "POST" and path.startswith(prefix) and path.endswith(suffix):
        return CLAIM_ROUTE
    return str(getattr(scope.get("route"), "path", ""))
