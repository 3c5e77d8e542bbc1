"""Pages that are filled in here rather than by the browser; what is put into them is text, never markup."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2

from grab_service import resources

NONE = "–"


def render(name: str, **facts: Any) -> str:
    """Fill in a page, by its path below ``pages``; a fact that it lacks is an error."""
    return _environment().get_template(name).render(**facts)


def yuan(fen: int) -> str:
    """Write an amount in yuan, ``1,234.50``."""
    sign = "−" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100:,}.{abs(fen) % 100:02}"


def times(part: int, whole: int) -> str:
    """Write how many times as large a number is, ``3.33``; a dash where there is nothing to compare with."""
    return f"{part / whole:.2f}" if whole else NONE


def percent(part: int, whole: int) -> str:
    """Write a share, ``12.5%``; a dash of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else NONE


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.page(".")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"yuan": yuan}
    environment.globals |= {"times": times, "percent": percent}
    return environment
