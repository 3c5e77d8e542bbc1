"""The configuration that is handed out is the one that the promise needs."""

from __future__ import annotations

from pathlib import Path

from grab_service.embedded import POSTGRES_SETTINGS, VALKEY_SETTINGS
from ledger.gate_settings import REQUIRED

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_gates_configuration_has_what_a_recovery_demands() -> None:
    """Every required setting stands in valkey.conf, and in what the embedded server is started with."""
    lines = (DEPLOY / "valkey.conf").read_text().splitlines()
    settings = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    assert {name: settings.get(name) for name in REQUIRED} == REQUIRED
    assert {name: VALKEY_SETTINGS.get(name) for name in REQUIRED} == REQUIRED


def test_the_vaults_configuration_is_durable() -> None:
    """Commits reach the disk."""
    lines = (DEPLOY / "postgresql.conf").read_text().splitlines()
    settings = dict(line.split(" = ", 1) for line in lines if " = " in line and not line.startswith("#"))
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        assert settings[name] == POSTGRES_SETTINGS[name] == "on"
