"""Requests that a client has signed: checked step by step, the cheap and the harmless first.

Header, timestamp, key and signature cost no store; then the scope; only then is the body taken in and
compared, and at last the nonce is remembered in the vault.  Signed requests go to the vault anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time

from starlette.types import Scope

from grab_service import signatures
from grab_service.api.incoming import Incoming
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.api.vault import VaultUnavailable
from grab_service.identity import Distrust, Identity
from grab_service.signatures import Signed
from ledger import clients

_FRAME_BYTES_MAX = 65_536  # of a form around its photo
_BODY_S = 30.0


def identify(service: Service, incoming: Incoming, scope: Scope) -> tuple[Signed, Identity]:
    """Return who has signed a request; its body and its nonce are still to be accepted.

    Raises:
        Problem: SIGN_ERROR, or SYSTEM_BUSY while the clients' keys are not known or too many signatures failed.
    """
    if len(incoming.authorization) > 1:
        raise Problem(Code.SIGN_ERROR, Distrust.REPEATED.value)
    signed = signatures.read(incoming.authorization[0])
    if signed is None:
        raise Problem(Code.SIGN_ERROR, Distrust.UNSHAPED.value)
    if service.clients.is_stale:
        raise Problem(Code.SYSTEM_BUSY, "The clients' keys could not be read for a while.")
    block, ration = incoming.block(), service.limits.signatures
    if ration.is_spent(block, time.monotonic()):
        raise Problem(Code.SYSTEM_BUSY, Distrust.UNCHECKED.value)
    path = scope.get("raw_path") or scope["path"].encode()
    verdict = service.clients.identify(signed, scope["method"], path, scope["query_string"])
    if isinstance(verdict, Distrust):
        if verdict is Distrust.SIGNATURE:
            ration.spend(block)
        raise Problem(Code.SIGN_ERROR, verdict.value)
    return signed, verdict


async def accept(service: Service, incoming: Incoming, signed: Signed) -> None:
    """See that the body is the one that was signed, and that the request comes for the first time.

    Raises:
        Problem: SIGN_ERROR, TOO_LARGE or PARAM_ERROR, or SYSTEM_BUSY if the vault does not answer.
    """
    assert incoming.replay is not None  # noqa: S101  the front has seen the same header
    # A photo in base64 is the largest that any route takes; the route has a bound of its own.
    bytes_max = service.settings.photo_bytes_max * 4 // 3 + _FRAME_BYTES_MAX
    try:
        async with asyncio.timeout(_BODY_S):
            body = await incoming.replay.take(bytes_max)
    except TimeoutError as error:
        raise Problem(Code.PARAM_ERROR, f"The body did not arrive within {_BODY_S:.0f} s.") from error
    if isinstance(body, tuple):
        raise Problem(*body)
    if not hmac.compare_digest(hashlib.sha256(body).hexdigest(), signed.content_sha256):
        raise Problem(Code.SIGN_ERROR, Distrust.CONTENT.value)
    try:
        async with service.vault.connection() as vault:
            is_new = await clients.remember_nonce(vault, signed.key_id, signed.nonce)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer; sign anew and ask again.") from error
    if not is_new:
        raise Problem(Code.SIGN_ERROR, Distrust.REPLAYED.value)
