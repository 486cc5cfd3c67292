"""The walk along many lines, layer by layer.

Each line t -> x + (t - x_i) e_i, low <= t <= high, starts as one interval. At an activation, every
neuron that is certain to pass 0 inside an interval gives a *zone*, a thin interval around its zero
as wide as rounding needs, and the interval is cut there. On what is left between zones all gates
are decided; in a zone the gate is open. After the last layer, a piece without open gates has one
slope, known up to rounding; the slopes of a zone with one open gate are those of its neighbours,
which is checked. Other zones keep the wide range that open gates give; `exact` settles them.

Every step is a proof whatever the zones are: they only decide how much stays open.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipverify.bounds.line_enclosure import Line
from lipverify.bounds.lines.band import INFLATE, Band, affine
from lipverify.errors import RegionError
from lipverify.graph import ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.numerics import DTYPE, SMALLEST, UNIT_ROUNDOFF, round_down, round_up
from lipverify.operators import Activation, AffineOperator, Dense

PAD = 4.0
"""Zones are so much wider than their error, so that their neighbours do not see the zero."""
CUTS = 3
"""Times that intervals are cut at one layer: again where rounding still reached a zero."""

TIGHT = 1.0 + 2.0**-50
"""Covers a few roundings; zones are made so much wider than their error."""

NEGATIVE, POSITIVE, OPEN, FLAT = 0, 1, 2, 3
"""Gates: decided, open, or of a neuron that is constant on the interval (its gate is nothing)."""


@dataclass(frozen=True, eq=False)
class LineSet:
    """q lines: points x [q, n], the moving input of each [q], and where it runs, low <= high [q].

    `RegionError` for ends that are not finite or in the wrong order.
    """

    x: Tensor
    index: Tensor
    low: Tensor
    high: Tensor

    def __post_init__(self) -> None:
        good = torch.isfinite(self.low) & torch.isfinite(self.high) & (self.low <= self.high)
        if not bool(good.all()):
            bad = int((~good).nonzero()[0])
            raise RegionError(
                f"line {bad}: input {int(self.index[bad])} cannot run from "
                f"{float(self.low[bad])} to {float(self.high[bad])}"
            )
        if not bool(torch.isfinite(self.x).all()):
            raise RegionError("a line leads through a point that is not finite")

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class WalkedLines:
    """Pieces of all lines, by line and then in order; they cover each line, sharing their ends.

    line, start, end [p]. `slopes` [p, r]: all derivatives of the rows inside. `value` [p, r], known
    within `value_error`, is at the middle of the piece. `bent` [p] marks zones, and whatever else
    may hold a kink inside; the rest is straight.
    """

    line: Tensor
    start: Tensor
    end: Tensor
    slopes: Interval
    value: Tensor
    value_error: Tensor
    bent: Tensor

    @property
    def middle(self) -> Tensor:
        return middle_of(self.start, self.end)


def check_walkable(forward: ForwardGraph) -> None:
    """`UnsupportedOperator`, naming the node, for a graph that no line can be walked through."""
    rows = torch.zeros(1, forward.output_size, dtype=DTYPE)
    Line(forward, torch.zeros(forward.input_size, dtype=DTYPE), 0, rows)


def walk_lines(forward: ForwardGraph, lines: LineSet, rows: Tensor) -> WalkedLines:
    """The pieces of rows . f, rows [r, m], on all lines.

    `UnsupportedOperator` for activations that are not linear on both sides of 0,
    `NumericalFailure` on overflow.
    """
    check_walkable(forward)
    return _Walk(forward, lines, rows.to(DTYPE)).run()


def middle_of(start: Tensor, end: Tensor) -> Tensor:
    middle = start / 2 + end / 2
    return torch.minimum(torch.maximum(middle, start), end)


class _Walk:
    """The intervals so far, and the bands of the nodes that are still needed."""

    def __init__(self, forward: ForwardGraph, lines: LineSet, rows: Tensor) -> None:
        self._forward = forward
        self._lines = lines
        self._rows = rows
        self._line = torch.arange(len(lines))
        self._start, self._end = lines.low.clone(), lines.high.clone()
        self._middle = middle_of(self._start, self._end)
        self._thin = torch.zeros(len(lines), dtype=torch.bool)
        self._bands: dict[str, Band] = {}
        self._gates: dict[str, Tensor] = {}

    def run(self) -> WalkedLines:
        forward = self._forward
        used = forward.ancestors(forward.output)
        nodes = [node for node in forward if node.operator is not None and node.name in used]
        last = {name: place for place, node in enumerate(nodes) for name in node.inputs}
        last[forward.output] = len(nodes)
        self._bands[ForwardGraph.INPUT] = self._input()
        for place, node in enumerate(nodes):
            if isinstance(node.operator, AffineOperator):
                operands = [self._bands[name] for name in node.inputs]
                self._bands[node.name] = affine(node.operator, operands)
            else:
                self._activate(node)
            for name in [name for name in self._bands if last.get(name, -1) <= place]:
                if name != node.name:
                    del self._bands[name]
        return self._finish()

    def _input(self) -> Band:
        count, size = len(self._line), self._forward.input_size
        rows = torch.arange(count)
        x = self._lines.x[self._line]
        x[rows, self._lines.index[self._line]] = self._middle
        unit = torch.zeros(count, size, dtype=DTYPE)
        unit[rows, self._lines.index[self._line]] = 1.0
        shape = (-1, *self._forward.input_shape)
        zero = torch.zeros(count, size, dtype=DTYPE).reshape(shape)
        return Band(x.reshape(shape), zero, unit.reshape(shape), zero)

    def _radius(self) -> Tensor:
        both = torch.maximum(self._end - self._middle, self._middle - self._start)
        return both * TIGHT

    def _activate(self, node: Node) -> None:
        operator = node.operator
        assert isinstance(operator, Activation)
        name = node.inputs[0]
        gate = _gate(self._bands[name], self._radius())
        for _ in range(CUTS):
            if not self._cut(self._bands[name], gate):
                break
            gate = _gate(self._bands[name], self._radius())
        self._gates[node.name] = gate
        self._bands[node.name] = _activated(operator, self._bands[name], gate)

    def _cut(self, band: Band, gate: Tensor) -> bool:
        """Cut the intervals at the zeros of this layer's neurons; whether there was any."""
        wide = ~self._thin & (self._start < self._end)
        row, neuron = ((gate == OPEN) & wide.unsqueeze(1)).nonzero(as_tuple=True)
        slope = band.slope.flatten(1)[row, neuron]
        slope_error = band.slope_error.flatten(1)[row, neuron]
        crossing = slope.abs() > slope_error
        row, neuron = row[crossing], neuron[crossing]
        if not len(row):
            return False
        slope, slope_error = slope[crossing], slope_error[crossing]
        value, error = band.value.flatten(1)[row, neuron], band.value_error.flatten(1)[row, neuron]
        start, end, middle = self._start[row], self._end[row], self._middle[row]
        radius = torch.maximum(end - middle, middle - start)
        offset = value / slope
        width = (error + slope_error * (radius + offset.abs())) / (slope.abs() - slope_error)
        rounding = UNIT_ROUNDOFF * (middle.abs() + radius + 4 * offset.abs())
        width = PAD * width + 4 * PAD * rounding
        zero = middle - offset
        low, high = zero - width, zero + width
        # A zero that only rounding sees, beyond an end: the last floats there become a zone.
        low = torch.minimum(torch.maximum(low, start), round_down(end))
        high = torch.maximum(torch.minimum(high, end), round_up(start))
        low, high = torch.maximum(low, start), torch.minimum(high, end)
        self._replace(*_parts(self._start, self._end, row, low, high))
        return True

    def _replace(self, parent: Tensor, start: Tensor, end: Tensor, zone: Tensor) -> None:
        """Put the given parts of the intervals in their place."""
        self._start, self._end = start, end
        middle = middle_of(start, end)
        step = middle - self._middle[parent]
        self._line, self._middle = self._line[parent], middle
        self._thin = self._thin[parent] | zone
        for name, band in self._bands.items():
            self._bands[name] = band.moved(parent, step)
        if ForwardGraph.INPUT in self._bands:
            self._bands[ForwardGraph.INPUT] = self._input()
        for name in self._gates:
            self._gates[name] = self._gates[name][parent]

    def _finish(self) -> WalkedLines:
        output = self._bands[self._forward.output]
        flat = Band(
            output.value.flatten(1),
            output.value_error.flatten(1),
            output.slope.flatten(1),
            output.slope_error.flatten(1),
        )
        band = affine(Dense(self._rows), [flat])
        slopes = Interval(_down(band.slope, band.slope_error), _up(band.slope, band.slope_error))
        slopes = self._hulls(slopes)
        return WalkedLines(
            self._line,
            self._start,
            self._end,
            slopes,
            band.value,
            band.value_error,
            self._thin | (self._opened() > 0),
        )

    def _hulls(self, slopes: Interval) -> Interval:
        """Intersected, where gates are open, with what follows from the gates' ends."""
        if not self._gates:
            return slopes
        opened = self._opened()
        lower, upper = slopes.lower.clone(), slopes.upper.clone()
        single = (opened == 1).nonzero().flatten()
        left = self._between_neighbours(single, opened)
        if left.any():
            rows = single[left]
            low = torch.minimum(slopes.lower[rows - 1], slopes.lower[rows + 1])
            high = torch.maximum(slopes.upper[rows - 1], slopes.upper[rows + 1])
            lower[rows] = torch.maximum(lower[rows], low)
            upper[rows] = torch.minimum(upper[rows], high)
        return Interval(lower, upper)

    def _opened(self) -> Tensor:
        """How many gates are open on each interval: [p]."""
        count = torch.zeros(len(self._line), dtype=torch.int64)
        for gate in self._gates.values():
            count += (gate == OPEN).sum(1)
        return count

    def _between_neighbours(self, rows: Tensor, opened: Tensor) -> Tensor:
        """Whether both pieces beside each row have its gates, and both ends of the open one: [k].

        The slope depends on the open gate alone, so then it lies between theirs.
        """
        last = len(self._line) - 1
        inner = (rows > 0) & (rows < last)
        before, after = (rows - 1).clamp(min=0), (rows + 1).clamp(max=last)
        inner &= (self._line[before] == self._line[rows]) & (self._line[after] == self._line[rows])
        inner &= (opened[before] == 0) & (opened[after] == 0)
        ends = torch.zeros(len(rows), dtype=torch.bool)
        for gate in self._gates.values():
            here, left, right = gate[rows], gate[before], gate[after]
            free = here == OPEN
            for other in (left, right):
                fits = free | (here == other) | (here == FLAT) | (other == FLAT)
                inner &= fits.all(1)
            decided = (left + right == NEGATIVE + POSITIVE) & (left != right)
            ends |= (free & decided & (left <= POSITIVE) & (right <= POSITIVE)).any(1)
        return inner & ends


