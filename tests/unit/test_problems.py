"""The catalogue of refusals: codes, languages, waiting times."""

from __future__ import annotations

import json

import pytest

from grab_service.api import problems
from grab_service.api.problems import CHINESE, ENGLISH, Code
from ledger.requests import Refusal


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, CHINESE),
        (b"", CHINESE),
        (b"zh-CN,zh;q=0.9,en;q=0.8", CHINESE),
        (b"en-US,en;q=0.9", ENGLISH),
        (b"fr, en;q=0.5", ENGLISH),
        (b"fr", CHINESE),
        (b"en;q=0.1, zh;q=0.2", CHINESE),
        (b"en;q=x", CHINESE),
        (b"*", CHINESE),
        (b"\xff\xfe,;;==", CHINESE),
        (b"en," * 10_000, ENGLISH),
    ],
)
def test_the_language_is_chinese_unless_english_is_asked_for(header: bytes | None, language: str) -> None:
    """Accept-Language chooses; anything else is Chinese."""
    assert problems.language_of(header) == language


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_words_in_both_languages(code: Code) -> None:
    """A document has every member of the contract and the message in the asked language."""
    for language, message in ((CHINESE, code.chinese), (ENGLISH, code.english)):
        reply = problems.reply(code, "r-1", language)
        document = json.loads(reply.body)
        assert document["message"] == message
        assert document["status"] == reply.status == code.status
        assert {"type", "title", "detail", "code", "request_id", "server_time"} <= document.keys()
        assert reply.content_type == b"application/problem+json"
        assert (b"cache-control", b"no-store") in reply.headers


def test_every_refusal_of_the_books_is_a_code() -> None:
    """What the vault's side refuses with has words and a status."""
    assert {refusal.value for refusal in Refusal} <= {code.name for code in Code}
    assert all(400 <= Code[refusal.value].status < 500 for refusal in Refusal)


@pytest.mark.parametrize("code", [Code.SYSTEM_BUSY, Code.FREQUENCY_LIMIT_EXCEED])
def test_those_turned_away_together_do_not_come_back_together(code: Code) -> None:
    """Retry-After of a busy answer is spread over some seconds."""
    waits = {dict(problems.reply(code, "r", CHINESE).headers)[b"retry-after"] for _ in range(200)}
    assert waits == {b"1", b"2", b"3"}


def test_a_refused_caller_is_told_the_scheme() -> None:
    """401 carries WWW-Authenticate."""
    assert (b"www-authenticate", b"Bearer") in problems.reply(Code.SIGN_ERROR, "r", CHINESE).headers
