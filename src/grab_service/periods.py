"""The end of a period of settlement, as people say it."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from grab_service.instants import CHINA_STANDARD_TIME

_DAY = "2024-02-03"


def end_of(text: str) -> datetime:
    """Return the end of a period, exclusive: of a day in China, or an instant with its offset.

    Raises:
        ValueError: It is neither; the message says what to write.
    """
    try:
        if len(text) == len(_DAY):
            day = date.fromisoformat(text) + timedelta(days=1)
            return datetime(day.year, day.month, day.day, tzinfo=CHINA_STANDARD_TIME)
        instant = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text} is neither a day like {_DAY} nor an instant") from error
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no offset: write 2024-02-04T00:00:00+08:00")
    return instant
