"""Sets of inputs. A region concretizes itself: a new shape is a new class, no `if norm` elsewhere.

A region is over the flat input [n]; networks with shaped inputs see it in row-major order.
Every region here is convex and not empty.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.errors import EmptyRegion, RegionError
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm
from lipverify.numerics import DTYPE, UNIT_ROUNDOFF, add_down, add_up, gamma

PROJECTION_STEPS = 60
SPAN_STEPS = 60
INSIDE = 1.0 - 1e-12
"""Points of balls are made a little inside, so that rounding does not put them outside."""
MEMBERSHIP_TOLERANCE = 1e-12
"""Slack of `contains` for balls, relative to the radius: their edge is no set of floats."""


class AbstractRegion(ABC):
    """A closed convex set of inputs [n]."""

    @property
    @abstractmethod
    def bounding(self) -> Interval:
        """The smallest box around the region."""

    @abstractmethod
    def support(self, slope: Tensor) -> Tensor:
        """max slope.x over the region, or a number above it: [..., n] -> [...]. Not rounded."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """A point of the region near x: [..., n] -> [..., n]."""

    @abstractmethod
    def contains(self, x: Tensor) -> Tensor:
        """Whether each point lies in the region: [..., n] -> [...]."""

    @abstractmethod
    def overlaps(self, lower: Tensor, upper: Tensor) -> Tensor:
        """False only for boxes without a point of the region: both ends [..., n] -> [...].

        The boxes have to be parts of `bounding`.
        """

    @property
    @abstractmethod
    def center(self) -> Tensor:
        """Some inner point [n]."""

    @abstractmethod
    def vertices(self, slope: Tensor) -> Tensor:
        """A point of the region that makes slope.x large: [..., n] -> [..., n]."""

    @property
    def size(self) -> int:
        return self.bounding.lower.shape[0]

    def span(self, x: Tensor, index: int) -> tuple[float, float]:
        """How far input `index` of the point x [n] can move with the others fixed."""
        box = self.bounding
        return (
            self._reach(x, index, float(box.lower[index])),
            self._reach(x, index, float(box.upper[index])),
        )

    def _reach(self, x: Tensor, index: int, end: float) -> float:
        """The farthest value from x[index] towards `end` that stays inside, by bisection."""

        def inside(value: float) -> bool:
            moved = x.clone()
            moved[index] = value
            return bool(self.contains(moved))

        if inside(end):
            return end
        good, bad = float(x[index]), end
        for _ in range(SPAN_STEPS):
            middle = (good + bad) / 2
            good, bad = (middle, bad) if inside(middle) else (good, middle)
        return good

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` points [count, n]: the centre, extreme points, then points in between."""
        box = self.bounding
        shape = (count, self.size)
        extreme = self.vertices(torch.randn(shape, generator=generator, dtype=DTYPE))
        share = torch.rand(shape, generator=generator, dtype=DTYPE)
        inner = self.project(box.lower + share * box.width)
        pick = torch.arange(count) % 3 == 0
        points = torch.where(pick.unsqueeze(1), inner, extreme)
        points[0] = self.center
        return points


