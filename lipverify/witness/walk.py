"""A walk over the linear regions of a piecewise linear network, the best neighbour first.

The value is constant on a region. Crossing one wall changes J by one product of a column and a
row, so all neighbours are ranked at once; a linear program then tells whether the best has a point,
and where. Every region met has been evaluated at such a point.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lipverify.graph import BackwardGraph
from lipverify.region import AbstractRegion
from lipverify.witness.goal import AbstractGoal, Stop
from lipverify.witness.local_map import LocalMap, local_map, pieces, reachable
from lipverify.witness.polytope import Array, Cuts, Polytope
from lipverify.witness.population import SAME, Population

CHUNK = 4e6
"""So many numbers of neighbours' Jacobians are held at once."""
BEYOND = (1.0, 0.5, 0.2, 0.05, 1e-2, 1e-3, 1e-5)
"""Where on the way from a wall to the point beyond it the next region's point is looked for."""
TWINS = 1e-9
"""Walls whose equations agree to this are one."""
PROGRAM_WORK = 3e4, 20.0
"""What a linear program costs, in numbers: each, and per coefficient."""
NEAR = 12, 0.4
"""Only the nearest walls, as seen from the region's middle, are tried: so many, at least, and that
share. Of the others hardly any touches the region."""
KEPT = 16
"""Linear programs kept at hand."""


@dataclass(frozen=True, eq=False)
class _Place:
    """A linear region: its pieces, an inner point [n], and its walls' equations."""

    pieces: Tensor
    point: Tensor
    rows: Array
    constants: Array


@dataclass(order=True)
class _Step:
    """From a place through a wall, by the value expected there (negated: the best is least)."""

    cost: float
    number: int
    place: int = field(compare=False)
    wall: int = field(compare=False)
    pieces: Tensor = field(compare=False)


