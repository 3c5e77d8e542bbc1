"""What ordinary routes need of a request: its facts, the service, and who is asking.

``admit`` guards every route of the router by the table of scopes, before anything else of the request
is looked at; users and staff come with a token, back ends with a signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

from fastapi import Depends, Request

from grab_service.api import scopes, signed
from grab_service.api.counter import Counter
from grab_service.api.incoming import Incoming
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.identity import Distrust, Identity

# The staff token of who uses the pages of staff in a browser; sent to these pages only, and believed there only.
STAFF_COOKIE = "grab_staff"
_STAFF_PAGES = "/staff/"


def incoming_of(request: Request) -> Incoming:
    """Return the facts of the request, read once by the front."""
    return cast("Incoming", request.scope["state"]["incoming"])


def service_of(request: Request) -> Service:
    """Return the running service."""
    return cast("Service", request.app.state.service)


async def admit(request: Request) -> None:
    """Let a request pass that the table of scopes allows.

    Raises:
        Problem: FREQUENCY_LIMIT_EXCEED, SIGN_ERROR or FORBIDDEN; for a signed request also what is wrong with its
            body, and SYSTEM_BUSY.
    """
    route = f"{request.method} {request.scope['route'].path}"
    if scopes.is_for_everybody(route):
        return
    incoming, service = incoming_of(request), service_of(request)
    service.limits.admit_block(incoming.block())
    signature = None
    if incoming.replay is not None:
        signature, identity = signed.identify(service, incoming, request.scope)
    else:
        identity = _bearer(service, incoming, incoming.authorization or _of_cookie(request))
    if not scopes.suffices(route, identity.scopes):
        raise Problem(Code.FORBIDDEN)
    service.limits.admit_caller(identity)
    if signature is not None:
        await signed.accept(service, incoming, signature)
    incoming.identity = identity


def _of_cookie(request: Request) -> list[bytes]:
    token = request.cookies.get(STAFF_COOKIE) if request.url.path.startswith(_STAFF_PAGES) else None
    return [b"Bearer " + token.encode()] if token else []


def _bearer(service: Service, incoming: Incoming, authorization: Sequence[bytes]) -> Identity:
    verdict = service.authenticator.identify(authorization, incoming)
    if isinstance(verdict, Distrust):
        raise Problem(Code.SYSTEM_BUSY if verdict is Distrust.UNCHECKED else Code.SIGN_ERROR, verdict.value)
    return verdict


def caller_of(request: Request) -> Identity:
    """Return the caller, who was admitted by the table of scopes, by token or as a client that has signed.

    Raises:
        Problem: SIGN_ERROR, on a route that the table leaves to everybody.
    """
    identity = incoming_of(request).identity
    if identity is None:
        raise Problem(Code.SIGN_ERROR, Distrust.MISSING.value)
    return identity


def ref_of(caller: Identity, counter: Counter) -> str:
    """Return the user's reference in the stores of a stock's campaign.

    Raises:
        Problem: SIGN_ERROR, for a ticket from before the campaign's pepper was here.
    """
    user_ref = caller.ref_under(counter.pepper_version)
    if user_ref is None:
        raise Problem(Code.SIGN_ERROR, Distrust.PEPPER.value)
    return user_ref


IncomingFacts = Annotated[Incoming, Depends(incoming_of)]
RunningService = Annotated[Service, Depends(service_of)]
Caller = Annotated[Identity, Depends(caller_of)]
