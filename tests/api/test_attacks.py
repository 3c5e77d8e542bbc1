"""Attacks on tokens and signatures, as they come over the wire: each is refused, and nothing happens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from grab_service.rehearsal import RehearsalKeys
from grab_service.signatures import Signer
from ledger import money
from tests.api.conftest import Site
from tests.api.test_bad_input import assert_clean_refusal, nothing_happened
from tests.support.signing import add_client, send_signed, signed
from tests.support.till import SHOP, add_merchant, new_number, receive_fund
from tests.support.wait import wait_until

# ------------------------------------------------------------------------------------------------------------- tokens


@dataclass(frozen=True, slots=True)
class App:
    """The app as an attacker would like to be it: a good token, and its key to show what the checks are worth."""

    issuer: str
    key: ed25519.Ed25519PrivateKey

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return good claims with changes; None takes one out."""
        now = int(time.time())
        good = {"iss": self.issuer, "aud": "grab", "sub": "u1", "exp": now + 300, "scope": "claim", "region": "500110"}
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a token that the app has signed."""
        return jwt.encode(self.claims(**changes), self.key, "EdDSA", headers={"kid": "rehearsal", **(header or {})})

    def forged(self, header: dict[str, Any], mac_key: bytes = b"") -> str:
        """Return a token with a header of the attacker's own, without a signature or with an HMAC."""
        parts = [json.dumps(part).encode() for part in (header, self.claims())]
        body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        mac = hmac.digest(mac_key, body, hashlib.sha256) if mac_key else b""
        return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()

    def public_pem(self) -> bytes:
        """Return the public key, which everybody may know."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def _stranger() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


TOKENS: dict[str, Callable[[App], str]] = {
    "no signature": lambda app: app.forged({"alg": "none", "kid": "rehearsal", "typ": "JWT"}),
    "no signature, otherwise spelled": lambda app: app.forged({"alg": "nOnE", "kid": "rehearsal"}),
    "HS256 with the public key": lambda app: app.forged({"alg": "HS256", "kid": "rehearsal"}, app.public_pem()),
    "HS256 with nothing": lambda app: app.forged({"alg": "HS256", "kid": "rehearsal"}, b"\0"),
    "signed by a stranger": lambda app: jwt.encode(app.claims(), _stranger(), "EdDSA", {"kid": "rehearsal"}),
    "another kind of key": lambda app: jwt.encode(
        app.claims(), ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": "rehearsal"}
    ),
    "no kid": lambda app: jwt.encode(app.claims(), app.key, "EdDSA"),
    "kid of a stranger": lambda app: jwt.encode(app.claims(), _stranger(), "EdDSA", {"kid": "other"}),
    "kid is a path": lambda app: app.token({"kid": "../../../../dev/null"}),
    "kid is SQL": lambda app: app.token({"kid": "x' UNION SELECT 'secret' --"}),
    "kid is a number": lambda app: app.forged({"alg": "EdDSA", "kid": 1}),
    "expired": lambda app: app.token(exp=int(time.time()) - 60),
    "not yet valid": lambda app: app.token(nbf=int(time.time()) + 600),
    "issued in the future": lambda app: app.token(iat=int(time.time()) + 600),
    "for another audience": lambda app: app.token(aud="bank"),
    "for several audiences": lambda app: app.token(aud=["grab", "bank"]),
    "for no audience": lambda app: app.token(aud=None),
    "by another issuer": lambda app: app.token(iss="https://example.test"),
    "by no issuer": lambda app: app.token(iss=None),
    "without an end": lambda app: app.token(exp=None),
    "without a subject": lambda app: app.token(sub=None),
    "huge": lambda app: app.token(padding="x" * 100_000),
    "too long": lambda app: app.token(padding="x" * 5_000),
    "jku": lambda app: app.token({"jku": "http://127.0.0.1:1/keys"}),
    "x5u": lambda app: app.token({"x5u": "http://127.0.0.1:1/cert"}),
    "x5c": lambda app: app.token({"x5c": ["AA"]}),
    "brings its own key": lambda app: app.token({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}}),
    "critical extension": lambda app: app.token({"crit": ["b64"], "b64": False}),
    "another type": lambda app: app.token({"typ": "secevent+jwt"}),
    "signature of another token": lambda app: ".".join(
        [*app.token(sub="u2").split(".")[:2], app.token().rpartition(".")[2]]
    ),
    "signature cut": lambda app: app.token()[:-4],
    "nested": lambda app: app.forged({"alg": "EdDSA", "kid": "rehearsal", "cty": "JWT"}),
}


@pytest.fixture
def app_keys(site: Site) -> App:
    """The app whose tokens the site believes."""
    assert site.settings.jwks_file is not None
    pem = RehearsalKeys(site.settings.jwks_file.parent).jwt_key_file.read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return App(site.settings.jwt_issuer, key)


async def test_the_attackers_template_is_a_good_token(site: Site, api: httpx.AsyncClient, app_keys: App) -> None:
    """Without the attack the token wins a voucher, so each refusal is due to the attack."""
    headers = {"Authorization": f"Bearer {app_keys.token()}"}
    assert (await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=headers)).status_code == 201


@pytest.mark.parametrize("attack", TOKENS)
async def test_a_forged_token_is_refused(site: Site, api: httpx.AsyncClient, app_keys: App, attack: str) -> None:
    """401 at the raw route and at FastAPI's, and nothing was given; a header too long may end at the server."""
    headers = {"Authorization": f"Bearer {TOKENS[attack](app_keys)}"}
    for method, path in (("POST", f"/v1/stocks/{site.stock_id}/claims"), ("GET", "/v1/me/vouchers")):
        answer = await api.request(method, path, headers=headers)
        if attack == "huge" and answer.headers["content-type"] != "application/problem+json":
            assert 400 <= answer.status_code < 500
        else:
            assert_clean_refusal(answer, 401)
    assert await nothing_happened(site)