def _parts(
    start: Tensor, end: Tensor, row: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The intervals cut at both ends of the zones [low, high] of `row`.

    Parent, start, end of every part in order, and whether a zone covers it.
    """
    every = torch.arange(len(start))
    owner = torch.cat([every, every, row, row]).numpy()
    place = torch.cat([start, end, low, high]).numpy()
    delta = np.concatenate(
        [np.zeros(2 * len(start), np.int64), np.ones(len(row), np.int64), -np.ones(len(row), int)]
    )
    order = np.lexsort((place, owner))
    owner, place, cover = owner[order], place[order], np.cumsum(delta[order])
    whole = (start == end).numpy()
    keep = (owner[:-1] == owner[1:]) & ((place[:-1] < place[1:]) | whole[owner[:-1]])
    first = np.flatnonzero(keep)
    return (
        torch.from_numpy(owner[first]),
        torch.from_numpy(place[first]),
        torch.from_numpy(place[first + 1]),
        torch.from_numpy(cover[first] > 0),
    )


def _gate(band: Band, radius: Tensor) -> Tensor:
    """The state of every neuron's gate on the interval: [p, size]."""
    value, slope = band.value.flatten(1), band.slope.flatten(1)
    slope_error = band.slope_error.flatten(1)
    reach = slope.abs().add_(slope_error).mul_(radius.unsqueeze(1))
    reach = reach.add_(band.value_error.flatten(1)).mul_(TIGHT).add_(SMALLEST)
    state = (value > 0).to(torch.uint8)
    row, neuron = (~(value.abs() > reach)).nonzero(as_tuple=True)
    flat = (slope[row, neuron] == 0) & (slope_error[row, neuron] == 0)
    state[row, neuron] = torch.where(flat, FLAT, OPEN).to(torch.uint8)
    return state


def _ends(operator: Activation) -> tuple[float, float]:
    """The derivatives below and above 0."""
    one = torch.ones((), dtype=DTYPE)
    return float(operator.derivative(-one)), float(operator.derivative(one))


def _activated(operator: Activation, band: Band, gate: Tensor) -> Band:
    """After the activation; where the gate is decided, it is the line of that side.

    An open gate is its mean and what remains; a flat neuron's slope is 0 with any gate.
    """
    below, above = _ends(operator)
    shape = band.value.shape
    factor = torch.tensor([below, above, (below + above) / 2, 0.0], dtype=DTYPE)[gate.long()]
    factor = factor.reshape(shape)
    size = factor.abs()
    value, slope = factor * band.value, factor * band.slope
    value_error, slope_error = size * band.value_error, size * band.slope_error
    if not {below, above} <= {0.0, 1.0, -1.0}:
        value_error = (value_error + 2 * UNIT_ROUNDOFF * value.abs()) * INFLATE
        slope_error = (slope_error + 2 * UNIT_ROUNDOFF * slope.abs()) * INFLATE
    undecided = (gate >= OPEN).reshape(shape).nonzero(as_tuple=True)
    there, error = band.value[undecided], band.value_error[undecided]
    steepest = max(abs(below), abs(above))
    value[undecided] = operator.evaluate(there)
    rounding = 2 * UNIT_ROUNDOFF * steepest * there.abs()
    value_error[undecided] = (steepest * error + rounding) * INFLATE
    reach = band.slope[undecided].abs() + band.slope_error[undecided]
    spread = abs(above - below) / 2 * INFLATE * reach
    slope_error[undecided] = (slope_error[undecided] + spread) * INFLATE
    return Band(value, value_error, slope, slope_error)


def _down(center: Tensor, error: Tensor) -> Tensor:
    return torch.where(error == 0, center, round_down(center - error))


def _up(center: Tensor, error: Tensor) -> Tensor:
    return torch.where(error == 0, center, round_up(center + error))
