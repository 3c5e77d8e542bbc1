"""Outside a rehearsal nothing runs before the vault asks two persons for grave acts, unless one is enough."""

from __future__ import annotations

import subprocess
import sys

import pytest

from grab_service.settings import Settings
from ledger import admin
from tests.api.conftest import Site
from tests.support.rehearsals import clean_environment, grab
from tests.support.wait import wait_until


def _real(site: Site, **changes: object) -> Settings:
    return site.settings.model_copy(update={"rehearsal": False, "one_person": False, **changes})


@pytest.mark.parametrize("command", ["serve", "ledger"])
async def test_a_vault_that_one_alone_may_use_is_refused_at_start(site: Site, command: str) -> None:
    """The command ends with 1 and says what to do; also if the settings ask for two and let one suffice."""
    for chosen in (_real(site), _real(site, one_person=True, two_persons=True)):
        refused = grab(command, **chosen.environment())
        assert refused.returncode == 1, refused.stderr
        assert "grab migrate --two-persons" in refused.stderr


async def test_a_process_that_began_before_the_vault_answered_serves_nothing_without_the_policy(site: Site) -> None:
    """It lives and is not ready; once two must agree, it serves."""
    api = await site.serve(probe="/livez", rehearsal=False, one_person=False)

    async def has_read_the_vault() -> bool:
        return bool((await api.get("/healthz")).json()["checks"]["ledger_database"]["status"] == "pass")

    async def is_ready() -> bool:
        return (await api.get("/readyz")).status_code == 200

    await wait_until(has_read_the_vault, "it has read the vault")
    # What it has read it takes in at once, so this is no matter of time.
    assert (await api.get(f"/v1/campaigns/{site.campaign.campaign_id}")).status_code == 503
    assert not await is_ready()
    await admin.let_two_agree(site.vault, subject="test")
    await wait_until(is_ready, "it serves")


async def test_a_worker_works_where_two_must_agree(site: Site) -> None:
    """With the policy it records claims, until it is told to stop."""
    await site.stop_worker()
    await admin.let_two_agree(site.vault, subject="test")
    api = await site.serve()
    process = subprocess.Popen(  # noqa: ASYNC220  returns at once
        [sys.executable, "-m", "grab_service", "ledger"], env=clean_environment(**_real(site).environment())
    )
    try:
        path = f"/v1/stocks/{site.stock_id}/claims"

        async def is_recorded() -> bool:
            return (await api.post(path, headers=site.bearer("u1"))).status_code in {200, 201}

        await wait_until(is_recorded, "the worker has recorded the claim", 30)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_one_command_for_everything_says_what_it_needs_before_real_users() -> None:
    """With the app's keys, ``grab up`` starts nothing by itself."""
    refused = grab("up", GRAB_JWKS_FILE="/etc/grab/jwks.json")
    assert refused.returncode == 1
    assert "GRAB_ONE_PERSON=true" in refused.stderr
