"""The region: a box of integers at 2^-P, rounded outward, and perhaps a ball."""

from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Any

from lipverify.checker.errors import Rejected
from lipverify.checker.exact import at, common, counted, down, floats, quotient_up, shift_up, up


@dataclass(frozen=True)
class Ball:
    """||(x - center) / radius|| <= 1, norm 1 or 2; integers at 2^-grid, exact."""

    norm: str
    center: list[int]
    radius: list[int]
    grid: int

    def support(self, row: list[int], lower: list[int], upper: list[int], bits: int) -> int:
        """A bound of row . x on the ball cut to a box; row, ends at 2^-bits, result at 2^-(2 bits).

        For any multiplier mu >= 0: the maximum over the box of row . x + mu (1 - penalty), input by
        input (README 4.2). Only the choice of mu is made in floats.
        """
        fine = max(bits, self.grid)  # everything below is exact at 2^-fine
        lift, raise_ = fine - self.grid, fine - bits
        center = [c << lift for c in self.center]
        radius = [r << lift for r in self.radius]
        ends = [
            ((lo << raise_) - c, (hi << raise_) - c)
            for lo, hi, c in zip(lower, upper, center, strict=True)
        ]
        slope = [a << raise_ for a in row]
        mu = self._multiplier(slope, radius, ends, fine)
        total = 0  # at 2^-(2 fine)
        one = 1 << fine
        for a, r, c, (left, right) in zip(slope, radius, center, ends, strict=True):
            total += a * c
            if a == 0 or r == 0:
                continue
            if self.norm == "1":
                inner = [0] if left <= 0 <= right else []
                total += max(a * d - mu * abs(d) // r * one for d in (left, right, *inner))
                continue
            peak, edge = a * r * r, 2 * mu * one  # the peak is at d = a r^2 / (2 mu)
            if peak < edge * left or (mu == 0 and a < 0):
                total += a * left - mu * left * left // (r * r) * one
            elif peak > edge * right or mu == 0:
                total += a * right - mu * right * right // (r * r) * one
            else:
                total += quotient_up(a * a * r * r, 4 * mu * one)
        return shift_up(total + mu * one, 2 * (fine - bits))

    def _multiplier(
        self, slope: list[int], radius: list[int], ends: list[tuple[int, int]], fine: int
    ) -> int:
        """A good mu at 2^-fine."""
        one = 1 << fine
        try:
            pull = [abs(a) * r / one / one for a, r in zip(slope, radius, strict=True)]
            room = [
                (right if a > 0 else -left) / r if r else 0.0
                for a, r, (left, right) in zip(slope, radius, ends, strict=True)
            ]
        except OverflowError:
            return 0
        if self.norm == "1":
            left = 1.0
            for size, share in sorted(zip(pull, room, strict=True), reverse=True):
                left -= max(0.0, share)
                if left <= 0:
                    return down(size, fine)
            return 0
        high = sqrt(sum(size * size for size in pull)) / 2
        if all(size <= 2 * high * share for size, share in zip(pull, room, strict=True) if size):
            return down(high, fine)
        low = 0.0
        for _ in range(60):
            middle = (low + high) / 2
            length = (
                sum(
                    min(size / (2 * middle), max(share, 0.0)) ** 2
                    for size, share in zip(pull, room, strict=True)
                    if size
                )
                if middle
                else 2.0
            )
            low, high = (middle, high) if length > 1 else (low, middle)
        return down(high, fine)


@dataclass(frozen=True)
class Region:
    lower: list[int]
    upper: list[int]
    ball: Ball | None
    exact: tuple[list[float], list[float]] | None
    """The box as it is written, None where there is only a ball."""

    def contains(self, point: list[Fraction]) -> bool:
        if self.exact:
            lower, upper = self.exact
            if not all(lo <= x <= hi for lo, x, hi in zip(lower, point, upper, strict=True)):
                return False
        return self.ball is None or self.depth(point) >= 0

    def depth(self, point: list[Fraction]) -> Fraction:
        """1 - the penalty of the ball, < 0 outside."""
        assert self.ball is not None
        one, total = 1 << self.ball.grid, Fraction(0)
        for x, c, r in zip(point, self.ball.center, self.ball.radius, strict=True):
            step = x - Fraction(c, one)
            if r == 0:
                if step != 0:
                    return Fraction(-1)
                continue
            scaled = abs(step) / Fraction(r, one)
            total += scaled if self.ball.norm == "1" else scaled * scaled
        return 1 - total


def region(asked: dict[str, Any], inputs: int, bits: int) -> Region:
    """The manifest's region."""
    ball, box = None, None
    if "ball" in asked:
        center = [
            Fraction(x) for x in counted(asked["ball"]["center"], inputs, "center of the ball")
        ]
        radii = [Fraction(x) for x in floats(asked["ball"]["radius"], "radius of the ball")]
        if len(radii) not in (1, inputs) or min(radii) < 0:
            raise Rejected(f"the ball's radius: expected 1 or {inputs} numbers >= 0")
        radii = radii * (inputs // len(radii))
        grid = common([center, radii])
        ball = Ball(asked["ball"]["norm"], at(center, grid), at(radii, grid), grid)
        ends = [
            [c - r for c, r in zip(center, radii, strict=True)],
            [c + r for c, r in zip(center, radii, strict=True)],
        ]
    if ("lower" in asked) != ("upper" in asked) or ("lower" not in asked and ball is None):
        raise Rejected("the region needs lower and upper, or a ball")
    if "lower" in asked:
        box = (
            counted(asked["lower"], inputs, "region.lower"),
            counted(asked["upper"], inputs, "region.upper"),
        )
        if any(lo > hi for lo, hi in zip(*box, strict=True)):
            raise Rejected("the region has lower > upper")
    lower = [down(x, bits) for x in (box[0] if box else ends[0])]
    upper = [up(x, bits) for x in (box[1] if box else ends[1])]
    if box and ball:
        lower = [max(x, down(y, bits)) for x, y in zip(lower, ends[0], strict=True)]
        upper = [min(x, up(y, bits)) for x, y in zip(upper, ends[1], strict=True)]
    return Region(lower, upper, ball, box)
