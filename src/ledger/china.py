"""Time in China: instants as they are told, and working days by the calendar of holidays and make-up days."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from functools import cache

import holidays

_STANDARD_TIME = timezone(timedelta(hours=8))


def told(instant: datetime) -> str:
    """Write an aware instant, ``2023-12-03T10:00:00.000+08:00``."""
    return instant.astimezone(_STANDARD_TIME).isoformat(timespec="milliseconds")


def day_of(instant: datetime) -> date:
    """Return the day on which an aware instant is in China."""
    return instant.astimezone(_STANDARD_TIME).date()


def working_days_before(day: date, days: int) -> date:
    """Return the working day that lies so many working days before ``day``.

    Holidays do not count, and the weekend days that are worked instead (调休) do, as far as the State
    Council has published them; later years know only weekends and the fixed festivals.
    """
    return _calendar().get_nth_working_day(day, -days)


@cache
def _calendar() -> holidays.HolidayBase:
    return holidays.country_holidays("CN")
