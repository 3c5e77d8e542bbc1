"""Claims that are told by their head: only what is a claim and nothing else, whatever stood in heads before."""

from __future__ import annotations

from ipaddress import ip_network

import httptools
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from grab_service.addresses import Proxies
from grab_service.api.heads import Heads
from grab_service.api.incoming import Incoming, Reception

_PROXIES = Proxies((ip_network("10.0.0.0/8"),))
_CLIENT = ("10.0.0.1", 1)
_LINE = "POST /v1/stocks/s-1/claims HTTP/1.1\r\n"


def _heads() -> Heads:
    return Heads(Reception(_PROXIES))


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
    heads = _heads()
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
    heads = _heads()
    heads.stock_of(_head())
    heads.stock_of(_head("Authorization: Bearer x"))
    with_token = head.replace(b"Host: a\r\n", b"Host: a\r\nAuthorization: Bearer x\r\n")
    assert [heads.stock_of(head), heads.stock_of(with_token)] == [None, None]


def test_a_token_hides_no_header() -> None:
    """A known head with another token that has a line of its own in it is looked at as a whole."""
    heads = _heads()
    assert heads.stock_of(_head("Authorization: Bearer x")) == "s-1"
    assert heads.stock_of(_head("Authorization: Bearer x\nContent-Length: 5")) is None
    assert heads.stock_of(_head("Authorization: Bearer x\r\nContent-Length: 5")) is None


class _Parsed:
    """What the parser of HTTP makes of a message, as a connection collects it."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.heads = self.ends = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_message_complete(self) -> None:
        self.ends += 1

    def incoming(self) -> Incoming:
        return Reception(_PROXIES).read(self.headers, _CLIENT)


def _learned(heads: Heads, data: bytes) -> None:
    """Let a head be learned as a connection does: what was read as one plain claim without a body."""
    parsed = _Parsed(data)
    incoming = parsed.incoming()
    if parsed.heads == parsed.ends == 1 and not incoming.has_body:
        heads.learn(data, "s-1", incoming)


def _facts(incoming: Incoming) -> tuple[object, ...]:
    return (incoming.authorization, incoming.has_body, incoming.language, incoming.block())


def test_the_id_that_a_proxy_gives_is_read_in_a_head_that_was_learned() -> None:
    """As `deploy/nginx` sends them: an id and a list of addresses for each request."""
    heads = _heads()
    _learned(heads, _head("X-Forwarded-For: 8.8.8.8", "Request-Id: a1", "authorization: Bearer t2.a"))
    found = heads.read(_head("X-Forwarded-For: 9.9.9.9", "Request-Id: b.2", "authorization: Bearer t2.b"), _CLIENT)
    assert found is not None
    assert found[1].request_id == "b.2"
    assert _facts(found[1]) == ([b"Bearer t2.b"], False, "zh-CN", "9.9.9.0/24")


def test_another_token_and_another_sender_are_read_in_a_head_that_was_learned() -> None:
    """Whatever else the head says is said again; the request has an id of its own."""
    heads = _heads()
    lines = ("X-Forwarded-For: 10.9.9.9, 8.8.8.8", "Authorization: Bearer t2.a", "Accept-Language: en")
    _learned(heads, _head(*lines))
    found = heads.read(_head("X-Forwarded-For: 9.9.9.9", "Authorization: Bearer t2.b", "Accept-Language: en"), _CLIENT)
    assert found is not None
    assert (found[0], *_facts(found[1])) == ("s-1", [b"Bearer t2.b"], False, "en", "9.9.9.0/24")
    again = heads.read(_head(*lines), _CLIENT)
    assert again is not None
    assert again[1].request_id != found[1].request_id


@pytest.mark.parametrize(
    "lines",
    [
        ("Authorization: Bearer a", "Authorization: Bearer a"),
        ("Authorization: Bearer a", "authorization: Bearer b"),
        ("Authorization: Bearer a", "request-id: mine"),
        ("Authorization: Bearer a", "Request-Id: not mine"),
        ("Authorization: Bearer a", f"Request-Id: {'a' * 65}"),
        ("X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 2.2.2.2", "Authorization: Bearer a"),
        ("Proxy-Authorization: Bearer a",),
    ],
)
def test_what_differs_in_more_than_two_values_is_left_to_the_parser(lines: tuple[str, ...]) -> None:
    """Headers that come twice, an id of the caller's, a token that is in another header."""
    heads = _heads()
    head = _head(*lines)
    _learned(heads, head)
    assert heads.read(head, _CLIENT) is None


