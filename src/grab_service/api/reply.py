"""An HTTP answer as bytes, and how it is sent: the common ground of the raw routes and FastAPI."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

from starlette.types import Message, Send

from grab_service.api.ending import Ending

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
NO_STORE = (b"cache-control", b"no-store")
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
NO_NAME = (b"server", b"")  # Granian would put its own name there, and cannot be told not to
_BY_STATUS = int(Ending.BY_STATUS)
NOT_MODIFIED = int(HTTPStatus.NOT_MODIFIED)


class Reply(NamedTuple):
    """One answer.

    Attributes:
        status: The HTTP status.
        body: The bytes of the answer.
        content_type: Its media type.
        headers: Further headers, names in lower case.
        ending: How it is counted if it answers a claim.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = (NO_STORE,)
    ending: int = _BY_STATUS

    def messages(self, request_id: str) -> tuple[Message, Message]:
        """Return it as the server takes it, with the headers that every answer carries."""
        status, body, content_type, further, _ = self
        headers = [(b"request-id", request_id.encode()), NO_SNIFFING, NO_NAME, *further]
        if status != NOT_MODIFIED:
            headers += ((b"content-type", content_type), (b"content-length", b"%d" % len(body)))
        return (
            {"type": "http.response.start", "status": status, "headers": headers},
            {"type": "http.response.body", "body": body},
        )

    async def send(self, send: Send, request_id: str) -> None:
        """Send it."""
        start, body = self.messages(request_id)
        await send(start)
        await send(body)