@pytest.mark.parametrize("second", ["token", "rubbish", "empty"])
async def test_two_authorization_headers_are_refused(
    site: Site, api: httpx.AsyncClient, app_keys: App, second: str
) -> None:
    """Whatever stands in the second one, and at whichever place."""
    good = ("Authorization", f"Bearer {app_keys.token()}")
    other = ("Authorization", {"token": f"Bearer {app_keys.token(sub='u2')}", "rubbish": "x", "empty": ""}[second])
    for headers in ([good, other], [other, good]):
        for method, path in (("POST", f"/v1/stocks/{site.stock_id}/claims"), ("GET", "/v1/me/vouchers")):
            assert_clean_refusal(await api.request(method, path, headers=headers), 401)
    assert await nothing_happened(site)


# --------------------------------------------------------------------------------------------------------- signatures

PATH = "/v1/redemptions?a=1&b=2"
Tampering = Callable[[httpx.Request], None]


def _replace(pattern: str, text: str) -> Tampering:
    """Return what changes the header after it was made."""

    def tamper(request: httpx.Request) -> None:
        before = request.headers["Authorization"]
        after = re.sub(pattern, lambda match: match.expand(text), before)
        assert after != before
        request.headers["Authorization"] = after

    return tamper


def _upper(pattern: str) -> Tampering:
    """Return what writes a part of the header in capitals."""

    def tamper(request: httpx.Request) -> None:
        before = request.headers["Authorization"]
        request.headers["Authorization"] = re.sub(pattern, lambda match: match[0].upper(), before)

    return tamper


def _url(url: str) -> Tampering:
    def tamper(request: httpx.Request) -> None:
        request.url = request.url.join(url)

    return tamper


def _two_headers(request: httpx.Request) -> None:
    value = request.headers["Authorization"]
    request.headers = httpx.Headers([*request.headers.multi_items(), ("Authorization", value)])


