"""Regions cut by half-spaces: how splits of neurons reach every bound.

A split z <= 0 or z >= 0 of a neuron implies, through the linear relaxation of z, a half-space of
inputs. Bounding over the cut region is bounding over the old one with a multiplier per cut
(Wang et al. 2021, beta-CROWN); since regions concretize themselves, every method takes part.
"""

from dataclasses import dataclass
from typing import final

import torch
from scipy.optimize import linprog
from torch import Tensor

from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma
from lipverify.region import AbstractRegion

PASSES = 2


@final
@dataclass(frozen=True, eq=False)
class CutRegion(AbstractRegion):
    """The points x of `base` with slopes x + offsets >= 0; slopes [k, n], offsets [k].

    It may be empty: then `support` of some slope, and `is_empty`, can tell.
    """

    base: AbstractRegion
    slopes: Tensor
    offsets: Tensor

    def cut(self, slope: Tensor, offset: Tensor) -> "CutRegion":
        """With one more half-space slope . x + offset >= 0; slope [n], offset []."""
        return CutRegion(
            self.base,
            torch.cat([self.slopes, slope.unsqueeze(0)]),
            torch.cat([self.offsets, offset.reshape(1)]),
        )

    @property
    def bounding(self) -> Interval:
        """The base's box: cuts are left to `support`."""
        return self.base.bounding

    def support(self, slope: Tensor) -> Tensor:
        """min over beta >= 0 of support(slope + beta slopes) + beta offsets, approximately.

        Every beta is proved; coordinate descent with exact steps finds good ones. A bound of the
        rounding of the beta terms is added.
        """
        flat = slope.reshape(-1, slope.shape[-1])
        # Derivatives of the minimum over beta are those at the best beta.
        beta = self.multipliers(flat.detach())
        moved = flat + beta @ self.slopes
        cost = beta @ self.offsets
        reach = self.slopes.abs() @ self.base.bounding.magnitude + self.offsets.abs()
        slack = gamma(2 * slope.shape[-1] + 4 * len(self.offsets) + 8) * (beta @ reach)
        cut = self.base.support(moved) + cost + slack + SMALLEST
        return torch.minimum(cut, self.base.support(flat)).reshape(slope.shape[:-1])

    def multipliers(self, slope: Tensor) -> Tensor:
        """Good beta >= 0 for each slope: [s, n] -> [s, k]."""
        box = self.base.bounding
        middle, radius = box.center, box.radius
        beta = torch.zeros(len(slope), len(self.offsets), dtype=slope.dtype)
        current = slope.clone()
        for step in range(PASSES):
            for k in range(len(self.offsets)):
                direction = self.slopes[k]
                without = current - beta[:, k : k + 1] * direction
                best = _line_minimum(without, direction, self.offsets[k], middle, radius)
                current = without + best.unsqueeze(1) * direction
                beta[:, k] = best
            if len(self.offsets) == 1 and step == 0:
                break
        return beta

    def feasible_point(self) -> Tensor | None:
        """A point [n] that satisfies all cuts as well as possible; None: proved to be empty."""
        found = self.deepest()
        return None if found is None else found[0]

    def deepest(self) -> tuple[Tensor, float] | None:
        """The point above, and by how much it satisfies the cuts, each scaled to reach 1.

        A linear program finds multipliers; emptiness is proved by them alone: beta >= 0 with
        max over the base of beta . (slopes x + offsets) < 0 (Farkas). Whatever else the program's
        solver says leads to a point, not to a claim.
        """
        if not len(self.offsets):
            return self.base.center, 1.0
        solved, beta = self._program()
        if solved is None or beta is None:
            return self.base.center, 0.0
        if self._refutes(beta):
            return None
        point = self.base.project(solved[:-1])
        return point, float(solved[-1])

    def farkas(self) -> Tensor | None:
        """Multipliers [k] that are likely to prove that no point satisfies the cuts."""
        if not len(self.offsets):
            return None
        solved, beta = self._program()
        return beta if solved is not None and float(solved[-1]) < 0 else None

    def duals(self, slope: Tensor) -> Tensor:
        """Multipliers [k] of the cuts where slope . x is largest in the box: slope [n]; rounded."""
        if not len(self.offsets):
            return torch.zeros(0, dtype=slope.dtype)
        box = self.base.bounding
        limits = [*zip(box.lower.tolist(), box.upper.tolist(), strict=True)]
        scale = (self.slopes.abs() @ box.magnitude + self.offsets.abs()).clamp(min=SMALLEST)
        rows = (self.slopes / scale.unsqueeze(1)).numpy()
        offsets = (self.offsets / scale).numpy()
        solved = linprog((-slope).numpy(), -rows, offsets, bounds=limits, method="highs-ds")
        if solved.x is None or solved.ineqlin.marginals is None:
            return torch.zeros(len(offsets), dtype=slope.dtype)
        found = torch.as_tensor(-solved.ineqlin.marginals, dtype=slope.dtype)
        return found.clamp(min=0.0) / scale

    def _program(self) -> tuple[Tensor | None, Tensor | None]:
        """Maximise t with (slopes x + offsets) / scale >= t: (x, t), and the multipliers."""
        box = self.base.bounding
        scale = (self.slopes.abs() @ box.magnitude + self.offsets.abs()).clamp(min=SMALLEST)
        rows, offsets = self.slopes / scale.unsqueeze(1), self.offsets / scale
        count, size = rows.shape
        matrix = torch.cat([-rows, torch.ones(count, 1, dtype=rows.dtype)], 1).numpy()
        limits = [*zip(box.lower.tolist(), box.upper.tolist(), strict=True), (None, 1.0)]
        cost = [0.0] * size + [-1.0]
        solved = linprog(cost, matrix, offsets.numpy(), bounds=limits, method="highs-ds")
        if solved.x is None:
            return None, None
        beta = torch.as_tensor(-solved.ineqlin.marginals, dtype=rows.dtype).clamp(min=0.0) / scale
        return torch.as_tensor(solved.x, dtype=rows.dtype), beta

    def _refutes(self, beta: Tensor) -> bool:
        """Whether sup over the base of beta . (slopes x + offsets) is proved negative."""
        reach = self.slopes.abs() @ self.base.bounding.magnitude + self.offsets.abs()
        slack = gamma(2 * self.size + 4 * len(self.offsets) + 8) * (beta @ reach) + SMALLEST
        return bool(self.base.support(beta @ self.slopes) + beta @ self.offsets + slack < 0)

    def is_empty(self) -> bool:
        """Whether multipliers prove that no point is left."""
        return self.feasible_point() is None

    def project(self, x: Tensor) -> Tensor:
        return self.base.project(x)

    def contains(self, x: Tensor) -> Tensor:
        return self.base.contains(x) & (x @ self.slopes.T + self.offsets >= 0).all(-1)

    def overlaps(self, lower: Tensor, upper: Tensor) -> Tensor:
        return self.base.overlaps(lower, upper)

    @property
    def center(self) -> Tensor:
        return self.base.center

    def vertices(self, slope: Tensor) -> Tensor:
        return self.base.vertices(slope)