@pytest.mark.parametrize("token", ["", "a ", " a", "a b", "a\tb", "a;b", "\xe9", "a\r\n b", "a\r\n\tb"])
def test_a_token_of_other_letters_is_left_to_the_parser(token: str) -> None:
    """Blanks that it cuts off, lines that go on in the next one: whatever could mean more than it says."""
    heads = _heads()
    _learned(heads, _head("Authorization: Bearer t2.a"))
    assert heads.read(_head(f"Authorization: Bearer {token}").decode().encode("latin-1"), _CLIENT) is None


_NAMES = st.lists(
    st.sampled_from(
        [
            *["Authorization: Bearer "] * 6,
            *["X-Forwarded-For: "] * 3,
            *["Request-Id: "] * 3,
            "request-id: ",
            "authorization: Bearer ",
            "AUTHORIZATION: Bearer ",
            "Authorization:Bearer ",
            "Authorization: bearer ",
            "Authorization: ",
            "Proxy-Authorization: Bearer ",
            "x-forwarded-for: ",
            "X-Forwarded-For:",
            "X-A: \n",
            " ",
        ]
    ),
    min_size=1,
    max_size=3,
)
_VALUES = st.lists(
    st.sampled_from([*["1.1.1.1", "1a", "2b"] * 4, "a b", " a", "a ", "", "a\tb", "a;b", "\xe9", "10.0.0.2, 3.3.3.3"]),
    min_size=3,
    max_size=3,
)


@settings(max_examples=500)
@given(_NAMES, st.lists(_VALUES, min_size=2, max_size=6))
def test_a_head_is_read_without_the_parser_as_the_parser_reads_it(names: list[str], many: list[list[str]]) -> None:
    """Heads that differ in values: whatever was learned before, each is read the same way, or not at all."""
    heads = _heads()
    for values in many:
        lines = [name + value for name, value in zip(names, values, strict=False)]
        data = _head(*lines).decode().encode("latin-1")
        found = heads.read(data, _CLIENT)
        try:
            expected = _Parsed(data)
        except httptools.HttpParserError:
            assert found is None
            continue
        if found is not None:
            event("read without the parser")
            assert _facts(found[1]) == _facts(expected.incoming())
            if b"request-id" in dict(expected.headers):
                assert found[1].request_id == expected.incoming().request_id
        _learned(heads, data)


def test_a_head_that_has_not_ended_is_not_taken_for_one_that_has() -> None:
    """Wherever the word stands that a token follows upon, what is cut out leaves its mark."""
    heads = _heads()
    whole = _head("X: y uthorization: t")
    assert heads.stock_of(whole) == "s-1"
    assert heads.stock_of(whole.replace(b"uthorization: t\r\n\r\n", b"\r\nuthorization: t\r\n")) is None
    assert heads.stock_of(whole[:-2]) is None
    assert heads.stock_of(whole.partition(b"t\r\n\r\n")[0] + b"t") is None


def test_another_stock_is_another_head() -> None:
    """Nor does what stands before the headers get lost."""
    heads = _heads()
    assert heads.stock_of(_head("Authorization: Bearer x")) == "s-1"
    other = _LINE.replace("s-1", "s-2")
    assert heads.stock_of(_head("Authorization: Bearer x", line=other)) == "s-2"
    strange = "POST /v1/stocks/uthorization: x/claims HTTP/1.1\r\n"
    twin = "POST /v1/stocks/uthorization: y/claims HTTP/1.1\r\n"
    assert heads.stock_of(_head(line=strange)) != heads.stock_of(_head(line=twin))


def test_any_number_of_different_heads_is_served() -> None:
    """What is remembered is bounded, and only what was learned is."""
    heads = _heads()
    for number in range(1000):
        head = _head(f"X-Number: {number}", "Authorization: Bearer x")
        assert heads.stock_of(head) == "s-1"
        assert heads.remembered <= min(number, 256)
        _learned(heads, head)
        assert heads.stock_of(head) == "s-1"
    assert heads.remembered <= 256
