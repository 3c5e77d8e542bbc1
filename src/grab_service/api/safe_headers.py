"""The headers that keep browsers and caches from doing more with an answer than it is for.

Claims and the stock picture carry theirs as constant bytes (``reply``); here the other answers get what they lack.
HSTS is the proxy's, who ends TLS.
"""

from __future__ import annotations

from collections.abc import Iterable

from grab_service.api.reply import NO_NAME, NO_SNIFFING, NO_STORE

# Data is nothing that a browser should run, load or frame, should it ever take an answer for a page.
_DATA_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_DEFAULTS = (NO_SNIFFING, NO_NAME, NO_STORE, _DATA_POLICY)

Headers = list[tuple[bytes, bytes]]


def completed(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> Headers:
    """Return an answer's headers with those that it lacks; what it says itself stands.

    Args:
        headers: Of the answer, names in lower case.
        request_id: The id of the request.
    """
    own = list(headers)
    names = {name for name, _ in own}
    lacking = [header for header in _DEFAULTS if header[0] not in names]
    return [*own, (b"request-id", request_id.encode()), *lacking]
