"""What ordinary routes need of a request: its facts, the service, and who is asking."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Annotated, cast

from fastapi import Depends, Request

from grab_service.api.incoming import Incoming
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.identity import Distrust, Identity
from grab_service.tickets import CLAIM_SCOPE


def incoming_of(request: Request) -> Incoming:
    """Return the facts of the request, read once by the front."""
    return cast("Incoming", request.scope["state"]["incoming"])


def service_of(request: Request) -> Service:
    """Return the running service."""
    return cast("Service", request.app.state.service)


def identity_with(request: Request, scopes: AbstractSet[str]) -> Identity:
    """Return the caller, whose token must allow one of the scopes.

    Raises:
        Problem: SIGN_ERROR or FORBIDDEN.
    """
    identity = service_of(request).authenticator.identify(incoming_of(request).authorization)
    if isinstance(identity, Distrust):
        raise Problem(Code.SIGN_ERROR, identity.value)
    if identity.scopes.isdisjoint(scopes):
        raise Problem(Code.FORBIDDEN)
    return identity


def claimant_of(request: Request) -> Identity:
    """Return the user, whose token must allow claims.

    Raises:
        Problem: SIGN_ERROR or FORBIDDEN.
    """
    return identity_with(request, {CLAIM_SCOPE})


IncomingFacts = Annotated[Incoming, Depends(incoming_of)]
RunningService = Annotated[Service, Depends(service_of)]
Claimant = Annotated[Identity, Depends(claimant_of)]
