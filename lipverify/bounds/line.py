"""One moving input: a piecewise-linear network on a line, piece by piece.

On t -> f(x + (t - x_i) e_i), a network of affine operators, ReLU and LeakyReLU is piecewise linear
in one variable, whatever its width. `walk_line` covers [low, high] by closed intervals and encloses
the slopes inside each; `decide_line` compares them with a threshold.

An interval of t carries, for every node, its value at the middle and the range of its derivative by
t, both rounded outward; by the mean value theorem, value + slope x (t - middle) encloses the node
on the whole interval. A neuron that is not certain to stay on one side of 0 has an open gate. If it
is not flat, its zero lies in middle - value / slope: a thin zone, which is cut out; what is left of
the interval has one gate more decided. Layer by layer, this leaves pieces without open gates, whose
slope is one number up to rounding, and zones. Everything is a proof at every stage: an interval
that was not cut far enough only has a wider range of slopes.

In a zone, the slope is affine in each gate, so its range over all open gates is the hull over their
ends; with one neuron, of both neighbours' slopes. It holds the Clarke derivative of f on the line.
"""

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import inf, nextafter

import torch
from torch import Tensor

from lipverify.bounds.line_enclosure import Line, Neurons, enclose, row_slopes
from lipverify.errors import RegionError
from lipverify.graph import ForwardGraph
from lipverify.interval import Interval
from lipverify.numerics import DTYPE

ZONE_GATES = 6
"""Up to this many open gates of an interval are resolved by trying both ends of each."""
PAD = 4
"""Zones are widened by this many times their width, so that the rounding of their neighbours'
enclosures, which is of the same size, does not reach the zero again."""
ROUNDS_PER_LAYER = 3
"""One round per layer cuts at its zeros; more of them where the rounding did reach."""
BLOCK_NUMBERS = 2e7
"""About how many numbers are held per node value when many intervals are enclosed at once."""


@dataclass(frozen=True, eq=False)
class LinePieces:
    """Intervals [start, end] that cover [low, high] in order, with the slopes of each row.

    start and end [p]; slopes [p, r] holds d(row . f)/dt for every t inside (start, end), and where
    intervals meet, the Clarke derivative lies in the hull of both.
    """

    start: Tensor
    end: Tensor
    slopes: Interval


class LineAnswer(Enum):
    """What is proved of sign x slope <= threshold."""

    HOLDS = "holds"
    VIOLATED = "violated"
    OPEN = "open"


@dataclass(frozen=True)
class LineDecision:
    """`upper` is a proved upper end of sign x slope on the whole line.

    `piece` (start, end) is where VIOLATED is proved (everywhere inside), or where `upper` comes
    from.
    """

    answer: LineAnswer
    upper: float
    piece: tuple[float, float]


def walk_line(
    forward: ForwardGraph,
    x: Tensor,
    index: int,
    low: float,
    high: float,
    rows: Tensor | None = None,
) -> LinePieces:
    """The pieces of rows . f while input `index` of the point x [n] runs from `low` to `high`.

    rows [r, m], by default the outputs themselves. `UnsupportedOperator` for activations that are
    not piecewise linear, `RegionError` unless low <= high are finite, `NumericalFailure` on
    overflow.
    """
    if not -inf < low <= high < inf:
        raise RegionError(f"input {index} cannot run from {low} to {high}")
    if rows is None:
        rows = torch.eye(forward.output_size, dtype=DTYPE)
    line = Line(forward, x.to(DTYPE), index, rows.to(DTYPE))
    whole = (float(low), float(high))
    pending, done = ([whole], []) if low < high else ([], [whole])
    for _ in range(ROUNDS_PER_LAYER * (len(forward.activations) + 1)):
        if not pending:
            break
        finished, pending = _cut_all(line, pending)
        done += finished
    ordered = sorted(done + pending)
    start, end = torch.tensor(ordered, dtype=DTYPE).T.contiguous()
    parts = [_slopes(line, *block) for block in _blocks(line, start, end)]
    slopes = Interval(torch.cat([p.lower for p in parts]), torch.cat([p.upper for p in parts]))
    return LinePieces(start, end, slopes)


def decide_line(pieces: LinePieces, sign: int, threshold: float, row: int = 0) -> LineDecision:
    """Whether sign x d(row . f)/dt <= threshold on the whole line.

    VIOLATED needs an interval of positive width on which the slope is proved to exceed it.
    """
    slopes = pieces.slopes
    upper = slopes.upper[:, row] if sign > 0 else -slopes.lower[:, row]
    lower = slopes.lower[:, row] if sign > 0 else -slopes.upper[:, row]
    worst = int(upper.argmax())
    # Written so that NaN fails it.
    if bool((upper <= threshold).all()):
        return LineDecision(LineAnswer.HOLDS, float(upper[worst]), _piece(pieces, worst))
    broken = (lower > threshold) & (pieces.start < pieces.end)
    if bool(broken.any()):
        widest = int(torch.where(broken, pieces.end - pieces.start, -1.0).argmax())
        return LineDecision(LineAnswer.VIOLATED, float(upper[worst]), _piece(pieces, widest))
    return LineDecision(LineAnswer.OPEN, float(upper[worst]), _piece(pieces, worst))


def _piece(pieces: LinePieces, index: int) -> tuple[float, float]:
    return float(pieces.start[index]), float(pieces.end[index])


Span = tuple[float, float]


