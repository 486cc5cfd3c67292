"""By how much the output moves while one protected feature takes all its values."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipverify.audit.columns import ColumnType
from lipverify.audit.lines import Line, corner_values, moved, values_at
from lipverify.audit.output import Target
from lipverify.audit.pieces import LinePieces, Numbers
from lipverify.interval import Interval

MOST_POINTS = 600
"""Among more points than this, the closest pair is not looked for."""


@dataclass(frozen=True, eq=False)
class LineChange:
    """The largest change of the asked output is proved to lie in [lower, upper].

    `points` [k, n] are those whose outputs tell of all, `low` and `high` [k] enclose the outputs.
    """

    lower: float
    upper: float
    points: Tensor
    low: Numbers
    high: Numbers

    def pairs(self, at_most: float) -> list[tuple[Tensor, Tensor]]:
        """(smaller output, larger output): proved to differ by more; the closest, the extreme."""
        ends = (int(np.argmin(self.high)), int(np.argmax(self.low)))
        found = [ends]
        if len(self.points) <= MOST_POINTS:
            apart = self.low[None, :] - self.high[:, None] > at_most
            lengths = torch.cdist(self.points, self.points, p=1.0).numpy()
            closest = int(np.argmin(np.where(apart, lengths, np.inf)))
            found.insert(0, (closest // len(self.points), closest % len(self.points)))
        return [(self.points[a], self.points[b]) for a, b in dict.fromkeys(found)]


def change_on_line(
    target: Target, line: Line, pieces: LinePieces | None, categories: tuple[int, ...]
) -> LineChange:
    """The change of the output while the line's feature moves, or takes the given categories."""
    if pieces is None:
        points = switched(line.x, line.feature.inputs, categories)
        center, error = (part.numpy() for part in values_at(target, points))
    elif line.feature.type is ColumnType.NUMBER:
        points = moved(line, pieces.nodes.tolist())
        center, error = pieces.at(pieces.nodes)
        # Between its ends a piece is a straight line; a zone of rounding's size need not be.
        steep = np.maximum(np.abs(pieces.lower), np.abs(pieces.upper)) * (1 + 1e-9)
        within = np.where(pieces.bent, steep * (pieces.end - pieces.start), 0.0)
        error = error + float(within.max()) * (1 + 1e-9)
    else:
        values = corner_values(line, pieces)
        points = moved(line, values.tolist())
        center, error = pieces.at(values)
    return change_among(target, points, center, error)


def change_among(target: Target, points: Tensor, center: Numbers, error: Numbers) -> LineChange:
    low = torch.from_numpy(np.nextafter(center - error, -np.inf))
    high = torch.from_numpy(np.nextafter(center + error, np.inf))
    asked = target.measured(Interval(low, high))
    least, most = asked.lower.numpy(), asked.upper.numpy()
    upper = float(np.nextafter(most.max() - least.min(), np.inf))
    lower = float(np.nextafter(least.max() - most.min(), -np.inf))
    return LineChange(max(lower, 0.0), max(upper, 0.0), points, least, most)


def switched(x: Tensor, inputs: tuple[int, ...], categories: tuple[int, ...]) -> Tensor:
    """The point with each category of a one-hot group: [k, n]."""
    points = x.repeat(len(categories), 1)
    points[:, list(inputs)] = 0.0
    for row, category in enumerate(categories):
        points[row, inputs[category]] = 1.0
    return points