SIGNATURES: dict[str, Tampering] = {
    "other query order": _url("/v1/redemptions?b=2&a=1"),
    "other query": _url("/v1/redemptions?a=1&b=3"),
    "no query": _url("/v1/redemptions"),
    "other escaping": _url("/v1/redemptions?a=%31&b=2"),
    "other path": _url("/v1/refunds?a=1&b=2"),
    "escaped path": _url("/v1/%72edemptions?a=1&b=2"),
    "other client": _replace(r'client_id="[^"]*"', 'client_id="bank-2"'),
    "other key id": _replace(r'key_id="[^"]*"', 'key_id="bank-1.2"'),
    "key of another client": _replace(r'key_id="[^"]*"', 'key_id="bank-2.1"'),
    "key id is a path": _replace(r'key_id="[^"]*"', 'key_id="../bank-1.1"'),
    "key id is SQL": _replace(r'key_id="[^"]*"', "key_id=\"bank-1.1' OR '1'='1\""),
    "other timestamp": _replace(r'timestamp="([0-9]{9})[0-9]"', r'timestamp="\g<1>0"'),
    "timestamp not a number": _replace(r'timestamp="[^"]*"', 'timestamp="now"'),
    "timestamp in other digits": _replace(r'timestamp="[^"]*"', 'timestamp="+170000000"'),
    "other nonce": _replace(r'nonce="[^"]*"', 'nonce="0123456789abcdef"'),
    "short nonce": _replace(r'nonce="[^"]*"', 'nonce="1"'),
    "long nonce": _replace(r'nonce="[^"]*"', f'nonce="{"x" * 65}"'),
    "digest in capitals": _upper(r'(?<=content_sha256=")[^"]*'),
    "signature in capitals": _upper(r'(?<= signature=")[^"]*|(?<=,signature=")[^"]*'),
    "signature of nothing": _replace(r',signature="[^"]*"', f',signature="{"A" * 86}=="'),
    "no signature": _replace(r',signature="[^"]*"', ""),
    "signature empty": _replace(r',signature="[^"]*"', ',signature=""'),
    "signature of an HMAC": _replace(r',signature="[^"]*"', f',signature="{"A" * 43}="'),
    "scheme of an HMAC": _replace("GRAB-ED25519-SHA256", "GRAB-HMAC-SHA256"),
    "unknown scheme": _replace("GRAB-ED25519-SHA256", "GRAB-NONE"),
    "scheme in small letters": _replace("GRAB-ED25519-SHA256", "grab-ed25519-sha256"),
    "parameter twice": _replace("$", ',key_id="bank-1.1"'),
    "unknown parameter": _replace("$", ',admin="true"'),
    "two headers": _two_headers,
}


@pytest.fixture
async def bank(site: Site, api: httpx.AsyncClient) -> Signer:
    """A client that the service knows."""
    await add_client(site.vault, "bank-2")
    signer = await add_client(site.vault, "bank-1")
    await wait_until(lambda: _is_known(api, signer), "the client is known")
    return signer


async def _is_known(api: httpx.AsyncClient, signer: Signer) -> bool:
    return (await send_signed(api, signer, "GET", "/v1/redemptions/unknown")).status_code == 404


def _payment() -> dict[str, Any]:
    return {
        "out_request_no": new_number(),
        "voucher_code": "0" * 17,
        "merchant_no": SHOP,
        "order_no": new_number(),
        "order_amount_fen": 10_000,
        "channel": "payment_code",
    }


def _request(api: httpx.AsyncClient, signer: Signer, **more: Any) -> httpx.Request:
    request = api.build_request("POST", PATH, json=_payment())
    request.headers["Authorization"] = signed(signer, request, **more)
    return request


async def test_the_attackers_template_is_a_good_signature(api: httpx.AsyncClient, bank: Signer) -> None:
    """Without the attack the request passes, and learns that there is no such voucher."""
    assert (await api.send(_request(api, bank))).status_code == 404