def _cut_all(line: Line, spans: list[Span]) -> tuple[list[Span], list[Span]]:
    """Cut each interval at the zeros of its first layer that has any: (finished, to look at)."""
    finished: list[Span] = []
    pending: list[Span] = []
    start, end = torch.tensor(spans, dtype=DTYPE).T
    for block_start, block_end in _blocks(line, start, end):
        zones = _zones(enclose(line, block_start, block_end), block_start, block_end)
        for a, b, found in zip(block_start.tolist(), block_end.tolist(), zones, strict=True):
            if not found:
                finished.append((a, b))
                continue
            left = a
            for zone_start, zone_end in _merged(found):
                if left < zone_start:
                    pending.append((left, zone_start))
                if zone_start < zone_end:
                    finished.append((zone_start, zone_end))
                left = zone_end
            if left < b:
                pending.append((left, b))
    return finished, pending


def _zones(layers: dict[str, Neurons], start: Tensor, end: Tensor) -> list[list[Span]]:
    """For each interval, where the neurons of its first layer with a crossing have their zeros."""
    zones: list[list[Span]] = [[] for _ in range(len(start))]
    middle = Interval(start, end).center
    for neurons in layers.values():
        unseen = torch.tensor([not found for found in zones])
        for place, neuron in (neurons.crossing & unseen.unsqueeze(1)).nonzero().tolist():
            zone = _zero(
                float(middle[place]),
                _entry(neurons.value, place, neuron),
                _entry(neurons.slope, place, neuron),
            )
            zones[place].append(_inside(zone, (float(start[place]), float(end[place]))))
    return zones


def _entry(interval: Interval, place: int, neuron: int) -> Span:
    return float(interval.lower[place, neuron]), float(interval.upper[place, neuron])


def _inside(zone: Span, span: Span) -> Span:
    """The part of `zone` in `span`; where that cuts nothing off, the last floats at that end.

    The rounding of the enclosure saw a zero there: without those floats it does not.
    """
    start, end = max(zone[0], span[0]), min(zone[1], span[1])
    if end <= span[0]:
        return span[0], nextafter(span[0], inf)
    if start >= span[1]:
        return nextafter(span[1], -inf), span[1]
    return start, end


def _zero(middle: float, value: Span, slope: Span) -> Span:
    """All t with v + s (t - middle) = 0, v in `value`, s in `slope` (without 0), rounded outward.

    Exact ends that are floats stay as they are, so that a zero known exactly is a point.
    """
    corners = [Fraction(v) / Fraction(s) for v in value for s in slope]
    least, most = Fraction(middle) - max(corners), Fraction(middle) - min(corners)
    pad = PAD * (most - least)
    return _rounded(least - pad, -inf), _rounded(most + pad, inf)


def _rounded(value: Fraction, towards: float) -> float:
    try:
        nearest = float(value)
    except OverflowError:
        return towards if (value > 0) == (towards > 0) else -towards
    short = nearest > value if towards < 0 else nearest < value
    return nextafter(nearest, towards) if short else nearest


def _merged(spans: list[Span]) -> list[Span]:
    """The union of intervals, as disjoint ones in order."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _blocks(line: Line, start: Tensor, end: Tensor) -> list[tuple[Tensor, Tensor]]:
    size = max(1, int(BLOCK_NUMBERS / line.size))
    return list(zip(start.split(size), end.split(size), strict=True))


def _slopes(line: Line, start: Tensor, end: Tensor) -> Interval:
    """The range of each row's derivative on the intervals: [p, r]."""
    layers = enclose(line, start, end)
    gates = {name: neurons.gate for name, neurons in layers.items()}
    if not layers:
        single = row_slopes(line, {})
        return Interval(single.lower.expand(len(start), -1), single.upper.expand(len(start), -1))
    plain = row_slopes(line, gates)
    lower, upper = plain.lower.clone(), plain.upper.clone()
    parts = [torch.where(n.open, n.slope.magnitude, 0.0) for n in layers.values()]
    weight = torch.cat(parts, dim=1)
    for place in (weight > 0).any(1).nonzero().flatten().tolist():
        here = {name: _at(gate, place) for name, gate in gates.items()}
        hull = _hull(line, here, weight[place])
        lower[place] = torch.maximum(lower[place], hull.lower)
        upper[place] = torch.minimum(upper[place], hull.upper)
    return Interval(lower, upper)


def _at(gate: Interval, place: int) -> Interval:
    return Interval(gate.lower[place : place + 1], gate.upper[place : place + 1])


def _hull(line: Line, gates: dict[str, Interval], weight: Tensor) -> Interval:
    """The range of the slopes over the gates [1, size] of one interval: [r].

    The slope is affine in each gate, whatever the others are; so both ends of some gates, with the
    others left as intervals, cover everything. Those of the largest `weight` are chosen.
    """
    chosen = weight.topk(min(ZONE_GATES, int((weight > 0).sum()))).indices
    count = 2 ** len(chosen)
    bits = (torch.arange(count).unsqueeze(1) >> torch.arange(len(chosen))) % 2 == 1
    lower = torch.cat([gate.lower for gate in gates.values()], 1).repeat(count, 1)
    upper = torch.cat([gate.upper for gate in gates.values()], 1).repeat(count, 1)
    end = torch.where(bits, upper[:, chosen], lower[:, chosen])
    lower[:, chosen] = end
    upper[:, chosen] = end
    sizes = [gate.lower.shape[1] for gate in gates.values()]
    split = zip(gates, lower.split(sizes, 1), upper.split(sizes, 1), strict=True)
    slopes = row_slopes(line, {name: Interval(low, high) for name, low, high in split})
    return Interval(slopes.lower.amin(0), slopes.upper.amax(0))
