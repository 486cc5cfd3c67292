"""Products of the layers' l2 norms, with every choice between branches kept whole.

For a direction x' at a point of the region, v' is the derivative of node v along it. From the
output back to the input, sum over nodes and entries of p_k (v'_k)^2 is kept above |rows f'|^2:

    a copy of entries hands its weights on; a scaled one, times the squared factor;
    a layer y = W x needs q with W^T diag(p) W <= diag(q): its largest eigenvalue everywhere, or
    the sums of the magnitudes of each row of W^T diag(p) W (or of |W|^T diag(p) |W|);
    an activation multiplies by the square of its largest slope on the region;
    a sum of branches, (sum v_i)^2 <= (sum s_i) sum v_i^2 / s_i for any s_i > 0;
    a product x y has the derivative y x' + x y', a sum of two;
    the larger and the smaller of a and b are a and b themselves in some order, or mixtures:
    p hi'^2 + q lo'^2 <= max(p, q) (a'^2 + b'^2);
    several choices by one gate have all their first branches, or all their second ones.

So MaxMin, GroupSort, max pooling without overlaps and Householder activations have the norm 1, and
so have orthogonal layers; no other method here knows more of them than of two ReLUs. At the input,
the largest weight is a bound of the squared l2 norm (Anil, Lucas, Grosse 2019 use these layers).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lipverify.bounds.gate_groups import Pair, Switch, pairs, switches
from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem
from lipverify.bounds.mixtures import gate_of
from lipverify.errors import NumericalFailure
from lipverify.graph import ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm, operator_norm
from lipverify.numerics import DTYPE, SMALLEST, UNIT_ROUNDOFF, gamma
from lipverify.operators import (
    Activation,
    Add,
    AffineOperator,
    Choice,
    Concat,
    Dense,
    Pad,
    Product,
    Reshape,
    Scale,
    Select,
    Transpose,
)

COPIES = (Concat, Pad, Reshape, Select, Transpose)
"""Every entry of the result is one of an operand's, or 0."""
LARGEST_SIDE = 1200
"""Layers with more inputs and outputs than this get no singular value decomposition."""
LARGEST_MATRIX = 8_000_000
"""Nor do those with more entries."""
DIRECTIONS = 8
"""Random ones, by which the shares of the branches of a sum are chosen."""


def norm_product(problem: JacobianProblem, input_norm: AbstractNorm) -> JacobianBounds:
    """Bounds of the rows' norm dual to `input_norm`, and of their l2 norm as a matrix."""
    weights = _Walk(problem).run()
    total = weights.sum() if input_norm.name == "inf" else weights.max()
    size = weights.numel()
    bound = _up((_up(total, size) if input_norm.name == "inf" else total).sqrt(), 2)
    if not bool(torch.isfinite(bound)):
        raise NumericalFailure("overflow in the product of norms")
    rows = problem.rows.shape[0]
    spectral = _up(weights.max().sqrt(), 2)
    reach = spectral.expand(rows, size)  # no entry exceeds the norm
    joint = float(spectral)
    return JacobianBounds(Interval(-reach, reach), bound.expand(rows), None, joint)


