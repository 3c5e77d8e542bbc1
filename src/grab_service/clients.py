"""The back ends that sign their requests: whose keys are trusted, and who has signed this request.

The keys stand in memory and are renewed in the background, so a stranger's request costs no look into
the vault.  What has not been renewed for long is not believed: a revocation may have been missed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from grab_service import signatures
from grab_service.identity import Distrust, Identity
from grab_service.signatures import WINDOW_S, Algorithm, Signed

STALE_S = 30.0  # keys that were not renewed for so long are believed no more


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientKey:
    """A key that was not revoked, and what its client may do.

    Attributes:
        material: The public key of Ed25519, or the secret of HMAC.
        valid_from_s: Unix seconds.
        valid_until_s: Unix seconds, exclusive.
        merchants: UnionPay numbers; ``*`` is all.
    """

    client_id: str
    key_id: str
    algorithm: Algorithm
    material: bytes = field(repr=False)
    valid_from_s: float
    valid_until_s: float
    scopes: frozenset[str]
    merchants: frozenset[str]

    def has_signed(self, signed: Signed, text: bytes) -> bool:
        """Whether this key has signed the text."""
        verifies = signatures.verifies_hmac if self.algorithm is Algorithm.HMAC else signatures.verifies_ed25519
        return verifies(self.material, signed.signature, text)


class Clients:
    """Turns the header of a signed request into an identity, or into the reason why not."""

    def __init__(self) -> None:
        self._keys: dict[str, ClientKey] = {}
        self._renewed_s: float | None = None

    def renew(self, keys: Iterable[ClientKey]) -> None:
        """Take the keys that are trusted from now on."""
        self._keys = {key.key_id: key for key in keys}
        self._renewed_s = time.monotonic()

    @property
    def is_stale(self) -> bool:
        """Whether the keys were never read, or too long ago to be believed."""
        return self._renewed_s is None or time.monotonic() - self._renewed_s > STALE_S

    def identify(self, signed: Signed, method: str, path: bytes, query: bytes) -> Identity | Distrust:
        """Return who has signed a request; whether its body and nonce are right is still to be seen."""
        now_s = time.time()
        if abs(now_s - signed.timestamp_s) > WINDOW_S:
            return Distrust.TIMESTAMP
        key = self._keys.get(signed.key_id)
        if key is None or key.client_id != signed.client_id or not key.valid_from_s <= now_s < key.valid_until_s:
            return Distrust.KEY
        if key.algorithm is not signed.algorithm:
            return Distrust.ALGORITHM
        if not key.has_signed(signed, signed.text(method, path, query)):
            return Distrust.SIGNATURE
        return Identity(f"client:{key.client_id}", "", key.scopes, key.valid_until_s, key.merchants)
