"""Instants as the outside sees them: RFC 3339 with the offset of China Standard Time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

CHINA_STANDARD_TIME = timezone(timedelta(hours=8))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_ms(instant_ms: int) -> str:
    """Write an instant in Unix milliseconds, ``2023-12-03T10:00:00.000+08:00``."""
    return datetime.fromtimestamp(instant_ms / 1000, CHINA_STANDARD_TIME).isoformat(timespec="milliseconds")


def from_datetime(instant: datetime) -> str:
    """Write an aware datetime, to the second unless it has milliseconds."""
    local = instant.astimezone(CHINA_STANDARD_TIME)
    return local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")


def to_ms(instant: datetime) -> int:
    """Return an aware datetime in Unix milliseconds."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)
