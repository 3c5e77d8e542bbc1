"""Instants as the outside sees them: RFC 3339 with the offset of China Standard Time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

CHINA_STANDARD_TIME = timezone(timedelta(hours=8))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=64)  # winners of one call of the gate share their instant
def from_ms(instant_ms: int) -> str:
    """Write an instant in Unix milliseconds, ``2023-12-03T10:00:00.000+08:00``."""
    second, millisecond = divmod(instant_ms, 1000)
    return f"{_to_the_second(second)}.{millisecond:03d}+08:00"


@lru_cache(maxsize=8)  # at the opening many answers tell the same millisecond
def written(instant_ms: int) -> bytes:
    """Write an instant in Unix milliseconds as it goes into an answer."""
    return from_ms(instant_ms).encode()


@lru_cache(maxsize=64)  # every answer tells the time, and those of one second share all but the end
def _to_the_second(second: int) -> str:
    return datetime.fromtimestamp(second, CHINA_STANDARD_TIME).strftime("%Y-%m-%dT%H:%M:%S")


def from_datetime(instant: datetime) -> str:
    """Write an aware datetime, to the second unless it has milliseconds."""
    local = instant.astimezone(CHINA_STANDARD_TIME)
    return local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")


def to_ms(instant: datetime) -> int:
    """Return an aware datetime in Unix milliseconds."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)
