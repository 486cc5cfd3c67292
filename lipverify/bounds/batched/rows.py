"""Bounds of rows of the Jacobian on many boxes at once, by linear bound propagation.

The relaxation of `bounds.linear` (Shi et al. 2022), on the reduced network of each box: with
y = d g for the gate d and the adjoint g of each open neuron,

    g_s = Q_s + sum over later open neurons u of y_u T_(u,s),    J = P + sum over u of y_u T_(u,x).

The adjoints are bounded one stage after the other, from the output's side, then the entries of the
row, then its norm through one more substitution. A pair is one row on one box.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.batched.build import ACTIVATION_OPERATIONS
from lipverify.bounds.batched.reduced import Reduced, Stage, relaxed
from lipverify.errors import InvertedInterval, NumericalFailure
from lipverify.graph import BackwardGraph, Node
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, gamma
from lipverify.operators import AffineOperator, Relaxation
from lipverify.operators.gate import product, relax_chords


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of the Jacobian, each on one box: `rows` [r, m], and for each pair `box` and `row`."""

    rows: Tensor
    box: Tensor
    row: Tensor

    def __len__(self) -> int:
        return len(self.box)

    def functional(self, reduced: Reduced) -> Tensor:
        """row . output over the columns (1, x, a) of its box: [pairs, columns]."""
        return (self.rows @ reduced.output)[self.box, self.row]


@dataclass(frozen=True, eq=False)
class RowBounds:
    """What is proved about each pair, and a guide.

    `elements` [pairs, n] bounds the entries of the row; `slack` [pairs, n] the rounding error
    of any evaluation of them with gates in their intervals.
    """

    elements: Interval
    slack: Tensor
    walk: "RowWalk"

    def norms(self, dual: AbstractNorm) -> Tensor:
        """Proved bounds of the norm `dual` of each row, [pairs]."""
        direct = norm_up(self.elements.magnitude, dual)
        chord = _chord(self.elements, dual)
        if chord is None:
            return direct
        slope, intercept = chord
        bound = self.walk.objective(slope) + (self.slack * slope.abs()).sum(-1) + intercept
        if dual.name == "2":
            bound = bound.clamp(min=0.0).sqrt() * (1 + 4 * UNIT_ROUNDOFF) + SMALLEST
        return torch.minimum(direct, bound)

    def weights(self, direction: Tensor) -> Tensor:
        """About how much each open gate moves direction . row [pairs, n]: [pairs, open neurons]."""
        return self.walk.coefficients(direction).abs() * self.walk.radius


def row_bounds(backward: BackwardGraph, reduced: Reduced, pairs: Pairs) -> RowBounds:
    """Bounds of the entries of every pair's row of the Jacobian, rounded outward."""
    walk = RowWalk(backward, reduced, pairs)
    slack = walk.slack(backward.jacobian)
    columns = slice(1, 1 + reduced.inputs)
    return RowBounds(walk.enclose(0, columns, slack), slack, walk)


