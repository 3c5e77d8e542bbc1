"""Traces of requests, where a collector is named; nothing of them where none is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from grab_service.api import spans
from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import Settings
from tests.api.conftest import Site
from tests.support.wait import wait_until

COLLECTOR = "http://127.0.0.1:4318"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the collector was told."""
    exporter = InMemorySpanExporter()

    def exporter_to(endpoint: str, timeout: float) -> InMemorySpanExporter:
        assert (endpoint, timeout) == (f"{COLLECTOR}/v1/traces", 2)
        return exporter

    monkeypatch.setattr(spans, "OTLPSpanExporter", exporter_to)
    return exporter


async def named(told: InMemorySpanExporter, name: str) -> ReadableSpan:
    """Return the first span of this name, once it is told."""

    def found() -> list[ReadableSpan]:
        return [span for span in told.get_finished_spans() if span.name == name]

    await wait_until(lambda: bool(found()), f"{name} is told")
    return found()[0]


async def test_claims_and_other_routes_are_traced(site: Site, told: InMemorySpanExporter) -> None:
    """A span has the route's template, the status and the request's id; nothing that a path or a token holds."""
    client = await site.serve(otel_endpoint=COLLECTOR, otel_one_in=1)
    won = await client.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u"))
    await client.get("/v1/campaigns/no-such")
    await client.get("/v1/stock")
    claim = await named(told, "POST /v1/stocks/{stock_id}/claims")
    assert claim.kind is SpanKind.SERVER
    assert dict(claim.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/stocks/{stock_id}/claims",
        "http.response.status_code": won.status_code,
        "grab.request_id": won.headers["request-id"],
    }
    assert claim.status.status_code is StatusCode.UNSET
    missed = await named(told, "GET /v1/campaigns/{campaign_id}")
    assert (missed.attributes or {})["http.response.status_code"] == 404
    await named(told, "GET /v1/stock")


async def test_a_callers_traceparent_decides(site: Site, told: InMemorySpanExporter) -> None:
    """Its span is the child of the caller's where that one is sampled, and there is none where it is not."""
    client = await site.serve(otel_endpoint=COLLECTOR, otel_one_in=100_000_000)
    for flags, trace in (("00", TRACE[::-1]), ("01", TRACE)):
        await client.get("/v1/time", headers={"traceparent": f"00-{trace}-{PARENT}-{flags}"})
    span = await named(told, "GET /v1/time")
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert len(told.get_finished_spans()) == 1


def test_nothing_of_it_is_loaded_where_no_collector_is_named(tmp_path: Path) -> None:
    """The application is made without spans and exporter; the Redis client looks for the SDK's metrics by itself."""
    keys = RehearsalKeys(tmp_path)
    keys.make()
    stores = {"redis_url": "redis://127.0.0.1:1", "database_url": "postgresql://127.0.0.1:1/x"}
    settings = Settings(**stores, **keys.settings())  # type: ignore[arg-type]  # pydantic checks them
    program = (
        "import sys; from grab_service.api.app import create_app_from_environment as make; make(); "
        "ours = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'grab_service.api.spans'); "
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
