"""No Redis at all: FastAPI and asyncpg; a conditional update and a unique key, in one statement."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

_CLAIM = (Path(__file__).parent / "claim.sql").read_text(encoding="utf-8")
_CONNECTIONS = 8  # they queue on the one row: more of them only wait


class Claim(BaseModel):
    """Who claims."""

    user: str


class Answer(BaseModel):
    """What came of it."""

    code: str


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(
        os.environ["BENCH_DATABASE_URL"], min_size=_CONNECTIONS, max_size=_CONNECTIONS
    ) as pool:
        application.state.pool = pool
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/v1/stocks/{stock_id}/claims")
async def claim(stock_id: str, body: Claim, request: Request, response: Response) -> Answer:
    """Claim a voucher."""
    try:
        claim_no = await request.app.state.pool.fetchval(_CLAIM, stock_id, body.user)
    except asyncpg.UniqueViolationError:
        response.status_code = 200
        return Answer(code="REPEATED")
    response.status_code, code = (409, "SOLD_OUT") if claim_no is None else (201, "WON")
    return Answer(code=code)
