"""Questions on lines: one feature moves, all others stay as in the record. Decided exactly.

All lines of a block of records are walked together. What rounding leaves open is settled piece by
piece in exact arithmetic, so that nothing but networks with rounded weights can stay open.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf

import numpy as np
import torch
from torch import Tensor

from lipverify.audit.columns import ColumnType, Feature
from lipverify.audit.output import Target
from lipverify.audit.pieces import LinePieces, Numbers, largest_fall
from lipverify.bounds.line import walk_line
from lipverify.bounds.lines import ExactLine, LineSet, exact_network, walk_lines
from lipverify.errors import NumericalFailure
from lipverify.numerics import gamma

LINES_TIMES_NEURONS = 8192
"""Lines walked together, times the network's neurons: more would leave the processor's caches."""
MOST_VALUES = 10_000
"""Whole numbers of a stretch whose kinks are not known that are looked at one by one."""
HALVINGS = 9
"""How often the stretch of a violation is halved in search of a short one."""
RELATIVE = 1e-12
"""By which exact fractions are moved outward when they become floats again."""


@dataclass(frozen=True, eq=False)
class Line:
    """The point [n] whose `feature` runs from `low` to `high`."""

    x: Tensor
    feature: Feature
    low: float
    high: float


@dataclass(frozen=True)
class SignAnswer:
    """Whether sign x slope >= margin all along the line (at its values, for a discrete feature).

    `holds` is None where it is open. `pieces` has the slopes as far as they were needed. `proof` is
    a step (from, to) that is proved to break it.
    """

    holds: bool | None
    pieces: LinePieces
    proof: tuple[float, float] | None = None


def walked(target: Target, lines: Sequence[Line]) -> Iterator[LinePieces]:
    """The pieces of every line, in order. `NumericalFailure` on overflow."""
    neurons = sum(node.size for node in target.graph.activations)
    size = max(1, LINES_TIMES_NEURONS // max(1, neurons))
    for start in range(0, len(lines), size):
        block = lines[start : start + size]
        found = walk_lines(
            target.graph,
            LineSet(
                torch.stack([line.x for line in block]),
                torch.tensor([line.feature.index for line in block]),
                torch.tensor([line.low for line in block], dtype=torch.float64),
                torch.tensor([line.high for line in block], dtype=torch.float64),
            ),
            target.row,
        )
        columns = (
            found.start,
            found.end,
            found.slopes.lower[:, 0],
            found.slopes.upper[:, 0],
            found.middle,
            found.value[:, 0],
            found.value_error[:, 0],
            found.bent,
        )
        arrays = [column.numpy() for column in columns]
        ends = np.searchsorted(found.line.numpy(), np.arange(len(block) + 1))
        for first, last in zip(ends[:-1], ends[1:], strict=True):
            yield LinePieces(*(array[first:last] for array in arrays))


def decide_sign(
    target: Target, line: Line, pieces: LinePieces, sign: int, margin: float
) -> SignAnswer:
    """Whether sign x slope >= margin; between the values of a discrete feature, on average."""
    if line.low >= line.high:
        return SignAnswer(True, pieces)
    answer = _continuous(target, line, pieces, sign, margin)
    if answer.holds or line.feature.type is ColumnType.NUMBER:
        return answer
    return _discrete(target, line, answer.pieces, sign, margin)


def _continuous(
    target: Target, line: Line, pieces: LinePieces, sign: int, margin: float
) -> SignAnswer:
    low, high = _signed(pieces, sign)
    broken = (high < margin) & (pieces.start < pieces.end)
    if broken.any():
        worst = int(np.argmax(np.where(broken, pieces.end - pieces.start, -1.0)))
        return SignAnswer(False, pieces, (float(pieces.start[worst]), float(pieces.end[worst])))
    unclear = ~(low >= margin)
    if not unclear.any():
        return SignAnswer(True, pieces)
    settled, proof = _settle(target, line, pieces, unclear, sign, margin)
    if proof is not None:
        return SignAnswer(False, settled, proof)
    low, _ = _signed(settled, sign)
    # Written so that NaN fails it.
    return SignAnswer(True if bool((low >= margin).all()) else None, settled)


def _signed(pieces: LinePieces, sign: int) -> tuple[Numbers, Numbers]:
    return (pieces.lower, pieces.upper) if sign > 0 else (-pieces.upper, -pieces.lower)


def _settle(
    target: Target,
    line: Line,
    pieces: LinePieces,
    unclear: np.ndarray,
    sign: int,
    margin: float,
) -> tuple[LinePieces, tuple[float, float] | None]:
    """Better slopes on the unclear pieces, or a stretch that is proved to break the claim."""
    network = exact_network(target.graph)
    lower, upper = [], []
    limit = sign * margin
    for place in np.flatnonzero(unclear):
        start, end = float(pieces.start[place]), float(pieces.end[place])
        if network is None:
            low, high = _again(target, line, start, end)
            lower.append(max(low, float(pieces.lower[place])))
            upper.append(min(high, float(pieces.upper[place])))
            continue
        exact = ExactLine(network, line.x, line.feature.index, target.row[0])
        found = exact.pieces(start, end)
        if found is None:
            lower.append(float(pieces.lower[place]))
            upper.append(float(pieces.upper[place]))
            continue
        slopes = [piece.slope for piece in found]
        for piece in found:
            if sign * piece.slope < margin and piece.start < piece.end:
                return pieces, (float(piece.start), float(piece.end))
        # Floats just outside, but for the claim itself, which was compared exactly.
        least, most = float(min(slopes)), float(max(slopes))
        least -= RELATIVE * abs(least) if min(slopes) != least else 0.0
        most += RELATIVE * abs(most) if max(slopes) != most else 0.0
        lower.append(max(least, limit) if sign > 0 else least)
        upper.append(most if sign > 0 else min(most, limit))
    return pieces.replaced(unclear, np.array(lower), np.array(upper)), None


def _again(target: Target, line: Line, start: float, end: float) -> tuple[float, float]:
    """The slopes on a short stretch by interval arithmetic, which resolves kinks that meet."""
    try:
        found = walk_line(target.graph, line.x, line.feature.index, start, end, target.row)
    except NumericalFailure:
        return -inf, inf
    return float(found.slopes.lower.min()), float(found.slopes.upper.max())


def _discrete(
    target: Target, line: Line, pieces: LinePieces, sign: int, margin: float
) -> SignAnswer:
    """Between neighbouring values; on one piece, any two of them tell of all between them."""
    values = corner_values(line, pieces)
    if len(values) < 2:
        return SignAnswer(True, pieces)
    value, error = pieces.at(values)
    rise = sign * np.diff(value) - margin * np.diff(values)
    slack = (error[:-1] + error[1:]) * (1 + 1e-9) + 4e-16 * np.abs(value[:-1])
    slack += 4e-16 * (np.abs(value[1:]) + abs(margin) * np.abs(values[1:] - values[:-1]))
    if (rise + slack < 0).any():
        worst = int(np.argmin(rise))
        return SignAnswer(False, pieces, (float(values[worst]), float(values[worst + 1])))
    network = exact_network(target.graph)
    holds: bool | None = True
    for place in np.flatnonzero(~(rise - slack >= 0)):
        if network is None:
            holds = None
            continue
        exact = ExactLine(network, line.x, line.feature.index, target.row[0])
        low, high = float(values[place]), float(values[place + 1])
        least = Fraction(margin) * (Fraction(high) - Fraction(low))
        if sign * (exact.value(high) - exact.value(low)) < least:
            return SignAnswer(False, pieces, (low, high))
    return SignAnswer(holds, pieces)


def corner_values(line: Line, pieces: LinePieces) -> Numbers:
    """The values of a discrete feature that tell of all: those beside the kinks, and the ends."""
    feature = line.feature
    if feature.type is ColumnType.ORDINAL:
        known = np.array(feature.values, dtype=np.float64)
        return known[(known >= line.low) & (known <= line.high)]
    nodes = pieces.nodes
    near = np.concatenate([np.floor(nodes), np.ceil(nodes)])
    for place in np.flatnonzero(pieces.bent & (pieces.end - pieces.start >= 1)):
        inside = np.arange(np.ceil(pieces.start[place]), np.floor(pieces.end[place]) + 1)
        if len(inside) > MOST_VALUES:
            raise NumericalFailure("rounding leaves too many whole numbers between two kinks open")
        near = np.concatenate([near, inside])
    low, high = np.ceil(line.low), np.floor(line.high)
    return np.unique(near[(near >= low) & (near <= high)])


def values_at(target: Target, points: Tensor) -> tuple[Tensor, Tensor]:
    """row . graph at points [k, n], as centre and error: [k] each. Proved."""
    index = torch.zeros(len(points), dtype=torch.int64)
    found = walk_lines(target.graph, LineSet(points, index, points[:, 0], points[:, 0]), target.row)
    return found.value[:, 0], found.value_error[:, 0]


def steps_of(line: Line, pieces: LinePieces, sign: int, proof: tuple[float, float]) -> Numbers:
    """Pairs (before, after) of the feature that should break the claim: [k, 2], shortest first.

    Around the proof ever shorter ones, and the stretch with the largest fall of sign x output.
    """
    if line.feature.type is not ColumnType.NUMBER:
        return _discrete_steps(line, pieces, sign, proof)
    low, high = _steepest(pieces, sign, proof)
    middle, width = low / 2 + high / 2, high - low
    shares = 0.5 ** np.arange(1, HALVINGS)
    shorter = [_rounded(middle - width * s / 2, middle + width * s / 2) for s in shares[::-1]]
    steps = [*shorter, (low, high)]
    first, last = largest_fall(sign * pieces.profile)
    if first < last:
        steps.append((float(pieces.nodes[first]), float(pieces.nodes[last])))
    return np.array(steps)


def is_broken(
    pieces: LinePieces, sign: int, margin: float, proof: tuple[float, float], step: Numbers
) -> bool:
    """Whether sign x change < margin x step is proved for the step (before, after)."""
    before, after = float(step[0]), float(step[1])
    if not before < after:
        return False
    if proof[0] <= before and after <= proof[1]:
        return True
    _, high = _signed(pieces, sign)
    reach = np.minimum(pieces.end, after) - np.maximum(pieces.start, before)
    rises = np.where(reach > 0, high * reach, 0.0)
    slack = gamma(len(rises) + 8) * float(np.abs(rises).sum() + abs(margin) * (after - before))
    return float(rises.sum()) + slack < margin * (after - before)


def _steepest(pieces: LinePieces, sign: int, proof: tuple[float, float]) -> tuple[float, float]:
    """Of the pieces at least a tenth as wide as the proof's, the one that falls the fastest."""
    slope = sign * (pieces.lower + pieces.upper) / 2
    wide = (pieces.end - pieces.start) >= (proof[1] - proof[0]) / 10
    place = int(np.argmin(np.where(wide & ~pieces.bent, slope, inf)))
    if not wide[place] or pieces.bent[place] or slope[place] >= 0:
        return proof
    return float(pieces.start[place]), float(pieces.end[place])


