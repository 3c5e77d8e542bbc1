"""The command ``grab``: puts the commands together, and turns what goes wrong into a sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from grab_service.cli import (
    admin,
    campaign,
    clients,
    evidence,
    machine,
    merchants,
    money,
    operation,
    report,
    review,
    run,
    settle,
)
from grab_service.cli.options import Refused
from grab_service.embedded import EmbeddedServerError
from grab_service.gate_users import UsersRefused
from grab_service.keyring import KeyringInvalid
from grab_service.settings_reader import SettingsInvalid
from grab_service.stores import StoreUnavailable
from grab_service.supervisor import LeftoverRuns
from grab_service.up import UpFailed
from ledger.audit import AuditImpossible
from ledger.catalogue import CampaignDiffers
from ledger.migrate import MigrationRefused
from ledger.money import FundRefused
from ledger.recover import RecoveryFailed
from ledger.settlement import SettlementRefused

# What was asked for is not so, or must not be done.
_REFUSALS = (Refused, CampaignDiffers, FundRefused, MigrationRefused, RecoveryFailed, SettlementRefused, UsersRefused)
# It cannot be done or known now.
_OBSTACLES = (
    AuditImpossible,
    EmbeddedServerError,
    KeyringInvalid,
    LeftoverRuns,
    OSError,
    SettingsInvalid,
    StoreUnavailable,
    UpFailed,
)

app = typer.Typer(
    name="grab",
    help="Hands out government consumption vouchers (抢券): exactly the stock, provably.",
    epilog="Exit codes: 0 done, all in order · 1 no: refused, invalid or a check failed · "
    "2 could not: wrong usage or settings, or a server does not answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command, _name in (
    (run.up, "up"),
    (run.serve, "serve"),
    (run.ledger, "ledger"),
    (run.migrate_vault, "migrate"),
    (operation.pause, "pause"),
    (operation.resume, "resume"),
    (operation.status, "status"),
    (operation.recover, "recover"),
    (operation.audit, "audit"),
    (evidence.seal, "seal"),
    (evidence.verify, "verify"),
    (evidence.certificate, "certificate"),
    (money.fund, "fund"),
    (money.expire, "expire"),
    (report.report, "report"),
    (machine.token, "token"),
    (machine.doctor, "doctor"),
    (machine.show_settings, "settings"),
    (machine.version, "version"),
):
    app.command(_name)(_command)
app.add_typer(campaign.commands, name="campaign")
app.add_typer(merchants.commands, name="merchants")
app.add_typer(clients.commands, name="clients")
app.add_typer(admin.commands, name="admin")
app.add_typer(settle.commands, name="settle")
app.add_typer(review.commands, name="review")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; always ends by ``SystemExit``."""
    try:
        app(args=arguments, prog_name="grab")
    except _REFUSALS as error:
        _fail(error, 1)
    except _OBSTACLES as error:
        _fail(error, 2)


def _fail(error: Exception, code: int) -> None:
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    for line in text.splitlines():
        typer.echo(f"grab: {line}", err=True)
    sys.exit(code)
