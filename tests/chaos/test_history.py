"""The history of a chaos run: what is written comes back, and every answer has a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from loadtest.chaos.history import (
    BUSY,
    ENDED,
    ERROR,
    LIMIT,
    NOT_STARTED,
    PAUSED,
    PENDING,
    REFUSED,
    SOLD_OUT,
    UNKNOWN,
    WON,
    HistoryWriter,
    operation,
    read_history,
)

from tests.chaos.world import FULL, honest_world


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (201, "", WON),
        (200, "", WON),
        (202, "", PENDING),
        (409, "SOLD_OUT", SOLD_OUT),
        (409, "NOT_STARTED", NOT_STARTED),
        (409, "ENDED", ENDED),
        (409, "PAUSED", PAUSED),
        (409, "LIMIT_REACHED", LIMIT),
        (429, "FREQUENCY_LIMIT_EXCEED", BUSY),
        (503, "SYSTEM_BUSY", BUSY),
        (401, "SIGN_ERROR", REFUSED),
        (500, "SYSTEM_ERROR", ERROR),
        (0, "", UNKNOWN),
    ],
)
def test_an_answer_has_a_name(status: int, code: str, outcome: str) -> None:
    """Every answer of the service is one of a few outcomes, by its status and code."""
    assert operation(1, 2, "ann", FULL, status=status, body=json.dumps({"code": code}).encode()).outcome == outcome


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff"])
def test_an_answer_that_is_no_document_has_a_name_too(body: bytes) -> None:
    """What a proxy or a dying server says instead is a refusal, or a yes that names no voucher."""
    assert operation(1, 2, "ann", FULL, status=404, body=body).outcome == REFUSED
    assert operation(1, 2, "ann", FULL, status=201, body=body).claim_no is None


def test_a_yes_says_what_was_won() -> None:
    """Number, code and instant of a voucher are kept as they were told."""
    body = json.dumps({"claim_no": 7, "voucher_code": "X", "claimed_at": "2023-12-03T10:00:00.000+08:00"}).encode()
    done = operation(1, 2, "ann", FULL, status=201, body=body)
    assert (done.claim_no, done.voucher_code, done.claimed_at) == (7, "X", "2023-12-03T10:00:00.000+08:00")
    assert done.has_just_won
    assert not operation(1, 2, "ann", FULL, status=200, body=body).has_just_won


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Operations come back as they were, in order; a line that was cut off at the end is passed over."""
    history, path = honest_world().history, tmp_path / "history.jsonl"
    for part in (history[:4], history[4:]):
        with HistoryWriter(path) as writer:
            for done in part:
                writer.append(done)
    with path.open("a", encoding="utf-8") as torn:
        torn.write('{"at_start_ms":17000')
    assert list(read_history(path)) == history


def test_a_history_is_written_as_it_grows(tmp_path: Path) -> None:
    """A writer keeps no more than a bounded number of operations to itself."""
    done, path = honest_world().history[0], tmp_path / "history.jsonl"
    with HistoryWriter(path) as writer:
        for _ in range(1500):
            writer.append(done)
        assert len(list(read_history(path))) == 1000