@pytest.mark.parametrize("attack", SIGNATURES)
async def test_a_tampered_request_is_refused(site: Site, api: httpx.AsyncClient, bank: Signer, attack: str) -> None:
    """401, whatever was changed after the client had signed; the vault has heard of none."""
    nonces = await site.vault.fetchval("SELECT count(*) FROM request_nonces")
    # A second that ends in 5, so that another digit is another instant.
    request = _request(api, bank, now_s=int(time.time()) // 10 * 10 + 5)
    SIGNATURES[attack](request)
    assert_clean_refusal(await api.send(request), 401)
    assert await site.vault.fetchval("SELECT count(*) FROM request_nonces") == nonces
    assert await site.vault.fetchval("SELECT count(*) FROM requests") == 0


async def test_another_body_is_refused(site: Site, api: httpx.AsyncClient, bank: Signer) -> None:
    """Neither a changed body nor a digest that was changed with it."""
    header = _request(api, bank).headers["Authorization"]
    body = json.dumps(_payment() | {"order_amount_fen": 1_000_000}).encode()
    fitting = re.sub(r'content_sha256="[^"]*"', f'content_sha256="{hashlib.sha256(body).hexdigest()}"', header)
    for value in (header, fitting):
        headers = {"Authorization": value, "Content-Type": "application/json"}
        assert_clean_refusal(await api.post(PATH, content=body, headers=headers), 401)
    assert_clean_refusal(await api.post(PATH, headers={"Authorization": header}), 401)
    assert await site.vault.fetchval("SELECT count(*) FROM requests") == 0


async def test_another_method_is_refused(api: httpx.AsyncClient, bank: Signer) -> None:
    """A signature for GET is none for POST."""
    get = api.build_request("GET", "/v1/redemptions/unknown/reversal")
    headers = {"Authorization": signed(bank, get)}
    assert_clean_refusal(await api.post("/v1/redemptions/unknown/reversal", headers=headers), 401)


@pytest.mark.parametrize("off_s", [-3600, -62, 62, 3600, 4_000_000_000])
async def test_an_old_or_future_timestamp_is_refused(api: httpx.AsyncClient, bank: Signer, off_s: int) -> None:
    """More than a minute from this service's clock, in either direction, though it was well signed."""
    assert_clean_refusal(await api.send(_request(api, bank, now_s=int(time.time()) + off_s)), 401)


@pytest.mark.parametrize("off_s", [-50, 50])
async def test_clocks_may_differ_by_less_than_a_minute(api: httpx.AsyncClient, bank: Signer, off_s: int) -> None:
    """A client's clock need not be perfect."""
    assert (await api.send(_request(api, bank, now_s=int(time.time()) + off_s))).status_code == 404


async def test_a_captured_redeem_is_refused_at_every_process(site: Site, bank: Signer) -> None:
    """It paid once: repeated as it was, it is refused where it was seen and elsewhere, and no fen moves."""
    # Outside a rehearsal only a signature uses vouchers, so there is no bearer token that could be captured.
    processes = [await site.serve(rehearsal=False) for _ in range(2)]
    await add_merchant(site.vault, SHOP)
    await receive_fund(site.vault, site.campaign.campaign_id)
    api = processes[0]
    won = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u1"))
    payment = _payment() | {"voucher_code": won.json()["voucher_code"]}
    for process in processes:
        await wait_until(lambda: _is_known(process, bank), "the client is known")  # noqa: B023  awaited here
    request = api.build_request("POST", PATH, json=payment)
    request.headers["Authorization"] = signed(bank, request)
    assert (await api.send(request)).status_code == 201

    async def books() -> list[Any]:
        counted = "SELECT count(*) FROM events UNION ALL SELECT count(*) FROM requests"
        return [*await money.balances(site.vault, site.campaign.campaign_id), *await site.vault.fetch(counted)]

    before = await books()
    assert money.Balance("PAYABLE", SHOP, 3_000) in before
    for process in processes:
        answer = await process.post(PATH, content=request.content, headers=dict(request.headers))
        assert_clean_refusal(answer, 401)
        assert "nonce" in answer.json()["detail"]
    assert await books() == before


async def test_a_nonce_is_used_once_for_whatever_request(api: httpx.AsyncClient, bank: Signer) -> None:
    """Also well signed anew, and under another key of the same client."""
    nonce = "n" * 22
    assert (await api.send(_request(api, bank, nonce=nonce))).status_code == 404
    assert_clean_refusal(await api.send(_request(api, bank, nonce=nonce)), 401)


async def test_a_stranger_reaches_no_store(site: Site, api: httpx.AsyncClient, bank: Signer) -> None:
    """Forged requests leave nothing in the vault, however many there are."""
    nonces = await site.vault.fetchval("SELECT count(*) FROM request_nonces")
    forger = Signer(bank.client_id, bank.key_id, _stranger())
    for _ in range(20):
        assert_clean_refusal(await api.send(_request(api, forger)), 401)
    assert await site.vault.fetchval("SELECT count(*) FROM request_nonces") == nonces