class Walk:
    """Regions are visited once, whatever the number of starts."""

    def __init__(
        self,
        backward: BackwardGraph,
        region: AbstractRegion,
        goal: AbstractGoal,
        programs: int,
        work: float,
        stop: Stop,
    ) -> None:
        self._backward, self._region, self._goal = backward, region, goal
        self._stop = stop
        self._cuts = Cuts(region)
        self._open = reachable(backward.forward, region)
        self._map_work = (backward.forward.input_size + 1) * sum(n.size for n in backward.forward)
        self._work = work
        self._seen: set[bytes] = set()
        self._places: list[_Place] = []
        self._programs: dict[int, Polytope] = {}
        self._numbers = self._count()
        self.left = programs
        """Linear programs that may still be solved."""
        self.points: list[Tensor] = []
        self.values: list[float] = []

    @staticmethod
    def _count() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    @property
    def found(self) -> Population:
        """One point of every region visited."""
        points = torch.stack(self.points) if self.points else torch.zeros(0, self._region.size)
        return Population(points, torch.tensor(self.values, dtype=torch.float64))

    def run(self, start: Tensor, patience: int) -> float:
        """Walk from a point until so many programs in a row lead to no better region."""
        queue: list[_Step] = []
        found = pieces(self._backward.forward, start.unsqueeze(0))[0]
        if _key(found) in self._seen:
            return float("-inf")
        self._seen.add(_key(found))
        best = self._settle(start, found, queue)
        last = self.left
        while queue and last - self.left < patience and not self.spent:
            step = heapq.heappop(queue)
            if _key(step.pieces) in self._seen:
                continue
            self._seen.add(_key(step.pieces))
            beyond = self._cross(step)
            if beyond is None:
                continue
            value = self._settle(*beyond, queue)
            if value > best + SAME * abs(best):
                best, last = value, self.left
        return best

    @property
    def spent(self) -> bool:
        """Whether nothing is left of the budget."""
        return self.left <= 0 or self._work <= 0 or self._stop()

    def _spend(self, size: int) -> None:
        self.left -= 1
        self._work -= PROGRAM_WORK[0] + PROGRAM_WORK[1] * size

    def _settle(self, point: Tensor, found: Tensor, queue: list[_Step]) -> float:
        """Take a region's inner point, note its value, and queue the steps to its neighbours."""
        around = local_map(self._backward, point, self._goal.rows, self._open)
        value = float(self._goal.values(around.jacobian.unsqueeze(0)))
        rows, constants, walls = self._walls(around, point)
        self._work -= self._map_work
        self._spend(rows.size)
        place = len(self._places)
        self._places.append(_Place(found, point, rows, constants))
        u = self._program(place).center()
        if u is not None:
            center = self._cuts.point(u)
            same = torch.equal(pieces(self._backward.forward, center.unsqueeze(0))[0], found)
            if same and bool(self._region.contains(center)):
                self._places[place] = _Place(found, center, rows, constants)
                point = center
        self.points.append(point)
        self.values.append(value)
        start = (point - self._cuts.center)[self._cuts.moving] / self._cuts.radius
        near = np.argsort(rows @ start.numpy() + constants, kind="stable")
        near = near[: max(NEAR[0], int(NEAR[1] * len(near)))].tolist()
        members = [walls[wall] for wall in near]
        for wall, group, value_ in zip(near, members, self._expected(around, members), strict=True):
            changed = found.clone()
            changed[around.neurons[group]] += around.steps[group].to(torch.int8)
            heapq.heappush(queue, _Step(-value_, next(self._numbers), place, wall, changed))
        self._work -= len(near) * around.jacobian.numel()
        return value

    def _walls(self, around: LocalMap, point: Tensor) -> tuple[Array, Array, list[Tensor]]:
        """Equations (rows, constants) over u of the walls that cut the region's box, and the
        members of each."""
        cuts = self._cuts
        shift = around.heights + around.slopes @ (cuts.center - point)
        scaled = around.slopes[:, cuts.moving] * cuts.radius
        length = scaled.abs().sum(1)
        open_ = ((length > 0) & (shift < length)).nonzero().flatten()
        rows = scaled[open_] / length[open_].unsqueeze(1)
        constants = shift[open_] / length[open_]
        groups = _groups(rows, constants)
        first = torch.tensor([group[0] for group in groups], dtype=torch.long)
        members = [open_[torch.tensor(group)] for group in groups]
        return rows[first].numpy(), constants[first].numpy(), members

    def _expected(self, around: LocalMap, members: list[Tensor]) -> list[float]:
        """The value beyond each wall (of several members: without their mixed products)."""
        chunk = max(1, int(CHUNK / max(1, around.jacobian.numel())))
        values: list[float] = []
        for start in range(0, len(members), chunk):
            part = members[start : start + chunk]
            first = torch.stack([group[0] for group in part])
            changes = around.lefts.T[first].unsqueeze(2) * around.slopes[first].unsqueeze(1)
            for place, group in enumerate(part):
                if len(group) > 1:
                    changes[place] = around.lefts[:, group] @ around.slopes[group]
            values.extend(self._goal.values(around.jacobian + changes).tolist())
        return values

    def _program(self, place: int) -> Polytope:
        if place not in self._programs:
            if len(self._programs) >= KEPT:
                del self._programs[next(iter(self._programs))]
            here = self._places[place]
            self._programs[place] = Polytope(here.rows, here.constants, self._cuts)
        else:
            self._programs[place] = self._programs.pop(place)  # the last one used goes last
        return self._programs[place]

    def _cross(self, step: _Step) -> tuple[Tensor, Tensor] | None:
        """A point of the region beyond a wall, and its pieces; None if none was found."""
        here = self._places[step.place]
        self._spend(here.rows.size)
        u = self._program(step.place).across(step.wall)
        if u is None:
            return None
        far = self._cuts.point(u)
        row, constant = here.rows[step.wall], float(here.constants[step.wall])
        start = (here.point - self._cuts.center)[self._cuts.moving] / self._cuts.radius
        inside, outside = row @ start.numpy() + constant, -(row @ u + constant)
        share = inside / max(inside + outside, np.finfo(float).tiny)
        shares = share + (1 - share) * torch.tensor(BEYOND, dtype=torch.float64)
        points = self._region.project(here.point + shares.unsqueeze(1) * (far - here.point))
        found = pieces(self._backward.forward, points)
        wanted = (found == step.pieces).all(1).nonzero().flatten()
        if wanted.numel():
            chosen = int(wanted[0])
            return points[chosen], found[chosen]
        fresh = [i for i, piece in enumerate(found) if _key(piece) not in self._seen]
        if not fresh:
            return None
        values = self._goal.measure(self._backward, points[fresh])
        chosen = fresh[int(values.argmax())]
        self._seen.add(_key(found[chosen]))
        return points[chosen], found[chosen]


def _key(found: Tensor) -> bytes:
    return found.numpy().tobytes()


def _groups(rows: Tensor, constants: Tensor) -> list[list[int]]:
    """Numbers of the walls, those with one equation together."""
    if not len(rows):
        return []
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(rows.shape[1] + 1, generator=generator, dtype=rows.dtype)
    prints = rows @ probe[1:] + constants * probe[0]
    order = prints.argsort().tolist()
    groups: list[list[int]] = []
    for wall in order:
        if groups and abs(float(prints[wall] - prints[groups[-1][0]])) <= TWINS:
            groups[-1].append(wall)
        else:
            groups.append([wall])
    return groups
