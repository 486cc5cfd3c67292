"""Regions of the corpus: as they stand in spec files, and as exact sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from tests.corpus.polytope import Cell, Ellipsoid, Form, Point, dimension


def exact(values: Sequence[float]) -> Point:
    return tuple(Fraction(v) for v in values)


@dataclass(frozen=True)
class BoxRegion:
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def entry(self) -> dict[str, Any]:
        return {"lower": list(self.lower), "upper": list(self.upper)}

    def cell(self) -> Cell:
        return box_cell(exact(self.lower), exact(self.upper))

    def holds(self, x: Sequence[Fraction]) -> bool:
        ends = zip(exact(self.lower), x, exact(self.upper), strict=True)
        return all(a <= v <= b for a, v, b in ends)


@dataclass(frozen=True)
class BallRegion:
    """||x - center|| <= radius in the norm "inf", "1" or "2", cut to the range `clip`."""

    center: tuple[float, ...]
    radius: float
    norm: str
    clip: tuple[float, float] | None = None

    def entry(self) -> dict[str, Any]:
        clip = {} if self.clip is None else {"clip": list(self.clip)}
        return {"center": list(self.center), "radius": self.radius, "norm": self.norm, **clip}

    def cell(self) -> Cell:
        center, radius, size = exact(self.center), Fraction(self.radius), len(self.center)
        spread = tuple(radius for _ in center)
        box = box_cell(tuple(c - radius for c in center), tuple(c + radius for c in center))
        if self.norm == "1":
            points = [
                tuple(c + (s * radius if i == k else 0) for i, c in enumerate(center))
                for k in range(size)
                for s in (-1, 1)
            ]
            box = Cell(tuple(dict.fromkeys(points)), dimension(points))
        elif self.norm == "2":
            box = Cell(box.points, box.dimension, box.walls, Ellipsoid(center, spread))
        for k in range(size) if self.clip is not None else ():
            assert self.clip is not None
            for end, sign in ((self.clip[0], 1), (self.clip[1], -1)):
                cut = box.cut(_coordinate(size, k, Fraction(end), sign))
                assert cut is not None, "clips of the corpus leave an interior"
                box = cut
        return box

    def holds(self, x: Sequence[Fraction]) -> bool:
        clip = self.clip
        if clip is not None and not all(Fraction(clip[0]) <= v <= Fraction(clip[1]) for v in x):
            return False
        steps = [abs(a - b) for a, b in zip(x, exact(self.center), strict=True)]
        radius = Fraction(self.radius)
        if self.norm == "2":
            return sum((s * s for s in steps), Fraction(0)) <= radius * radius
        return (sum(steps) if self.norm == "1" else max(steps)) <= radius


Region = BoxRegion | BallRegion


def _coordinate(size: int, k: int, end: Fraction, sign: int) -> Form:
    """sign (x_k - end)."""
    return (-sign * end, *(Fraction(sign if i == k else 0) for i in range(size)))


def box_cell(lower: Point, upper: Point) -> Cell:
    ends = [(a,) if a == b else (a, b) for a, b in zip(lower, upper, strict=True)]
    points = tuple(product(*ends))
    walls = []
    for k, (a, b) in enumerate(zip(lower, upper, strict=True)):
        walls += [_coordinate(len(lower), k, a, 1), _coordinate(len(lower), k, b, -1)]
    return Cell(points, dimension(points), tuple(walls))
