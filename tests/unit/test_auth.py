"""Tokens: which are believed, and the attacks that are not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from grab_service.auth import Authenticator, KeySetInvalid
from grab_service.identity import Distrust, Identity, Issuer
from grab_service.references import UserRefs
from grab_service.tickets import Tickets

ED_KEY = ed25519.Ed25519PrivateKey.generate()
EC_KEY = ec.generate_private_key(ec.SECP256R1())
REFS = UserRefs(b"p" * 32)
TICKETS = Tickets(b"t" * 32)


def _jwk(key: Any, kid: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.OKPAlgorithm if kid == "ed" else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid}


KEY_SET = {"keys": [_jwk(ED_KEY, "ed"), _jwk(EC_KEY, "ec")]}


def make_authenticator(
    remembered_max: int = 100, failures_per_s_max: int = 100, checks_per_s_max: int = 100
) -> Authenticator:
    """Return an authenticator that knows one key of each kind."""
    return Authenticator(
        key_sets={Issuer.APP: KEY_SET},
        issuer="app",
        audience="grab",
        tickets=TICKETS,
        user_refs=REFS,
        remembered_max=remembered_max,
        failures_per_s_max=failures_per_s_max,
        failures_per_block_max=1_000,
        checks_per_s_max=checks_per_s_max,
        staff_ttl_max_s=900,
    )


def claims_of(**changes: Any) -> dict[str, Any]:
    """Return good claims with changes; None takes one out."""
    now = int(time.time())
    good = {"iss": "app", "aud": "grab", "sub": "u1", "exp": now + 300, "scope": "claim", "region": "500110"}
    return {name: value for name, value in (good | changes).items() if value is not None}


def sign(claims: dict[str, Any], *, kid: str = "ed", **header: Any) -> str:
    """Sign claims with one of the app's keys."""
    key, algorithm = (ED_KEY, "EdDSA") if kid == "ed" else (EC_KEY, "ES256")
    return jwt.encode(claims, key, algorithm, headers={"kid": kid, **header})


def verdict(token: str) -> Identity | Distrust:
    """Identify the bearer of a token."""
    return make_authenticator().identify([b"Bearer " + token.encode("latin-1")])


@pytest.mark.parametrize("kid", ["ed", "ec"])
def test_a_good_token_of_each_kind_of_key_is_believed(kid: str) -> None:
    """EdDSA and ES256 tokens give the user's reference, region and scopes."""
    identity = verdict(sign(claims_of(scope="claim claim:read"), kid=kid))
    assert isinstance(identity, Identity)
    assert identity.user_ref == REFS.of("u1")
    assert identity.region == "500110"
    assert identity.scopes == {"claim", "claim:read"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": int(time.time()) - 60}, Distrust.EXPIRED),
        ({"exp": None}, Distrust.CLAIMS),
        ({"exp": "soon"}, Distrust.MALFORMED),
        ({"nbf": int(time.time()) + 86_400}, Distrust.NOT_YET_VALID),
        ({"aud": "other"}, Distrust.AUDIENCE),
        ({"aud": ["grab", "other"]}, Distrust.AUDIENCE),
        ({"aud": None}, Distrust.CLAIMS),
        ({"iss": "somebody"}, Distrust.AUDIENCE),
        ({"iss": None}, Distrust.CLAIMS),
        ({"sub": None}, Distrust.CLAIMS),
        ({"sub": ""}, Distrust.CLAIMS),
        ({"sub": "a:b"}, Distrust.CLAIMS),
        ({"sub": "a{b}"}, Distrust.CLAIMS),
        ({"sub": "a\n"}, Distrust.CLAIMS),
        ({"sub": "é"}, Distrust.CLAIMS),
        ({"sub": "x" * 65}, Distrust.CLAIMS),
        ({"region": "50011"}, Distrust.CLAIMS),
        ({"region": "50011x"}, Distrust.CLAIMS),
        ({"region": 500110}, Distrust.CLAIMS),
        ({"scope": ["claim"]}, Distrust.CLAIMS),
        ({"scope": "claim\nadmin"}, Distrust.CLAIMS),
    ],
)
def test_a_token_with_a_wrong_claim_is_not_believed(changes: dict[str, Any], reason: Distrust) -> None:
    """Each claim is checked, and the reason is told."""
    assert verdict(sign(claims_of(**changes))) is reason