@final
@dataclass(frozen=True, eq=False)
class Box(AbstractRegion):
    """lower <= x <= upper, entry by entry; both ends [n], finite."""

    lower: Tensor
    upper: Tensor

    def __post_init__(self) -> None:
        _check_finite("lower end", self.lower)
        _check_finite("upper end", self.upper)
        if self.lower.shape != self.upper.shape:
            raise RegionError(
                f"the ends of the box have {self.lower.numel()} and {self.upper.numel()} entries"
            )
        wrong = (self.lower > self.upper).nonzero().flatten()
        if wrong.numel():
            index = int(wrong[0])
            raise RegionError(
                f"lower > upper at input {index}: {float(self.lower[index])} > "
                f"{float(self.upper[index])}"
            )

    @property
    def bounding(self) -> Interval:
        return Interval(self.lower, self.upper)

    def support(self, slope: Tensor) -> Tensor:
        return (slope * torch.where(slope >= 0, self.upper, self.lower)).sum(-1)

    def project(self, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, self.lower), self.upper)

    def contains(self, x: Tensor) -> Tensor:
        return ((self.lower <= x) & (x <= self.upper)).all(-1)

    def overlaps(self, lower: Tensor, upper: Tensor) -> Tensor:
        return ((lower <= self.upper) & (self.lower <= upper)).all(-1)

    @property
    def center(self) -> Tensor:
        return self.project(self.lower / 2 + self.upper / 2)

    def vertices(self, slope: Tensor) -> Tensor:
        return torch.where(slope >= 0, self.upper, self.lower)

    def halves(self, index: int, at: float | None = None) -> tuple["Box", "Box"]:
        """The two closed parts below and above x[index] = at (the middle); they share the face."""
        middle = float(self.center[index]) if at is None else at
        below, above = self.upper.clone(), self.lower.clone()
        below[index] = middle
        above[index] = middle
        return Box(self.lower, below), Box(above, self.upper)


@final
@dataclass(frozen=True, eq=False)
class Ball(AbstractRegion):
    """||(x - center) / radius|| <= 1; center and radius [n], radius >= 0 (0: the input is fixed).

    One radius for all inputs gives the usual ball. For the infinity norm, use `Box`, whose ends
    are the floats that they are said to be.
    """

    middle: Tensor
    radius: Tensor
    norm: AbstractNorm

    def __post_init__(self) -> None:
        _check_finite("center", self.middle)
        _check_finite("radius", self.radius)
        if self.middle.shape != self.radius.shape:
            raise RegionError(
                f"center and radius have {self.middle.numel()} and {self.radius.numel()} entries"
            )
        if bool((self.radius < 0).any()):
            raise RegionError(f"radius < 0: {float(self.radius.min())}")

    @property
    def bounding(self) -> Interval:
        return Interval(add_down(self.middle, -self.radius), add_up(self.middle, self.radius))

    def support(self, slope: Tensor) -> Tensor:
        return slope @ self.middle + self.norm.dual.of(slope * self.radius)

    def project(self, x: Tensor) -> Tensor:
        # Exact for one common radius; for several, a point of the ball that need not be nearest.
        moving = self.radius > 0
        scaled = torch.where(moving, (x - self.middle) / self.radius.clamp(min=1e-300), 0.0)
        inside = self.norm.project(scaled, torch.ones((), dtype=x.dtype))
        return self.middle + INSIDE * inside * self.radius

    def contains(self, x: Tensor) -> Tensor:
        # A point that has been computed as middle + step is off by a rounding of both.
        slack = 4 * UNIT_ROUNDOFF * self.middle.abs()
        moved = ((x - self.middle).abs() - slack).clamp(min=0.0)
        fixed_agree = ((self.radius > 0) | (x == self.middle)).all(-1)
        scaled = torch.where(self.radius > 0, moved / self.radius.clamp(min=1e-300), 0.0)
        return fixed_agree & (self.norm.of(scaled) <= 1 + MEMBERSHIP_TOLERANCE)

    def overlaps(self, lower: Tensor, upper: Tensor) -> Tensor:
        # Coordinate by coordinate nearest to the centre is nearest in every norm of |x - centre|.
        return self.contains(torch.minimum(torch.maximum(self.middle, lower), upper))

    @property
    def center(self) -> Tensor:
        return self.middle

    def vertices(self, slope: Tensor) -> Tensor:
        return self.middle + INSIDE * self.norm.maximiser(slope * self.radius) * self.radius