def _line_minimum(
    slope: Tensor, direction: Tensor, offset: Tensor, middle: Tensor, radius: Tensor
) -> Tensor:
    """The beta >= 0 that minimises support_box(slope + beta direction) + beta offset: [s].

    The function is convex and piecewise linear: its derivative jumps by 2 radius |direction| at
    beta = -slope / direction of each entry; the minimum is where it turns non-negative.
    """
    moving = (direction != 0) & (radius > 0)
    if not bool(moving.any()):
        return torch.zeros(len(slope), dtype=slope.dtype)
    d, r = direction[moving], radius[moving]
    breaks = -slope[:, moving] / d
    order = breaks.argsort(-1)
    jumps = 2 * (r * d.abs())[order]
    start = (direction @ middle + offset) - (r * d.abs()).sum()  # derivative at beta -> -inf
    rising = start + jumps.cumsum(-1)
    turned = rising >= 0
    first = turned.to(torch.uint8).argmax(-1, keepdim=True)
    best = breaks.gather(-1, order).gather(-1, first).squeeze(-1)
    # Never turning (the cut excludes the whole box) means emptiness: go far along it.
    far = 4 * (1 + slope.abs().amax(-1)) / d.abs().amin()
    best = torch.where(turned.any(-1), best, far)
    return torch.where(torch.isfinite(best), best, torch.zeros_like(best)).clamp(min=0.0)
