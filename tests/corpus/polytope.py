"""Polytopes in rational arithmetic, as the hull of finitely many points (not all extreme)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

Point = tuple[Fraction, ...]
Form = tuple[Fraction, ...]
"""Coefficients over (1, x): a constant, then one number per input."""

MANY = range(40, 300)
"""Hulls of so many points are thinned out, which takes the square of their number."""


def value(form: Form, point: Sequence[Fraction]) -> Fraction:
    return form[0] + sum((a * x for a, x in zip(form[1:], point, strict=True) if a), Fraction(0))


@dataclass(frozen=True)
class Ellipsoid:
    """sum of ((x - center) / radius)^2 <= 1; inputs of radius 0 are fixed."""

    center: Point
    radius: Point

    def scaled(self, form: Form) -> Form:
        """The form in coordinates in which this is the unit ball around 0."""
        return (
            value(form, self.center),
            *(a * r for a, r in zip(form[1:], self.radius, strict=True)),
        )


@dataclass(frozen=True)
class Cell:
    """The hull of `points` [k][n], of dimension `dimension`, and inside `ball`, if there is one.

    `walls` are forms that are >= 0 on it; they describe it completely where there is a ball.
    """

    points: tuple[Point, ...]
    dimension: int
    walls: tuple[Form, ...] = ()
    ball: Ellipsoid | None = None

    @property
    def middle(self) -> Point:
        """A point of the (relative) interior, where there is no ball."""
        count = len(self.points)
        return tuple(sum(column, Fraction(0)) / count for column in zip(*self.points, strict=True))

    def cut(self, form: Form) -> "Cell | None":
        """The part where form >= 0; None where that has no interior (relative to the region)."""
        heights = [value(form, point) for point in self.points]
        inside = [p for p, h in zip(self.points, heights, strict=True) if h >= 0]
        if len(inside) == len(self.points):
            return self
        crossings = {
            _between(p, q, hp, hq)
            for p, hp in zip(self.points, heights, strict=True)
            if hp > 0
            for q, hq in zip(self.points, heights, strict=True)
            if hq < 0
        }
        points = _thinned([*inside, *crossings], self.dimension)
        if dimension(points) < self.dimension:
            return None
        part = Cell(tuple(points), self.dimension, (*self.walls, form), self.ball)
        return part if part._meets_ball() else None

    def is_constant(self, form: Form) -> bool:
        """Whether the form has one value on the whole cell."""
        first = value(form, self.points[0])
        return all(value(form, point) == first for point in self.points[1:])

    def holds(self, point: Sequence[Fraction]) -> bool:
        return all(value(wall, point) >= 0 for wall in self.walls)

    def _meets_ball(self) -> bool:
        """Whether inner points of the ball are in this part; it has an interior already."""
        if self.ball is None:
            return True
        moving = [i for i, r in enumerate(self.ball.radius) if r > 0]
        walls = [self.ball.scaled(wall) for wall in self.walls]
        walls = [(wall[0], *(wall[1 + i] for i in moving)) for wall in walls]
        nearest = min(_squares_of_candidates(walls, len(moving)), default=None)
        return nearest is not None and nearest < 1


def dimension(points: Sequence[Point]) -> int:
    """That of the smallest flat around the points; -1 for none."""
    if not points:
        return -1
    rows: list[list[Fraction]] = []
    for point in points[1:]:
        rest = [a - b for a, b in zip(point, points[0], strict=True)]
        for row in rows:
            lead = next(i for i, a in enumerate(row) if a)
            if rest[lead]:
                share = rest[lead] / row[lead]
                rest = [a - share * b for a, b in zip(rest, row, strict=True)]
        if any(rest):
            rows.append(rest)
            if len(rows) == len(points[0]):
                break
    return len(rows)


def solve(matrix: Sequence[Sequence[Fraction]], right: Sequence[Fraction]) -> list[Fraction] | None:
    """The solution of a square system; None if it is singular."""
    rows = [[*row, b] for row, b in zip(matrix, right, strict=True)]
    size = len(rows)
    for column in range(size):
        pivot = next((r for r in range(column, size) if rows[r][column]), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        lead = rows[column][column]
        rows[column] = [a / lead for a in rows[column]]
        for r in range(size):
            if r != column and rows[r][column]:
                share = rows[r][column]
                rows[r] = [a - share * b for a, b in zip(rows[r], rows[column], strict=True)]
    return [row[-1] for row in rows]


def _between(p: Point, q: Point, hp: Fraction, hq: Fraction) -> Point:
    share = hp / (hp - hq)
    return tuple(a + share * (b - a) for a, b in zip(p, q, strict=True))


def _thinned(points: list[Point], moving: int) -> list[Point]:
    """The same hull; of lines, only the ends."""
    points = sorted(set(points))
    if moving == 1 and points:
        return [points[0], points[-1]]
    return _extreme(points) if len(points) in MANY else points


def _extreme(points: list[Point]) -> list[Point]:
    """Without the midpoints of others: enough to keep repeated cuts small."""
    known = set(points)
    middles = {
        tuple((a + b) / 2 for a, b in zip(p, q, strict=True)) for p, q in combinations(points, 2)
    }
    return [point for point in points if point not in middles & known]


def _squares_of_candidates(walls: Sequence[Form], size: int) -> Iterator[Fraction]:
    """|x|^2 of the points of {walls >= 0} that are nearest to 0 on some face; the least is its
    distance's square."""
    walls = [wall for wall in walls if any(wall[1:])]
    for count in range(min(size, len(walls)) + 1):
        for face in combinations(walls, count):
            gram = [
                [sum((a * b for a, b in zip(f[1:], g[1:], strict=True)), Fraction(0)) for g in face]
                for f in face
            ]
            weights = solve(gram, [-f[0] for f in face])
            if weights is None:
                continue
            x = [
                sum((w * f[1 + i] for w, f in zip(weights, face, strict=True)), Fraction(0))
                for i in range(size)
            ]
            if all(value(wall, x) >= 0 for wall in walls):
                yield sum((a * a for a in x), Fraction(0))
