"""What an operator has to offer. One class per operator, one method per meaning.

There are two kinds: affine operators (with any number of operands) and activations (applied entry
by entry). Everything that bounding needs of the backward graph follows from them: the transpose of
an affine operator is affine, and an activation's derivative is a gate.

Shapes are without the batch dimension; every tensor argument has it in front: [batch, *shape].
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from lipverify.errors import NumericalFailure, OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma, round_down, round_up

Shape = tuple[int, ...]


class AbstractOperator(ABC):
    """A function of one or more tensors."""

    name: ClassVar[str]
    """The usual (ONNX) name, shown to users."""

    @property
    def arity(self) -> int:
        return 1

    @abstractmethod
    def output_shape(self, *shapes: Shape) -> Shape:
        """The shape of the result, without the batch."""

    @abstractmethod
    def evaluate(self, *x: Tensor) -> Tensor:
        """The value, in the dtype of the operands."""

    @abstractmethod
    def interval(self, *x: Interval) -> Interval:
        """A set that holds evaluate(x) in real arithmetic for all x, rounded outward."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of stored weights."""


class AffineOperator(AbstractOperator):
    """y = sum_i A_i x_i + b."""

    @abstractmethod
    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        """A_i x, without the constant."""

    @abstractmethod
    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        """A_i^T g, the vector-Jacobian product: [batch, *output] -> [batch, *input]."""

    @property
    @abstractmethod
    def constant(self) -> Tensor | None:
        """b, broadcastable to the output's shape; None for zero."""

    @property
    @abstractmethod
    def absolute(self) -> "AffineOperator":
        """The operator with |A_i| and |b|."""

    @property
    @abstractmethod
    def terms(self) -> int:
        """Largest number of products summed into one entry, of A or of its transpose."""

    @abstractmethod
    def sign_parts(self) -> tuple["AffineOperator", "AffineOperator | None"]:
        """Operators whose weights are positive exactly where A_i and b are, and where they are
        negative; zero elsewhere, and never negative. None for an operator of zeros."""

    @cached_property
    def _signs(self) -> tuple["AffineOperator", "AffineOperator | None"]:
        return self.sign_parts()

    @cached_property
    def absolute_cached(self) -> "AffineOperator":
        return self.absolute

    def evaluate(self, *x: Tensor) -> Tensor:
        total = self.linear(x[0], 0)
        for operand, value in enumerate(x[1:], start=1):
            total = total + self.linear(value, operand)
        return total if self.constant is None else total + self.constant.to(total)

    def interval(self, *x: Interval) -> Interval:
        """Centre and radius, with the rounding of both (Rump 1999); an end whose terms all have one
        sign keeps it, so that what cannot be negative is not made so by rounding."""
        for operand in x:
            if not operand.is_finite():
                raise OutOfDomain(f"{self.name}: an operand has an infinite bound")
        center = self.evaluate(*(operand.center for operand in x))
        absolute = self.absolute_cached
        radius = absolute.linear(x[0].radius, 0)
        for operand, value in enumerate(x[1:], start=1):
            radius = radius + absolute.linear(value.radius, operand)
        reach = absolute.evaluate(*(operand.magnitude for operand in x))
        radius = radius + 2 * gamma(self.terms + self.arity + 4) * reach + SMALLEST
        if not bool(torch.isfinite(center).all() and torch.isfinite(radius).all()):
            raise NumericalFailure(f"{self.name}: overflow in interval arithmetic")
        lower, upper = round_down(center - radius), round_up(center + radius)
        below, above = self._signed_terms(x)
        return Interval(
            torch.where(below == 0, lower.clamp(min=0.0), lower),
            torch.where(above == 0, upper.clamp(max=0.0), upper),
        )

    def _signed_terms(self, x: tuple[Interval, ...]) -> tuple[Tensor, Tensor]:
        """How often a term of each entry can be negative, and positive: sums of zeros and of
        positive numbers, so 0 exactly where none can."""
        low = [(operand.lower < 0).to(operand.lower) for operand in x]
        high = [(operand.upper > 0).to(operand.upper) for operand in x]
        positive, negative = self._signs
        below = sum(positive.linear(value, operand) for operand, value in enumerate(low))
        above = positive.evaluate(*high)
        if negative is not None:
            below = below + negative.evaluate(*high)
            above = above + sum(negative.linear(value, i) for i, value in enumerate(low))
        assert isinstance(below, Tensor)
        return below, above


@dataclass(frozen=True, eq=False)
class Relaxation:
    """lower_slope x + lower_intercept <= y <= upper_slope x + upper_intercept, entry by entry."""

    lower_slope: Tensor
    lower_intercept: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor


class Activation(AbstractOperator):
    """A scalar function, applied entry by entry."""

    kinks: ClassVar[tuple[float, ...]] = ()
    """Where the derivative jumps."""

    piecewise_linear: ClassVar[bool] = False
    """Whether the derivative is constant between the kinks: a split there fixes the gate."""

    has_choice: ClassVar[bool] = False
    """Whether `relax` has more than one relaxation to offer."""

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    @property
    def parameters(self) -> int:
        return 0

    def interval(self, *x: Interval) -> Interval:
        """The range on [lower, upper]; as written here, for non-decreasing functions."""
        return Interval(
            self.round_value(self.evaluate(x[0].lower), up=False),
            self.round_value(self.evaluate(x[0].upper), up=True),
        )

    def round_value(self, y: Tensor, *, up: bool) -> Tensor:
        """A computed value, moved outward by its own rounding error; exact ones stay."""
        return y

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """The derivative; at a kink, the one from the right."""

    def smooth_derivative(self, x: Tensor, width: float) -> Tensor:
        """The derivative with its jumps spread over about `width`; only guides searches."""
        return self.derivative(x)

    @abstractmethod
    def gate(self, x: Interval) -> Interval:
        """The range of the Clarke derivative over [lower, upper], rounded outward."""

    def gate_within(self, x: Interval) -> Interval:
        """As `gate`, but of what lies inside of [lower, upper]: at an end that is a kink, only the
        slope from within. An interval of one point has no inside: there it is the whole gate.

        As written here, for derivatives without jumps.
        """
        return self.gate(x)

    def gate_lines(self, x: Interval) -> Relaxation:
        """Affine functions of x below and above the Clarke derivative (at kinks, all its slopes).

        As written here, the constant ends of `gate`; better where the derivative moves with x.
        """
        ends = self.gate(x)
        flat = torch.zeros_like(ends.lower)
        return Relaxation(flat, ends.lower, flat, ends.upper)

    @abstractmethod
    def relax(self, x: Interval, lower_choice: Tensor | None = None) -> Relaxation:
        """Affine functions below and above on [lower, upper].

        `lower_choice` (entries in [0, 1], broadcastable in front) picks within the family of sound
        relaxations, where the activation has one (alpha in alpha-CROWN); None is the default.
        """
