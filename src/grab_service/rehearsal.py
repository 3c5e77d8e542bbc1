"""What a rehearsal has instead of the app: keys of its own, and tokens signed with them.

``grab up`` makes the keys once in its data directory.  They stay with the data, since voucher codes
and users' references are derived from them.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grab_service.identity import EVERY_MERCHANT, TILL_SCOPES
from grab_service.keyring import KeyringInvalid, read_secret
from grab_service.references import UserRefs
from grab_service.tickets import Tickets

ISSUER = "grab-rehearsal"
TOKEN_TTL_S = 86_400  # a rehearsal's tokens last its day
_KEY_ID = "rehearsal"
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class RehearsalKeys:
    """The key files of one data directory.

    Attributes:
        directory: ``DIR/keys``.
    """

    directory: Path

    @property
    def jwt_key_file(self) -> Path:
        """The private key that stands for the app's, PEM."""
        return self.directory / "jwt.pem"

    def settings(self) -> dict[str, Path | str]:
        """Return the settings under which a service believes in these keys."""
        return {
            "jwt_issuer": ISSUER,
            "jwks_file": self.directory / "jwks.json",
            "ticket_key_file": self.directory / "ticket.key",
            "voucher_key_file": self.directory / "voucher.key",
            "pepper_file": self.directory / "pepper.key",
            "certificate_key_file": self.directory / "certificate.pem",
            "client_key_file": self.directory / "client.key",
        }

    def make(self) -> None:
        """Write the files that are not there yet, each whole or not at all; nothing is ever overwritten.

        Raises:
            OSError: The directory cannot be written.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("ticket.key", "voucher.key", "pepper.key", "client.key"):
            _write_once(self.directory / name, lambda: secrets.token_hex(_SECRET_BYTES).encode() + b"\n")
        _write_once(self.jwt_key_file, _new_private_key)
        _write_once(self.directory / "certificate.pem", _new_private_key)
        _write_once(self.directory / "jwks.json", lambda: _key_set_of(self._private_key()))

    def _private_key(self) -> Ed25519PrivateKey:
        try:
            key = serialization.load_pem_private_key(self.jwt_key_file.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise KeyringInvalid(
                f"no rehearsal's key in {self.directory}: start 'grab up' on this directory first"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyringInvalid(f"{self.jwt_key_file} holds no Ed25519 key")
        return key

    def signer(
        self, *, issuer: str, audience: str, now_s: int, merchants: object = (EVERY_MERCHANT,)
    ) -> Callable[[str, str, str], str]:
        """Return a function that signs a JWT for a user id, a region and a scope.

        A till's token names the ``merchants`` that it acts for; one till stands for all of a rehearsal's.

        Raises:
            KeyringInvalid: The directory has no key.
        """
        key = self._private_key()
        common = {"iss": issuer, "aud": audience, "iat": now_s, "nbf": now_s, "exp": now_s + TOKEN_TTL_S}
        headers = {"kid": _KEY_ID, "typ": "JWT"}

        def sign(sub: str, region: str, scope: str) -> str:
            claims: dict[str, object] = {**common, "sub": sub, "region": region, "scope": scope}
            if not TILL_SCOPES.isdisjoint(scope.split()):
                claims["merchants"] = merchants
            return jwt.encode(claims, key, "EdDSA", headers)

        return sign

    def ticket_issuer(self, *, now_s: int) -> Callable[[str, str], str]:
        """Return a function that issues a ticket for a user id and a region.

        Raises:
            KeyringInvalid: The directory has no secrets.
        """
        tickets = Tickets(read_secret("ticket_key_file", self.directory / "ticket.key"))
        user_refs = UserRefs(read_secret("pepper_file", self.directory / "pepper.key"))
        return lambda sub, region: tickets.issue(user_refs.of(sub), region, now_s + TOKEN_TTL_S)


def _new_private_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_set_of(key: Ed25519PrivateKey) -> bytes:
    public = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return json.dumps({"keys": [{**public, "kid": _KEY_ID, "use": "sig", "alg": "EdDSA"}]}, indent=1).encode() + b"\n"


def _write_once(path: Path, make: Callable[[], bytes]) -> None:
    # Vouchers are minted from these keys: they must outlive a power cut once they have been used.
    if path.exists():
        return
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(make())
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