def _rounded(low: float, high: float) -> tuple[float, float]:
    """With no more digits than the step needs."""
    width = high - low
    digits = int(np.ceil(-np.log10(width))) + 2 if width > 0 else 0
    near = round(low, digits), round(high, digits)
    return near if near[0] < near[1] else (low, high)


def _discrete_steps(
    line: Line, pieces: LinePieces, sign: int, proof: tuple[float, float]
) -> Numbers:
    steps = [proof]
    if line.feature.type is ColumnType.INTEGER and proof[1] - proof[0] > 1:
        value, _ = pieces.at(np.array([proof[0], proof[0] + 1, proof[1] - 1, proof[1]]))
        first = sign * (value[1] - value[0]) <= sign * (value[3] - value[2])
        steps.insert(0, (proof[0], proof[0] + 1) if first else (proof[1] - 1, proof[1]))
    values = corner_values(line, pieces)
    first, last = largest_fall(sign * pieces.at(values)[0])
    if first < last:
        steps.append((float(values[first]), float(values[last])))
    return np.array(steps)


def moved(line: Line, values: Sequence[float]) -> Tensor:
    """The line's point with the feature at each value: [k, n]."""
    points = line.x.repeat(len(values), 1)
    points[:, line.feature.index] = torch.tensor(list(values), dtype=torch.float64)
    return points


__all__ = [
    "Line",
    "SignAnswer",
    "corner_values",
    "decide_sign",
    "is_broken",
    "moved",
    "steps_of",
    "values_at",
    "walked",
]
