"""The Jacobian of a piecewise-linear network as rows of a mixed-integer linear program.

Jordan and Dimakis 2020 (LipMIP, arXiv 2003.01219): the binary d of an unstable neuron is also its
gate in the backward graph. Variables are, for each unstable gate, its adjoint g and h = d g; the
rows of h = d g are the four of McCormick 1976, exact for a binary d, whose constants are the ends
of g's interval. Fixed gates and affine nodes are substituted.

Since both values of d are feasible at z = 0, the program is about the gate-product set on the
closed region, and exact for it where the objective is convex in each gate, hence largest at 0 or 1.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lipverify.graph import BackwardGraph, Node
from lipverify.interval import Interval
from lipverify.milp.forms import Entry, Form, affine, constant, define, scaled
from lipverify.milp.forward_part import ForwardPart
from lipverify.milp.model import ModelBuilder
from lipverify.numerics import UNIT_ROUNDOFF
from lipverify.operators import AffineOperator


@dataclass(frozen=True, eq=False)
class JacobianPart:
    """A model of a network and one row of its Jacobian; `jacobian` is [1 + columns, n]."""

    builder: ModelBuilder
    jacobian: Form


def encode_jacobian(part: ForwardPart, row: int) -> JacobianPart:
    """Row `row` of rows J, over a copy of the forward part's model."""
    problem, builder = part.problem, part.builder.copy()
    backward = problem.backward
    seed = problem.rows[row].reshape(1, *problem.forward.output_shape)
    forms: dict[str, Form] = {BackwardGraph.SEED: constant(seed)}
    # Every activation has one gate; the backward graph lists them from the last to the first.
    matched = zip(backward.gates, reversed(problem.forward.activations), strict=True)
    activation_of = {gate.name: activation for gate, activation in matched}
    for node in backward:
        if node.operator is None:
            continue
        if isinstance(node.operator, AffineOperator):
            operands = [forms[name] for name in node.inputs]
            forms[node.name] = affine(node.operator, operands, builder.magnitudes())
        else:
            activation = activation_of[node.name]
            assert activation.inputs[0] == node.inputs[0]
            known = problem.jacobian.adjoints[node.name]
            adjoint = Interval(known.lower[row], known.upper[row])
            forms[node.name] = _gate_form(part, builder, activation, forms[node.inputs[1]], adjoint)
    jacobian = forms[backward.jacobian]
    return JacobianPart(builder, Form(jacobian.coefficients.flatten(1), jacobian.error.flatten(1)))


def _gate_form(
    part: ForwardPart, builder: ModelBuilder, activation: Node, adjoint: Form, known: Interval
) -> Form:
    """slope x g where the gate is fixed, below x g + (above - below) h, h = d g, where not."""
    state, gates = part.neurons[activation.name], part.gates[activation.name]
    slopes = state.slopes
    factor = torch.where(state.fixed, state.slope, slopes.below).reshape(adjoint.error.shape)
    result = scaled(adjoint, factor, builder.magnitudes())
    lower, upper = known.lower.flatten(), known.upper.flatten()
    products: dict[int, Entry] = {
        index: _product(builder, d, adjoint.entry(index), float(lower[index]), float(upper[index]))
        for index, d in gates.items()
    }
    result = result.padded(builder.columns)
    if not products:
        return result
    coefficients = result.coefficients.clone(memory_format=torch.contiguous_format)
    error = result.error.clone(memory_format=torch.contiguous_format)
    flat, flat_error = coefficients.view(len(coefficients), -1), error.view(-1)
    magnitudes = builder.magnitudes()
    for index, product in products.items():
        change = slopes.above - slopes.below
        columns = torch.from_numpy(1 + product.columns)
        flat[columns, index] += torch.from_numpy(change * product.values)
        reach = float((np.abs(product.values) * magnitudes[product.columns]).sum())
        rounding = 0.0 if slopes.below == 0.0 else 8 * UNIT_ROUNDOFF * abs(change) * reach
        flat_error[index] += (abs(change) * product.error + rounding) * (1 + 1e-12)
    return Form(coefficients, error)


def _product(builder: ModelBuilder, d: int, adjoint: Entry, lower: float, upper: float) -> Entry:
    """d g for a binary d and lower <= g <= upper, as a form."""
    if not len(adjoint.columns):
        return Entry(np.array([d]), np.array([adjoint.constant]), 0.0, adjoint.error)
    g = define(builder, adjoint, lower, upper)
    h = builder.variable(min(lower, 0.0), max(upper, 0.0))
    infinite = np.inf
    builder.row(np.array([h, d]), np.array([1.0, -upper]), -infinite, 0.0)
    builder.row(np.array([h, d]), np.array([1.0, -lower]), 0.0, infinite)
    # g - upper (1 - d) <= h <= g - lower (1 - d)
    builder.row(np.array([h, g, d]), np.array([1.0, -1.0, -lower]), -infinite, -lower)
    builder.row(np.array([h, g, d]), np.array([1.0, -1.0, -upper]), -upper, infinite)
    return Entry(np.array([h]), np.array([1.0]), 0.0, 0.0)
