"""Values of graph nodes as affine functions of a model's variables, with their rounding errors.

Between the variables (inputs, unstable neurons, unstable gates) everything is affine, so only they
are columns of the model; affine nodes are substituted. Coefficients are sums of products of
weights, rounded; what that can change on the variables' box is carried along as `error`, and the
model's rows are wider by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.errors import NumericalFailure
from lipverify.milp.model import ModelBuilder
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, gamma
from lipverify.operators import AffineOperator


@dataclass(frozen=True, eq=False)
class Form:
    """One affine function per entry of a node: |true value - form| <= error, entry by entry.

    `coefficients` [1 + columns, *shape]: the constants first, then one slice per variable (those
    that were added later have coefficient 0 and no slice). `error` [1, *shape].
    """

    coefficients: Tensor
    error: Tensor

    @property
    def columns(self) -> int:
        return self.coefficients.shape[0] - 1

    def padded(self, columns: int) -> "Form":
        """The same form with slices for `columns` variables."""
        missing = columns - self.columns
        if missing == 0:
            return self
        zeros = self.coefficients.new_zeros(missing, *self.coefficients.shape[1:])
        return Form(torch.cat([self.coefficients, zeros]), self.error)

    def entry(self, index: int) -> "Entry":
        """The form of one flat entry."""
        flat = self.coefficients.reshape(self.columns + 1, -1)[:, index].numpy()
        columns = np.flatnonzero(flat[1:])
        error = float(self.error.reshape(-1)[index])
        return Entry(columns, flat[1:][columns], float(flat[0]), error)


class Entry(NamedTuple):
    """One affine function: |true value - (values . variables[columns] + constant)| <= error."""

    columns: NDArray
    values: NDArray
    constant: float
    error: float


def constant(values: Tensor) -> Form:
    """Known numbers: [1, *shape]."""
    return Form(values, torch.zeros_like(values))


def affine(operator: AffineOperator, operands: Sequence[Form], magnitudes: NDArray) -> Form:
    """The form of operator(operands); `magnitudes` [columns] are the variables' largest |v|."""
    columns = max(form.columns for form in operands)
    padded = [form.padded(columns) for form in operands]
    reach = [reach_of(form, magnitudes) for form in padded]
    total = operator.linear(padded[0].coefficients, 0)
    for operand, form in enumerate(padded[1:], start=1):
        total = total + operator.linear(form.coefficients, operand)
    if operator.constant is not None:
        shift = operator.constant.to(total).expand(total.shape[1:])
        total = torch.cat([total[:1] + shift, total[1:]])
    absolute = operator.absolute_cached
    carried = absolute.linear(padded[0].error, 0)
    for operand, form in enumerate(padded[1:], start=1):
        carried = carried + absolute.linear(form.error, operand)
    relative = 2 * gamma(operator.terms + operator.arity + 4)
    rounding = relative * absolute.evaluate(*reach)
    return checked(Form(total, carried * (1 + relative) + rounding + SMALLEST))


def scaled(form: Form, factor: Tensor, magnitudes: NDArray) -> Form:
    """factor x form, entry by entry; factor [1, *shape]."""
    rounding = 4 * UNIT_ROUNDOFF * factor.abs() * reach_of(form, magnitudes)
    exact = (factor == 0) | (factor.abs() == 1)
    rounding = torch.where(exact, torch.zeros_like(rounding), rounding + SMALLEST)
    error = torch.where(exact, factor.abs() * form.error, factor.abs() * form.error * (1 + 1e-12))
    return checked(Form(form.coefficients * factor, error + rounding))


def reach_of(form: Form, magnitudes: NDArray) -> Tensor:
    """Sum of |coefficient| x largest |variable|, the constant included: [1, *shape]."""
    weights = torch.from_numpy(np.concatenate([[1.0], magnitudes[: form.columns]]))
    flat = form.coefficients.abs().reshape(form.columns + 1, -1)
    # The factor covers this sum's own rounding.
    total = (weights @ flat) * (1 + 2 * gamma(form.columns + 8))
    return total.reshape(form.error.shape)


def checked(form: Form) -> Form:
    if not bool(torch.isfinite(form.coefficients).all() and torch.isfinite(form.error).all()):
        raise NumericalFailure("overflow while a network is written as a mixed-integer program")
    return form


def define(builder: ModelBuilder, entry: Entry, lower: float, upper: float) -> int:
    """A new variable in [lower, upper] that equals the entry, up to its error; its column."""
    column = builder.variable(lower, upper)
    builder.row(
        np.append(entry.columns, column),
        np.append(-entry.values, 1.0),
        down(entry.constant, entry),
        up(entry.constant, entry),
    )
    return column


def down(value: float, entry: Entry) -> float:
    """value - error, rounded down; `value` may be a float difference with the entry's constant."""
    return float(np.nextafter(value - _slack(value, entry), -np.inf))


def up(value: float, entry: Entry) -> float:
    """value + error, rounded up."""
    return float(np.nextafter(value + _slack(value, entry), np.inf))


def _slack(value: float, entry: Entry) -> float:
    return entry.error + 4 * UNIT_ROUNDOFF * (abs(value) + abs(entry.constant))
