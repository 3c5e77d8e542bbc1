"""A client with a key of its own, and requests that it signs."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grab_service.signatures import Signer
from ledger import clients
from ledger.clients import NewKey


def ed25519_key() -> tuple[Ed25519PrivateKey, NewKey]:
    """Return a new pair of keys: the client's half, and what is stored."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return private, NewKey(algorithm="ed25519", public_key=public, valid_for=timedelta(days=30))


def hmac_key() -> NewKey:
    """Return a key whose secret the service derives."""
    return NewKey(algorithm="hmac-sha256", public_key=None, valid_for=timedelta(days=30))


async def add_client(vault: asyncpg.Connection, client_id: str, **changes: Any) -> Signer:
    """Add a client that may use vouchers at every merchant, and return what it signs with."""
    private, key = ed25519_key()
    facts: dict[str, Any] = {
        "name": "收单机构",
        "scopes": ["merchant:redeem", "merchant:refund"],
        "merchants": ["*"],
        "key": key,
    }
    key_id = await clients.add(vault, client_id, **(facts | changes), actor="test")
    assert key_id is not None
    return Signer(client_id, key_id, private)


def signed(signer: Signer, request: httpx.Request, *, now_s: int | None = None, nonce: str | None = None) -> str:
    """Return the header of a request as its client signs it."""
    path, _, query = request.url.raw_path.partition(b"?")
    now_s = int(time.time()) if now_s is None else now_s
    return signer.header(request.method, path, query, request.read(), now_s=now_s, nonce=nonce)


async def send_signed(api: httpx.AsyncClient, signer: Signer, method: str, path: str, **more: Any) -> httpx.Response:
    """Sign a request and send it."""
    request = api.build_request(method, path, **more)
    request.headers["Authorization"] = signed(signer, request)
    return await api.send(request)
