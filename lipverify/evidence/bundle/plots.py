"""Pictures of a report: the interval over time, intervals against thresholds, trees of splits."""

from collections.abc import Sequence
from html import escape
from math import isfinite, log10

from lipverify.evidence.bundle.certificates import Split
from lipverify.evidence.bundle.record import Property

WIDTH, HEIGHT = 460.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 14.0, 22.0, 38.0
TICKS = 5
LOGARITHMIC = 30.0
"""Positive values that differ by more than this factor get a logarithmic axis."""
LEAST_SPAN = 1e-9
PROVED, ATTAINED, LIMIT = "#1b3a57", "#4f9d69", "#8c1d40"
ROW = 24.0
ROWS_SHOWN = 40

Ends = tuple[str, float | None, float | None]


def timeline_plot(prop: Property) -> str:
    """Lower and upper end over the seconds, as steps; "" where there are fewer than two points."""
    points = [(t, lo, up) for t, lo, up, _ in prop.timeline if lo is not None or up is not None]
    values = [v for _, lo, up in points for v in (lo, up) if v is not None and isfinite(v)]
    if len(points) < 2 or not values:
        return ""
    limit = prop.threshold
    shown = [*values, limit] if limit is not None else values
    scale = _Scale(shown)
    last = max(prop.seconds, points[-1][0]) or 1.0
    parts = scale.frame("proved interval")
    for share in range(TICKS):
        seconds = last * share / (TICKS - 1)
        x = _x(seconds, last)
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">'
            f"{seconds:.3g}</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">seconds</text>')
    for which, colour in ((1, ATTAINED), (2, PROVED)):
        path = _steps([(p[0], p[which]) for p in points], scale, last)
        if path:
            parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    if limit is not None:
        parts.append(_limit(scale.y(limit)))
    return _svg(parts, f"interval over time of {prop.id}", WIDTH, HEIGHT)


def _limit(y: float) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LIMIT}" '
        'stroke-dasharray="5 3"/>'
    )


def _steps(points: Sequence[tuple[float, float | None]], scale: "_Scale", last: float) -> str:
    """Each value holds until the next one, the last to the end."""
    path, y = "", None
    for seconds, value in points:
        if value is None or not isfinite(value):
            continue
        x = _x(seconds, last)
        path += f"M {x:.1f} {scale.y(value):.1f}" if y is None else f" H {x:.1f}"
        y = scale.y(value)
        path += f" V {y:.1f}"
    return "" if y is None else f"{path} H {_x(last, last):.1f}"


def _x(seconds: float, last: float) -> float:
    return LEFT + seconds / last * (WIDTH - LEFT - RIGHT)


class _Scale:
    """From values to heights; logarithmic where that shows more."""

    def __init__(self, values: Sequence[float]) -> None:
        low, high = min(values), max(values)
        self._log = low > 0 and high / low > LOGARITHMIC
        low, high = self._of(low), self._of(high)
        pad = 0.06 * (high - low) or max(abs(high), 1.0) * 0.06
        self._low, self._high = low - pad, high + pad

    def _of(self, value: float) -> float:
        return log10(value) if self._log else value

    def y(self, value: float) -> float:
        share = (self._of(value) - self._low) / max(self._high - self._low, LEAST_SPAN)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def frame(self, label: str) -> list[str]:
        parts = [f'<text x="4" y="11" font-weight="bold">{escape(label)}</text>']
        for k in range(TICKS):
            place = self._low + (self._high - self._low) * k / (TICKS - 1)
            value = 10**place if self._log else place
            y = self.y(value)
            parts.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc" '
                f'stroke-width="0.5"/><text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">'
                f"{value:.4g}</text>"
            )
        return parts


def margin_rows(prop: Property) -> list[Ends]:
    """What is held against the threshold: the interval, or one for each feature."""
    if prop.features:
        return [(f"{f.name} ({f.direction})", f.bound.lower, f.bound.upper) for f in prop.features]
    return [] if prop.bound is None else [("interval", prop.bound.lower, prop.bound.upper)]


