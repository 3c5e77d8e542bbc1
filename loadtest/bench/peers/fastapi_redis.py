"""What one writes first: FastAPI, a pydantic model, redis-py, one script call a request."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio as redis
from fastapi import FastAPI, Response
from pydantic import BaseModel

_ANSWERS = {0: (409, "SOLD_OUT"), 1: (201, "WON"), 2: (200, "REPEATED")}

store = redis.Redis.from_url(os.environ["BENCH_STORE_URL"], max_connections=256)
script = store.register_script((Path(__file__).parent / "claim.lua").read_text(encoding="utf-8"))


class Claim(BaseModel):
    """Who claims."""

    user: str


class Answer(BaseModel):
    """What came of it."""

    code: str


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await store.aclose()


app = FastAPI(lifespan=_lifespan)


@app.post("/v1/stocks/{stock_id}/claims")
async def claim(stock_id: str, body: Claim, response: Response) -> Answer:
    """Claim a voucher."""
    outcome = await script(keys=[f"left:{stock_id}", f"users:{stock_id}", f"orders:{stock_id}"], args=[body.user])
    response.status_code, code = _ANSWERS[outcome]
    return Answer(code=code)
