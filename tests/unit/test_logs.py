"""What a line of the log looks like, and what it never holds."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from grab_service import logs
from grab_service.api.ending import Ending
from grab_service.api.instruments import Instruments
from grab_service.api.journal import Journal
from grab_service.api.reply import Reply

_JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
_TICKET = "t1.1790000000.500110.1AbCdEfGhIjKlMnOpQrStUv.c2lnbmF0dXJlc2lnbmE"
_NEW_TICKET = "t2.0a1b2c.1790000000.500110.1AbCdEfGhIjKlMnOpQrStUv.00112233445566778899aabbccddeeff"
_SOLD_OUT = Reply(409, b"", ending=Ending.SOLD_OUT)


def _record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("grab", logging.WARNING, __file__, 1, message, arguments, None)


@pytest.mark.parametrize("line", [logs.TextLine(), logs.JsonLine()])
@pytest.mark.parametrize("secret", [_JWT, _TICKET, _NEW_TICKET, "grab:geheim"])
def test_no_line_holds_a_secret_or_a_second_line(line: logging.Formatter, secret: str) -> None:
    """Tokens, tickets and passwords are masked; what a caller sends cannot forge a line."""
    text = line.format(_record("got x://%s@127.0.0.1/db\r\nforged\u2028line", secret))
    assert secret not in text
    assert "***" in text
    assert len(text.splitlines()) == 1


def test_json_lines_carry_the_facts_of_a_request(caplog: pytest.LogCaptureFixture) -> None:
    """Each is a member of its own."""
    with caplog.at_level(logging.INFO, "grab_service.requests"):
        Journal(1).refused("id-1", "stock-1", Ending.SOLD_OUT, 0.0123)
    line = json.loads(logs.JsonLine().format(caplog.records[0]))
    facts = {"request_id": "id-1", "what": "claim", "outcome": "sold_out", "ms": 12.3, "stock": "stock-1"}
    assert line.items() >= facts.items()
    assert (line["level"], line["logger"]) == ("INFO", "grab_service.requests")


def test_an_exception_is_one_json_line() -> None:
    """With its traceback inside."""
    record = _record("failed")
    try:
        int(_JWT)
    except ValueError:
        record.exc_info = sys.exc_info()
    text = logs.JsonLine().format(record)
    assert len(text.splitlines()) == 1
    assert "'***'" in json.loads(text)["exception"]


def test_winners_and_changes_are_logged_and_one_in_so_many_of_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal's line says for how many it stands."""
    journal = Journal(100)
    instruments = Instruments(None, journal)
    with caplog.at_level(logging.INFO, "grab_service.requests"):
        instruments.claims([(f"r{number}", "s", _SOLD_OUT, 0.0) for number in range(250)], 0.001)
        journal.claim("w", "s", Ending.OK)
        journal.claim("x", "s", Ending.REPLAY)
        journal.other("a", "/v1/admin/stocks/{stock_id}/pause", "POST", 200, 0.1)
        journal.other("g", "/v1/vouchers", "GET", 200, 0.1)
        journal.other("e", "/v1/vouchers", "GET", 503, 0.1)
        journal.flush()
        journal.flush()
    told = [record.message.split()[0].removeprefix("request_id=") for record in caplog.records]
    assert told == ["r0", "r100", "r200", "a", "g", "e", "what=claims"]
    assert caplog.records[-1].message.endswith(" won=w:ok:s x:replay:s")
    assert "one_in=100" in caplog.records[0].message


def test_no_request_is_logged_if_the_setting_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """0 is none."""
    journal = Journal(0)
    with caplog.at_level(logging.INFO, "grab_service.requests"):
        journal.claim("w", "s", Ending.OK)
        Instruments(None, journal).claims([("r", "s", _SOLD_OUT, 0.0)], 0.1)
        journal.other("a", "/x", "POST", 500, 0.1)
    assert caplog.records == []
