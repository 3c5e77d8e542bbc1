"""Clients of services on the loopback: plain HTTP, without the certificates of the world.

Loading those costs a client a twentieth of a second, and tests make thousands.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpx

_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def http_client(**options: Any) -> httpx.AsyncClient:
    """Return a client with these options of ``httpx.AsyncClient``; over TLS it would believe no server."""
    return httpx.AsyncClient(verify=_TRUSTS_NOBODY, **options)