@pytest.mark.parametrize(
    "header",
    [{"jku": "x"}, {"x5u": "x"}, {"jwk": {"kty": "oct", "k": "AA"}}, {"typ": "at+jwt"}],
)
def test_headers_that_bring_keys_or_extensions_are_refused(header: dict[str, Any]) -> None:
    """A token cannot bring its own key or ask for rules that are not kept."""
    assert verdict(sign(claims_of(), **header)) is Distrust.ALGORITHM


def test_a_critical_extension_is_refused() -> None:
    """An extension that the token calls critical is not known here, so the token is not understood."""
    assert verdict(sign(claims_of(), crit=["exp"])) is Distrust.MALFORMED


def _forged(header: dict[str, Any], key: bytes = b"") -> str:
    parts = [json.dumps(part).encode() for part in (header, claims_of())]
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = hmac.digest(key, body, hashlib.sha256) if key else b""
    return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def test_an_unsigned_token_is_refused() -> None:
    """The algorithm "none" is not accepted under any key."""
    assert verdict(_forged({"alg": "none", "kid": "ed"})) is Distrust.ALGORITHM


def test_the_public_key_is_no_hmac_secret() -> None:
    """HS256 keyed with the public key is refused: the algorithm belongs to the key, not to the token."""
    public = ED_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert verdict(_forged({"alg": "HS256", "kid": "ed"}, public)) is Distrust.ALGORITHM


def test_a_key_of_one_kind_does_not_check_the_other_kind() -> None:
    """ES256 under the Ed25519 key's id is refused."""
    assert verdict(jwt.encode(claims_of(), EC_KEY, "ES256", headers={"kid": "ed"})) is Distrust.ALGORITHM


@pytest.mark.parametrize("kid", ["other", "../../etc/passwd", "' OR 1=1 --", ""])
def test_an_unknown_key_is_refused(kid: str) -> None:
    """The key id is looked up in memory and means nothing else."""
    assert verdict(jwt.encode(claims_of(), ED_KEY, "EdDSA", headers={"kid": kid})) is Distrust.KEY


def test_a_token_signed_by_somebody_else_is_refused() -> None:
    """A signature of another key does not verify."""
    stranger = ed25519.Ed25519PrivateKey.generate()
    assert verdict(jwt.encode(claims_of(), stranger, "EdDSA", headers={"kid": "ed"})) is Distrust.SIGNATURE


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "....", "t1.", "t1....", "t1.x.y.z.w", "é", "x" * 5000])
def test_rubbish_is_refused(token: str) -> None:
    """Anything else is a value, never an exception."""
    assert isinstance(verdict(token), Distrust)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], Distrust.MISSING),
        ([b"Basic YTpi"], Distrust.MALFORMED),
        ([b"Bearer "], Distrust.MALFORMED),
    ],
)
def test_a_header_that_is_no_bearer_token_is_refused(headers: list[bytes], reason: Distrust) -> None:
    """The header must be there once and name a bearer token."""
    assert make_authenticator().identify(headers) is reason


def test_two_headers_are_refused_even_if_both_are_good() -> None:
    """Nobody chooses between two identities."""
    good = b"Bearer " + sign(claims_of()).encode()
    assert make_authenticator().identify([good, good]) is Distrust.REPEATED


