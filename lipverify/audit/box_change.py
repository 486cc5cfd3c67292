"""By how much the output moves where a protected feature changes, and others may too.

In a neighbourhood, the record itself is compared with every input around it, the feature anywhere
in its range: bounds of the output decide. Jointly and globally, two inputs are compared that differ
in the feature alone, wherever they are: bounds of the derivative by it, times its range, prove it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lipverify.audit.answer import Answer, Found
from lipverify.audit.confirm import Candidate
from lipverify.audit.context import Context
from lipverify.audit.insensitive import LineChange, change_among, change_on_line
from lipverify.audit.lines import Line, values_at, walked
from lipverify.audit.points import drawn
from lipverify.audit.question import Question, RegionKind
from lipverify.audit.regions import Part, moving_categories, moving_range
from lipverify.bounds.batched import (
    BatchSetting,
    Boxes,
    Entries,
    Outputs,
    bound_boxes,
    gate_count,
)
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.verdict import Reason

POINTS = 48
"""Points of a region that are compared before anything is bounded."""
CUTS = 10
"""Halvings of all boxes in search of a proof: at most 2^10 boxes."""
METHOD = "bounds of the output on boxes"
SLOPES = "bounds of the derivative times the range"


def change_in_boxes(
    context: Context, question: Question, x: Tensor, parts: Sequence[Part], record: int
) -> Answer:
    """The answer to an insensitivity question on the boxes; x [n] is the record."""
    assert question.at_most is not None
    generator = torch.Generator().manual_seed(context.config.seed * 1_000_003 + record)
    count = max(2, POINTS // len(parts))
    points = torch.cat([drawn(part, context.features, count, generator) for part in parts])
    around = question.region.kind is RegionKind.NEIGHBOURHOOD
    seen = _around(context, x, points) if around else _apart(context, question, points)
    draft = Answer(record, 0, Found.UNKNOWN, seen.lower, torch.inf, METHOD, 0.0)
    if seen.lower > question.at_most:
        pairs = _pairs(seen, x if around else None, question.at_most)
        candidates = [Candidate(a, b, -1, -question.at_most, by_shown=True) for a, b in pairs]
        found = context.judge.judged([candidates])[0]
        if found.shortest is not None:
            return _with(draft, Found.FALSIFIED, pair=found.shortest, worst=found.worst)
    bound = _output_change if around else _slope_change
    upper = bound(context, question, x, parts)
    draft = _with(draft, draft.found, upper=upper, method=METHOD if around else SLOPES)
    if upper <= question.at_most:
        return _with(draft, Found.VERIFIED)
    detail = f"the change is proved to be at most {upper:.6g}, more than is allowed"
    return _with(draft, Found.UNKNOWN, reason=Reason.BOUND, detail=detail)


def _with(answer: Answer, found: Found, **changes: object) -> Answer:
    return Answer(**{**vars(answer), "found": found, **changes})


def _around(context: Context, x: Tensor, points: Tensor) -> LineChange:
    """Of the record (first) and the points."""
    every = torch.cat([x.unsqueeze(0), points])
    center, error = _values(context, every)
    return change_among(context.target, every, center, error)


def _values(context: Context, points: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if context.walkable:
        center, error = values_at(context.target, points)
        return center.numpy(), error.numpy()
    boxes = Boxes(points, points)
    upper = _output_ends(context, boxes)
    high, low = upper[:, 0].numpy(), -upper[:, 1].numpy()
    return (high + low) / 2, (high - low) / 2 * (1 + 1e-9) + 1e-300


def _pairs(seen: LineChange, x: Tensor | None, at_most: float) -> list[tuple[Tensor, Tensor]]:
    """(smaller output, larger output); with the record x, one of the two is x."""
    if x is None:
        return seen.pairs(at_most)
    above, below = seen.low - seen.high[0], seen.low[0] - seen.high
    found = []
    if above.max() > at_most:
        found.append((x, seen.points[int(above.argmax())]))
    if below.max() > at_most:
        found.append((seen.points[int(below.argmax())], x))
    return found


def _apart(context: Context, question: Question, points: Tensor) -> LineChange:
    """The largest change along the feature through any of the points."""
    feature = context.features[question.feature]
    if feature.is_group:
        categories = moving_categories(question.region, feature)
        lines = [Line(point, feature, 0.0, 0.0) for point in points]
        found = [change_on_line(context.target, line, None, categories) for line in lines]
    elif context.walkable:
        low, high = moving_range(question.region, feature)
        lines = [Line(point, feature, low, high) for point in points]
        pieces = walked(context.target, lines)
        found = [
            change_on_line(context.target, line, one, ())
            for line, one in zip(lines, pieces, strict=True)
        ]
    else:
        center, error = _values(context, points[:1])
        found = [change_among(context.target, points[:1], center, error)]
    return max(found, key=lambda change: change.lower)


def _output_ends(context: Context, boxes: Boxes) -> Tensor:
    """Upper ends of row . f and of -row . f on each box: [boxes, 2]."""
    objective = Outputs(context.target.graph, torch.cat([context.target.row, -context.target.row]))
    infinite = torch.full((len(boxes), 2), torch.inf, dtype=DTYPE)
    setting = BatchSetting(context.backward, memory=context.config.memory)
    expected = torch.full((len(boxes),), gate_count(context.backward))
    enough = torch.full((2,), -torch.inf, dtype=DTYPE)
    return bound_boxes(setting, objective, boxes, infinite, enough, expected).upper


def _output_change(context: Context, question: Question, x: Tensor, parts: Sequence[Part]) -> float:
    """The largest distance of an output in the boxes from the record's: a proved upper end."""
    center, error = _values(context, x.unsqueeze(0))
    asked = Interval(torch.from_numpy(center - error), torch.from_numpy(center + error))
    here = context.target.measured(asked)
    boxes = Boxes(
        torch.stack([part.lower for part in parts]), torch.stack([part.upper for part in parts])
    )
    done = 0.0
    assert question.at_most is not None
    for _ in range(CUTS):
        upper = _output_ends(context, boxes)
        there = context.target.measured(Interval(-upper[:, 1], upper[:, 0]))
        far = torch.maximum(there.upper - here.lower, here.upper - there.lower) * (1 + 1e-12)
        wide = far > question.at_most
        done = max(done, float(torch.where(wide, 0.0, far).max()))
        if not bool(wide.any()) or not bool(boxes.pick(wide).divisible().any()):
            return max(done, float(far.max()))
        worst = float(far.max())
        boxes = boxes.pick(wide)
        boxes = boxes.halves((boxes.width / context.widths).argmax(1))
    return max(done, worst)


