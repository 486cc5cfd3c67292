"""A piecewise-linear network on a box, as rows of a mixed-integer linear program.

Variables are the inputs that move and, for each unstable neuron, its preactivation z, r = max(z, 0)
and the binary d with r = d z; stable neurons and affine nodes are substituted (`forms.py`). The
rows of r = d z are those of Tjeng, Xiao, Tedrake 2019 (arXiv 1711.07356), whose constants are the
ends of z's interval. At z = 0 both values of d are feasible.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.graph import ForwardGraph
from lipverify.milp.forms import Form, affine, define, down, reach_of, scaled, up
from lipverify.milp.model import ModelBuilder
from lipverify.milp.problem import MilpProblem, Neurons, neurons, tightened
from lipverify.numerics import UNIT_ROUNDOFF
from lipverify.operators import AffineOperator


@dataclass(frozen=True)
class SplitRow:
    """The row of the model that holds a split: its upper end for side -1, its lower for +1."""

    row: int
    side: int


@dataclass(frozen=True, eq=False)
class ForwardPart:
    """The network's half of a model. `builder` must be copied before anything is added."""

    problem: MilpProblem
    builder: ModelBuilder
    output: Form
    neurons: Mapping[str, Neurons]
    """By activation node."""
    gates: Mapping[str, Mapping[int, int]]
    """Column of the binary of each unstable neuron, by activation node and flat index."""
    inputs: NDArray
    """Column of each input [n]; -1 where the box fixes it."""
    split_rows: tuple["SplitRow", ...]

    def point(self, values: NDArray) -> Tensor:
        """The input [n] of a solution [columns], moved into the box against the tolerance."""
        box = self.problem.box
        x = box.lower.clone()
        moving = self.inputs >= 0
        x[torch.from_numpy(moving)] = torch.from_numpy(values[self.inputs[moving]])
        return torch.minimum(torch.maximum(x, box.lower), box.upper)


def encode_forward(problem: MilpProblem, *, relaxed: bool = False) -> ForwardPart | None:
    """The network on the box, under the splits; None if the intervals alone refute the splits.

    With `relaxed` no variable is integer: each unstable neuron is its triangle relaxation.
    `UnsupportedOperator` for an activation that is not piecewise linear; `OutOfDomain` for
    infinite intervals.
    """
    cut = tightened(problem)
    if cut is None:
        return None
    forward, builder = problem.forward, ModelBuilder()
    used = forward.ancestors(forward.output)
    inputs, start = _input_variables(problem, builder)
    forms: dict[str, Form] = {ForwardGraph.INPUT: start}
    states: dict[str, Neurons] = {}
    gates: dict[str, Mapping[int, int]] = {}
    columns_of: dict[str, dict[int, int]] = {}
    split_rows: list[SplitRow] = []
    for node in forward:
        if node.operator is None or node.name not in used:
            continue
        if isinstance(node.operator, AffineOperator):
            operands = [forms[name] for name in node.inputs]
            forms[node.name] = affine(node.operator, operands, builder.magnitudes())
            continue
        source = node.inputs[0]
        state = states[node.name] = neurons(problem, node.name, cut[source])
        known = columns_of.setdefault(source, {})
        split_rows += _split_rows(builder, forms[source], state)
        preactivations = _preactivation_columns(builder, forms[source], state, known)
        parts, gates[node.name] = _unstable_neurons(builder, state, preactivations, relaxed)
        forms[node.name] = _activation_form(builder, forms[source], state, preactivations, parts)
    output = forms[forward.output]
    return ForwardPart(problem, builder, output, states, gates, inputs, tuple(split_rows))


