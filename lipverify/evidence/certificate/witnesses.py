"""Points for certificates of counterexamples and of attained values."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.methods import Setting
from lipverify.evidence.certificate.claim import lipschitz_claim
from lipverify.evidence.certificate.encode import Json, floats, scalar
from lipverify.graph.evaluate import row_jacobian
from lipverify.norms import AbstractNorm
from lipverify.region import AbstractRegion
from lipverify.spec.property import Lipschitz

INWARD = (0.0, 2.0**-40, 2.0**-30, 2.0**-20, 2.0**-12)
"""Shares of the way to the region's centre: off an edge that the direction would leave by."""
LESS = 1e-12
"""Relative amount by which less is claimed than floats see."""
ROUNDS = 20


@dataclass(frozen=True, eq=False)
class Point:
    """A witness; `objective` for robustness and monotonicity, the rest for Lipschitz constants."""

    region: AbstractRegion
    asked: Json
    points: tuple[Tensor, ...]
    objective: int | None = None
    direction: Tensor | None = None
    at_least: float | None = None

    @property
    def json(self) -> Json:
        found: Json = {"points": [floats(point) for point in self.points]}
        if self.objective is not None:
            found["objective"] = self.objective
        if self.direction is not None:
            found["direction"] = floats(self.direction)
        if self.at_least is not None:
            found["at_least"] = scalar(self.at_least)
        return found


def attained(setting: Setting, prop: Lipschitz, point: Tensor) -> Iterator[Point]:
    """Lower bounds of the constant at and beside a point, the likely largest first."""
    asked = lipschitz_claim(setting.region, prop, prop.at_most or 0.0).asked
    for near, direction, value in _steepest(setting, prop, point):
        least = value - LESS * abs(value)
        yield Point(setting.region, asked, (near,), None, direction, least)


def broken(setting: Setting, prop: Lipschitz, point: Tensor) -> Iterator[Point]:
    assert prop.at_most is not None
    asked = lipschitz_claim(setting.region, prop, prop.at_most).asked
    for near, direction, value in _steepest(setting, prop, point):
        if value > prop.at_most:
            yield Point(setting.region, asked, (near,), None, direction)


def _steepest(
    setting: Setting, prop: Lipschitz, point: Tensor
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Points, directions and ||R J d|| / ||d|| there in floats."""
    region = setting.region
    rows = torch.tensor(prop.rows, dtype=torch.float64)
    center = region.center
    for share in INWARD:
        near = point + share * (center - point)
        if not bool(region.contains(near)):
            continue
        matrix = row_jacobian(setting.backward, near.unsqueeze(0), rows)[0]
        direction = _direction(matrix, prop.input_norm, prop.output_norm)
        length = prop.input_norm.of(direction)
        if float(length) > 0:
            value = float(prop.output_norm.of(matrix @ direction) / length)
            yield near, direction, value


def _direction(matrix: Tensor, input_norm: AbstractNorm, output_norm: AbstractNorm) -> Tensor:
    """A direction [n] in which the matrix [r, n] stretches most, by ascent from each row."""
    best, found = -1.0, torch.zeros(matrix.shape[1], dtype=torch.float64)
    order = input_norm.dual.of(matrix).argsort(descending=True)
    for row in order[:4].tolist():
        direction = input_norm.maximiser(matrix[row])
        for _ in range(ROUNDS if len(matrix) > 1 else 0):
            direction = input_norm.maximiser(
                output_norm.dual.maximiser(matrix @ direction) @ matrix
            )
        value = float(output_norm.of(matrix @ direction))
        if value > best:
            best, found = value, direction
    return found
