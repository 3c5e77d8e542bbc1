"""An HTTP answer as bytes, and how it is sent: the common ground of the raw routes and FastAPI."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import Send

from grab_service.api.ending import Ending

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
NO_STORE = (b"cache-control", b"no-store")


@dataclass(frozen=True, slots=True)
class Reply:
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
    ending: int = int(Ending.BY_STATUS)

    async def send(self, send: Send, request_id: str) -> None:
        """Send it, with the headers that every answer carries."""
        headers = [(b"request-id", request_id.encode()), (b"x-content-type-options", b"nosniff"), *self.headers]
        if self.status != HTTPStatus.NOT_MODIFIED:
            headers += ((b"content-type", self.content_type), (b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
