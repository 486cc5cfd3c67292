"""Objectives on the Jacobian: norms of rows, a norm of the matrix, single entries."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.bounds.batched.objective import AbstractObjective, BatchSetting, Bounded
from lipverify.bounds.batched.patterns import (
    PatternGroup,
    pattern_paths,
    pattern_point,
    pattern_rows,
)
from lipverify.bounds.batched.reduced import Reduced
from lipverify.bounds.batched.rows import Pairs, RowBounds, norm_up, row_bounds
from lipverify.graph import BackwardGraph, jacobian_enclosure, row_jacobian
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm, operator_norm


@final
@dataclass(frozen=True, eq=False)
class RowNorms(AbstractObjective):
    """The norm `dual` of each row of rows J: rows [r, m], r numbers."""

    backward: BackwardGraph
    rows: Tensor
    dual: AbstractNorm

    @property
    def size(self) -> int:
        return self.rows.shape[0]

    def bound(
        self, setting: BatchSetting, reduced: Reduced, previous: Tensor, enough: Tensor
    ) -> Bounded:
        pairs = _open_pairs(self.rows, previous, enough)
        if not len(pairs):
            return Bounded(previous, _no_weights(reduced))
        found = row_bounds(setting.backward, reduced, pairs)
        norms = torch.minimum(found.norms(self.dual), previous[pairs.box, pairs.row])
        wanted = (~(norms <= enough[pairs.row])).nonzero().flatten()
        some = Pairs(self.rows, pairs.box[wanted], pairs.row[wanted])
        highest = _Highest(setting, reduced)
        for group in pattern_rows(reduced, some, setting.pattern_limit):
            at = wanted[group.pairs]
            magnitude = group.jacobians.abs() + found.slack[at].unsqueeze(1)
            exact = norm_up(magnitude, self.dual)
            highest.see(group, pairs.box[at], exact)
            norms[at] = torch.minimum(norms[at], exact.amax(1))
        upper = previous.clone()
        upper[pairs.box, pairs.row] = norms
        direction = _norm_direction(found.elements, self.dual)
        weights = _worst_weights(reduced, pairs, norms, found, direction)
        return Bounded(upper, weights, highest.points())

    def attained(self, points: Tensor) -> Tensor:
        return self.dual.of(row_jacobian(self.backward, points, self.rows))


@final
@dataclass(frozen=True, eq=False)
class MatrixNorm(AbstractObjective):
    """The operator norm of rows J: one number, of all rows [r, m] together."""

    backward: BackwardGraph
    rows: Tensor
    input_norm: AbstractNorm
    output_norm: AbstractNorm

    @property
    def size(self) -> int:
        return 1

    def bound(
        self, setting: BatchSetting, reduced: Reduced, previous: Tensor, enough: Tensor
    ) -> Bounded:
        boxes, count = len(reduced.boxes), self.rows.shape[0]
        every = torch.ones(boxes, count, dtype=torch.bool)
        pairs = Pairs(self.rows, *every.nonzero(as_tuple=True))
        found = row_bounds(setting.backward, reduced, pairs)
        norms = found.norms(self.input_norm.dual)
        by_rows = norm_up(norms.reshape(boxes, count), self.output_norm)
        upper = torch.minimum(by_rows, self._upper(found.elements, boxes))
        highest = _Highest(setting, reduced)
        for group in pattern_rows(reduced, pairs, setting.pattern_limit, count):
            jacobians = group.jacobians.unflatten(0, (-1, count)).transpose(1, 2)
            slack = found.slack[group.pairs].unflatten(0, (-1, 1, count))
            each = Interval(jacobians - slack, jacobians + slack)
            flat = each.reshape(-1, count, reduced.inputs)
            exact = self._norm(flat).reshape(jacobians.shape[:2])
            box = pairs.box[group.pairs].reshape(-1, count)[:, 0]
            highest.see(group, box, exact)
            upper[box] = torch.minimum(upper[box], exact.amax(1))
        direction = _norm_direction(found.elements, self.input_norm.dual)
        weights = _worst_weights(reduced, pairs, norms, found, direction)
        upper = torch.minimum(upper.unsqueeze(1), previous)
        return Bounded(upper, weights, highest.points())

    def attained(self, points: Tensor) -> Tensor:
        jacobians = row_jacobian(self.backward, points, self.rows)
        values, _, _ = operator_norm.attained(jacobians, self.input_norm, self.output_norm)
        return values.unsqueeze(1)

    def _upper(self, elements: Interval, boxes: int) -> Tensor:
        return self._norm(elements.reshape(boxes, self.rows.shape[0], -1))

    def _norm(self, matrices: Interval) -> Tensor:
        return operator_norm.uppers(matrices, self.input_norm, self.output_norm)


@final
@dataclass(frozen=True, eq=False)
class Entries(AbstractObjective):
    """sign_k d(row . f)/d x_(index_k): row [1, m], one number per asked entry."""

    backward: BackwardGraph
    row: Tensor
    indices: Tensor
    signs: Tensor

    @property
    def size(self) -> int:
        return self.indices.shape[0]

    def bound(
        self, setting: BatchSetting, reduced: Reduced, previous: Tensor, enough: Tensor
    ) -> Bounded:
        wanted = ~(previous <= enough)
        box = wanted.any(1).nonzero().flatten()
        if not len(box):
            return Bounded(previous, _no_weights(reduced))
        pairs = Pairs(self.row, box, torch.zeros_like(box))
        found = row_bounds(setting.backward, reduced, pairs)
        upper = torch.minimum(previous[box], self._signed(found.elements, self.signs))
        open_still = (~(upper <= enough)).any(1).nonzero().flatten()
        some = Pairs(self.row, box[open_still], pairs.row[open_still])
        highest = _Highest(setting, reduced)
        for group in pattern_rows(reduced, some, setting.pattern_limit):
            at = open_still[group.pairs]
            slack = found.slack[at].unsqueeze(1)
            exact = group.jacobians[..., self.indices] * self.signs + slack[..., self.indices]
            highest.see(group, box[at], (exact - enough).amax(2))
            upper[at] = torch.minimum(upper[at], exact.amax(1))
        self._settle_zeros(setting, reduced, pairs, found.slack, upper, enough)
        worst = (upper - enough).argmax(1)
        direction = torch.zeros_like(found.elements.lower)
        direction[torch.arange(len(box)), self.indices[worst]] = self.signs[worst]
        weights = _no_weights(reduced)
        weights[box] = found.weights(direction)
        result = previous.clone()
        result[box] = upper
        return Bounded(result, weights, highest.points())

    def attained(self, points: Tensor) -> Tensor:
        jacobians = row_jacobian(self.backward, points, self.row)
        return jacobians[:, 0, self.indices] * self.signs

    def at_least(self, point: Tensor) -> Tensor:
        """Proved lower ends [k] of all elements of the Clarke Jacobian at the point [n]."""
        return -self._signed(jacobian_enclosure(self.backward, point, self.row), -self.signs)[0]

    def _settle_zeros(
        self,
        setting: BatchSetting,
        reduced: Reduced,
        pairs: Pairs,
        slack: Tensor,
        upper: Tensor,
        enough: Tensor,
    ) -> None:
        """Writes 0 for upper ends [pairs, k] that are above it by nothing but the slack's rounding.

        Where the gates leave no path, a derivative is exactly 0: a network that is constant
        somewhere can be monotone, and rounding must not stand against it.
        """
        slack = slack[:, self.indices]
        doubtful = (upper > 0) & (upper <= 4 * slack) & ~(upper <= enough)
        tied = doubtful.any(1).nonzero().flatten()
        if not len(tied):
            return
        some = Pairs(self.row, pairs.box[tied], pairs.row[tied])
        limit = setting.pattern_limit
        rows = pattern_rows(reduced, some, limit)
        paths = pattern_paths(setting.backward.forward, reduced, some, limit)
        for group, path in zip(rows, paths, strict=True):
            at = tied[group.pairs]
            value = group.jacobians[..., self.indices] * self.signs + slack[at].unsqueeze(1)
            exact = torch.where(path.jacobians[..., self.indices] == 0, 0.0, value).amax(1)
            upper[at] = torch.minimum(upper[at], exact)

    def _signed(self, elements: Interval, signs: Tensor) -> Tensor:
        """Upper ends of the asked entries with the given signs [k]: [pairs, k]."""
        lower, upper = elements.lower[:, self.indices], elements.upper[:, self.indices]
        return torch.where(signs > 0, upper, -lower)


class _Highest:
    """Keeps the pattern with the largest value of a chunk, to find a point that attains it."""

    def __init__(self, setting: BatchSetting, reduced: Reduced) -> None:
        self._forward = setting.backward.forward
        self._reduced = reduced
        self._value = -torch.inf
        self._where = (0, 0, 0)

    def see(self, group: PatternGroup, box: Tensor, values: Tensor) -> None:
        """Values [p, patterns] of the group's patterns, on the boxes [p]."""
        value, flat = values.flatten().max(0)
        if float(value) > self._value:
            first, pattern = divmod(int(flat), values.shape[1])
            self._value = float(value)
            self._where = (int(box[first]), group.count, pattern)

    def points(self) -> Tensor | None:
        """The boxes' centres, but for the box of that pattern: [boxes, n]; None: no pattern."""
        if self._value == -torch.inf:
            return None
        points = self._reduced.boxes.center
        point = pattern_point(self._forward, self._reduced, *self._where)
        if point is not None:
            points[self._where[0]] = point
        return points


def _open_pairs(rows: Tensor, previous: Tensor, enough: Tensor) -> Pairs:
    """The pairs of a row and a box whose bound is not good enough yet; NaN is not."""
    box, row = (~(previous <= enough)).nonzero(as_tuple=True)
    return Pairs(rows, box, row)


def _no_weights(reduced: Reduced) -> Tensor:
    return torch.zeros(len(reduced.boxes), reduced.open_size, dtype=reduced.output.dtype)


def _norm_direction(elements: Interval, dual: AbstractNorm) -> Tensor:
    """A direction along which the row's norm is about largest, [pairs, n]."""
    return dual.dual.maximiser(elements.center)


def _worst_weights(
    reduced: Reduced, pairs: Pairs, norms: Tensor, found: RowBounds, direction: Tensor
) -> Tensor:
    """The weights of the row with the largest bound of each box, [boxes, open neurons]."""
    table = torch.full((len(reduced.boxes), pairs.rows.shape[0]), -torch.inf, dtype=norms.dtype)
    table[pairs.box, pairs.row] = norms
    worst = table.argmax(1)[pairs.box] == pairs.row
    weights = _no_weights(reduced)
    weights[pairs.box[worst]] = found.weights(direction)[worst]
    return weights
