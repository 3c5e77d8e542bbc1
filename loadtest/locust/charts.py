"""Charts as SVG that stands in the page: no script, no file beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 220
_LEFT, _TOP, _BOTTOM = 56, 12, 34
_LINES = 4


def _nice_top(value: float) -> float:
    top = 1.0
    while top < value:
        for factor in (2.0, 5.0, 10.0):
            if top * factor >= value:
                return top * factor
        top *= 10
    return top


def _frame(title: str, top: float, inner: Sequence[str]) -> str:
    height = _HEIGHT - _TOP - _BOTTOM
    grid = []
    for line in range(_LINES + 1):
        y = _TOP + height * (1 - line / _LINES)
        grid.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH}" y2="{y:.1f}" class="grid"/>')
        grid.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * line / _LINES:,.0f}</text>')
    drawn = "".join((*grid, *inner))
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{drawn}</svg>'


def _column(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def stacked(
    title: str, seconds: Sequence[int], series: Mapping[str, tuple[str, Mapping[int, int]]], zero_s: int
) -> str:
    """Draw what came in each second, one column a second.

    Args:
        title: What it shows, for those who do not see it.
        seconds: The seconds from first to last.
        series: Colour and counts by second of each name, from the bottom up.
        zero_s: The second that the axis calls 0.
    """
    sums = [sum(counts.get(at, 0) for _, counts in series.values()) for at in seconds]
    top = _nice_top(max(sums, default=1))
    height, step = _HEIGHT - _TOP - _BOTTOM, (_WIDTH - _LEFT) / max(1, len(seconds))
    label_every = max(1, len(seconds) // 12)
    inner = []
    for position, at in enumerate(seconds):
        x, y = _LEFT + position * step, float(_TOP + height)
        for colour, counts in series.values():
            part = height * counts.get(at, 0) / top
            if part:
                y -= part
                inner.append(_column(x, y, max(1.0, step - 1), part, colour))
        if (at - zero_s) % label_every == 0:
            inner.append(
                f'<text x="{x + step / 2:.1f}" y="{_HEIGHT - 14}" text-anchor="middle">{at - zero_s:+d}</text>'
            )
    return _frame(title, top, inner)


def columns(title: str, groups: Mapping[str, Mapping[str, tuple[str, float]]]) -> str:
    """Draw groups of columns, each column with its colour and its value written above it."""
    top = _nice_top(max((value for group in groups.values() for _, value in group.values()), default=1))
    height, step = _HEIGHT - _TOP - _BOTTOM, (_WIDTH - _LEFT) / max(1, len(groups))
    inner = []
    for position, (name, group) in enumerate(groups.items()):
        width = step * 0.7 / max(1, len(group))
        for place, (colour, value) in enumerate(group.values()):
            x, part = _LEFT + position * step + step * 0.15 + place * width, height * value / top
            y = _TOP + height - part
            inner.append(_column(x, y, width - 4, part, colour))
            inner.append(
                f'<text x="{x + width / 2 - 2:.1f}" y="{max(y - 3, 10):.1f}" text-anchor="middle">{value:,.0f}</text>'
            )
        middle = _LEFT + (position + 0.5) * step
        inner.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 14}" text-anchor="middle">{escape(name)}</text>')
    return _frame(title, top, inner)


def legend(entries: Mapping[str, str]) -> str:
    """Return names with their colours."""
    return (
        '<p class="legend">'
        + "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in entries.items())
        + "</p>"
    )
