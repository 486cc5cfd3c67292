"""Sums that are known to choose between two of their operands, entry by entry.

max(p, q) = q + relu(p - q) makes every method for ReLU a method for maxima: the choice is the gate
of that ReLU. Interval arithmetic on the sum forgets that p, q and their difference belong together.
A `Choice` is the same sum to all that use its linear part, and remembers what it is where intervals
are propagated: the largest of both, the smallest, or something between.
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF
from lipverify.operators.add import Add
from lipverify.operators.base import AffineOperator, Shape


@final
@dataclass(frozen=True, eq=False)
class Choice(AffineOperator):
    """Operands (p, q, r): y = q + sign r, where r is such that y is what `kind` says.

    `max`: the larger of p and q; `min`: the smaller; `between`: (1 - d) q + d p for a gate d in
    [0, 1]. For `rest`, operands (q, r) and p = 0: y = q - r = (1 - d) q. All that is claimed is
    about operands that belong together in this way.
    """

    name = "Choice"
    kind: Literal["max", "min", "between", "rest"]
    sign: int

    @property
    def signs(self) -> tuple[int, ...]:
        """The factor of each operand."""
        return (1, self.sign) if self.kind == "rest" else (0, 1, self.sign)

    @property
    def arity(self) -> int:
        return len(self.signs)

    def output_shape(self, *shapes: Shape) -> Shape:
        assert len(set(shapes)) == 1, "both branches of a choice must have one shape"
        return shapes[0]

    @property
    def parameters(self) -> int:
        return 0

    def evaluate(self, *x: Tensor) -> Tensor:
        """Maxima and minima are exact, as the sum may not be."""
        match self.kind:
            case "max":
                return torch.maximum(x[0], x[1])
            case "min":
                return torch.minimum(x[0], x[1])
            case _:
                return self._sum.evaluate(*x)

    def interval(self, *x: Interval) -> Interval:
        """The exact range for maxima and minima; else, the range of the sum within both."""
        if self.kind == "max":
            return Interval(
                torch.maximum(x[0].lower, x[1].lower), torch.maximum(x[0].upper, x[1].upper)
            )
        if self.kind == "min":
            return Interval(
                torch.minimum(x[0].lower, x[1].lower), torch.minimum(x[0].upper, x[1].upper)
            )
        q = x[-2]
        p = Interval(torch.zeros_like(q.lower), torch.zeros_like(q.lower))
        p = p if self.kind == "rest" else x[0]
        hull = Interval(torch.minimum(p.lower, q.lower), torch.maximum(p.upper, q.upper))
        return self._sum.interval(*x).intersect(hull)

    def mixed(self, share: Interval, *x: Interval) -> Interval:
        """The range of (1 - d) q + d p for d in `share`, rounded outward; r is not looked at."""
        q = x[-2]
        zero = torch.zeros_like(q.lower)
        p = Interval(zero, zero) if self.kind == "rest" else x[0]
        ends = [_blend(d, p, q) for d in (share.lower, share.upper)]
        return Interval(
            torch.minimum(ends[0].lower, ends[1].lower), torch.maximum(ends[0].upper, ends[1].upper)
        )

    @property
    def _sum(self) -> Add:
        return Add(self.signs)

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        return self._sum.linear(x, operand)

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        return self._sum.linear(g, operand)

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> Add:
        return Add(tuple(abs(sign) for sign in self.signs))

    def sign_parts(self) -> tuple[Add, Add]:
        return self._sum.sign_parts()

    @property
    def terms(self) -> int:
        return len(self.signs)


def _blend(share: Tensor, p: Interval, q: Interval) -> Interval:
    """share p + (1 - share) q, rounded outward unless the share is 0 or 1."""
    slack = 8 * UNIT_ROUNDOFF * torch.maximum(p.magnitude, q.magnitude) + SMALLEST
    exact_p, exact_q = share == 1, share == 0

    def end(of_p: Tensor, of_q: Tensor, slack: Tensor) -> Tensor:
        mixed = share * of_p + (1 - share) * of_q + slack
        return torch.where(exact_p, of_p, torch.where(exact_q, of_q, mixed))

    return Interval(end(p.lower, q.lower, -slack), end(p.upper, q.upper, slack))