def _input_variables(problem: MilpProblem, builder: ModelBuilder) -> tuple[NDArray, Form]:
    """One variable per input that moves: their columns [n], and the input's form."""
    box = problem.box
    size = problem.forward.input_size
    columns = np.full(size, -1, dtype=np.int64)
    for index in (box.lower < box.upper).nonzero().flatten().tolist():
        columns[index] = builder.variable(float(box.lower[index]), float(box.upper[index]))
    coefficients = torch.zeros(1 + builder.columns, size, dtype=torch.float64)
    moving = np.flatnonzero(columns >= 0)
    coefficients[0] = torch.where(box.lower < box.upper, 0.0, box.lower)
    coefficients[1 + columns[moving], moving] = 1.0
    shape = problem.forward.input_shape
    return columns, Form(
        coefficients.reshape(-1, *shape), torch.zeros(1, *shape, dtype=torch.float64)
    )


def _split_rows(builder: ModelBuilder, form: Form, state: Neurons) -> list[SplitRow]:
    """lower <= z <= upper, as a row each, for the neurons whose gate a split has fixed."""
    made: list[SplitRow] = []
    for index in (state.fixed & (state.side != 0)).nonzero().flatten().tolist():
        entry = form.entry(index)
        made.append(SplitRow(builder.rows, int(state.side[index])))
        builder.row(
            entry.columns,
            entry.values,
            down(float(state.lower[index]) - entry.constant, entry),
            up(float(state.upper[index]) - entry.constant, entry),
        )
    return made


def _preactivation_columns(
    builder: ModelBuilder, form: Form, state: Neurons, known: dict[int, int]
) -> dict[int, int]:
    """`known`, with a variable z added for each unstable neuron that it does not hold."""
    for index in (~state.fixed).nonzero().flatten().tolist():
        if index not in known:
            lower, upper = float(state.lower[index]), float(state.upper[index])
            known[index] = define(builder, form.entry(index), lower, upper)
    return known


def _unstable_neurons(
    builder: ModelBuilder, state: Neurons, preactivations: Mapping[int, int], relaxed: bool
) -> tuple[dict[int, int], dict[int, int]]:
    """For each unstable neuron, the columns of r = max(z, 0) = d z and of its binary d."""
    parts: dict[int, int] = {}
    gates: dict[int, int] = {}
    for index in (~state.fixed).nonzero().flatten().tolist():
        z = preactivations[index]
        lower = min(float(state.lower[index]), 0.0)
        upper = max(float(state.upper[index]), 0.0)
        d = gates[index] = builder.binary(relaxed=relaxed)
        r = parts[index] = builder.variable(0.0, upper)
        infinite = np.inf
        builder.row(np.array([r, z]), np.array([1.0, -1.0]), 0.0, infinite)
        builder.row(np.array([r, d]), np.array([1.0, -upper]), -infinite, 0.0)
        # r <= z - lower (1 - d)
        builder.row(np.array([r, z, d]), np.array([1.0, -1.0, -lower]), -infinite, -lower)
    return parts, gates


def _activation_form(
    builder: ModelBuilder,
    form: Form,
    state: Neurons,
    preactivations: Mapping[int, int],
    parts: Mapping[int, int],
) -> Form:
    """slope x z where the gate is fixed, below x z + (above - below) r where it is not."""
    factor = torch.where(state.fixed, state.slope, 0.0).reshape(form.error.shape)
    result = scaled(form, factor, builder.magnitudes()).padded(builder.columns)
    if not parts:
        return result
    coefficients = result.coefficients.clone(memory_format=torch.contiguous_format)
    flat = coefficients.view(len(coefficients), -1)
    slopes = state.slopes
    for index, r in parts.items():
        flat[1 + preactivations[index], index] += slopes.below
        flat[1 + r, index] += slopes.above - slopes.below
    opened = Form(coefficients, result.error)
    # The difference of the slopes is rounded, unless they are 0 and 1.
    rounding = 4 * UNIT_ROUNDOFF * reach_of(opened, builder.magnitudes())
    rounding = torch.where(state.fixed.reshape(rounding.shape), 0.0, rounding)
    exact = slopes.below == 0.0
    return opened if exact else Form(coefficients, result.error + rounding)
