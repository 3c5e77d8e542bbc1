"""Whole HTTP answers to claims that are turned away: written once a millisecond, with a few bytes for each."""

from __future__ import annotations

import time
from collections.abc import Sequence

from grab_service.api.problems import Form
from grab_service.api.wire import head_of

_MARK = "\u0001"


class Refusals:
    """Writes answers of one form.

    Args:
        form: What they say.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self._made_ms = 0
        self._text = b""
        self._body_bytes = 0  # but for the request id

    def answer(self, request_id: bytes, of_every_answer: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the answer to one request.

        Args:
            request_id: The id of the request, ASCII.
            of_every_answer: Headers that the server adds.
        """
        now_ms = time.time_ns() // 1_000_000
        if now_ms != self._made_ms:
            self._make(of_every_answer)
            self._made_ms = now_ms
        return self._text % (request_id, self._body_bytes + len(request_id), request_id)

    def _make(self, of_every_answer: Sequence[tuple[bytes, bytes]]) -> None:
        reply = self._form.filled_in(_MARK)
        head = head_of(reply.status, reply.content_type, reply.headers, tuple(of_every_answer))
        before, _, after = reply.body.partition(_MARK.encode())
        self._body_bytes = len(before) + len(after)
        fixed = [part.replace(b"%", b"%%") for part in (head, before, after)]
        self._text = b"%brequest-id: %%b\r\ncontent-length: %%d\r\n\r\n%b%%b%b" % tuple(fixed)
