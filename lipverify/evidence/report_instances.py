"""What became of the lines of instances files: by family, and as a cactus plot."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

from lipverify.evidence.report_vnncomp import SOLVED, WORDS

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 400, 64, 48, 32, 150
COLOURS = ("#1f6f8b", "#c77700", "#7a3e9d", "#2e7d32", "#b3261e", "#5d4037", "#455a64", "#ad1457")
LEAST_SECONDS = 0.01
"""Faster answers are drawn as this: the axis is logarithmic."""


@dataclass(frozen=True)
class InstanceResult:
    """One line: network and property as the file names them, the word, and the time it took."""

    family: str
    network: str
    property: str
    word: str
    seconds: float
    subproblems: int = 0


@dataclass(frozen=True)
class FamilySummary:
    """How the instances of one family ended; `median` of the seconds of the solved ones."""

    family: str
    counts: dict[str, int]
    median: float | None
    slowest: float | None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def solved(self) -> int:
        return sum(self.counts[name] for name in SOLVED)


def families(results: Sequence[InstanceResult]) -> list[FamilySummary]:
    """One summary per family, in the order in which they come; all of them last, if several."""
    names = list(dict.fromkeys(result.family for result in results))
    found = [_summary(name, [r for r in results if r.family == name]) for name in names]
    return [*found, _summary("all", results)] if len(found) > 1 else found


def _summary(name: str, results: Sequence[InstanceResult]) -> FamilySummary:
    counts = Counter(result.word for result in results)
    times = [result.seconds for result in results if result.word in SOLVED]
    return FamilySummary(
        name,
        {word: counts[word] for word in WORDS},
        median(times) if times else None,
        max(times) if times else None,
    )


def instances_json(results: Sequence[InstanceResult]) -> dict[str, Any]:
    """The part of a run's JSON that is about instances."""
    return {
        "families": [
            {
                "family": family.family,
                "instances": family.total,
                "solved": family.solved,
                **family.counts,
                "median_seconds": family.median,
                "slowest_seconds": family.slowest,
            }
            for family in families(results)
        ],
        "instances": [vars(result) for result in results],
    }


def results_csv(results: Sequence[InstanceResult]) -> str:
    """A table with a header; seconds to the millisecond."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["family", "network", "property", "result", "seconds", "subproblems"])
    for r in results:
        row = [r.family, r.network, r.property, r.word, f"{r.seconds:.3f}", r.subproblems]
        writer.writerow(row)
    return stream.getvalue()


def cactus_svg(results: Sequence[InstanceResult]) -> str:
    """Per family: how many instances (across) are solved within how many seconds each (up)."""
    names = list(dict.fromkeys(result.family for result in results))
    curves = [
        sorted(max(r.seconds, LEAST_SECONDS) for r in results if r.family == n and r.word in SOLVED)
        for n in names
    ]
    times = [time for curve in curves for time in curve] or [1.0]
    low, high = floor(log10(min(times))), ceil(log10(max(times)))
    axes = _Axes(max(1, *(len(curve) for curve in curves)), low, max(high, low + 1))
    parts = [*axes.drawn()]
    for place, (name, curve) in enumerate(zip(names, curves, strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        points = " ".join(f"{axes.x(k + 1):.1f},{axes.y(t):.1f}" for k, t in enumerate(curve))
        if curve:
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            parts.extend(
                f'<circle cx="{axes.x(k + 1):.1f}" cy="{axes.y(t):.1f}" r="2.5" fill="{colour}"/>'
                for k, t in enumerate(curve)
            )
        total = sum(result.family == name for result in results)
        label = escape(f"{name}: {len(curve)} of {total}")
        y = TOP + 16 * (place + 1)
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{y}" fill="{colour}">{label}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>{"".join(parts)}</svg>\n'
    )


@dataclass(frozen=True)
class _Axes:
    """`most` instances across; powers of ten of a second from `low` to `high` up."""

    most: int
    low: int
    high: int

    def x(self, count: float) -> float:
        return LEFT + (WIDTH - RIGHT - LEFT) * count / self.most

    def y(self, seconds: float) -> float:
        share = (log10(seconds) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share

    def drawn(self) -> list[str]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = [f'<text x="{LEFT}" y="18" font-size="13">instances solved within a time</text>']
        for power in range(self.low, self.high + 1):
            y = self.y(10.0**power)
            parts.append(
                f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#dddddd"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>'
            )
        step = max(1, ceil(self.most / 8))
        for count in range(0, self.most + 1, step):
            x = self.x(count)
            parts.append(
                f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" stroke="#555"/>'
                f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{count}</text>'
            )
        parts.append(
            f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#555555"/>'
            f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 10}" text-anchor="middle">instances '
            "solved</text>"
        )
        return parts
