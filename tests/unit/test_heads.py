"""Claims that are told by their head: only what is a claim and nothing else, whatever stood in heads before."""

from __future__ import annotations

import pytest

from grab_service.api.heads import Heads

_LINE = "POST /v1/stocks/s-1/claims HTTP/1.1\r\n"


def _head(*lines: str, line: str = _LINE) -> bytes:
    return (line + "".join(f"{each}\r\n" for each in ("Host: a", *lines)) + "\r\n").encode()


@pytest.mark.parametrize(
    "head",
    [
        _head(),
        _head("Authorization: Bearer x"),
        _head("authorization: Bearer x", "Content-Length: 0"),
        _head("X-A: 100%", "Authorization: Bearer x", "X-B: uthorization: "),
    ],
)
def test_a_plain_claim_is_told_by_its_stock(head: bytes) -> None:
    """At first sight and again."""
    heads = Heads()
    assert [heads.stock_of(head) for _ in range(3)] == ["s-1"] * 3


@pytest.mark.parametrize(
    "head",
    [
        _head("Content-Length: 2"),
        _head("Content-Length: 5", "Content-Length: 0"),
        _head("Content-Length : 0"),
        _head("X-Content-Length: 0", "Content-Length: 5"),
        _head("Transfer-Encoding: chunked"),
        _head("Connection: close"),
        _head() + b"{}",
        _head()[:-1],
        _head(line="GET /v1/stocks/s-1/claims HTTP/1.1\r\n"),
        _head(line="POST /v1/stocks/s-1/claims HTTP/1.0\r\n"),
        _head(line="POST /v1/stocks/s-1/claims?a HTTP/1.1\r\n"),
        _head(line=f"POST /v1/stocks/{'s' * 200}/claims HTTP/1.1\r\n"),
        _head(line=f"POST /v1/tickets HTTP/1.1\r\nX: {_LINE}"),
        b"",
    ],
)
def test_whatever_is_more_than_a_claim_is_not_told(head: bytes) -> None:
    """Also with a token, and also once the same head without the difference is known."""
    heads = Heads()
    heads.stock_of(_head())
    heads.stock_of(_head("Authorization: Bearer x"))
    with_token = head.replace(b"Host: a\r\n", b"Host: a\r\nAuthorization: Bearer x\r\n")
    assert [heads.stock_of(head), heads.stock_of(with_token)] == [None, None]


def test_a_token_hides_no_header() -> None:
    """A known head with another token that has a line of its own in it is looked at as a whole."""
    heads = Heads()
    assert heads.stock_of(_head("Authorization: Bearer x")) == "s-1"
    assert heads.stock_of(_head("Authorization: Bearer x\nContent-Length: 5")) is None
    assert heads.stock_of(_head("Authorization: Bearer x\r\nContent-Length: 5")) is None


def test_a_head_that_has_not_ended_is_not_taken_for_one_that_has() -> None:
    """Wherever the word stands that a token follows upon, what is cut out leaves its mark."""
    heads = Heads()
    whole = _head("X: y uthorization: t")
    assert heads.stock_of(whole) == "s-1"
    assert heads.stock_of(whole.replace(b"uthorization: t\r\n\r\n", b"\r\nuthorization: t\r\n")) is None
    assert heads.stock_of(whole[:-2]) is None
    assert heads.stock_of(whole.partition(b"t\r\n\r\n")[0] + b"t") is None


def test_another_stock_is_another_head() -> None:
    """Nor does what stands before the headers get lost."""
    heads = Heads()
    assert heads.stock_of(_head("Authorization: Bearer x")) == "s-1"
    other = _LINE.replace("s-1", "s-2")
    assert heads.stock_of(_head("Authorization: Bearer x", line=other)) == "s-2"
    strange = "POST /v1/stocks/uthorization: x/claims HTTP/1.1\r\n"
    twin = "POST /v1/stocks/uthorization: y/claims HTTP/1.1\r\n"
    assert heads.stock_of(_head(line=strange)) != heads.stock_of(_head(line=twin))


def test_any_number_of_different_heads_is_served() -> None:
    """What is remembered is bounded."""
    heads = Heads()
    for number in range(1000):
        assert heads.stock_of(_head(f"X-Number: {number}", "Authorization: Bearer x")) == "s-1"
    assert heads.remembered <= 256
