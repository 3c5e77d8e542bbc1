"""Grave commands ask here first: where the vault's policy says so they need a request that somebody else has approved.

Who acts, asks or approves is told by a staff token: a JWT in ``GRAB_STAFF_TOKEN`` or in a file, never among
the arguments, which every user of the machine can read.
"""

from __future__ import annotations

import getpass
import os
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from grab_service import auth, keyring
from grab_service.cli.options import Refused
from grab_service.identity import Distrust
from grab_service.settings import Settings, variable_of
from grab_service.stores import open_vault
from ledger import admin
from ledger.admin import Action, Deed

_NOBODY_ELSE = "nobody else is needed here"

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
    Action.HOLD: "admin:review",
    Action.OPEN: "admin:round",
    Action.PAUSE: "admin:round",
    Action.RECOVER: "admin:round",
    Action.RELEASE: "admin:review",
    Action.RESUME: "admin:round",
    Action.SETTLE: "admin:settle",
    Action.VOID: "admin:review",
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


@dataclass(frozen=True, slots=True)
class Who:
    """Who wants to act, and by what right.

    Attributes:
        request_no: The approved request.
        token_file: Where the staff token is, if not in the environment.
        name: What he calls himself where one person is enough.
    """

    request_no: int | None
    token_file: Path | None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """An act that may go on, in a transaction of the vault that ends with it.

    Attributes:
        vault: The connection.
        subject: Who acts.
    """

    vault: asyncpg.Connection
    subject: str
    _action: str
    _target: str
    _request_no: int | None

    async def write_down(self, **facts: Mapping[str, Any] | None) -> int:
        """Write the deed into the journal, with the facts ``before`` and ``after``; return its number."""
        reason = await admin.reason_of(self.vault, self._request_no) if self._request_no else _NOBODY_ELSE
        deed = Deed(
            action=self._action,
            target=self._target,
            subject=self.subject,
            reason=reason,
            request_no=self._request_no,
        )
        return await admin.write_down(self.vault, deed, **facts)


@asynccontextmanager
async def permitted(chosen: Settings, action: Action, target: str, who: Who) -> AsyncIterator[Permit]:
    """Do an act in the block, in one transaction with its journal; an approval is used up if it succeeds.

    Args:
        chosen: The settings; whether two must agree is for the vault to say, they can only ask for more.
        action: What is to be done.
        target: To what exactly; the request must say the very same.
        who: Who wants it.

    Raises:
        Refused: It may not be done; says what to do.
        StoreUnavailable: There is trouble with the vault.
    """
    async with open_vault(chosen) as vault, vault.transaction(isolation="read_committed"):
        must_agree = chosen.two_persons or await admin.must_agree(vault)
        if must_agree and who.request_no is None:
            raise Refused(
                "two persons must agree on this: ask for it, let somebody else approve it, then add --request NUMBER:\n"
                f"  grab admin request {action} {shlex.quote(target)} --reason …"
            )
        name = acting(chosen, action, who, must_agree=must_agree)
        if who.request_no is not None and not await admin.begin(vault, who.request_no, action, target, subject=name):
            raise Refused(
                f"request {who.request_no} does not permit {action} {shlex.quote(target)}: it is not approved, was "
                "approved long ago, was used already or says something else; see 'grab admin list'"
            )
        yield Permit(vault, name, action, target, who.request_no)


def acting(chosen: Settings, action: Action, who: Who, *, must_agree: bool) -> str:
    """Return who acts: the subject of his token where two must agree, else what he calls himself.

    Raises:
        Refused: He gives himself a name where a token must say it, or shows no good one.
    """
    if not must_agree and who.request_no is None:
        return who.name or getpass.getuser()
    if who.name is not None:
        raise Refused("who acts is told by the staff token here, not by a name among the arguments")
    return subject(chosen, action, who.token_file)
