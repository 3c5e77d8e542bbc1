"""Proof of presence: what a user shows besides his token before he gets a ticket, so that a bot pays for each one.

A provider makes challenges and judges answers.  The one that is built in asks for work: a number for which a
hash begins with many zeros takes a phone a moment to find, and thousands of accounts thousands of moments.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Protocol

_PREFIX = "p1"
_LASTS_S = 60
_SALT_BYTES = 8
_MAC_BYTES = 16
_USED_MAX = 200_000  # challenges that were answered and have not ended; more within a minute push out the first
_PURPOSE = b"grab presence"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a user is asked.

    Attributes:
        text: The challenge; it says by itself whom it is for, how hard it is and when it ends.
        bits: Zeros with which the hash must begin.
        expires_at_s: Unix seconds.
    """

    text: str
    bits: int
    expires_at_s: int


class Presence(Protocol):
    """A provider: makes challenges, and judges answers to them."""

    def challenge(self, user_ref: str, now_s: float) -> Challenge:
        """Return a new challenge for a user."""

    def fault(self, challenge: str, answer: str, user_ref: str, now_s: float) -> str | None:
        """Return what is wrong with a user's answer to a challenge, None if nothing is; a good one is used up."""


class Work:
    """Asks for a number with which, in decimal digits after the challenge, SHA-256 begins with so many zero bits.

    Nothing is stored for a challenge: its MAC binds it to the user.  That it is answered once is remembered by each
    process, so n processes take one answer n times, each for the same user's same ticket.

    Args:
        secret: A secret of the service, at least 32 bytes, that does not change; the key is derived from it.
        bits: How hard; one more doubles the work.
    """

    def __init__(self, secret: bytes, bits: int) -> None:
        self._key = hmac.digest(secret, _PURPOSE, "sha256")
        self._bits = bits
        self._used: dict[str, int] = {}

    def challenge(self, user_ref: str, now_s: float) -> Challenge:
        """Return a new challenge for a user, good for a minute."""
        expires_at_s = int(now_s) + _LASTS_S
        body = f"{_PREFIX}.{expires_at_s}.{self._bits}.{secrets.token_hex(_SALT_BYTES)}"
        return Challenge(f"{body}.{self._mac(body, user_ref)}", self._bits, expires_at_s)

    def fault(self, challenge: str, answer: str, user_ref: str, now_s: float) -> str | None:
        """Return what is wrong with a user's answer to a challenge, None if nothing is; a good one is used up."""
        body, _, mac = challenge.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(body, user_ref).encode()):
            return "The challenge is not one that you were given."
        _, expires_s, bits, _ = body.split(".")
        if now_s >= int(expires_s):
            return "The challenge has expired; ask for a new one."
        if int(bits) < self._bits:
            return "The challenge is easier than what is asked for now; ask for a new one."
        if not _solves(challenge, answer, int(bits)):
            return "The answer does not solve the challenge."
        if self._used.get(challenge, 0) > now_s:
            return "The challenge has been answered already; ask for a new one."
        self._forget(now_s)
        self._used[challenge] = int(expires_s)
        return None

    def _forget(self, now_s: float) -> None:
        while self._used:
            first = next(iter(self._used))
            if self._used[first] > now_s and len(self._used) < _USED_MAX:
                return
            del self._used[first]

    def _mac(self, body: str, user_ref: str) -> str:
        return hmac.digest(self._key, f"{user_ref} {body}".encode(), "sha256")[:_MAC_BYTES].hex()


def solve(challenge: str, bits: int) -> str:
    """Return the answer to a challenge; takes about 2 to the power of ``bits`` hashes."""
    number = 0
    while not _solves(challenge, str(number), bits):
        number += 1
    return str(number)


def _solves(challenge: str, answer: str, bits: int) -> bool:
    digest = hashlib.sha256(f"{challenge}{answer}".encode()).digest()
    return int.from_bytes(digest) >> (len(digest) * 8 - bits) == 0
