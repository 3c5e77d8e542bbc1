"""Tickets: short HMAC tokens that stand for a verified JWT, so that 10:00 needs no signature check.

A ticket is ``t1.{expires_s}.{region}.{user_ref}.{mac}``: a few microseconds to check, against some
two hundred for an EdDSA signature.  It carries the user's reference, not the id, and only the
scope ``claim``.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass

from grab_service.identity import Distrust, Identity

CLAIM_SCOPE = "claim"
_PREFIX = "t1."
_MAC_BYTES = 16
_PARTS = 5


@dataclass(frozen=True, slots=True)
class Tickets:
    """Issues and checks tickets.

    Attributes:
        key: The secret, at least 32 bytes, shared by all processes of the service.
    """

    key: bytes

    def issue(self, user_ref: str, region: str, expires_at_s: int) -> str:
        """Return a ticket for the user, good until ``expires_at_s`` (Unix seconds)."""
        body = f"{_PREFIX}{expires_at_s}.{region}.{user_ref}"
        return f"{body}.{self._mac(body)}"

    @staticmethod
    def looks_like_one(token: str) -> bool:
        """Tell a ticket from a JWT by its first characters."""
        return token.startswith(_PREFIX)

    def check(self, ticket: str, now_s: float) -> Identity | Distrust:
        """Return who holds the ticket, or why it is not to be trusted."""
        body, _, mac = ticket.rpartition(".")
        if not hmac.compare_digest(mac.encode(errors="replace"), self._mac(body).encode()):
            return Distrust.SIGNATURE
        parts = body.split(".", _PARTS - 2)
        if len(parts) != _PARTS - 1:
            return Distrust.MALFORMED
        expires_at_s = int(parts[1])
        if now_s >= expires_at_s:
            return Distrust.EXPIRED
        return Identity(parts[3], parts[2], _SCOPES, expires_at_s, is_by_ticket=True)

    def _mac(self, body: str) -> str:
        digest = hmac.digest(self.key, body.encode(errors="replace"), "sha256")
        return base64.urlsafe_b64encode(digest[:_MAC_BYTES])[:-2].decode()


_SCOPES = frozenset({CLAIM_SCOPE})
