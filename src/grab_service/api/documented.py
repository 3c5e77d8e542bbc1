"""The refusals of a route as OpenAPI responses, each with an example, made from the catalogue."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from grab_service.api import problems
from grab_service.api.models import ProblemDocument
from grab_service.api.problems import Code

_REQUEST_ID = "5f0c9d2e-1a"
_EXTENSIONS: dict[Code, dict[str, Any]] = {Code.NOT_STARTED: {"opens_at": "2023-12-03T10:00:00+08:00"}}
RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}}
_WITH_RETRY_AFTER = frozenset({Code.NOT_STARTED, Code.FREQUENCY_LIMIT_EXCEED, Code.SYSTEM_BUSY})


def refusals(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """Return the responses of ``codes`` for a route's ``responses`` argument."""
    by_status: dict[int, list[Code]] = defaultdict(list)
    for code in codes:
        by_status[code.status].append(code)
    return {status: _response(alike) for status, alike in by_status.items()}


def _response(codes: list[Code]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": " · ".join(f"`{code.public_code}` {code.chinese}" for code in codes),
        "model": ProblemDocument,
        "content": {"application/problem+json": {"examples": {code.name: _example(code) for code in codes}}},
    }
    if any(code in _WITH_RETRY_AFTER for code in codes):
        response["headers"] = RETRY_AFTER
    return response


def _example(code: Code) -> dict[str, Any]:
    document = problems.document(code, _REQUEST_ID, problems.CHINESE, None, **_EXTENSIONS.get(code, {}))
    document["server_time"] = "2023-12-03T09:59:59.000+08:00"
    return {"summary": code.english, "value": document}
