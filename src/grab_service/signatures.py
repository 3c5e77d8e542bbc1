"""The shape of a signed request: what is signed, how the header carries it, how a client signs.

The header is that of WeChat Pay's version 3, which the back ends of a campaign speak already::

    Authorization: GRAB-ED25519-SHA256 client_id="…",key_id="…",timestamp="…",nonce="…",content_sha256="…",signature="…"

The hash of the body stands in the header, so the signature is checked before the body is read: only
a client can make this service take in a large one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

WINDOW_S = 60  # how far a timestamp may be from this service's clock
_HEADER_BYTES_MAX = 1024
_PARAMETER = re.compile(r'([a-z0-9_]{1,16})="([^"\\]{1,200})"', re.ASCII)
_SHAPES = {
    "client_id": re.compile(r"[a-z][a-z0-9-]{1,31}", re.ASCII),
    "key_id": re.compile(r"[a-z][a-z0-9-]{1,31}\.[0-9]{1,6}", re.ASCII),
    "timestamp": re.compile(r"[0-9]{10}", re.ASCII),
    "nonce": re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII),
    "content_sha256": re.compile(r"[0-9a-f]{64}", re.ASCII),
    "signature": re.compile(r"[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==", re.ASCII),
}


class Algorithm(StrEnum):
    """How a key signs; a key has one, and a request cannot choose another."""

    ED25519 = "ed25519"
    HMAC = "hmac-sha256"

    @property
    def scheme(self) -> str:
        """The first word of the header."""
        return _SCHEMES[self]


_SCHEMES = {Algorithm.ED25519: "GRAB-ED25519-SHA256", Algorithm.HMAC: "GRAB-HMAC-SHA256"}
_ALGORITHMS = {scheme.encode(): algorithm for algorithm, scheme in _SCHEMES.items()}


@dataclass(frozen=True, slots=True)
class Signed:
    """What the header of a signed request says.

    Attributes:
        timestamp_s: When it was signed, Unix seconds by the client's clock.
        nonce: Never used twice by a client.
        content_sha256: Of the body, in small hexadecimal digits; that of nothing if there is none.
        signature: 64 bytes of Ed25519 or 32 of HMAC.
    """

    algorithm: Algorithm
    client_id: str
    key_id: str
    timestamp_s: int
    nonce: str
    content_sha256: str
    signature: bytes

    def text(self, method: str, path: bytes, query: bytes) -> bytes:
        """Return what was signed.

        Args:
            method: Of the request, in capitals.
            path: As it was sent, percent signs and all.
            query: As it was sent, without the question mark.
        """
        facts = (self.algorithm.scheme, self.client_id, self.key_id, str(self.timestamp_s), self.nonce)
        lines = (*(fact.encode() for fact in facts), method.encode(), path, query, self.content_sha256.encode())
        return b"".join(line + b"\n" for line in lines)


def looks_signed(authorization: bytes) -> bool:
    """Tell a signed request from one with a token."""
    return authorization[:5].upper() == b"GRAB-"


def read(authorization: bytes) -> Signed | None:
    """Read the header, None if it is not exactly of the shape."""
    scheme, _, rest = authorization.partition(b" ")
    if scheme not in _ALGORITHMS or len(authorization) > _HEADER_BYTES_MAX:
        return None
    found: dict[str, str] = {}
    for part in rest.decode("latin-1").split(","):
        match = _PARAMETER.fullmatch(part.strip(" "))
        if match is None or match[1] in found:
            return None
        found[match[1]] = match[2]
    if found.keys() != _SHAPES.keys() or not all(_SHAPES[name].fullmatch(value) for name, value in found.items()):
        return None
    try:
        signature = base64.b64decode(found["signature"], validate=True)
    except binascii.Error:
        return None
    return Signed(
        algorithm=_ALGORITHMS[scheme],
        client_id=found["client_id"],
        key_id=found["key_id"],
        timestamp_s=int(found["timestamp"]),
        nonce=found["nonce"],
        content_sha256=found["content_sha256"],
        signature=signature,
    )


def verifies_ed25519(public_key: bytes, signature: bytes, text: bytes) -> bool:
    """Whether the owner of an Ed25519 key has signed the text."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except InvalidSignature:
        return False
    return True


def verifies_hmac(secret: bytes, signature: bytes, text: bytes) -> bool:
    """Whether somebody who knows the secret has signed the text; takes as long for every wrong signature."""
    return hmac.compare_digest(hmac.digest(secret, text, "sha256"), signature)


def hmac_secret(service_key: bytes, key_id: str) -> bytes:
    """Return the secret of a client's HMAC key: 64 hexadecimal digits, derived, so nobody need store it."""
    return hmac.digest(service_key, f"client:{key_id}".encode(), "sha256").hex().encode()


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests as a client does.

    Attributes:
        client_id: The client.
        key_id: Its key.
        key: The private key, or the secret of HMAC.
    """

    client_id: str
    key_id: str
    key: Ed25519PrivateKey | bytes

    def header(
        self,
        method: str,
        path: bytes,
        query: bytes,
        body: bytes,
        *,
        now_s: int,
        nonce: str | None = None,
    ) -> str:
        """Return the ``Authorization`` header of a request.

        Args:
            method: In capitals.
            path: As it will be sent.
            query: As it will be sent, without the question mark.
            body: As it will be sent, empty for none.
            now_s: The timestamp, Unix seconds.
            nonce: One of the caller's; a random one if None.
        """
        algorithm = Algorithm.HMAC if isinstance(self.key, bytes) else Algorithm.ED25519
        digest = hashlib.sha256(body).hexdigest()
        nonce = nonce or secrets.token_urlsafe(24)
        signed = Signed(algorithm, self.client_id, self.key_id, now_s, nonce, digest, b"")
        text = signed.text(method, path, query)
        key = self.key
        signature = hmac.digest(key, text, "sha256") if isinstance(key, bytes) else key.sign(text)
        return _header_of(signed, signature)


def _header_of(signed: Signed, signature: bytes) -> str:
    """Return the header that says this."""
    facts = {
        "client_id": signed.client_id,
        "key_id": signed.key_id,
        "timestamp": signed.timestamp_s,
        "nonce": signed.nonce,
        "content_sha256": signed.content_sha256,
        "signature": base64.b64encode(signature).decode(),
    }
    return f"{signed.algorithm.scheme} " + ",".join(f'{name}="{value}"' for name, value in facts.items())
