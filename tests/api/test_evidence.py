"""Anyone can check over HTTP: the heads are public, a proof is its owner's, and the commands find what was changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from grab_service.api import audit
from grab_service.settings import Settings
from ledger import admin
from ledger.admin import Action
from ledger.journals import STAFF
from tests.api.conftest import BEIJING, Site
from tests.support.rehearsals import grab
from tests.tidy.project import ROOT


def run(site: Site, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of ``grab`` on the site's stores and keys."""
    return grab(*arguments, **site.settings.environment())


def files_in(directory: Path, stock_id: str) -> dict[str, Path]:
    """Return the files of a directory by their names without the stock's."""
    return {path.name.removeprefix(f"{stock_id}."): path for path in directory.iterdir()}


def check(certificate: Path, claims: Path, proof: Path, head: Path) -> subprocess.CompletedProcess[str]:
    """Run the script that anyone has."""
    argv = [sys.executable, "-I", "-S", str(ROOT / "tools" / "verify_certificate.py"), str(certificate)]
    argv += ["--list", str(claims), "--proof", str(proof), "--head", str(head)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
async def api(site: Site, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    """A client of an API that remembers no head, after two claims."""
    monkeypatch.setattr(audit, "_KEPT_S", 0.0)
    client = await site.serve()
    for user in ("a", "b"):
        answer = await client.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer(user))
        assert answer.status_code == 201
    return client


async def test_what_is_published_and_what_a_user_keeps_check_a_certificate(
    site: Site, api: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Head by HTTP, certificate and list by command, proof by HTTP and by command: all of one piece."""
    out = tmp_path / "out"
    (tmp_path / "user").write_text("a\n")
    made = run(site, "certificate", site.stock_id, "--out", out, "--proof-of", tmp_path / "user")
    assert made.returncode == 0, made.stderr
    head = await api.get("/v1/audit/head")
    assert head.headers["cache-control"] == "public, max-age=2"
    mine = await api.get(f"/v1/stocks/{site.stock_id}/claims/me/proof", headers=site.bearer("b"))
    assert mine.headers["cache-control"] == "no-store"
    files = files_in(out, site.stock_id)
    by_command = next(path for name, path in files.items() if name.endswith("proof.json"))
    assert json.loads(by_command.read_text())["claim_no"] != mine.json()["claim_no"]
    (tmp_path / "head.json").write_bytes(head.content)
    (tmp_path / "mine.json").write_bytes(mine.content)
    for proof in (by_command, tmp_path / "mine.json"):
        done = check(files["certificate.json"], files["claims.tsv"], proof, tmp_path / "head.json")
        assert done.returncode == 0, done.stdout


async def test_a_proof_is_for_its_owner(site: Site, api: httpx.AsyncClient) -> None:
    """Without a token 401; without a claim or of no stock 404; a claim that is in no block yet has its line already."""
    path = f"/v1/stocks/{site.stock_id}/claims/me/proof"
    assert (await api.get(path)).status_code == 401
    assert (await api.get(path, headers=site.bearer("nobody"))).status_code == 404
    assert (await api.get("/v1/stocks/none/claims/me/proof", headers=site.bearer("a"))).status_code == 404
    proof = (await api.get(path, headers=site.bearer("a", region=BEIJING))).json()
    assert set(proof) == {"format", "stock_id", "claim_no", "block_no", "line", "opening"}


async def test_heads_follow_the_seal_and_are_remembered_for_a_moment(
    site: Site, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of requests costs the vault one question."""
    assert run(site, "seal").returncode == 0
    [head] = [each for each in (await api.get("/v1/audit/head")).json()["journals"] if "claims/" in each["journal"]]
    assert (head["journal"], head["rows"]) == (f"claims/{site.stock_id}", 2)
    monkeypatch.setattr(audit, "_KEPT_S", 60.0)
    await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("c"))
    assert run(site, "seal").returncode == 0
    assert head in (await api.get("/v1/audit/head")).json()["journals"]
    monkeypatch.setattr(audit, "_KEPT_S", 0.0)
    [newer] = [each for each in (await api.get("/v1/audit/head")).json()["journals"] if "claims/" in each["journal"]]
    assert (newer["rows"], newer["block_no"]) == (3, head["block_no"] + 1)


async def test_the_head_of_what_staff_did_is_public_beside_the_others(site: Site, api: httpx.AsyncClient) -> None:
    """Whoever keeps it can tell later that a request of staff was taken away."""
    await admin.request(site.vault, Action.PAUSE, site.stock_id, reason="test", subject="li")
    assert run(site, "seal").returncode == 0
    heads = {each["journal"]: each["rows"] for each in (await api.get("/v1/audit/head")).json()["journals"]}
    assert heads[STAFF] == await site.vault.fetchval(
        "SELECT count(*) FROM sealed_rows JOIN journals j USING (journal_no) WHERE j.of_staff"
    )
    assert heads[STAFF] >= 1


async def test_the_command_names_the_block_that_was_changed(site: Site, api: httpx.AsyncClient, tmp_path: Path) -> None:
    """Content before; after the database's owner has touched a row, exit code 1 and journal and block by name."""
    assert run(site, "seal").returncode == 0
    (tmp_path / "head.json").write_bytes((await api.get("/v1/audit/head")).content)
    content = run(site, "verify", "--head", tmp_path / "head.json", "--json")
    assert (content.returncode, json.loads(content.stdout)["ok"]) == (0, True)
    await site.vault.execute("ALTER TABLE claims DISABLE TRIGGER ALL; UPDATE claims SET stream_seq = stream_seq + 1")
    found = run(site, "verify")
    assert found.returncode == 1
    assert f"claims/{site.stock_id} block 1: its rows are not those that were sealed" in found.stdout
    assert run(site, "verify", "--head", tmp_path / "absent").returncode == 2
    (tmp_path / "head.json").write_text("{}")
    assert run(site, "verify", "--head", tmp_path / "head.json").returncode == 1


@pytest.mark.usefixtures("api")
async def test_a_certificate_that_cannot_be_given_is_refused_with_a_sentence(site: Site, tmp_path: Path) -> None:
    """No such stock, no such claim, no key."""
    (tmp_path / "user").write_text("nobody")
    for arguments in (["no-stock"], [site.stock_id, "--proof-of", str(tmp_path / "user")]):
        refused = run(site, "certificate", *arguments, "--out", tmp_path)
        assert (refused.returncode, refused.stdout) == (1, "")
    settings: Settings = site.settings.model_copy(update={"certificate_key_file": None})
    done = grab("certificate", site.stock_id, **settings.environment())
    assert done.returncode == 2
    assert "GRAB_CERTIFICATE_KEY_FILE is not set" in done.stderr
    assert "certificate.json" not in files_in(tmp_path, site.stock_id)
