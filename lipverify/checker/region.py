"""The region: a box of integers at 2^-P, rounded outward, and perhaps a ball."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Any

from lipverify.checker.errors import Rejected
from lipverify.checker.exact import at, common, counted, down, floats, quotient_up, shift_up, up

Term = tuple[int, int, int, int]
"""Coefficient a, radius r, and ends of d = x - c of one input."""


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
        lift, more = fine - bits, fine - self.grid
        entries = zip(row, self.center, self.radius, lower, upper, strict=True)
        total, terms = 0, []  # at 2^-(2 fine)
        for a, c, r, low, high in entries:
            a, c, r = a << lift, c << more, r << more
            total += a * c
            if a and r:
                terms.append((a, r, (low << lift) - c, (high << lift) - c))
        mu = down(self._multiplier(terms, 1 << fine), fine)
        total += (mu << fine) + sum(self._most(term, mu, 1 << fine) for term in terms)
        return shift_up(total, 2 * lift)

    def _most(self, term: Term, mu: int, one: int) -> int:
        """The maximum of a d - mu penalty(d), rounded up."""
        a, r, left, right = term
        if self.norm == "1":  # piecewise linear: at the ends, or at 0
            return max(
                a * d - mu * abs(d) // r * one for d in (left, min(max(left, 0), right), right)
            )
        peak, edge = a * r * r, 2 * mu * one  # concave: the peak is at d = a r^2 / (2 mu)
        if edge * left < peak < edge * right:
            return quotient_up(a * peak, 2 * edge)
        d = right if peak >= edge * right else left
        return a * d - mu * d * d // (r * r) * one

    def _multiplier(self, terms: Sequence[Term], one: int) -> float:
        """A good mu: the root of penalty = 1, in floats."""
        try:
            pairs = [
                (abs(a) * r / one / one, max(0.0, (right if a > 0 else -left) / r))
                for a, r, left, right in terms
            ]
        except OverflowError:
            return 0.0
        if self.norm == "1":  # the largest pulls first, each as far as it may go
            left = 1.0
            for pull, room in sorted(pairs, reverse=True):
                left -= room
                if left <= 0:
                    return pull
            return 0.0
        low, high = 0.0, sqrt(sum(pull * pull for pull, _ in pairs)) / 2
        if all(pull <= 2 * high * room for pull, room in pairs):
            return high
        for _ in range(60):
            mu = (low + high) / 2
            length = sum(min(pull / (2 * mu), room) ** 2 for pull, room in pairs) if mu else 2.0
            low, high = (mu, high) if length > 1 else (low, mu)
        return high


@dataclass(frozen=True)
class Region:
    """`exact`: the box as it is written, None where there is only a ball."""

    lower: list[int]
    upper: list[int]
    ball: Ball | None
    exact: tuple[list[float], list[float]] | None

    def contains(self, point: Sequence[Fraction]) -> bool:
        ends = zip(*self.exact, point, strict=True) if self.exact else ()
        return all(low <= x <= high for low, high, x in ends) and self.depth(point) >= 0

    def depth(self, point: Sequence[Fraction]) -> Fraction:
        """1 - the penalty of the ball, < 0 outside; 1 without a ball."""
        if self.ball is None:
            return Fraction(1)
        left, one = Fraction(1), 1 << self.ball.grid
        for x, c, r in zip(point, self.ball.center, self.ball.radius, strict=True):
            step = abs(x * one - c)
            if step and not r:
                return Fraction(-1)
            left -= (step / r) ** int(self.ball.norm) if step else 0
        return left


def region(asked: Mapping[str, Any], inputs: int, bits: int) -> Region:
    """The manifest's region."""
    boxes: list[tuple[list[Any], list[Any]]] = []
    ball = exact = None
    if "ball" in asked:
        center = list(map(Fraction, counted(asked["ball"]["center"], inputs, "the ball's center")))
        radius = list(map(Fraction, floats(asked["ball"]["radius"], "the ball's radius")))
        if len(radius) not in (1, inputs) or min(radius) < 0:
            raise Rejected(f"the ball's radius: expected 1 or {inputs} numbers >= 0")
        radius *= inputs // len(radius)
        grid = common([center, radius])
        ball = Ball(asked["ball"]["norm"], at(center, grid), at(radius, grid), grid)
        pairs = list(zip(center, radius, strict=True))
        boxes.append(([c - r for c, r in pairs], [c + r for c, r in pairs]))
    if ("lower" in asked) != ("upper" in asked) or not ("lower" in asked or ball):
        raise Rejected("the region needs lower and upper, or a ball")
    if "lower" in asked:
        lower, upper = (counted(asked[end], inputs, f"region.{end}") for end in ("lower", "upper"))
        exact = lower, upper
        if any(low > high for low, high in zip(lower, upper, strict=True)):
            raise Rejected("the region has lower > upper")
        boxes.append(exact)
    lows, highs = zip(*boxes, strict=True)
    return Region(
        [max(down(x, bits) for x in ends) for ends in zip(*lows, strict=True)],
        [min(up(x, bits) for x in ends) for ends in zip(*highs, strict=True)],
        ball,
        exact,
    )