def test_a_remembered_token_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembering saves the signature check, not the look at the clock."""
    authenticator = make_authenticator()
    header = [b"Bearer " + sign(claims_of()).encode()]
    assert isinstance(authenticator.identify(header), Identity)
    later = time.time() + 400
    monkeypatch.setattr("grab_service.auth.time.time", lambda: later)
    assert authenticator.identify(header) is Distrust.EXPIRED


def test_the_memory_of_tokens_is_bounded() -> None:
    """The oldest token is forgotten when the memory is full."""
    authenticator = make_authenticator(remembered_max=2)
    for number in range(5):
        assert isinstance(authenticator.identify([b"Bearer " + sign(claims_of(sub=f"u{number}")).encode()]), Identity)
    assert len(authenticator._remembered) == 2


def test_a_full_memory_forgets_whoever_ends_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that have ended make room before any that is still good."""
    authenticator = make_authenticator(remembered_max=2)
    now_s = int(time.time())
    headers = [b"Bearer " + sign(claims_of(sub=f"u{ttl_s}", exp=now_s + ttl_s)).encode() for ttl_s in (90, 30, 60)]
    for header in headers:
        assert isinstance(authenticator.identify([header]), Identity)
    assert sorted(each.expires_at_s - now_s for each in authenticator._remembered.values()) == [60, 90]
    monkeypatch.setattr("grab_service.auth.time.time", lambda: now_s + 70)
    assert isinstance(authenticator.identify([b"Bearer " + sign(claims_of(sub="new")).encode()]), Identity)
    assert sorted(each.expires_at_s - now_s for each in authenticator._remembered.values()) == [90, 370]


def test_genuine_tokens_are_rationed_too() -> None:
    """A second has so many checks; whoever comes later asks again, and what is remembered needs none."""
    authenticator = make_authenticator(checks_per_s_max=2)
    tokens = [[b"Bearer " + sign(claims_of(sub=f"u{number}")).encode()] for number in range(4)]
    first = authenticator.identify(tokens[0])
    verdicts = [authenticator.identify(token) for token in tokens[1:]]
    assert Distrust.UNCHECKED in verdicts
    assert isinstance(first, Identity)
    assert authenticator.identify(tokens[0]) == first


def test_a_ticket_is_as_good_as_the_token_it_was_given_for() -> None:
    """A ticket names the same user and region, for claims only."""
    ticket = TICKETS.issue(REFS.of("u1"), "500110", int(time.time()) + 60)
    identity = verdict(ticket)
    assert isinstance(identity, Identity)
    assert (identity.user_ref, identity.region) == (REFS.of("u1"), "500110")
    assert identity.scopes == {"claim"}


def test_a_ticket_ends() -> None:
    """From its last second on a ticket is worth nothing."""
    assert verdict(TICKETS.issue(REFS.of("u1"), "500110", int(time.time()))) is Distrust.EXPIRED


def test_a_changed_ticket_is_refused() -> None:
    """No part of a ticket can be changed."""
    ticket = TICKETS.issue(REFS.of("u1"), "500110", int(time.time()) + 60)
    for position in range(3, len(ticket)):
        other = "A" if ticket[position] != "A" else "B"
        assert isinstance(verdict(ticket[:position] + other + ticket[position + 1 :]), Distrust)


@pytest.mark.parametrize(
    ("key_set", "words"),
    [
        ({"keys": []}, "empty"),
        ({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}, "kid"),
        ({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "a"}]}, "a"),
        ({"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}, "curve"),
        ({"keys": [KEY_SET["keys"][0], KEY_SET["keys"][0]]}, "of its own"),
    ],
)
def test_a_key_set_that_cannot_be_used_is_refused_at_start(key_set: dict[str, Any], words: str) -> None:
    """A bad set of keys stops the process before it serves."""
    with pytest.raises(KeySetInvalid, match=words):
        Authenticator(
            key_sets={Issuer.APP: key_set},
            issuer="a",
            audience="b",
            tickets=TICKETS,
            user_refs=REFS,
            remembered_max=1,
            failures_per_s_max=1,
            failures_per_block_max=1_000,
            checks_per_s_max=1,
            staff_ttl_max_s=900,
        )


