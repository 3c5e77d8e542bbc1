"""Who is calling: verifies the app's JWTs and this service's tickets (RFC 8725 rules).

Keys come from a local set that is read before the opening and, in the background, when it changes;
nothing is fetched on the request path.  A JWT that verified once is remembered by its hash until it
expires, since a signature check costs some two hundred microseconds and a user asks for several stocks.
Checks that fail are not remembered, they are rationed: whoever floods with forged tokens gets no more of the
process than that, and those with tickets or remembered tokens do not notice.
"""

from __future__ import annotations

import hashlib
import heapq
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jwt

from grab_service.admission import Budget
from grab_service.identity import Distrust, Identity, Issuer
from grab_service.limits import Ration
from grab_service.references import UserRefs
from grab_service.tickets import Tickets

TOKEN_BYTES_MAX = 4096
_LEEWAY_S = 5  # clocks of the app's servers and ours
_HEADER_FIELDS = frozenset({"alg", "kid", "typ"})
_ALGORITHM_OF_CURVE = {"Ed25519": "EdDSA", "P-256": "ES256"}
_SUB = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_REGION = re.compile(r"[0-9]{6}", re.ASCII)
_MERCHANTS_MAX = 100
_MERCHANT = re.compile(r"[0-9]{15}|\*", re.ASCII)
_SCOPE = re.compile(r"[a-z:_-]{1,32}( [a-z:_-]{1,32}){0,15}", re.ASCII)
_SEGMENTS = 3
_HEADS_MAX = 64  # an issuer writes one for each key


KeySets = Mapping[Issuer, Mapping[str, Any]]


class KeySetInvalid(Exception):
    """The set of public keys holds a key that cannot be used; the message says which and why."""


class _Key(NamedTuple):
    """A public key, and whose it is."""

    public: jwt.PyJWK
    issuer: Issuer


class Sender(Protocol):
    """Where a request comes from; asked only when a signature has to be checked."""

    def block(self) -> str | None:
        """Return the block of addresses, None if it is not known."""


