"""Plots a few curves beside each other as SVG, by hand: one panel a curve, the x axis logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

_WIDTH, _HEIGHT = 300, 240  # of a panel, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 40, 38  # margins within it
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Curve:
    """One panel.

    Attributes:
        title: What is shown, with its unit.
        points: x, above 0, and y.
        bound: A level to show as a dashed line, None for none.
    """

    title: str
    points: Sequence[tuple[float, float]]
    bound: float | None = None


def plot(curves: Sequence[Curve], x_title: str) -> str:
    """Return the panels as one SVG document."""
    width = _WIDTH * len(curves)
    panels = "\n".join(
        f'<g transform="translate({number * _WIDTH} 0)">\n{_panel(curve, x_title)}\n</g>'
        for number, curve in enumerate(curves)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="11">\n'
        f'<rect width="{width}" height="{_HEIGHT}" fill="white"/>\n{panels}\n</svg>\n'
    )


def ceiling_of(value: float) -> float:
    """Return the least of 1, 2, 5 times a power of ten that is not below a positive value."""
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def _panel(curve: Curve, x_title: str) -> str:
    exponents = [log10(x) for x, _ in curve.points]
    low, high = floor(min(exponents)), max(ceil(max(exponents)), floor(min(exponents)) + 1)
    top = ceiling_of(max([y for _, y in curve.points] + [curve.bound or 0.0, 1e-6]))

    def across(exponent: float) -> float:
        return _LEFT + (exponent - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text x="{_LEFT}" y="20" font-weight="bold">{escape(curve.title)}</text>']
    for tick in range(_TICKS + 1):
        y = top * tick / _TICKS
        parts.append(f'<path d="M{_LEFT} {up(y):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{up(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for exponent in range(low, high + 1):
        label = f'<text x="{across(exponent):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
        parts.append(f'{label}10<tspan dy="-4" font-size="8">{exponent}</tspan></text>')
    parts.append(
        f'<text x="{(_WIDTH + _LEFT) / 2:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>'
    )
    if curve.bound is not None:
        level = f"M{_LEFT} {up(curve.bound):.1f}H{_WIDTH - _RIGHT}"
        parts.append(f'<path d="{level}" stroke="#c33" stroke-dasharray="4 3"/>')
    places = [(across(exponent), up(y)) for exponent, (_, y) in zip(exponents, curve.points, strict=True)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#246" stroke-width="2"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#246"/>' for x, y in places]
    return "\n".join(parts)
