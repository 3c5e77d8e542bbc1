"""What a claim is told if the gate could not be asked."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import cast

import pytest

from grab_service.addresses import Proxies
from grab_service.api.claims import Asked, Claims
from grab_service.api.counter import Counter
from grab_service.api.incoming import Reception
from grab_service.gate import GateUnavailable


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(GateUnavailable("timed out"), 503, "SYSTEM_BUSY"), (ValueError("strange"), 500, "SYSTEM_ERROR")],
)
def test_one_failure_is_told_to_each_who_waited_and_not_logged_for_each(
    error: Exception, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand are told at once, from one exception: it does not grow with them."""
    claims = Claims.__new__(Claims)  # who asks is decided before
    reception = Reception(Proxies(()))
    counter = cast("Counter", SimpleNamespace())
    with caplog.at_level(logging.DEBUG):
        for _ in range(1000):
            reply = claims.told(Asked(counter, "1a", reception.read([], None)), error)
            assert reply is not None
            assert (reply.status, json.loads(reply.body)["code"]) == (status, code)
    assert caplog.records == []
    assert error.__traceback__ is None