class Authenticator:
    """Turns the ``Authorization`` header into an identity, or into the reason why not.

    Args:
        key_sets: Whose public keys are believed, each a JSON Web Key Set of Ed25519 and P-256 keys with a ``kid``.
        issuer: What ``iss`` must be.
        audience: What ``aud`` must be.
        tickets: Checks this service's own tickets.
        user_refs: Turns ``sub`` into the user's references.
        remembered_max: How many verified tokens are remembered.
        failures_per_s_max: How many checks may fail within a second before no more are made in it.
        failures_per_block_max: The same for tokens from one block of addresses.
        checks_per_s_max: How many tokens are checked within a second, whatever comes out of it.
        staff_ttl_max_s: How long a staff token may last.
    """

    def __init__(
        self,
        *,
        key_sets: KeySets,
        issuer: str,
        audience: str,
        tickets: Tickets,
        user_refs: UserRefs,
        remembered_max: int,
        failures_per_s_max: int,
        failures_per_block_max: int,
        checks_per_s_max: int,
        staff_ttl_max_s: int,
    ) -> None:
        self._keys: dict[str, _Key] = {}
        self._key_of_head: dict[str, _Key] = {}
        self._staff_ttl_max_s = staff_ttl_max_s
        self._documents: dict[str, Mapping[str, Any]] = {}
        self._issuer = issuer
        self._audience = audience
        self._tickets = tickets
        self._user_refs = user_refs
        self._remembered: dict[bytes, Identity] = {}
        self._remembered_max = remembered_max
        self._failures = Ration(failures_per_s_max, failures_per_block_max)
        self._ends: list[tuple[float, bytes]] = []  # a heap: who is forgotten first
        self._checks = Budget(checks_per_s_max)
        self.renew(key_sets)

    def renew(self, key_sets: KeySets) -> None:
        """Believe these public keys from now on; tokens are forgotten when a key has gone or has changed.

        Raises:
            KeySetInvalid: A set cannot be used; the keys stay as they were.
        """
        self._keys = _read_key_sets(key_sets)
        self._key_of_head.clear()
        documents: dict[str, Mapping[str, Any]] = {
            document["kid"]: {**document, "issuer": issuer}
            for issuer, key_set in key_sets.items()
            for document in key_set["keys"]
        }
        if any(documents.get(kid) != document for kid, document in self._documents.items()):
            self._remembered.clear()
            self._ends.clear()
        self._documents = documents

    def identify(self, authorization: Sequence[bytes], sender: Sender | None = None) -> Identity | Distrust:
        """Return who sent a request with these ``Authorization`` header values, and from where."""
        if len(authorization) != 1:
            return Distrust.REPEATED if authorization else Distrust.MISSING
        value = authorization[0]
        if len(value) > TOKEN_BYTES_MAX or value[:7].lower() != b"bearer ":
            return Distrust.MALFORMED
        token = value[7:]
        if self._tickets.looks_like_one(token):
            return self._tickets.check(token, time.time())
        return self._identify_by_jwt(token.decode(), sender) if token.isascii() else Distrust.MALFORMED

    def _identify_by_jwt(self, token: str, sender: Sender | None) -> Identity | Distrust:
        digest = hashlib.sha256(token.encode()).digest()
        identity = self._remembered.get(digest)
        if identity is not None:
            return identity if time.time() < identity.expires_at_s + _LEEWAY_S else Distrust.EXPIRED
        verdict = self._verify(token, sender)
        if isinstance(verdict, Identity):
            self._remember(digest, verdict)
        return verdict

    def _remember(self, digest: bytes, identity: Identity) -> None:
        """Remember a verified token; those that have ended go first, then those that end soonest."""
        while self._ends and (len(self._ends) >= self._remembered_max or self._ends[0][0] < time.time() - _LEEWAY_S):
            del self._remembered[heapq.heappop(self._ends)[1]]
        self._remembered[digest] = identity
        heapq.heappush(self._ends, (identity.expires_at_s, digest))

    def _verify(self, token: str, sender: Sender | None) -> Identity | Distrust:
        key = self._key_for(token)
        if isinstance(key, Distrust):
            return key
        block = None if sender is None else sender.block()
        now_s = time.monotonic()
        if self._failures.is_spent(block, now_s) or self._checks.is_spent(now_s):
            return Distrust.UNCHECKED
        self._checks.spend()
        claims = _claims_under(key.public, token, self._issuer, self._audience)
        verdict = claims if isinstance(claims, Distrust) else self._identity_of(claims, key.issuer)
        if isinstance(verdict, Distrust):
            self._failures.spend(block)
        return verdict

    def _key_for(self, token: str) -> _Key | Distrust:
        """Return the key that a JWT must be signed with; what a head says that was read before is remembered."""
        head = token.partition(".")[0]
        key = self._key_of_head.get(head)
        if key is not None and token.count(".") == _SEGMENTS - 1:
            return key
        found = _key_of(token, self._keys)
        if isinstance(found, _Key):
            if len(self._key_of_head) >= _HEADS_MAX:
                self._key_of_head.clear()
            self._key_of_head[head] = found
        return found

    def _identity_of(self, claims: Mapping[str, Any], issuer: Issuer) -> Identity | Distrust:
        sub, region, scope = claims["sub"], claims.get("region", ""), claims.get("scope", "")
        merchants = claims.get("merchants", [])
        if not (
            isinstance(sub, str)
            and isinstance(region, str)
            and isinstance(scope, str)
            and _SUB.fullmatch(sub)
            and (region == "" or _REGION.fullmatch(region))
            and (scope == "" or _SCOPE.fullmatch(scope))
            and _are_merchants(merchants)
        ):
            return Distrust.CLAIMS
        scopes = frozenset(scope.split())
        excess = _excess(claims, scopes, issuer, self._staff_ttl_max_s)
        if excess is not None:
            return excess
        user_ref, *other_refs = self._user_refs.all_of(sub)
        return Identity(
            user_ref,
            region,
            scopes,
            float(claims["exp"]),
            frozenset(merchants),
            subject="" if issuer is Issuer.APP else sub,
            other_refs=tuple(other_refs),
        )


def staff_of(
    token: str, key_sets: KeySets, *, issuer: str, audience: str, ttl_max_s: int
) -> tuple[str, frozenset[str]] | Distrust:
    """Return the subject and the scopes of a staff token, or why it is not believed.

    Raises:
        KeySetInvalid: A set of keys cannot be used.
    """
    key = _key_of(token, _read_key_sets(key_sets))
    if isinstance(key, Distrust):
        return key
    claims = _claims_under(key.public, token, issuer, audience)
    if isinstance(claims, Distrust):
        return claims
    sub, scope = claims["sub"], claims.get("scope", "")
    if not (isinstance(sub, str) and isinstance(scope, str) and _SUB.fullmatch(sub) and _SCOPE.fullmatch(scope)):
        return Distrust.CLAIMS
    scopes = frozenset(scope.split())
    return _excess(claims, scopes, key.issuer, ttl_max_s) or (sub, scopes)