def _slope_change(context: Context, question: Question, x: Tensor, parts: Sequence[Part]) -> float:
    """The change by the feature alone, anywhere in the boxes: a proved upper end."""
    feature = context.features[question.feature]
    steepness = context.target.steepness
    inputs = torch.tensor(feature.inputs)
    lower = torch.stack([part.lower for part in parts])
    upper = torch.stack([part.upper for part in parts])
    if feature.is_group:  # between any two categories, along the straight line between their codes
        lower[:, inputs], upper[:, inputs] = 0.0, 1.0
    boxes = Boxes(lower, upper)
    signs = torch.cat([torch.ones(len(inputs)), -torch.ones(len(inputs))]).to(DTYPE)
    objective = Entries(context.backward, context.target.row, inputs.repeat(2), signs)
    infinite = torch.full((len(boxes), len(signs)), torch.inf, dtype=DTYPE)
    setting = BatchSetting(context.backward, memory=context.config.memory)
    expected = torch.full((len(boxes),), gate_count(context.backward))
    enough = torch.full((len(signs),), -torch.inf, dtype=DTYPE)
    ends = bound_boxes(setting, objective, boxes, infinite, enough, expected).upper.amax(0)
    most, least = ends[: len(inputs)], -ends[len(inputs) :]
    if feature.is_group:
        apart = max(
            float(most[a] - least[b])
            for a in range(len(inputs))
            for b in range(len(inputs))
            if a != b
        )
        return max(apart, 0.0) * steepness * (1 + 1e-12)
    low, high = moving_range(question.region, feature)
    return float(torch.maximum(most, -least).max()) * (high - low) * steepness * (1 + 1e-12)
