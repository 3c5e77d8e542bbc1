"""The pages as files: how large, how they are sent, and that they ask nobody else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from grab_service import resources
from tests.api.conftest import Site

ROOT = resources.page(".")
OWN = sorted(path for folder in ("activity", "ops") for path in (ROOT / folder).iterdir())
SCRIPTS = sorted(path for path in OWN if path.suffix == ".js")
ACTIVITY_BYTES_MAX = 60_000  # the whole page, before compression
ELSEWHERE = re.compile(r"(?:https?:)?//[a-z0-9-]+\.[a-z]")
SVG_NAMES = "http://www.w3.org/2000/svg"  # a name that is never asked for


def parts_in(html: str) -> list[str]:
    """Return what a page loads."""
    return re.findall(r'(?:src|href)="(/[^"]+)"', html)


def test_the_activity_page_is_small() -> None:
    """HTML, style and every script together stay within the bound."""
    files = list((ROOT / "activity").iterdir())
    assert len(files) > 3
    assert sum(path.stat().st_size for path in files) < ACTIVITY_BYTES_MAX


@pytest.mark.parametrize("path", OWN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_page_names_no_other_place(path: Path) -> None:
    """No file of a page holds an address of another host."""
    assert ELSEWHERE.findall(path.read_text(encoding="utf-8").replace(SVG_NAMES, "")) == []


@pytest.mark.parametrize("name", ["activity", "ops"])
def test_a_page_has_no_script_or_style_of_its_own(name: str) -> None:
    """What the policy would refuse does not stand in the page: scripts, styles and handlers inside the HTML."""
    html = (ROOT / name / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", html) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_script_makes_no_markup(path: Path) -> None:
    """What the service tells is written as text: no script turns a string into elements or code."""
    assert (
        re.findall(
            r"innerHTML\s*=|outerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(|new Function",
            path.read_text(encoding="utf-8"),
        )
        == []
    )


def test_both_languages_have_every_text() -> None:
    """The texts in Chinese and in English have the same keys, and no gap is forgotten in one of them."""
    source = (ROOT / "activity" / "words.js").read_text(encoding="utf-8")
    chinese, english = (
        dict(re.findall(r'(\w+): "([^"]*)"', part))
        for part in re.findall(r"const (?:ZH|EN) = \{(.*?)\n\};", source, re.DOTALL)
    )
    assert chinese.keys() == english.keys()
    assert {
        key for key in chinese if set(re.findall(r"\{\w+\}", chinese[key])) != set(re.findall(r"\{\w+\}", english[key]))
    } == set()


@pytest.mark.parametrize("path", ["/", "/ops"])
async def test_a_page_is_asked_for_anew_and_its_parts_are_kept(api: httpx.AsyncClient, path: str) -> None:
    """The page has an ETag and is checked each time; what it names is there and may be kept for ever."""
    page = await api.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["content-encoding"] == "gzip"
    again = await api.get(path, headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    parts = parts_in(page.text)
    assert len(parts) > 2
    for part in parts:
        answer = await api.get(part)
        assert answer.status_code == 200, part
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/ops"])
async def test_a_page_may_load_from_here_only(api: httpx.AsyncClient, path: str) -> None:
    """The policy forbids all but files from here; no script stands inside the page, and nobody may frame it."""
    headers = (await api.get(path)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["referrer-policy"] == "no-referrer"


async def test_a_part_is_served_plain_to_who_cannot_unzip(api: httpx.AsyncClient) -> None:
    """Without ``Accept-Encoding: gzip`` the same file comes as it is."""
    part = next(part for part in parts_in((await api.get("/")).text) if part.endswith("main.js"))
    plain, zipped = await api.get(part, headers={"Accept-Encoding": "identity"}), await api.get(part)
    assert "content-encoding" not in plain.headers
    assert plain.content == zipped.content == (ROOT / "activity" / "main.js").read_bytes()


async def test_a_part_of_another_version_is_not_kept(api: httpx.AsyncClient) -> None:
    """While two versions run side by side, a page may ask the other one: it is answered, and nothing is cached."""
    answer = await api.get("/pages/000000000000/activity/main.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["activity/none.js", "../../settings.py", "%2e%2e/docs.html", "vendor/README.md", ""])
async def test_nothing_but_the_pages_is_served(api: httpx.AsyncClient, name: str) -> None:
    """A path that is none of theirs is not found, however it is written."""
    assert (await api.get(f"/pages/x/{name}")).status_code == 404


async def test_a_rehearsal_makes_users_up(site: Site) -> None:
    """Each is another one, and may claim."""
    api = await site.serve(rehearsal=True)
    made = [(await api.post("/rehearsal/token")).json() for _ in range(2)]
    assert made[0]["user"] != made[1]["user"]
    headers = {"Authorization": f"Bearer {made[0]['token']}"}
    assert (await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=headers)).status_code == 201


async def test_outside_a_rehearsal_nobody_is_made_up(site: Site) -> None:
    """In production the route is not there."""
    answer = await (await site.serve(rehearsal=False)).post("/rehearsal/token")
    assert (answer.status_code, answer.json()["code"]) == (404, "RESOURCE_NOT_EXISTS")


async def test_events_tell_history_and_picture(site: Site) -> None:
    """A stream begins with the curve so far and goes on with stock, health and the latest point; it ends by itself."""
    api = await site.serve(shutdown_grace_s=4)
    await api.post(f"/v1/stocks/{site.stock_id}/claims", headers=site.bearer("u1"))
    answer = await api.get("/v1/ops/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [(name, json.loads(data)) for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", answer.text)]
    assert [name for name, _ in events][:2] == ["history", "picture"]
    assert events[0][1]["points"][0].keys() == {"at_ms", "claimed", "booked", "gate_ms", "lag_ms"}
    last = events[-1][1]
    assert last["stock"]["stocks"][0]["claimed"] == last["point"]["claimed"] == last["point"]["booked"] == 1
    assert last["health"]["status"] in {"pass", "warn"}


async def test_no_more_screens_are_told_than_the_bound(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is refused with 503 and can poll."""
    monkeypatch.setattr("grab_service.api.ops._STREAMS_MAX", 0)
    api = await site.serve()
    answer = await api.get("/v1/ops/events")
    assert (answer.status_code, answer.json()["code"]) == (503, "SYSTEM_BUSY")