def _excess(claims: Mapping[str, Any], scopes: frozenset[str], issuer: Issuer, staff_ttl_max_s: int) -> Distrust | None:
    """Return in what a token that was well signed says more than its issuer may."""
    if not issuer.may_give(scopes):
        return Distrust.SCOPE
    if issuer is Issuer.STAFF:
        issued_at_s = claims.get("iat")
        if not isinstance(issued_at_s, (int, float)) or float(claims["exp"]) - issued_at_s > staff_ttl_max_s:
            return Distrust.LIFETIME
    return None


def _key_of(token: str, keys: Mapping[str, _Key]) -> _Key | Distrust:
    """Return the key that a JWT must be signed with (RFC 8725: the algorithm is the key's, the token brings no key)."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        return Distrust.MALFORMED
    if not header.keys() <= _HEADER_FIELDS or str(header.get("typ", "JWT")).upper() != "JWT":
        return Distrust.ALGORITHM
    key = keys.get(str(header.get("kid")))
    if key is None:
        return Distrust.KEY
    if header.get("alg") != key.public.algorithm_name:
        return Distrust.ALGORITHM
    return key


def _claims_under(key: jwt.PyJWK, token: str, issuer: str, audience: str) -> dict[str, Any] | Distrust:
    """Verify a JWT, which is what costs, and return what it says."""
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=issuer,
            audience=audience,
            leeway=_LEEWAY_S,
            options={"require": ["exp", "iss", "aud", "sub"], "strict_aud": True},
        )
    except jwt.InvalidTokenError as error:
        return _distrust_of(error)


def _are_merchants(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _MERCHANTS_MAX
        and all(isinstance(each, str) and _MERCHANT.fullmatch(each) for each in value)
    )


def _read_key_sets(key_sets: KeySets) -> dict[str, _Key]:
    keys: dict[str, _Key] = {}
    for issuer, key_set in key_sets.items():
        for kid, public in _read_key_set(key_set).items():
            if kid in keys:
                raise KeySetInvalid(f"key {kid!r} is in two sets: who has signed would not be known")
            keys[kid] = _Key(public, issuer)
    if not keys:
        raise KeySetInvalid("the set of public keys is empty: no caller could be verified")
    return keys


def _read_key_set(key_set: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    keys: dict[str, jwt.PyJWK] = {}
    for document in key_set.get("keys", []):
        kid, curve = document.get("kid"), document.get("crv")
        if not kid or kid in keys:
            raise KeySetInvalid(f"each key of the set needs a 'kid' of its own; this one is {kid!r}")
        if curve not in _ALGORITHM_OF_CURVE:
            raise KeySetInvalid(f"key {kid!r}: curve {curve!r} is not accepted, only Ed25519 and P-256")
        try:
            keys[kid] = jwt.PyJWK(document, algorithm=_ALGORITHM_OF_CURVE[curve])
        except jwt.InvalidKeyError as error:
            raise KeySetInvalid(f"key {kid!r}: {error}") from error
    return keys


_DISTRUST_OF_ERROR: tuple[tuple[type[jwt.InvalidTokenError], Distrust], ...] = (
    (jwt.ExpiredSignatureError, Distrust.EXPIRED),
    (jwt.ImmatureSignatureError, Distrust.NOT_YET_VALID),
    (jwt.InvalidAudienceError, Distrust.AUDIENCE),
    (jwt.InvalidIssuerError, Distrust.AUDIENCE),
    (jwt.InvalidSignatureError, Distrust.SIGNATURE),
    (jwt.MissingRequiredClaimError, Distrust.CLAIMS),
    (jwt.DecodeError, Distrust.MALFORMED),
)


def _distrust_of(error: jwt.InvalidTokenError) -> Distrust:
    for kind, distrust in _DISTRUST_OF_ERROR:
        if isinstance(error, kind):
            return distrust
    return Distrust.CLAIMS
