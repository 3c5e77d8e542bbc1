"""Tickets: short HMAC tokens that stand for a verified JWT, so that 10:00 needs no signature check.

A ticket is ``t2.{key}.{expires_s}.{region}.{user_ref}.{mac}``: a few microseconds to check, against some
two hundred for an EdDSA signature.  It carries the user's reference, not the id, and only the
scope ``claim``.  It names the key that it is signed with, so that keys can be changed while the service runs;
``t1``, from before they could, names none and is still read.  ``t3`` is a ticket with more than one reference, joined
by ``+``: while campaigns with different peppers are served, it stands for the user in each of them.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from grab_service.identity import Distrust, Identity
from grab_service.keyed_hash import KeyedHash

CLAIM_SCOPE = "claim"
READ_SCOPE = "claim:read"  # looks at what is claimed, and claims nothing
USER_SCOPES = frozenset({CLAIM_SCOPE, READ_SCOPE})
_PREFIX, _MANY_PREFIX, _OLD_PREFIX = b"t2.", b"t3.", b"t1."
_NAME_BYTES = 3
_NAME_END = len(_PREFIX) + 2 * _NAME_BYTES
_MAC_BYTES = 16
_OLD_PARTS = 4
_SCOPES = frozenset({CLAIM_SCOPE})
_NO_MERCHANTS: frozenset[str] = frozenset()


class Tickets:
    """Issues and checks tickets.

    Args:
        key: The secret that new tickets are signed with, at least 32 bytes, shared by all processes of the service.
        other_key: A secret whose tickets are believed as well: the one before, or the one to come; None for none.
    """

    def __init__(self, key: bytes, other_key: bytes | None = None) -> None:
        self._name = ""
        self._keyed: dict[bytes, KeyedHash] = {}
        self._secrets: tuple[bytes, ...] = ()
        self.renew(key, other_key)

    def renew(self, key: bytes, other_key: bytes | None) -> None:
        """Sign with another key, and believe these two, from now on."""
        self._secrets = (key,) if other_key is None else (key, other_key)
        self._keyed = {
            prefix + _name_of(each).encode(): KeyedHash(each)
            for each in self._secrets
            for prefix in (_PREFIX, _MANY_PREFIX)
        }
        self._name = _name_of(key)

    def issue(self, user_ref: str, region: str, expires_at_s: int, other_refs: Sequence[str] = ()) -> str:
        """Return a ticket for the user, good until ``expires_at_s`` (Unix seconds)."""
        prefix = (_MANY_PREFIX if other_refs else _PREFIX).decode()
        body = f"{prefix}{self._name}.{expires_at_s}.{region}.{'+'.join((user_ref, *other_refs))}"
        digest = hmac.digest(self._secrets[0], body.encode(), "sha256")
        return f"{body}.{digest[:_MAC_BYTES].hex()}"

    @staticmethod
    def looks_like_one(token: bytes) -> bool:
        """Tell a ticket from a JWT by its first characters."""
        return token.startswith((_PREFIX, _MANY_PREFIX, _OLD_PREFIX))

    def check(self, ticket: bytes, now_s: float) -> Identity | Distrust:
        """Return who holds the ticket, or why it is not to be trusted."""
        keyed = self._keyed.get(ticket[:_NAME_END])
        if keyed is None:
            return self._check_old(ticket, now_s)
        body, _, mac = ticket.rpartition(b".")
        if not hmac.compare_digest(keyed.digest(body)[:_MAC_BYTES].hex().encode(), mac):
            return Distrust.SIGNATURE
        _, _, expires_at_s, region, user_refs = body.decode().split(".")
        return _holder(int(expires_at_s), region, user_refs, now_s)

    def _check_old(self, ticket: bytes, now_s: float) -> Identity | Distrust:
        body, _, mac = ticket.rpartition(b".")
        if not (ticket.startswith(_OLD_PREFIX) and any(_is_old_mac(key, body, mac) for key in self._secrets)):
            return Distrust.SIGNATURE
        parts = body.decode().split(".", _OLD_PARTS - 1)
        if len(parts) != _OLD_PARTS:
            return Distrust.MALFORMED
        return _holder(int(parts[1]), parts[2], parts[3], now_s)


def _holder(expires_at_s: int, region: str, user_refs: str, now_s: float) -> Identity | Distrust:
    if now_s >= expires_at_s:
        return Distrust.EXPIRED
    if "+" not in user_refs:
        return Identity(user_refs, region, _SCOPES, expires_at_s, _NO_MERCHANTS, True)
    user_ref, *others = user_refs.split("+")
    return Identity(user_ref, region, _SCOPES, expires_at_s, is_by_ticket=True, other_refs=tuple(others))


def _name_of(key: bytes) -> str:
    """Return by what a ticket names its key: it says nothing of the key."""
    return hmac.digest(key, b"name of a ticket key", "sha256")[:_NAME_BYTES].hex()


def _is_old_mac(key: bytes, body: bytes, mac: bytes) -> bool:
    digest = hmac.digest(key, body, "sha256")
    return hmac.compare_digest(mac, base64.urlsafe_b64encode(digest[:_MAC_BYTES])[:-2])
