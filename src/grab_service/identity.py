"""Who is asking: what a verified token says, and the reasons not to believe one."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

REDEEM_SCOPE, REFUND_SCOPE = "merchant:redeem", "merchant:refund"
TILL_SCOPES = frozenset({REDEEM_SCOPE, REFUND_SCOPE})
EVERY_MERCHANT = "*"


class Issuer(Enum):
    """Whose key has signed a token: what he may say in it is bounded, whatever he says.

    The value is how the scopes begin that he may give.
    """

    APP = ("claim",)
    STAFF = ("admin:", "audit:")
    REHEARSAL = ("",)  # one development key stands for everybody

    def may_give(self, scopes: Iterable[str]) -> bool:
        """Whether each of the scopes is one of his."""
        return all(scope.startswith(self.value) for scope in scopes)


class Identity(NamedTuple):
    """A caller whose token or signature was verified.

    Attributes:
        user_ref: The user's reference in the stores; ``client:`` and its id for a back end.
        region: Six-digit division code of the user, ``500110``.
        scopes: What the token allows.
        expires_at_s: Unix seconds after which the token is worth nothing.
        merchants: UnionPay numbers of the merchants that the caller acts for; ``*`` among them is all.
        is_by_ticket: Whether a ticket told so, not the app's own token.
        subject: Who of the staff it is, as the admin journal names him; empty for everybody else.
        other_refs: The user's references under other peppers than the one that new campaigns begin with.
    """

    user_ref: str
    region: str
    scopes: frozenset[str]
    expires_at_s: float
    merchants: frozenset[str] = frozenset()
    is_by_ticket: bool = False
    subject: str = ""
    other_refs: tuple[str, ...] = ()

    def ref_under(self, version: str) -> str | None:
        """Return the user's reference under a version of the pepper; None if the token was given without it."""
        if self.user_ref[0] == version:
            return self.user_ref
        return next((each for each in self.other_refs if each[0] == version), None)

    def acts_for(self, merchant_no: str) -> bool:
        """Whether the caller may use and return vouchers at this merchant."""
        return merchant_no in self.merchants or EVERY_MERCHANT in self.merchants


class Distrust(Enum):
    """Why a caller was not believed; the value is the sentence for the caller's developers."""

    MISSING = "The Authorization header is missing; send it once, as 'Bearer TOKEN' or as a signature."
    REPEATED = "The Authorization header was sent more than once."
    MALFORMED = "The token is not a well-formed JWT or ticket."
    ALGORITHM = "The token's header is refused: algorithm, type or an extension is not accepted."
    KEY = "The token names a signing key that is not known here."
    SIGNATURE = "The token's signature does not verify."
    EXPIRED = "The token has expired."
    NOT_YET_VALID = "The token is not valid yet; check the issuer's clock."
    AUDIENCE = "The token was issued by or for somebody else (iss, aud)."
    CLAIMS = "A claim of the token is missing or malformed: exp, sub, scope, region or merchants."
    PEPPER = "The ticket was given before this campaign could be served; take a new one."
    TICKET = "A ticket is not exchanged for another one; send the app's JWT."
    SCOPE = "The token gives a scope that its issuer may not give."
    LIFETIME = "A staff token must say when it was issued (iat) and end soon after."
    UNSHAPED = "The Authorization header of a signed request is not of its exact shape."
    TIMESTAMP = "The request was signed too long ago or in the future; check the client's clock."
    CONTENT = "The body is not the one that was signed."
    UNCHECKED = "Too many tokens are being checked just now; ask again in a moment, or with a ticket."
    REPLAYED = "The nonce was used before, or the key was revoked just now; sign anew."