class _Walk:
    """From the output to the input: the weights of every node."""

    def __init__(self, problem: JacobianProblem) -> None:
        self.forward = problem.backward.forward
        self.rows = problem.rows
        self.slopes = {
            name: problem.slopes[gate.name] for name, gate in gate_of(problem.backward).items()
        }
        self.pairs = pairs(self.forward)
        self.switches = switches(self.forward)
        self.factors = {
            node.name: [problem.preactivations[name] for name in node.inputs]
            for node in self.forward.products
        }
        self.shares = _shares(self.forward, self.slopes, self.factors)
        self.weights: dict[str, Tensor] = {}

    def run(self) -> Tensor:
        """[inputs]."""
        forward = self.forward
        start = torch.ones(self.rows.shape[0], dtype=DTYPE)
        self._hand(forward.output, _through(Dense(self.rows), start, (forward.output_size,), 0))
        groups = [*self.pairs.values(), *self.switches.values()]
        members = {name for group in groups for name in group.members}
        for node in forward.reversed():
            weights = self.weights.get(node.name)
            if weights is not None and node.operator is not None and node.name not in members:
                self._node(node, weights)
            # All members are behind their gate, and all that they are handed to before it.
            if node.name in self.pairs:
                self._pair(self.pairs[node.name])
            if node.name in self.switches:
                self._switch(self.switches[node.name])
        zero = torch.zeros(forward.input_size, dtype=DTYPE)
        return self.weights.get(ForwardGraph.INPUT, zero).flatten()

    def _hand(self, name: str, weights: Tensor) -> None:
        weights = weights.reshape(self.forward[name].shape)
        known = self.weights.get(name)
        self.weights[name] = weights if known is None else _up(known + weights, 1)

    def _node(self, node: Node, weights: Tensor) -> None:
        operator = node.operator
        if isinstance(operator, Activation):
            slope = self.slopes[node.name].magnitude[0]
            self._hand(node.inputs[0], _up(weights * slope * slope, 3))
            return
        if isinstance(operator, Product):
            for operand, name in enumerate(node.inputs):
                other = self.factors[node.name][1 - operand].magnitude[0]
                part = _up(weights / self.shares[node.name][operand], 2)
                self._hand(name, _up(part * other * other, 3))
            return
        assert isinstance(operator, AffineOperator)
        many = node.inputs if not isinstance(operator, COPIES) else ()
        shares = self.shares.get(node.name, (1.0,) * len(node.inputs))
        for operand, name in enumerate(node.inputs):
            handed = weights
            if len(many) > 1:
                if isinstance(operator, Choice) and operator.signs[operand] == 0:
                    continue
                handed = _up(weights / shares[operand], 2)
            self._hand(name, _through(operator, handed, self.forward[name].shape, operand))

    def _of(self, name: str | None) -> Tensor:
        """The weights of a member; 0 where nothing was handed to it, or where it is none."""
        known = None if name is None else self.weights.get(name)
        return torch.zeros((), dtype=DTYPE) if known is None else known

    def _pair(self, pair: Pair) -> None:
        """d = 1: the larger is a; d = 0: it is b; a mixture, or unknown: each may be either."""
        slope = self.slopes[pair.gate]
        most, least = self._of(pair.largest), self._of(pair.smallest)
        either = torch.maximum(most, least)
        first, second = slope.lower[0] == 1, slope.upper[0] == 0
        to_a = torch.where(first, most, torch.where(second, least, either))
        to_b = torch.where(first, least, torch.where(second, most, either))
        self._hand(pair.a, to_a)
        self._hand(pair.b, to_b)

    def _switch(self, switch: Switch) -> None:
        """For each gate, the entries that it switches: both of their maps, or the one that is."""
        slope = self.slopes[switch.gate]
        parts = [
            self._of(name).expand(self.forward[name].shape).flatten() for name in switch.members
        ]
        p, total = torch.cat(parts), torch.zeros(switch.kept.shape[0], dtype=DTYPE)
        on, off = slope.lower.flatten() == 1, slope.upper.flatten() == 0
        for place in switch.switch.unique().tolist():
            block = (switch.switch == place).nonzero().flatten()
            kept, added = switch.kept[:, block], switch.added[:, block]
            ends = [kept, kept + added]
            if place < 0 or bool(off[place]):
                ends = ends[:1]
            elif bool(on[place]):
                ends = ends[1:]
            error = switch.error[:, block]
            found = [_least(weights_above(end, error, p[block])) for end in ends]
            total = _up(total + torch.stack(found).amax(0), 1)
        self._hand(switch.source, total)


