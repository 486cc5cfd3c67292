"""Values and derivatives of every node on intervals of one moving input, rounded outward."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from lipverify.bounds.line_image import SignedOperator, image, multiply_up
from lipverify.errors import UnsupportedOperator
from lipverify.graph import ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.numerics import DTYPE, add_down, add_up
from lipverify.operators import Activation, AffineOperator, Dense
from lipverify.operators.gate import product


def can_walk(activation: type[Activation]) -> bool:
    """Whether lines through networks of it can be walked from breakpoint to breakpoint."""
    return activation.piecewise_linear and activation.kinks == (0.0,)


@dataclass(frozen=True, eq=False)
class Line:
    """The network's graph at t -> x + (t - x_index) e_index; x [n]. Rows [r, m] of its output.

    `UnsupportedOperator` unless every activation is linear on both sides of 0.
    """

    ROWS: ClassVar[str] = "rows of the output"

    forward: ForwardGraph
    x: Tensor
    index: int
    rows: Tensor

    def __post_init__(self) -> None:
        for node in self.forward.products:
            raise UnsupportedOperator(
                f"node {node.origin or node.name!r} multiplies two branches: no walk along a line. "
                "Use another method"
            )
        for node in self.forward.activations:
            operator = node.operator
            assert isinstance(operator, Activation)
            if not can_walk(type(operator)):
                raise UnsupportedOperator(
                    f"{operator.name} at node {node.origin or node.name!r} is not piecewise linear "
                    "with one kink at 0 (ReLU, LeakyReLU, Abs): no walk along a line. "
                    "Use another method"
                )

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that the output depends on, without the input."""
        used = self.forward.ancestors(self.forward.output)
        return tuple(node for node in self.forward if node.operator and node.name in used)

    @cached_property
    def signed(self) -> Mapping[str, SignedOperator]:
        """The affine nodes' operators, and that of the rows under their name here, `ROWS`."""
        operators = {node.name: node.operator for node in self.nodes}
        affine = {
            name: SignedOperator(operator)
            for name, operator in operators.items()
            if isinstance(operator, AffineOperator)
        }
        return {**affine, self.ROWS: SignedOperator(Dense(self.rows))}

    @property
    def size(self) -> int:
        return sum(node.size for node in self.forward)


@dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons of one activation node on p intervals, flat: everything [p, size].

    `value` encloses the preactivation at the interval's middle, `slope` its derivative by t on the
    whole interval, `gate` the activation's derivative where t is inside the interval.
    """

    value: Interval
    slope: Interval
    gate: Interval

    @property
    def open(self) -> Tensor:
        """Gates that are not one number."""
        return self.gate.lower < self.gate.upper

    @property
    def crossing(self) -> Tensor:
        """Open gates of neurons that are strictly monotone in t: they have one zero at most."""
        return self.open & ((self.slope.lower > 0) | (self.slope.upper < 0))


def enclose(line: Line, start: Tensor, end: Tensor) -> dict[str, Neurons]:
    """All activations, by node, on the intervals [start, end], each [p]."""
    span = Interval(start, end)
    middle, radius = span.center, span.radius
    values = {ForwardGraph.INPUT: _input(line, middle)}
    slopes = {ForwardGraph.INPUT: _direction(line, len(start))}
    found: dict[str, Neurons] = {}
    for node in line.nodes:
        operator = node.operator
        if isinstance(operator, AffineOperator):
            signed = line.signed[node.name]
            values[node.name] = image(signed, [values[i] for i in node.inputs], shift=True)
            slopes[node.name] = image(signed, [slopes[i] for i in node.inputs], shift=False)
            continue
        assert isinstance(operator, Activation)
        value, slope = values[node.inputs[0]], slopes[node.inputs[0]]
        gate = _gate(operator, value, slope, radius)
        values[node.name] = operator.interval(value)
        slopes[node.name] = _times(gate, slope)
        flat = (part.reshape(len(start), -1) for part in (value, slope, gate))
        found[node.name] = Neurons(*flat)
    return found


def row_slopes(line: Line, gates: Mapping[str, Interval]) -> Interval:
    """Derivatives of rows . f by t for gates [p, size] by activation node: [p, r]."""
    count = len(next(iter(gates.values())).lower) if gates else 1
    slopes = {ForwardGraph.INPUT: _direction(line, count)}
    for node in line.nodes:
        operands = [slopes[name] for name in node.inputs]
        if isinstance(node.operator, AffineOperator):
            slopes[node.name] = image(line.signed[node.name], operands, shift=False)
        else:
            gate = gates[node.name].reshape(count, *node.shape)
            slopes[node.name] = _times(gate, operands[0])
    output = slopes[line.forward.output].reshape(count, -1)
    return image(line.signed[Line.ROWS], [output], shift=False)


def _input(line: Line, t: Tensor) -> Interval:
    x = line.x.repeat(len(t), 1)
    x[:, line.index] = t
    point = x.reshape(-1, *line.forward.input_shape)
    return Interval(point, point)


def _direction(line: Line, count: int) -> Interval:
    unit = torch.zeros(count, line.forward.input_size, dtype=DTYPE)
    unit[:, line.index] = 1.0
    unit = unit.reshape(-1, *line.forward.input_shape)
    return Interval(unit, unit)


def _times(gate: Interval, slope: Interval) -> Interval:
    """All products; rounding does not carry them past 0, which monotonicity is decided at."""
    found = product(gate, slope)
    rising = ((gate.lower >= 0) & (slope.lower >= 0)) | ((gate.upper <= 0) & (slope.upper <= 0))
    falling = ((gate.lower >= 0) & (slope.upper <= 0)) | ((gate.upper <= 0) & (slope.lower >= 0))
    flat = (gate.magnitude == 0) | (slope.magnitude == 0)
    lower = torch.where(rising | flat, found.lower.clamp(min=0.0), found.lower)
    upper = torch.where(falling | flat, found.upper.clamp(max=0.0), found.upper)
    return Interval(lower, upper)


def _gate(operator: Activation, value: Interval, slope: Interval, radius: Tensor) -> Interval:
    """The activation's derivative inside the intervals around the middle, radius [p].

    A neuron that only touches 0, and is strictly monotone, does so at one end and nowhere inside.
    Where the interval is a point, its derivatives at that point.
    """
    radius = radius.reshape(-1, *[1] * (slope.lower.dim() - 1))
    reach = multiply_up(slope.magnitude, radius)
    z = Interval(add_down(value.lower, -reach), add_up(value.upper, reach))
    monotone = ((slope.lower > 0) | (slope.upper < 0)) & (radius > 0)
    gate = operator.gate(z)
    one = torch.ones((), dtype=DTYPE)
    above, below = operator.derivative(one), operator.derivative(-one)
    lower = torch.where(monotone & (z.lower >= 0), above, gate.lower)
    lower = torch.where(monotone & (z.upper <= 0), below, lower)
    upper = torch.where(monotone & (z.lower >= 0), above, gate.upper)
    upper = torch.where(monotone & (z.upper <= 0), below, upper)
    return Interval(lower, upper)
