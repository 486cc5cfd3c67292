"""Models whose maximum is asked for: a row norm, one Jacobian entry, one output.

Objectives are sums of forms; their rounding errors are part of the model's offset, so that the
model's maximum is never below the true one.
"""

import numpy as np
import torch
from torch import Tensor

from lipverify.milp.backward_part import JacobianPart
from lipverify.milp.forms import Entry, Form, affine, define, up
from lipverify.milp.forward_part import ForwardPart
from lipverify.milp.model import MilpModel, ModelBuilder
from lipverify.operators import Dense


def encode_norm_row(part: ForwardPart, jacobian: JacobianPart, row: int) -> MilpModel:
    """Maximise the l1 norm of the row (dual to the linf input norm).

    Entries whose sign is known enter as they are; each of the others is a variable j with its
    absolute value p: p <= j - 2 lower (1 - s), p <= -j + 2 upper s, s binary, whose relaxation is
    the chord of |j| on [lower, upper].
    """
    elements = part.problem.jacobian.elements
    lower, upper = elements.lower[row], elements.upper[row]
    builder, form = jacobian.builder.copy(), jacobian.jacobian
    free = form.coefficients[1:].abs().sum(0) > 0
    signs = torch.where(lower >= 0, 1.0, torch.where(upper <= 0, -1.0, 0.0))
    signs = torch.where(free, signs, torch.where(form.coefficients[0] >= 0, 1.0, -1.0))
    absolutes = [
        _absolute(builder, form.entry(index), float(lower[index]), float(upper[index]))
        for index in (signs == 0).nonzero().flatten().tolist()
    ]
    total = _combined(builder, form, signs)
    objective = np.zeros(builder.columns)
    objective[total.columns] = total.values
    objective[absolutes] = 1.0
    return builder.build(objective, up(total.constant, total))


def _absolute(builder: ModelBuilder, entry: Entry, lower: float, upper: float) -> int:
    j = define(builder, entry, lower, upper)
    p = builder.variable(0.0, max(-lower, upper))
    s = builder.binary()
    builder.row(np.array([p, j, s]), np.array([1.0, -1.0, -2 * lower]), -np.inf, -2 * lower)
    builder.row(np.array([p, j, s]), np.array([1.0, 1.0, -2 * upper]), -np.inf, 0.0)
    return p


def encode_entry(jacobian: JacobianPart, index: int, sign: int) -> MilpModel:
    """Maximise sign x (entry `index` of the row)."""
    weights = torch.zeros(jacobian.jacobian.error.shape[1], dtype=torch.float64)
    weights[index] = float(sign)
    return _maximise(jacobian.builder, jacobian.jacobian, weights)


def encode_output(part: ForwardPart, row: Tensor) -> MilpModel:
    """Maximise row . f(x); row [m]."""
    output = part.output
    flat = Form(output.coefficients.flatten(1), output.error.flatten(1))
    return _maximise(part.builder, flat, row)


def _maximise(builder: ModelBuilder, form: Form, weights: Tensor) -> MilpModel:
    total = _combined(builder, form, weights)
    objective = np.zeros(builder.columns)
    objective[total.columns] = total.values
    return builder.build(objective, up(total.constant, total))


def _combined(builder: ModelBuilder, form: Form, weights: Tensor) -> Entry:
    """weights . form, with its rounding error; weights [n], form [1 + columns, n]."""
    return affine(Dense(weights.reshape(1, -1)), [form], builder.magnitudes()).entry(0)