def _through(operator: AffineOperator, p: Tensor, shape: tuple[int, ...], operand: int) -> Tensor:
    """q with |A x|^2 weighted by p below sum q_k x_k^2, rounded up; p, q without a batch."""
    operations = 2 * operator.terms + 8
    if isinstance(operator, (*COPIES, Add, Choice)):
        return _up(operator.absolute_cached.transpose(p.unsqueeze(0), operand)[0], operations)
    if isinstance(operator, Scale):
        factor = torch.ones_like(p) if operator.factor is None else operator.factor.abs()
        return _up(p * factor * factor, operations)
    absolute = operator.absolute_cached
    ones = torch.ones(1, *shape, dtype=DTYPE)
    crude = absolute.transpose(p * absolute.linear(ones, operand), operand)[0]
    best = _up(crude, operations + p.numel())
    inputs, outputs = ones.numel(), p.numel()
    if min(inputs, outputs) > LARGEST_SIDE or inputs * outputs > LARGEST_MATRIX:
        return best
    eye = torch.eye(inputs, dtype=DTYPE).reshape(inputs, *shape)
    matrix = operator.linear(eye, operand).reshape(inputs, outputs)
    error = 2 * gamma(operations) * absolute.linear(eye, operand).reshape(inputs, outputs)
    found = [best.flatten(), *weights_above(matrix, error, p.flatten())]
    return _least(found).reshape(shape)


def weights_above(matrix: Tensor, error: Tensor, p: Tensor) -> list[Tensor]:
    """Candidates for q [inputs] with sum_i p_i (x . column i)^2 <= sum_k q_k x_k^2, rounded up.

    `matrix` [inputs, outputs] is known up to `error`.
    """
    active = (matrix != 0).any(1) | (error > 0).any(1)
    root = _up(p, 1).sqrt()
    scaled, off = matrix[active] * root, _up(error[active] * root, 2)
    off = off + 4 * UNIT_ROUNDOFF * scaled.abs()
    outputs = scaled.shape[1]
    if not len(scaled):
        return [torch.zeros(len(matrix), dtype=DTYPE)]
    slack = (off * off).sum().sqrt() * 2
    norm = _up(operator_norm.spectral_upper(scaled.unsqueeze(0))[0] + slack, 4)
    uniform = active.to(DTYPE) * _up(norm * norm, 2)
    if len(scaled) > LARGEST_SIDE:
        return [uniform]
    size = scaled.abs()
    rest = 2 * (size @ off.T + off @ size.T + off @ off.T)
    rest = rest + 2 * gamma(outputs + 8) * (size @ size.T)
    sums = torch.zeros(len(matrix), dtype=DTYPE)
    sums[active] = _up(((scaled @ scaled.T).abs() + rest).sum(1), len(scaled) + 4)
    return [uniform, sums]


def _least(candidates: list[Tensor]) -> Tensor:
    """The one whose largest weight is least."""
    return min(candidates, key=lambda weights: float(weights.max()))


def _shares(
    forward: ForwardGraph,
    slopes: Mapping[str, Interval],
    factors: Mapping[str, Sequence[Interval]],
) -> dict[str, tuple[float, ...]]:
    """s_i / sum s_i for the operands of each sum, by the sizes of random directions there."""
    generator = torch.Generator().manual_seed(0)
    shape = (DIRECTIONS, *forward.input_shape)
    values = {ForwardGraph.INPUT: torch.randn(shape, generator=generator, dtype=DTYPE)}
    found: dict[str, tuple[float, ...]] = {}
    for node in forward:
        if node.operator is None:
            continue
        operands = [values[name] for name in node.inputs]
        if isinstance(node.operator, AffineOperator | Product):
            if isinstance(node.operator, Product):
                first, second = factors[node.name]
                parts = [second.center * operands[0], first.center * operands[1]]
            else:
                parts = [node.operator.linear(x, place) for place, x in enumerate(operands)]
            values[node.name] = torch.stack(parts).sum(0)
            sizes = torch.stack([part.norm() for part in parts])
            sizes = sizes.clamp(min=max(1e-6 * float(sizes.sum()), 1e-300))
            if not bool(torch.isfinite(sizes.sum())):
                sizes = torch.ones_like(sizes)
            # A share is rounded below the exact one, so that they add up to at most 1.
            shares = sizes / sizes.sum() * (1 - 1e-15 * (len(parts) + 2))
            found[node.name] = tuple(shares.tolist())
        elif node.name in slopes:
            values[node.name] = slopes[node.name].center * operands[0]
        else:
            values[node.name] = operands[0]
    return found


def _up(value: Tensor, operations: int) -> Tensor:
    """A result >= 0 of so many float operations on numbers >= 0, moved above the exact one."""
    return value * (1 + 2 * gamma(operations + 1)) + SMALLEST