def test_forged_tokens_are_checked_only_so_often() -> None:
    """Above the ration nothing costly is done for unknown tokens; tickets and remembered tokens pass, also then."""
    authenticator = make_authenticator(failures_per_s_max=3)
    known = [b"Bearer " + sign(claims_of()).encode()]
    ticket = [b"Bearer " + TICKETS.issue("ref", "500110", int(time.time()) + 60).encode()]
    assert isinstance(authenticator.identify(known), Identity)
    stranger = ed25519.Ed25519PrivateKey.generate()

    def forged(number: int) -> Identity | Distrust:
        token = jwt.encode(claims_of(sub=f"u{number}"), stranger, "EdDSA", headers={"kid": "ed"})
        return authenticator.identify([b"Bearer " + token.encode()])

    assert [forged(number) for number in range(5)] == [Distrust.SIGNATURE] * 3 + [Distrust.UNCHECKED] * 2
    assert authenticator.identify([b"Bearer " + sign(claims_of(sub="new")).encode()]) is Distrust.UNCHECKED
    assert isinstance(authenticator.identify(known), Identity)
    assert isinstance(authenticator.identify(ticket), Identity)


def test_good_tokens_use_nothing_of_the_ration() -> None:
    """However many good tokens come in a second, each is checked."""
    authenticator = make_authenticator(failures_per_s_max=1)
    for number in range(10):
        token = sign(claims_of(sub=f"u{number}")).encode()
        assert isinstance(authenticator.identify([b"Bearer " + token]), Identity)


def test_a_ticket_of_either_key_is_believed_and_new_ones_are_of_the_first() -> None:
    """A key is changed in steps: the next one is believed everywhere before anybody signs with it."""
    old, new = b"o" * 32, b"n" * 32
    ends_s = int(time.time()) + 60
    before = Tickets(old).issue("ref", "500110", ends_s).encode()
    after = Tickets(new).issue("ref", "500110", ends_s).encode()
    tickets = Tickets(old)
    assert tickets.check(after, ends_s - 1) is Distrust.SIGNATURE
    tickets.renew(old, new)
    assert all(isinstance(tickets.check(each, ends_s - 1), Identity) for each in (before, after))
    tickets.renew(new, old)
    assert tickets.issue("ref", "500110", ends_s).encode() == after
    tickets.renew(new, None)
    assert tickets.check(before, ends_s - 1) is Distrust.SIGNATURE


def test_a_ticket_from_before_keys_had_names_is_still_read() -> None:
    """Under either key, and not under another."""
    ends_s = int(time.time()) + 60
    body = f"t1.{ends_s}.500110.ref".encode()
    mac = base64.urlsafe_b64encode(hmac.digest(b"t" * 32, body, "sha256")[:16]).rstrip(b"=")
    for keys in ((b"t" * 32, None), (b"n" * 32, b"t" * 32)):
        identity = Tickets(*keys).check(body + b"." + mac, ends_s - 1)
        assert isinstance(identity, Identity)
        assert (identity.user_ref, identity.region) == ("ref", "500110")
    assert Tickets(b"n" * 32).check(body + b"." + mac, ends_s - 1) is Distrust.SIGNATURE


def test_a_ticket_carries_the_user_under_every_pepper() -> None:
    """One reference as ever; with others it is of another kind, which a process that knows one pepper refuses."""
    ends_s = int(time.time()) + 60
    ticket = TICKETS.issue("2ref", "500110", ends_s, ["1ref", "3ref"]).encode()
    assert TICKETS.looks_like_one(ticket)
    assert ticket.startswith(b"t3.")
    identity = TICKETS.check(ticket, ends_s - 1)
    assert isinstance(identity, Identity)
    assert (identity.user_ref, identity.other_refs) == ("2ref", ("1ref", "3ref"))
    assert [identity.ref_under(version) for version in "1234"] == ["1ref", "2ref", "3ref", None]
    assert TICKETS.check(ticket.replace(b"1ref", b"1fer"), ends_s - 1) is Distrust.SIGNATURE
    assert TICKETS.check(b"t2" + ticket[2:], ends_s - 1) is Distrust.SIGNATURE
    assert TICKETS.issue("1ref", "500110", ends_s).startswith("t2.")
