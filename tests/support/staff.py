"""The issuer of staff tokens, as a deployment has one: a key of its own, and tokens that live for minutes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grab_service.rehearsal import ISSUER


class StaffIssuer:
    """Signs staff tokens, and says in a file which key is to be believed.

    Args:
        directory: Where the file goes.
    """

    def __init__(self, directory: Path) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.jwks_file = directory / "staff.jwks.json"
        self.jwks_file.write_text(json.dumps(self.key_set()))

    def key_set(self, kid: str = "staff") -> dict[str, Any]:
        """Return the public key as a set."""
        public = jwt.algorithms.OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": kid}]}

    def token(self, sub: str, scope: str, **changes: Any) -> str:
        """Return a token of somebody of the staff; None among the changes takes a claim out."""
        now_s = int(time.time())
        claims = {"iss": ISSUER, "aud": "grab", "sub": sub, "scope": scope, "iat": now_s, "exp": now_s + 600}
        kept = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(kept, self._key, "EdDSA", {"kid": "staff"})

    def bearer(self, sub: str, scope: str, **changes: Any) -> dict[str, str]:
        """Return the header with such a token."""
        return {"Authorization": f"Bearer {self.token(sub, scope, **changes)}"}
