"""Pictures of a report, as SVG that stands in the page itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

import numpy as np

from lipverify.audit.answer import Found, Part, Trend
from lipverify.audit.curves import Curve
from lipverify.audit.pieces import Numbers

WIDTH, HEIGHT = 440.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 24.0, 40.0
TICKS = 5
COLUMNS = 240
"""Most columns of the heat map; beyond, each stands for several records."""
CELL = 16.0
LABELS = 250.0
COLOURS = {Found.VERIFIED: "#cfe8d5", Found.FALSIFIED: "#8c1d40", Found.UNKNOWN: "#f2c14e"}
TRENDS = {
    Trend.INCREASING: "#cfe8d5",
    Trend.CONSTANT: "#e6ecef",
    Trend.DECREASING: "#f3c9cf",
    Trend.OPEN: "#f2c14e",
}


@dataclass(frozen=True)
class _Axes:
    """From numbers to places of a picture."""

    low: float
    high: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return LEFT + (value - self.low) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        span = self.top - self.bottom or 1.0
        return HEIGHT - BOTTOM - (value - self.bottom) / span * (HEIGHT - TOP - BOTTOM)

    def line(self, xs: Numbers, ys: Numbers, style: str) -> str:
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        return f'<polyline points="{points}" fill="none" {style}/>'

    def band(self, start: float, end: float, fill: str) -> str:
        left, right = self.x(start), self.x(end)
        height = HEIGHT - TOP - BOTTOM
        return (
            f'<rect x="{left:.1f}" y="{TOP}" width="{max(right - left, 0.6):.1f}" '
            f'height="{height:.1f}" fill="{fill}"/>'
        )

    def frame(self, label_x: str, label_y: str) -> list[str]:
        parts = []
        for value in np.linspace(self.low, self.high, TICKS):
            x = self.x(value)
            parts.append(
                f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15:.1f}" text-anchor="middle">'
                f"{value:.4g}</text>"
            )
        for value in np.linspace(self.bottom, self.top, TICKS):
            y = self.y(value)
            parts.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="#bbb" stroke-width="0.5"/><text x="{LEFT - 5}" y="{y + 4:.1f}" '
                f'text-anchor="end">{value:.3g}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle" class="axis">'
            f"{escape(label_x)}</text>"
        )
        parts.append(f'<text x="4" y="10" class="axis">{escape(label_y)}</text>')
        return parts


def _axes(low: float, high: float, *values: Numbers) -> _Axes:
    every = np.concatenate(values)
    every = every[np.isfinite(every)]
    bottom, top = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    pad = (top - bottom) * 0.06 or max(abs(top), 1.0) * 0.06
    return _Axes(low, high, bottom - pad, top + pad)


def _svg(parts: Sequence[str], title: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def line_plot(
    xs: Numbers, ys: Numbers, parts: Sequence[Part], here: float, title: str, names: tuple[str, str]
) -> str:
    """The output along one record's line; parts shaded by what is proved; the record as a dot."""
    axes = _axes(float(xs[0]), float(xs[-1]), ys)
    drawn = [axes.band(part.start, part.end, TRENDS[part.trend]) for part in parts]
    drawn += axes.frame(*names)
    drawn.append(axes.line(xs, ys, 'stroke="#1b3a57" stroke-width="1.8"'))
    if xs[0] <= here <= xs[-1]:
        y = float(np.interp(here, xs, ys))
        drawn.append(f'<circle cx="{axes.x(here):.1f}" cy="{axes.y(y):.1f}" r="3.5" fill="#000"/>')
    return _svg(drawn, title)


def mean_plot(curve: Curve, sign: int, title: str, names: tuple[str, str]) -> str:
    """The mean output over all records; the darker a cell, the more records are proved there."""
    axes = _axes(curve.low, curve.high, curve.mean)
    proved = (curve.rising if sign > 0 else curve.falling) / curve.count
    nodes = curve.nodes
    drawn = []
    for place, part in enumerate(proved):
        if part > 0:
            band = axes.band(float(nodes[place]), float(nodes[place + 1]), "#4f9d69")
            drawn.append(band.replace("/>", f' fill-opacity="{0.5 * part:.2f}"/>'))
    drawn += axes.frame(*names)
    drawn.append(axes.line(nodes, curve.mean, 'stroke="#1b3a57" stroke-width="1.8"'))
    return _svg(drawn, title)


def envelope_plot(curve: Curve, title: str, names: tuple[str, str]) -> str:
    """Between the lines lie the derivatives of all records, proved."""
    nodes = curve.nodes
    xs = np.repeat(nodes, 2)[1:-1]
    lower, upper = np.repeat(curve.lower, 2), np.repeat(curve.upper, 2)
    axes = _axes(curve.low, curve.high, lower, upper, np.zeros(1))
    corners = [*zip(xs, lower, strict=True), *reversed(list(zip(xs, upper, strict=True)))]
    points = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in corners)
    drawn = [f'<polygon points="{points}" fill="#cdd9e5"/>', *axes.frame(*names)]
    drawn.append(axes.line(xs, lower, 'stroke="#1b3a57" stroke-width="1.2"'))
    drawn.append(axes.line(xs, upper, 'stroke="#1b3a57" stroke-width="1.2"'))
    zero = np.array([curve.low, curve.high])
    drawn.append(axes.line(zero, np.zeros(2), 'stroke="#8c1d40" stroke-dasharray="4 3"'))
    return _svg(drawn, title)


def heat_map(rows: Sequence[tuple[str, Mapping[int, Found]]], records: Sequence[int]) -> str:
    """Questions as rows, records in the table's order as columns (several to one where many).

    A record that was not asked stays white.
    """
    per = max(1, -(-len(records) // COLUMNS))
    count = max(1, -(-len(records) // per))
    size = min(CELL, 640.0 / count)
    drawn = []
    for line, (label, verdicts) in enumerate(rows):
        top = line * (CELL + 3)
        drawn.append(f'<text x="0" y="{top + 12:.1f}">{escape(label[:44])}</text>')
        for column in range(count):
            here = records[column * per : (column + 1) * per]
            words = [verdicts[record] for record in here if record in verdicts]
            if words:
                drawn += _cell(words, LABELS + column * size, top, size)
    height = len(rows) * (CELL + 3) + 4
    return _svg(drawn, "verdicts by record", LABELS + count * size + 2, height)


def _cell(words: Sequence[Found], left: float, top: float, size: float) -> list[str]:
    """One column, stacked by verdict: the height is the share."""
    parts, y = [], top
    for found in Found:
        height = CELL * sum(word is found for word in words) / len(words)
        if height:
            parts.append(
                f'<rect x="{left:.2f}" y="{y:.2f}" width="{size:.2f}" height="{height:.2f}" '
                f'fill="{COLOURS[found]}"/>'
            )
            y += height
    return parts


def is_drawable(curve: Curve | None) -> bool:
    return curve is not None and all(isfinite(value) for value in curve.total)
