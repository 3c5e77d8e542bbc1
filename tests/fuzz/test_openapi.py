"""Schemathesis over the whole OpenAPI document, as each kind of caller: nothing fails, nothing is undocumented."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.auth import AuthBase
from schemathesis import APIOperation, GenerationMode
from schemathesis.core.result import Ok

from grab_service.rehearsal import RehearsalKeys
from grab_service.signatures import Signer
from tests.api.conftest import Site
from tests.support.signing import add_client
from tests.support.till import SHOP, add_merchant, receive_fund

Operation = APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]

CALLERS = ["nobody", "ticket", "user", "till", "client", "staff"]
_SCOPES = {"user": "claim", "till": "merchant:redeem merchant:refund", "staff": "admin:round admin:fund admin:read"}


class Bearer(AuthBase):
    """Sends a token with each request; none if it is empty."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header."""
        request.headers.pop("Authorization", None)
        if self._value:
            request.headers["Authorization"] = self._value
        return request


class Signature(AuthBase):
    """Signs each request as a client."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header."""
        path, _, query = request.path_url.partition("?")
        content = request.body.encode() if isinstance(request.body, str) else request.body or b""
        assert isinstance(content, bytes)
        request.headers["Authorization"] = self._signer.header(
            str(request.method), path.encode(), query.encode(), content, now_s=int(time.time())
        )
        return request


@dataclass(slots=True)
class Fuzz:
    """Sends made-up requests as one caller, and keeps the first answer of each kind that must not be.

    Attributes:
        base_url: Where the service answers.
        auth: How the caller shows who it is.
        real: Ids that exist, put in the place of made-up ones every other time.
        sent: How many requests were answered.
        wrong: What must not be, by operation and status.
    """

    base_url: str
    auth: AuthBase
    real: dict[str, str]
    examples_max: int
    sent: int = 0
    wrong: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Try every operation of the document."""
        schema = schemathesis.openapi.from_url(f"{self.base_url}/openapi.json")
        with requests.Session() as session:
            for found in schema.get_all_operations():
                assert isinstance(found, Ok), found
                self._try(found.ok(), session)

    def _try(self, operation: Operation, session: requests.Session) -> None:
        documented = {str(status) for status in operation.definition.raw["responses"]}

        @settings(
            max_examples=self.examples_max,
            deadline=None,
            database=None,
            derandomize=self.examples_max < 10,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=_cases_of(operation), is_real=st.booleans())
        def ask(case: Case, is_real: bool) -> None:
            if is_real:
                case.path_parameters.update({n: self.real[n] for n in case.path_parameters if n in self.real})
                if isinstance(case.body, dict):
                    case.body.update({name: self.real[name] for name in case.body if name in self.real})
            response = case.call(self.base_url, session, auth=self.auth, timeout=20)
            self.sent += 1
            status = response.status_code
            if str(status) not in documented or (status >= 500 and status != 503):
                command = case.as_curl_command()
                self.wrong.setdefault(f"{operation.label} {status}", f"{command}\n{response.text[:500]}")

        ask()


def _cases_of(operation: Operation) -> st.SearchStrategy[Case]:
    as_documented = operation.as_strategy(GenerationMode.POSITIVE)
    if not (list(operation.iter_parameters()) or operation.body):
        return as_documented
    return as_documented | operation.as_strategy(GenerationMode.NEGATIVE)


async def _auth_of(caller: str, site: Site) -> AuthBase:
    if caller == "client":
        return Signature(
            await add_client(site.vault, "bank-1", scopes=["merchant:redeem", "merchant:refund", "merchant:register"])
        )
    if caller == "ticket":
        return Bearer(site.bearer("u1")["Authorization"])
    if caller == "nobody":
        return Bearer("")
    assert site.settings.jwks_file is not None
    sign = RehearsalKeys(site.settings.jwks_file.parent).signer(
        issuer=site.settings.jwt_issuer, audience=site.settings.jwt_audience, now_s=int(time.time())
    )
    return Bearer(f"Bearer {sign('u1', '500110', _SCOPES[caller])}")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("caller", CALLERS)
async def test_no_answer_is_undocumented(
    site: Site, caller: str, examples_max: int, record_property: Callable[[str, object], None]
) -> None:
    """Whatever is asked by whomever, the answer's status is one of the document's, and 503 at the worst."""
    await add_merchant(site.vault, SHOP)
    await receive_fund(site.vault, site.campaign.campaign_id)
    auth = await _auth_of(caller, site)
    api = await site.serve()
    won = await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u1"))
    real = {
        "stock_id": site.stock_id,
        "campaign_id": site.campaign.campaign_id,
        "voucher_code": won.json()["voucher_code"],
        "merchant_no": SHOP,
        "channel": "payment_code",
    }
    fuzz = Fuzz(str(api.base_url).rstrip("/"), auth, real, examples_max)
    await asyncio.to_thread(fuzz.run)
    record_property("requests", fuzz.sent)
    assert fuzz.wrong == {}