@final
@dataclass(frozen=True, eq=False)
class BallInBox(AbstractRegion):
    """The common part of a ball and a box (a ball cut to the valid input range)."""

    ball: Ball
    box: Box

    def __post_init__(self) -> None:
        if self.ball.middle.shape != self.box.lower.shape:
            raise RegionError("ball and box differ in their number of inputs")
        # The point of the box nearest to the centre, coordinate by coordinate, is nearest in
        # every norm that grows with |x_i - c_i|; so it decides whether the parts meet.
        # `contains` has a tolerance, the bounding boxes have none.
        around, box = self.ball.bounding, self.box
        apart = bool(((around.lower > box.upper) | (box.lower > around.upper)).any())
        if apart or not bool(self.ball.contains(box.project(self.ball.middle))):
            raise EmptyRegion("the ball and the valid input range (clip) have no common point")

    @property
    def bounding(self) -> Interval:
        return self.ball.bounding.intersect(self.box.bounding)

    def support(self, slope: Tensor) -> Tensor:
        # The minimum over splits a + b of the slope of support_ball(a) + support_box(b), about;
        # every split is proved, so rounding in how it is chosen does not matter.
        tight = self.bounding
        boxed = torch.where(slope >= 0, slope * tight.upper, slope * tight.lower)
        # Callers charge the rounding of numbers like `bounding`'s; the ball's may be far larger.
        reach = slope.abs() @ (self.ball.middle.abs() + self.ball.radius)
        slack = 2 * gamma(2 * self.size + 8) * reach
        ball = self.ball.support(slope)
        middle, radius = self.ball.middle, self.ball.radius
        room = torch.where(slope >= 0, self.box.upper - middle, middle - self.box.lower)
        room = torch.where(radius > 0, room / radius.clamp(min=1e-300), 0.0).clamp(max=1.0)
        worth = slope.abs() * radius
        part = self.ball.norm.share(worth, room)
        split = slope @ middle + self.ball.norm.dual.of(part) + ((worth - part) * room).sum(-1)
        return torch.minimum(torch.minimum(ball, split) + slack, boxed.sum(-1))

    def project(self, x: Tensor) -> Tensor:
        # Clipping keeps a point of the ball in the ball as long as the centre is in the box.
        point = self.ball.project(x)
        if bool(self.box.contains(self.ball.middle)):
            return self.box.project(point)
        inner = self.center
        for _ in range(PROJECTION_STEPS):  # alternating projections, then a step to an inner point
            point = self.box.project(self.ball.project(point))
        inside = self.contains(point).unsqueeze(-1)
        return torch.where(inside, point, inner)

    def contains(self, x: Tensor) -> Tensor:
        return self.ball.contains(x) & self.box.contains(x)

    def overlaps(self, lower: Tensor, upper: Tensor) -> Tensor:
        return self.box.overlaps(lower, upper) & self.ball.overlaps(lower, upper)

    @property
    def center(self) -> Tensor:
        return self.box.project(self.ball.middle)

    def vertices(self, slope: Tensor) -> Tensor:
        return self.project(self.ball.vertices(slope))


def ball_region(
    center: Tensor, radius: Tensor, norm: AbstractNorm, clip: tuple[Tensor, Tensor] | None = None
) -> AbstractRegion:
    """The region around `center` [n] of `radius` ([] or [n]), cut to the range `clip`, if given.

    Raises `RegionError` for a negative or non-finite radius, `EmptyRegion` where nothing is left.
    """
    ball = Ball(center, radius.expand(center.shape) if radius.ndim == 0 else radius, norm)
    if norm.name == "inf":
        box = Box(ball.bounding.lower, ball.bounding.upper)
        if clip is None:
            return box
        cut = Box(*clip)
        if cut.lower.shape != center.shape:
            raise RegionError("ball and box differ in their number of inputs")
        lower = torch.maximum(box.lower, cut.lower)
        upper = torch.minimum(box.upper, cut.upper)
        if bool((lower > upper).any()):
            raise EmptyRegion("the ball and the valid input range (clip) have no common point")
        return Box(lower, upper)
    return ball if clip is None else BallInBox(ball, Box(*clip))


def _check_finite(what: str, values: Tensor) -> None:
    if values.ndim != 1:
        raise RegionError(f"the {what} of a region must be a flat list, not {values.ndim}-D")
    bad = (~torch.isfinite(values)).nonzero().flatten()
    if bad.numel():
        index = int(bad[0])
        raise RegionError(f"the {what} of the region is {float(values[index])} at input {index}")
