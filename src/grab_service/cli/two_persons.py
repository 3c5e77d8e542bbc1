"""Grave commands ask here first: outside a rehearsal they need a request that somebody else has approved.

Who acts, asks or approves is told by a staff token: a JWT in ``GRAB_STAFF_TOKEN`` or in a file, never among
the arguments, which every user of the machine can read.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from grab_service import auth, keyring
from grab_service.cli.options import Refused
from grab_service.identity import Distrust
from grab_service.settings import Settings, variable_of
from grab_service.stores import open_vault
from ledger import admin
from ledger.admin import Action

TOKEN_VARIABLE = "GRAB_STAFF_TOKEN"  # noqa: S105  the name of a variable

RequestNo = Annotated[
    int | None,
    typer.Option("--request", min=1, metavar="NUMBER", help="The approved request for it.", show_default=False),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--staff-token-file", metavar="FILE", help=f"Your staff token; else {TOKEN_VARIABLE}.", show_default=False
    ),
]

SCOPE_OF = {
    Action.CLIENTS: "admin:clients",
    Action.FUND: "admin:fund",
    Action.OPEN: "admin:round",
    Action.PAUSE: "admin:round",
    Action.RECOVER: "admin:round",
    Action.SETTLE: "admin:settle",
}


def subject(chosen: Settings, action: Action | None, token_file: Path | None) -> str:
    """Return who is acting; the token must allow the action, or any of them if it is None.

    Raises:
        Refused: There is no token, or it is not believed or allows something else.
        keyring.KeyringInvalid: The public keys cannot be read.
    """
    token = token_file.read_text(encoding="ascii") if token_file else os.environ.get(TOKEN_VARIABLE, "")
    if not token.strip():
        raise Refused(f"say who you are: put your staff token into {TOKEN_VARIABLE} or name --staff-token-file")
    if chosen.staff_jwks_file is None and not chosen.rehearsal:
        raise Refused(f"{variable_of('staff_jwks_file')} is not set: whose staff tokens are believed is not known")
    verdict = auth.staff_of(
        token.strip(),
        keyring.read_key_sets(chosen),
        issuer=chosen.jwt_issuer,
        audience=chosen.jwt_audience,
        ttl_max_s=chosen.staff_token_ttl_max_s,
    )
    if isinstance(verdict, Distrust):
        raise Refused(f"your staff token is not believed: {verdict.value}")
    name, scopes = verdict
    wanted = set(SCOPE_OF.values()) if action is None else {SCOPE_OF[action]}
    if scopes.isdisjoint(wanted):
        raise Refused(f"your staff token does not allow this: it needs {' or '.join(sorted(wanted))}")
    return name


async def permit(
    chosen: Settings, action: Action, target: str, *, request_no: int | None, token_file: Path | None
) -> None:
    """Return if the act may go on; its approval is used up by this.

    Args:
        chosen: The settings; without ``two_persons`` everything may go on.
        action: What is to be done.
        target: To what exactly; the request must say the very same.
        request_no: The approved request.
        token_file: Where the staff token is, if not in the environment.

    Raises:
        Refused: It may not; says what to do.
    """
    if not chosen.two_persons:
        return
    if request_no is None:
        raise Refused(
            "two persons must agree on this: ask for it, let somebody else approve it, then add --request NUMBER:\n"
            f"  grab admin request {action} {shlex.quote(target)} --reason …"
        )
    name = subject(chosen, action, token_file)
    async with open_vault(chosen) as vault:
        if not await admin.begin(vault, request_no, action, target, subject=name):
            raise Refused(
                f"request {request_no} does not permit {action} {shlex.quote(target)}: it is not approved, was "
                "approved long ago, was used already or says something else; see 'grab admin list'"
            )
