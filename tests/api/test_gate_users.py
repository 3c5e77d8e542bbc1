"""The service under the gate's users that a deployment gives it: it works, and what a part need not do is refused."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.exceptions import NoPermissionError

from grab_service import embedded
from grab_service.gate import connect
from grab_service.resources import library_source
from ledger.audit import audit
from ledger.recover import recover
from tests.api.conftest import Site
from tests.support.wait import wait_until

_USERS_FILE = Path(__file__).parents[2] / "deploy" / "valkey-users.conf"
_PASSWORD = "p" * 64
API, LEDGER, STAFF = "grab-api", "grab-ledger", "grab-staff"
_NOBODYS = [
    "GET grab:x",
    "SET grab:x 1",
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "CONFIG SET appendonly no",
    "FUNCTION DELETE grab",
    "FUNCTION FLUSH",
    "EVAL return(1) 0",
    "ACL LIST",
    "SHUTDOWN",
    "REPLICAOF NO ONE",
    "BGREWRITEAOF",
    "HSET other 1 1",
    "HGETALL other",
    "SUBSCRIBE other",
]
_FORBIDDEN = {
    API: [
        *_NOBODYS,
        "FUNCTION LOAD x",
        "FCALL grab_open 0",
        "FCALL grab_rebuild 0",
        "FCALL grab_confirm 0",
        "FCALL grab_put_free 0",
        "FCALL grab_put_hash 0",
        "FCALL grab_close 0",
        "FCALL grab_probe 0",
        "FCALL grab_tell 0",
        "XREAD STREAMS grab:x 0",
        "DEL grab:x",
        "PUBLISH grab:x 1",
        "CONFIG GET dir",
    ],
    LEDGER: [
        *_NOBODYS,
        "FUNCTION LOAD x",
        "FCALL grab_claim 0",
        "FCALL grab_open 0",
        "FCALL grab_rebuild 0",
        "FCALL grab_put_free 0",
        "LPOP grab:x",
        "XADD grab:x * a 1",
        "XDEL grab:x 0-1",
    ],
    STAFF: _NOBODYS,
}


def _url(redis_url: str, user: str) -> str:
    return redis_url.replace("unix://", f"unix://{user}:{_PASSWORD}@", 1)


@pytest.fixture
async def users(redis_client: redis.Redis) -> list[str]:
    """The users of the file that is handed out, but for the default one, whom the tests need."""
    text = _USERS_FILE.read_text(encoding="utf-8")
    rules = re.sub(r"SHA256-OF-\S+", hashlib.sha256(_PASSWORD.encode()).hexdigest(), text)
    if (await redis_client.info("server"))["redis_version"] < "7.2":
        rules = rules.replace("+client|setinfo ", "")  # Redis 7.0 does not know it
    lines = [line.split() for line in rules.splitlines() if line.startswith("user ")]
    assert lines.pop(0) == ["user", "default", "reset", "off"]
    for _, *rule in lines:
        await redis_client.execute_command("ACL", "SETUSER", *rule)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    return [name for _, name, *_ in lines]


async def test_the_parts_work_under_their_users(site: Site, users: list[str]) -> None:
    """Recovery and audit as staff, the worker as the ledger, claims, events and pauses as the API."""
    assert users == [API, LEDGER, STAFF]
    await site.client.acl_log_reset()
    await site.stop_worker()
    url = site.settings.redis_url
    staff = connect(_url(url, STAFF), 5000)
    site.exit.push_async_callback(staff.aclose)
    await recover(site.vault, staff, library_source())
    site.settings = site.settings.model_copy(update={"redis_url": _url(url, LEDGER)})
    site.start_worker()
    api = await site.serve(redis_url=_url(url, API))
    path = f"/v1/stocks/{site.stock_id}/claims"
    assert (await api.post(path, headers=site.bearer("u1"))).status_code == 201
    assert (await api.post(path, headers=site.bearer("u1"))).status_code == 200
    assert (await api.get(f"{path}/me", headers=site.bearer("u1"))).json()["state"] == "ISSUED"
    for number in range(2, 6):
        assert (await api.post(path, headers=site.bearer(f"u{number}"))).status_code == 201
    assert (await api.post(path, headers=site.bearer("u6"))).json()["code"] == "SOLD_OUT"
    await site.vault.execute("UPDATE stocks SET paused = true")

    async def is_paused() -> bool:
        return await site.client.hget(next(iter(site.campaign.stocks())).keys.rules, "paused") == "1"

    await wait_until(is_paused, "the worker has let the gate follow the vault", 30)
    assert (await audit(site.vault, staff)).ok
    assert await site.client.acl_log() == []


@pytest.mark.parametrize("user", [API, LEDGER, STAFF])
async def test_what_a_part_need_not_do_is_refused(users: list[str], valkey_server: embedded.Server, user: str) -> None:
    """Each command on the list ends with NOPERM."""
    assert user in users
    client = connect(_url(valkey_server.url, user), 5000)
    try:
        for forbidden in _FORBIDDEN[user]:
            with pytest.raises(NoPermissionError):
                await client.execute_command(*forbidden.split())  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    finally:
        await client.aclose()
