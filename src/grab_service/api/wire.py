"""Answers as they go over the wire, for connections that are served without the server's own encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

from grab_service.api.reply import NO_SNIFFING, NOT_MODIFIED, Reply

_HEADS_MAX = 256


def encoded(reply: Reply, request_id: str, of_every_answer: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a whole answer, with the headers that the server adds to every one."""
    status, body, content_type, headers, _ = reply
    every = tuple(of_every_answer)
    if status == NOT_MODIFIED:
        return b"%brequest-id: %b\r\n\r\n" % (head_of(status, None, headers, every), request_id.encode())
    head = head_of(status, content_type, headers, every)
    return b"%brequest-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (head, request_id.encode(), len(body), body)


@lru_cache(maxsize=_HEADS_MAX)
def head_of(
    status: int,
    content_type: bytes | None,
    headers: tuple[tuple[bytes, bytes], ...],
    of_every_answer: tuple[tuple[bytes, bytes], ...],
) -> bytes:
    """Return the head of an answer but for its request id and its length; there are few, and they last a second."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())]
    every = (*of_every_answer, NO_SNIFFING, *headers)
    if content_type is not None:
        every += ((b"content-type", content_type),)
    return b"".join((*lines, *(b"%b: %b\r\n" % each for each in every)))
