"""Another pepper for the next campaign: users stay themselves in the one before, and one process serves both."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from grab_service import doctor
from grab_service.campaign import Campaign
from grab_service.findings import Finding, Verdict
from grab_service.keyring import KeyringInvalid, read_user_refs
from grab_service.minting import mint, seasoned
from grab_service.pepper_check import see_peppers
from ledger import catalogue
from tests.api.conftest import Site
from tests.api.test_redemptions import Shop
from tests.support.campaigns import small_campaign
from tests.support.rehearsals import grab
from tests.support.till import SHOP, add_merchant, receive_fund
from tests.support.wait import wait_until


@pytest.fixture
def rotated(site: Site, tmp_path: Path) -> dict[str, Any]:
    """The settings once another pepper is there: version 2 for what is stored from now on, version 1 for what is."""
    file = tmp_path / "pepper-2.key"
    file.write_text(secrets.token_hex(32))
    others = f"1={site.settings.pepper_file}"
    return {"pepper_file": file, "pepper_version": 2, "pepper_other_files": others}


@pytest.fixture
async def later(site: Site, campaign_id: str, rotated: dict[str, Any]) -> Campaign:
    """The next campaign, which begins with the new pepper and is open too."""
    campaign = small_campaign(f"{campaign_id}b")
    refs = read_user_refs(site.settings.model_copy(update=rotated))
    await catalogue.load_campaign(site.vault, seasoned(mint(campaign, site.codes), refs))
    await site.recover()
    return campaign


def first_stock(campaign: Campaign) -> str:
    """Return the first stock of a campaign."""
    return next(iter(campaign.stocks())).stock_id


async def claim(api: httpx.AsyncClient, stock_id: str, headers: dict[str, str]) -> httpx.Response:
    """Claim a voucher."""
    return await api.post(f"/v1/stocks/{stock_id}/claims", headers=headers)


async def test_a_user_is_the_same_in_both_campaigns(
    site: Site, api: httpx.AsyncClient, later: Campaign, rotated: dict[str, Any]
) -> None:
    """What he claimed before is shown, told again, proved and used, never given twice; he claims of the new one too."""
    old, new = site.stock_id, first_stock(later)
    won = await claim(api, old, site.bearer("a"))
    assert won.status_code == 201
    both = await site.serve(**rotated)
    ticket = await both.post("/v1/tickets", headers=site.jwt("a"))
    for headers in (site.jwt("a"), {"Authorization": f"Bearer {ticket.json()['ticket']}"}):
        again = await claim(both, old, headers)
        assert (again.status_code, again.json()["claim_no"]) == (200, won.json()["claim_no"])
        assert (await claim(both, new, headers)).status_code in (200, 201)
        shown = (await both.get("/v1/me/vouchers", headers=headers)).json()["data"]
        assert {each["stock_id"] for each in shown} == {old, new}
        for stock_id in (old, new):
            mine = f"/v1/stocks/{stock_id}/claims/me"
            assert (await both.get(mine, headers=headers)).status_code == 200
            assert (await both.get(f"{mine}/proof", headers=headers)).status_code == 200
    rows = await site.vault.fetch("SELECT stock_id, left(user_ref, 1) FROM claims JOIN stocks USING (stock_no)")
    assert sorted(map(tuple, rows)) == sorted([(old, "1"), (new, "2")])
    await receive_fund(site.vault, site.campaign.campaign_id)
    await add_merchant(site.vault, SHOP)
    shop = Shop(site, both, won.json()["voucher_code"])
    await shop.redeemed()
    states = {
        each["stock_id"]: each["state"] for each in (await both.get("/v1/me/vouchers", headers=headers)).json()["data"]
    }
    assert states == {old: "USED", new: "ISSUED"}


async def test_a_ticket_from_before_is_good_for_what_was_there(
    site: Site, later: Campaign, rotated: dict[str, Any]
) -> None:
    """It still claims of the old campaign; for the new one it is to be renewed, and says so."""
    both = await site.serve(**rotated)
    assert (await claim(both, site.stock_id, site.bearer("a"))).status_code == 201
    refused = await claim(both, first_stock(later), site.bearer("a"))
    assert (refused.status_code, "take a new one" in refused.json()["detail"]) == (401, True)
    assert (await both.get("/v1/me/vouchers", headers=site.bearer("a"))).status_code == 401


async def test_without_its_pepper_a_campaign_is_not_served(
    site: Site, api: httpx.AsyncClient, later: Campaign, rotated: dict[str, Any]
) -> None:
    """Not by one that knows the old one alone, nor with another under its version; neither says that it is unknown."""
    for client in (api, await site.serve(**rotated | {"pepper_file": _other_pepper(rotated["pepper_file"])})):
        await wait_until(partial(_misses, client, later.campaign_id), "the process has seen the new campaign")
        assert (await claim(client, site.stock_id, site.jwt("a"))).status_code in (200, 201)
        assert (await claim(client, first_stock(later), site.jwt("a"))).status_code == 503
        assert (await client.get("/v1/me/vouchers", headers=site.jwt("a"))).status_code == 503


@pytest.mark.parametrize("fault", ["no other", "another under its version"])
async def test_no_part_starts_without_the_pepper_of_vouchers_that_are_valid(
    site: Site, later: Campaign, rotated: dict[str, Any], fault: str
) -> None:
    """The command says which campaign needs what."""
    changes = {
        "no other": rotated | {"pepper_other_files": ""},
        "another under its version": rotated | {"pepper_file": _other_pepper(rotated["pepper_file"])},
    }[fault]
    settings = site.settings.model_copy(update=changes | {"port": 1})
    refused = grab("serve", **settings.environment())
    assert refused.returncode == 2
    needing = site.campaign if fault == "no other" else later
    assert f"{needing.campaign_id} began with" in refused.stderr, refused.stderr


async def test_the_doctor_looks_at_each_pepper(site: Site, later: Campaign, rotated: dict[str, Any]) -> None:
    """Files that others may read are named, whichever campaign they belong to, and so is a campaign without its own."""

    async def looked_at(**changes: Any) -> dict[str, Finding]:
        found = await doctor.examine(site.settings.model_copy(update=rotated | changes), None)
        return {each.name: each for each in found}

    old, new = site.settings.pepper_file, rotated["pepper_file"]
    assert old is not None
    for path in (old, new):
        path.chmod(0o600)
    both = await looked_at()
    assert (both["peppers"].verdict, both["keys"].verdict) == (Verdict.PASS, Verdict.PASS)
    for path in (old, new):
        path.chmod(0o640)
        keys = (await looked_at())["keys"]
        assert (keys.verdict, str(path) in keys.detail) == (Verdict.WARN, True)
        path.chmod(0o600)
    for changes, campaign in (
        ({"pepper_other_files": ""}, site.campaign),
        ({"pepper_file": _other_pepper(new)}, later),
    ):
        lacking = (await looked_at(**changes))["peppers"]
        assert lacking.verdict is Verdict.FAIL
        assert f"{campaign.campaign_id} began with" in lacking.detail
    unreadable = (await looked_at(pepper_other_files="1=/nowhere/pepper.key"))["peppers"]
    assert unreadable.verdict is Verdict.WARN


async def test_the_pepper_of_vouchers_that_have_lapsed_can_go(site: Site, rotated: dict[str, Any]) -> None:
    """So that the references of a campaign that is over can be forgotten."""
    refs = read_user_refs(site.settings.model_copy(update=rotated | {"pepper_other_files": ""}))
    with pytest.raises(KeyringInvalid, match="began with version 1"):
        await see_peppers(site.vault, refs)
    await site.vault.execute("UPDATE stocks SET available_until = clock_timestamp()")
    await see_peppers(site.vault, refs)


async def test_a_command_proves_the_claims_of_both(
    site: Site, later: Campaign, rotated: dict[str, Any], tmp_path: Path
) -> None:
    """The user is found under the pepper of the stock's campaign."""
    both = await site.serve(**rotated)
    (tmp_path / "user").write_text("a\n")
    settings = site.settings.model_copy(update=rotated)
    for stock_id in (site.stock_id, first_stock(later)):
        assert (await claim(both, stock_id, site.jwt("a"))).status_code == 201
        command: list[str | Path] = [
            "certificate",
            stock_id,
            "--out",
            tmp_path / "out",
            "--proof-of",
            tmp_path / "user",
        ]
        made = grab(*command, **settings.environment())
        assert made.returncode == 0, made.stderr


async def _misses(api: httpx.AsyncClient, campaign_id: str) -> bool:
    """Whether health warns that the process lacks the pepper of a campaign."""
    stocks = (await api.get("/healthz")).json()["checks"]["stocks"]
    return bool(stocks["not_served"] == [campaign_id] and stocks["status"] == "warn")


def _other_pepper(file: Path) -> Path:
    other = file.with_name("wrong.key")
    other.write_text(secrets.token_hex(32))
    return other