def margin_plot(prop: Property) -> str:
    """Intervals as bars, the threshold as a dashed line; "" where there is nothing to compare."""
    rows = margin_rows(prop)[:ROWS_SHOWN]
    values = [v for _, lo, up in rows for v in (lo, up) if v is not None]
    if prop.threshold is None or not values:
        return ""
    limits = {prop.threshold}
    if prop.features:
        limits = {
            prop.threshold if f.direction == "increasing" else -prop.threshold
            for f in prop.features
        }
    low, high = min(*values, *limits), max(*values, *limits)
    pad = 0.08 * (high - low) or max(abs(high), 1.0) * 0.08
    low, high = low - pad, high + pad
    left, height = 150.0, TOP + ROW * len(rows) + 26

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - RIGHT)

    parts = [f'<text x="4" y="11" font-weight="bold">{escape(_held(prop))}</text>']
    for k, (label, lower, upper) in enumerate(rows):
        y = TOP + ROW * k
        start, end = x(low if lower is None else lower), x(high if upper is None else upper)
        parts.append(
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(label[:24])}</text>'
            f'<rect x="{start:.1f}" y="{y + 5}" width="{max(end - start, 2):.1f}" height="13" '
            f'fill="#9db4c8" stroke="{PROVED}"/>'
        )
    bottom = TOP + ROW * len(rows)
    for limit in sorted(limits):
        parts.append(
            f'<line x1="{x(limit):.1f}" x2="{x(limit):.1f}" y1="{TOP}" y2="{bottom}" '
            f'stroke="{LIMIT}" stroke-width="1.5" stroke-dasharray="5 3"/>'
        )
    for value, anchor in ((low, "start"), ((low + high) / 2, "middle"), (high, "end")):
        parts.append(
            f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="{anchor}">{value:.4g}</text>'
        )
    return _svg(parts, f"margins of {prop.id}", WIDTH, height)


def _held(prop: Property) -> str:
    what = {
        "lipschitz": "proved interval of the constant; dashed: at most",
        "monotonicity": "proved derivatives; dashed: margin",
        "robustness": "smallest margin, proved interval; dashed: asked",
        "radius": "proved radius; dashed: at least",
    }
    return what.get(prop.kind, "proved interval; dashed: threshold")


def tree_plot(tree: Sequence[Split]) -> str:
    """Depth downward, leaves side by side; splits are named by their tooltips."""
    leaves = [place for place, node in enumerate(tree) if not node.label]
    if not leaves:
        return ""
    deepest = max(node.depth for node in tree)
    step = min(26.0, 900.0 / len(leaves))
    row = min(34.0, 400.0 / max(deepest, 1))
    columns: dict[int, float] = {}
    children: dict[int, list[int]] = {}
    path: list[int] = []
    for place, node in enumerate(tree):
        del path[node.depth :]
        if path:
            children.setdefault(path[-1], []).append(place)
        path.append(place)
    for count, place in enumerate(leaves):
        columns[place] = 14 + step * (count + 0.5)
    for place in reversed(range(len(tree))):
        mine = [columns[child] for child in children.get(place, ())]
        if mine:
            columns[place] = (mine[0] + mine[-1]) / 2
        else:
            columns.setdefault(place, 14.0)
    parts = []
    for place, node in enumerate(tree):
        x, y = columns[place], 16 + row * node.depth
        for child in children.get(place, ()):
            parts.append(
                f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{columns[child]:.1f}" y2="{y + row:.1f}" '
                'stroke="#9aa4ad"/>'
            )
    radius = max(1.0, min(5.0, step / 3))
    for place, node in enumerate(tree):
        fill = PROVED if node.label else ATTAINED
        parts.append(
            f'<circle cx="{columns[place]:.1f}" cy="{16 + row * node.depth:.1f}" r="{radius:.1f}" '
            f'fill="{fill}"><title>{escape(node.label or "leaf, closed")}</title></circle>'
        )
    return _svg(parts, "tree of splits", 28 + step * len(leaves), 32 + row * deepest)


def _svg(parts: Sequence[str], title: str, width: float, height: float) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'
    )
