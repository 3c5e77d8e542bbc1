"""A deployment as it is described: each part under its own users of both stores, two persons, no rehearsal."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from grab_service import resources
from grab_service.gate import connect
from grab_service.rehearsal import ISSUER, RehearsalKeys
from grab_service.settings import Settings
from grab_service.tickets import CLAIM_SCOPE
from ledger import admin
from ledger.admin import Action
from ledger.audit import audit
from tests.support.guarded_stores import ADMIN, administrators, as_user
from tests.support.own_gate import OwnGate
from tests.support.own_vault import OwnVault
from tests.support.plain_http import http_client
from tests.support.ports import free_port
from tests.support.rehearsals import FIRST_STOCK, clean_environment, grab
from tests.support.staff import StaffIssuer
from tests.support.wait import wait_until

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00")
_OPENING = datetime.fromisoformat("2023-12-03T10:00:00+08:00")
_SPARE = timedelta(days=7)  # two months are not always as long as they were


class Deployment:
    """What the parts of a deployment are started with.

    Attributes:
        directory: Where passwords and keys are.
    """

    def __init__(self, directory: Path, gate: OwnGate, vault: OwnVault, passwords: dict[str, str]) -> None:
        self.directory = directory
        self.keys = RehearsalKeys(directory / "keys")
        self.keys.make()
        self._issuer = StaffIssuer(directory)
        self._gate, self._vault, self._passwords = gate, vault, passwords

    def urls(self, part: str) -> tuple[str, str]:
        """Return where a part finds gate and vault, under its own users."""
        gate = as_user(self._gate.server.url, f"grab-{part}", self._passwords[f"gate-{part}"])
        return gate, as_user(self._vault.server.url, f"grab_{part}", self._passwords[f"vault-{part}"])

    def environment(self, part: str, **more: str) -> dict[str, str]:
        """Return the settings of a part."""
        redis_url, database_url = self.urls(part)
        settings = Settings(
            redis_url=redis_url,
            database_url=database_url,
            two_persons=True,
            staff_jwks_file=self._issuer.jwks_file,
            **self.keys.settings(),  # type: ignore[arg-type]  # pydantic checks them
        )
        return settings.environment() | more

    def staff(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command as somebody of the staff, who first lets two agree on it if that is asked for."""
        environment = self.environment("staff", GRAB_STAFF_TOKEN=self._issuer.token("li", "admin:round"))
        return grab(*arguments, **environment)

    async def agreed(self, action: Action, target: str) -> str:
        """Let two persons agree, and return the number of the request."""
        vault = await asyncpg.connect(self.urls("staff")[1])
        try:
            number = await admin.request(vault, action, target, reason="needed", subject="li")
            await admin.approve(vault, number, reason="checked", subject="wang")
        finally:
            await vault.close()
        return str(number)

    @contextmanager
    def running(self, command: str, part: str, **more: str) -> Iterator[None]:
        """Run a part until the end of the block; at SIGTERM it ends in good order."""
        process = subprocess.Popen(
            [sys.executable, "-m", "grab_service", command], env=clean_environment(**self.environment(part, **more))
        )
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(30) in {0, -15}


@pytest.fixture
def deployment(tmp_path: Path, own_gate: OwnGate, own_vault: OwnVault, passwords: dict[str, str]) -> Deployment:
    """A deployment whose stores have their users."""
    made = Deployment(tmp_path, own_gate, own_vault, passwords)
    administrator = administrators(own_gate, own_vault)
    for arguments in (["migrate", "--two-persons"], ["doctor", "--fix", "--passwords", tmp_path]):
        done = grab(*arguments, **administrator)
        assert done.returncode == 0, done.stderr
    return made


def _campaign_of_today(file: Path) -> Path:
    """Write the real campaign, which opened a minute ago."""
    ahead = (datetime.now(UTC) - timedelta(minutes=1)).replace(microsecond=0) - _OPENING
    text = resources.default_campaign().read_text(encoding="utf-8")
    text = _INSTANT.sub(lambda found: (datetime.fromisoformat(found[0]) + ahead).isoformat(), text)
    end = re.search(r"settle_by = (\S+)", text)
    assert end is not None
    file.write_text(text.replace(end[1], (datetime.fromisoformat(end[1]) - _SPARE).isoformat()), encoding="utf-8")
    return file


async def test_a_campaign_is_opened_by_two_and_a_voucher_claimed(deployment: Deployment, own_gate: OwnGate) -> None:
    """Nothing that a part does is refused to its users, and nothing grave is done by one alone."""
    file = _campaign_of_today(deployment.directory / "campaign.toml")
    alone = deployment.staff("campaign", "load", file)
    target = re.search(r"grab admin request open '(.+)'", alone.stderr)
    assert alone.returncode == 1
    assert target is not None, alone.stderr
    opened = await deployment.agreed(Action.OPEN, target[1])
    assert deployment.staff("campaign", "load", file, "--request", opened).returncode == 0
    recovered = deployment.staff("recover", "--request", await deployment.agreed(Action.RECOVER, "gate"))
    assert recovered.returncode == 0, recovered.stderr
    port = free_port()
    with deployment.running("ledger", "ledger"), deployment.running("serve", "api", GRAB_PORT=str(port)):
        await _claim(deployment, port)
    gate_url, vault_url = deployment.urls("staff")
    gate, vault = connect(gate_url, 5000), await asyncpg.connect(vault_url)
    try:
        report = await audit(vault, gate)
        assert report.ok, [each for each in report.invariants if not each.ok]
        assert [stock.claimed for stock in report.stocks if stock.stock_id == FIRST_STOCK] == [1]
    finally:
        await gate.aclose()
        await vault.close()
    administrator = connect(as_user(own_gate.server.url, "admin", ADMIN), 5000)
    try:
        assert await administrator.acl_log() == []
    finally:
        await administrator.aclose()


async def _claim(deployment: Deployment, port: int) -> None:
    sign = deployment.keys.signer(issuer=ISSUER, audience="grab", now_s=int(time.time()))
    headers = {"Authorization": f"Bearer {sign('u1', '500110', CLAIM_SCOPE)}"}
    async with http_client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:

        async def is_ready() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await wait_until(is_ready, "the API is ready", 30)

        async def is_won() -> bool:
            answer = await client.post(f"/v1/stocks/{FIRST_STOCK}/claims", headers=headers)
            assert answer.status_code in {200, 201, 202}, answer.text
            return answer.status_code != 202

        await wait_until(is_won, "the worker has recorded the claim", 30)
