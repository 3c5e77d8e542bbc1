"""What ``grab status`` and ``grab doctor`` say of the money: by when to settle, and what has not come."""

from __future__ import annotations

import json
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis

from grab_service import embedded
from grab_service.settings import Settings
from tests.support.books import Books
from tests.support.campaigns import small_campaign
from tests.support.rehearsals import grab
from tests.support.till import receive_fund


@pytest.fixture
async def books(
    vault: asyncpg.Connection,
    redis_client: redis.Redis,
    database_url: str,
    valkey_server: embedded.Server,
    campaign_id: str,
) -> Books:
    """A campaign that opened an hour ago, open at the gate, whose money has not come."""
    books = Books(small_campaign(campaign_id), vault, redis_client, database_url, valkey_server.url)
    await books.load()
    await books.recover()
    return books


async def test_missing_money_and_the_deadline_are_told(books: Books, tmp_path: Path) -> None:
    """Until the fund has come both commands say what is missing; the deadline always stands there."""
    settings = Settings(database_url=books.database_url, redis_url=books.redis_url)
    (tmp_path / "settings.toml").write_text(settings.toml())
    before = grab("status", "--data-dir", tmp_path).stdout
    campaign_id = books.campaign.campaign_id
    assert f"{campaign_id} r1: 30000 fen not received, due on " in before
    assert f"{campaign_id}: settle by " in before
    assert "59 days left, 0 fen owed, 0 fen paid" in before
    assert "lacks 30000 fen, due " in grab("doctor", "--data-dir", tmp_path).stdout
    await receive_fund(books.vault, campaign_id)
    after = json.loads(grab("status", "--data-dir", tmp_path, "--json").stdout)
    assert after["unfunded"] == []
    [deadline] = after["settlements"]
    assert (deadline["campaign_id"], deadline["days_left"], deadline["is_over"]) == (campaign_id, 59, False)
    await books.vault.execute(
        "UPDATE campaigns SET document = jsonb_set(document, '{settle_by}', '\"2020-01-01T00:00Z\"')"
    )
    assert "OVER, 0 fen owed" in grab("status", "--data-dir", tmp_path).stdout