class RowWalk:
    """From the output back to the input, stage by stage; all pairs side by side."""

    def __init__(self, backward: BackwardGraph, reduced: Reduced, pairs: Pairs) -> None:
        self.reduced = reduced
        self.box = pairs.box
        self.first = 1 + reduced.inputs
        self.functional = pairs.functional(reduced)
        self.table = reduced.table[pairs.box]
        self.relaxations: dict[int, Relaxation] = {}
        # Ranges of the gates' outputs y, as far as they are known; the rest is not used yet.
        self.center = torch.zeros_like(self.functional[:, self.first :])
        self.radius = torch.zeros_like(self.center)
        seed = pairs.rows[pairs.row].abs()
        self.reach = {BackwardGraph.SEED: seed.reshape(-1, *backward.forward.output_shape)}
        self.operations = {BackwardGraph.SEED: 1 + seed.shape[1]}
        last = len(reduced.stages)
        for node in backward:
            if isinstance(node.operator, AffineOperator):
                self._affine(node, node.operator)
            elif node.operator is not None:
                last -= 1  # gates come in the reverse order of the stages
                self._gate(node, last)

    def objective(self, slope: Tensor) -> Tensor:
        """max slope . row of each pair, [pairs, n] -> [pairs]; not rounded."""
        own = (self.functional[:, 1 : self.first] * slope).sum(-1)
        return own + self._upper(0, self._direction(slope))[0].squeeze(1)

    def coefficients(self, slope: Tensor) -> Tensor:
        """The coefficient of each gate's output in the bound of slope . row."""
        return self._upper(0, self._direction(slope))[1].squeeze(1)

    def enclose(self, start: int, columns: slice, slack: Tensor) -> Interval:
        """functional + y T in the given columns, y of the stages from `start` on: [pairs, k]."""
        own = self.functional[:, columns]
        part = self.table[:, :, columns].transpose(1, 2)
        middle = own + (part @ self.center.unsqueeze(-1)).squeeze(-1)
        spread = (part.abs() @ self.radius.unsqueeze(-1)).squeeze(-1)
        lower, upper = middle - spread, middle + spread
        if self._after(start):
            ends, _ = self._upper(start, torch.cat([part, -part], 1))
            size = own.shape[1]
            upper = torch.minimum(upper, own + ends[:, :size])
            lower = torch.maximum(lower, own - ends[:, size:])
        return _interval(lower - slack, upper + slack)

    def slack(self, name: str) -> Tensor:
        """The rounding slack of a backward node's bounds, [pairs, size]."""
        spent = self.operations[name] + self.reduced.operations + self.functional.shape[1]
        slack = 2 * gamma(2 * spent) * self.reach[name].flatten(1) + SMALLEST
        if not bool(torch.isfinite(slack).all()):
            raise NumericalFailure(f"overflow while bounding {name!r}")
        return slack

    def _affine(self, node: Node, operator: AffineOperator) -> None:
        absolute = operator.absolute_cached
        self.reach[node.name] = absolute.evaluate(*(self.reach[name] for name in node.inputs))
        longest = max(self.operations[name] for name in node.inputs)
        self.operations[node.name] = longest + operator.terms + 4

    def _gate(self, node: Node, position: int) -> None:
        adjoint, stage = node.inputs[1], self.reduced.stages[position]
        reach = self.reach[adjoint]
        steepest = self.reduced.fixed[stage.key][self.box].abs().flatten(1)
        shift = torch.zeros_like(steepest)
        if stage.size:
            index = stage.index[self.box]
            gate = Interval(stage.gate.lower[self.box], stage.gate.upper[self.box])
            slack = self.slack(adjoint).gather(1, index)
            g = self.enclose(position + 1, stage.columns, slack)
            relaxation = relax_chords(gate, g)
            self.relaxations[position] = relaxation
            value, span = product(gate, g), self._span(stage)
            self.center[:, span], self.radius[:, span] = value.center, value.radius
            highest = torch.maximum(
                relaxation.lower_intercept.abs(), relaxation.upper_intercept.abs()
            )
            # The steepest gate, not only the steepest relaxation: patterns are evaluated as well.
            steepest = steepest.scatter_reduce(1, index, gate.magnitude, "amax")
            shift = shift.scatter_reduce(1, index, highest, "amax")
        self.reach[node.name] = (steepest * reach.flatten(1) + shift).reshape(reach.shape)
        spent = ACTIVATION_OPERATIONS + stage.size
        self.operations[node.name] = self.operations[adjoint] + spent

    def _direction(self, slope: Tensor) -> Tensor:
        """The coefficients of y in slope . row: [pairs, n] -> [pairs, 1, open neurons]."""
        inputs = self.table[:, :, 1 : self.first]
        return (inputs @ slope.unsqueeze(-1)).transpose(1, 2)

    def _upper(self, start: int, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """max coefficients . y over the stages from `start` on; not rounded.

        [pairs, k, open neurons] -> bounds [pairs, k], and the coefficients met on the way.
        """
        met = coefficients.clone()
        total = torch.zeros(coefficients.shape[:2], dtype=coefficients.dtype)
        for position in self._after(start):
            stage = self.reduced.stages[position]
            span = self._span(stage)
            pulled, shift = relaxed(met[:, :, span], self.relaxations[position])
            own = pulled @ self.functional[:, stage.columns].unsqueeze(-1)
            total = total + shift + own.squeeze(-1)
            later = self.table[:, span.stop :, stage.columns]
            if later.shape[1]:
                met[:, :, span.stop :] += pulled @ later.transpose(1, 2)
        return total, met

    def _after(self, start: int) -> list[int]:
        stages = self.reduced.stages
        return [position for position in range(start, len(stages)) if stages[position].size]

    def _span(self, stage: Stage) -> slice:
        """Where the stage lies among the open neurons."""
        return slice(stage.first - self.first, stage.first - self.first + stage.size)


def norm_up(magnitude: Tensor, dual: AbstractNorm) -> Tensor:
    """The norm of entries >= 0 along the last dimension, rounded up."""
    return dual.of(magnitude) * (1 + 2 * gamma(magnitude.shape[-1] + 8)) + SMALLEST


def _chord(elements: Interval, dual: AbstractNorm) -> tuple[Tensor, Tensor] | None:
    """An affine function slope . row + intercept above the norm (l2: its square), or None.

    |g| and g^2 lie below their chords (Shi et al. 2022, section 3.3). The largest entry needs none.
    """
    lower, upper = elements.lower, elements.upper
    if dual.name == "1":
        mixed = (lower < 0) & (upper > 0)
        width = torch.where(mixed, upper - lower, torch.ones_like(lower))
        sign = torch.where(lower >= 0, 1.0, -1.0).to(lower)
        slope = torch.where(mixed, (upper + lower) / width, sign)
        intercept = torch.where(mixed, upper - slope * upper, torch.zeros_like(lower))
        intercept = intercept + torch.where(mixed, 16 * UNIT_ROUNDOFF * elements.magnitude, 0.0)
        return slope, _sum_up(intercept)
    if dual.name == "2":
        slope = lower + upper
        intercept = -lower * upper + 16 * UNIT_ROUNDOFF * elements.magnitude**2
        return slope, _sum_up(intercept)
    return None


def _sum_up(terms: Tensor) -> Tensor:
    """The sum over the last dimension, rounded up."""
    slack = 2 * UNIT_ROUNDOFF * terms.shape[-1] * terms.abs().sum(-1) + SMALLEST
    return terms.sum(-1) + slack


def _interval(lower: Tensor, upper: Tensor) -> Interval:
    try:
        return Interval(lower, upper)
    except InvertedInterval as error:
        raise NumericalFailure("bounds of the Jacobian are inverted or NaN") from error
