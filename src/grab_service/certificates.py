"""Signs what a certificate says, with the campaign's own key; ``tools/verify_certificate.py`` verifies it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grab_service.keyring import KeyringInvalid


@dataclass(frozen=True, slots=True)
class CertificateKey:
    """The key of a campaign's certificates; its public half is published before the campaign."""

    _key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def read(cls, path: Path | None) -> CertificateKey:
        """Read the key.

        Raises:
            KeyringInvalid: There is no file, or no Ed25519 key in it.
        """
        if path is None:
            raise KeyringInvalid("GRAB_CERTIFICATE_KEY_FILE is not set: it names the key that signs certificates")
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise KeyringInvalid(f"{path} (certificate_key_file) cannot be read as a private key, PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyringInvalid(f"{path} (certificate_key_file) holds no Ed25519 key")
        return cls(key)

    @property
    def public_key(self) -> str:
        """The public half, hexadecimal."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, statement: Mapping[str, Any]) -> dict[str, Any]:
        """Return the certificate: the statement, and the signature of its one canonical form."""
        signature = self._key.sign(canonical(statement))
        return {"statement": dict(statement), "public_key": self.public_key, "signature": signature.hex()}


def canonical(statement: Mapping[str, Any]) -> bytes:
    """Write a statement of texts, whole numbers and lists of them: names sorted, no blanks, ASCII."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
