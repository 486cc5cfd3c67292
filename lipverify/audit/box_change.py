"""By how much the output moves where a protected feature changes, and others may too.

In a neighbourhood, the record itself is compared with every input around it, the feature anywhere
in its range: bounds of the output decide. Elsewhere, two inputs are compared that differ in the
feature alone, wherever they are: bounds of the derivative by it, times its range, may prove it.
What is open then goes to a search (`change_search`).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from lipverify.audit.answer import Answer, Found
from lipverify.audit.change_search import Searched, outputs_around, pairs_apart
from lipverify.audit.confirm import Candidate, Confirmed
from lipverify.audit.context import Context
from lipverify.audit.insensitive import LineChange, change_among, change_on_line, switched
from lipverify.audit.lines import Line, moved, values_at, walked
from lipverify.audit.points import drawn
from lipverify.audit.question import Question, RegionKind
from lipverify.audit.regions import (
    Part,
    between_values,
    moving_categories,
    moving_range,
    parts_beside,
)
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
    at_most = question.at_most
    assert at_most is not None
    around = question.region.kind is RegionKind.NEIGHBOURHOOD
    generator = torch.Generator().manual_seed(context.config.seed * 1_000_003 + record)
    count = max(2, POINTS // len(parts))
    points = torch.cat([drawn(part, context.features, count, generator) for part in parts])
    seen = _around(context, x, points) if around else _apart(context, question, points)
    draft = Answer(record, 0, Found.UNKNOWN, seen.lower, torch.inf, METHOD, 0.0)
    if seen.lower > at_most:
        pairs = _pairs(seen, x if around else None, at_most)
        candidates = [Candidate(a, b, -1, -at_most, by_shown=True) for a, b in pairs]
        found = context.judge.judged([candidates])[0]
        if found.shortest is not None:
            return _falsified(draft, found)
    if around:
        value, reach, upper = _output_change(context, at_most, x, parts)
        draft = replace(draft, upper=upper)
        if not upper <= at_most:
            draft = _with(draft, outputs_around(context, x, parts, at_most, value, reach))
    else:
        beside = tuple(parts_beside(question, context.features, x))
        upper = _slope_change(context, question, beside)
        draft = replace(draft, upper=upper, method=SLOPES)
        if not upper <= at_most:
            draft = _with(draft, pairs_apart(context, question, beside, at_most))
    proved = draft.found is Found.UNKNOWN and draft.upper <= at_most
    return replace(draft, found=Found.VERIFIED, reason=None, detail="") if proved else draft


def _with(draft: Answer, searched: Searched) -> Answer:
    """The answer after a search."""
    if searched.pair is not None:
        return _falsified(replace(draft, method=searched.stage), searched.pair)
    if searched.upper < draft.upper:
        draft = replace(draft, upper=searched.upper, method=searched.stage)
    detail = f"{searched.detail}; the change is proved to be at most {draft.upper:.6g}"
    return replace(draft, reason=searched.reason, detail=detail)


def _falsified(draft: Answer, found: Confirmed) -> Answer:
    return replace(draft, found=Found.FALSIFIED, pair=found.shortest, worst=found.worst)


def _around(context: Context, x: Tensor, points: Tensor) -> LineChange:
    """Of the record (first) and the points; `lower` is about changes from the record alone."""
    every = torch.cat([x.unsqueeze(0), points])
    seen = change_among(context.target, every, *_values(context, every))
    above, below = seen.low - seen.high[0], seen.low[0] - seen.high
    lower = float(np.nextafter(max(above.max(), below.max()), -np.inf))
    return replace(seen, lower=max(lower, 0.0))


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
    """The largest change along the feature through any of the points (where lines cannot be walked:
    between its least and its largest value)."""
    feature = context.features[question.feature]
    if feature.is_group:
        categories = moving_categories(question.region, feature)
        return _largest(context, [switched(x, feature.inputs, categories) for x in points])
    low, high = moving_range(question.region, feature)
    lines = [Line(point, feature, low, high) for point in points]
    if not context.walkable:
        return _largest(
            context, [moved(line, between_values(feature, low, high)) for line in lines]
        )
    pieces = walked(context.target, lines)
    found = [
        change_on_line(context.target, line, one, ())
        for line, one in zip(lines, pieces, strict=True)
    ]
    return max(found, key=lambda change: change.lower)


def _largest(context: Context, groups: Sequence[Tensor]) -> LineChange:
    """The largest change among the points of any group [k, n]."""
    center, error = _values(context, torch.cat(list(groups)))
    starts = np.cumsum([len(group) for group in groups])[:-1]
    parts = zip(groups, np.split(center, starts), np.split(error, starts), strict=True)
    found = [change_among(context.target, *part) for part in parts]
    return max(found, key=lambda change: change.lower)


def _output_ends(context: Context, boxes: Boxes) -> Tensor:
    """Upper ends of row . f and of -row . f on each box: [boxes, 2]."""
    objective = Outputs(context.target.graph, torch.cat([context.target.row, -context.target.row]))
    infinite = torch.full((len(boxes), 2), torch.inf, dtype=DTYPE)
    setting = BatchSetting(context.backward, memory=context.config.memory)
    expected = torch.full((len(boxes),), gate_count(context.backward))
    enough = torch.full((2,), -torch.inf, dtype=DTYPE)
    return bound_boxes(setting, objective, boxes, infinite, enough, expected).upper


def _output_change(
    context: Context, at_most: float, x: Tensor, parts: Sequence[Part]
) -> tuple[Interval, Interval, float]:
    """row . graph at the record and in the boxes [1], and how far an output is from the record's.

    Proved: enclosures, and an upper end.
    """
    center, error = _values(context, x.unsqueeze(0))
    low, high = np.nextafter(center - error, -np.inf), np.nextafter(center + error, np.inf)
    value = Interval(torch.from_numpy(low), torch.from_numpy(high))
    here = context.target.measured(value)
    boxes = _boxes(parts)
    reach: Interval | None = None
    done, worst = 0.0, torch.inf
    for _ in range(CUTS):
        upper = _output_ends(context, boxes)
        ends = Interval(-upper[:, 1], upper[:, 0])
        if reach is None:
            reach = Interval(ends.lower.amin(0, keepdim=True), ends.upper.amax(0, keepdim=True))
        there = context.target.measured(ends)
        far = torch.maximum(there.upper - here.lower, here.upper - there.lower) * (1 + 1e-12)
        wide = far > at_most
        worst = max(done, float(far.max()))
        if not bool(wide.any()) or not bool(boxes.pick(wide).divisible().any(1).all()):
            break
        done = max(done, float(torch.where(wide, 0.0, far).max()))
        boxes = boxes.pick(wide)
        boxes = boxes.halves((boxes.width / context.widths).argmax(1))
    assert reach is not None
    return value, reach, worst


def _boxes(parts: Sequence[Part]) -> Boxes:
    lower = torch.stack([part.lower for part in parts])
    return Boxes(lower, torch.stack([part.upper for part in parts]))


def _slope_change(context: Context, question: Question, parts: Sequence[Part]) -> float:
    """The change by the feature alone, anywhere in the parts (of all others): proved."""
    feature = context.features[question.feature]
    inputs = torch.tensor(feature.inputs)
    low, high = 0.0, 1.0  # between any two categories, along the straight line between their codes
    if not feature.is_group:
        low, high = between_values(feature, *moving_range(question.region, feature))
    lowest, highest = (torch.full((len(inputs),), end, dtype=DTYPE) for end in (low, high))
    boxes = _boxes([part.holding(feature, lowest, highest) for part in parts])
    signs = torch.cat([torch.ones(len(inputs)), -torch.ones(len(inputs))]).to(DTYPE)
    objective = Entries(context.backward, context.target.row, inputs.repeat(2), signs)
    infinite = torch.full((len(boxes), len(signs)), torch.inf, dtype=DTYPE)
    setting = BatchSetting(context.backward, memory=context.config.memory)
    expected = torch.full((len(boxes),), gate_count(context.backward))
    enough = torch.full((len(signs),), -torch.inf, dtype=DTYPE)
    upper = bound_boxes(setting, objective, boxes, infinite, enough, expected).upper
    most, least = upper[:, : len(inputs)], -upper[:, len(inputs) :]
    if feature.is_group:
        pairs = permutations(range(len(inputs)), 2)
        change = max(float((most[:, a] - least[:, b]).max()) for a, b in pairs)
    else:
        change = float(torch.maximum(most, -least).max()) * (high - low)
    return max(change, 0.0) * context.target.steepness * (1 + 1e-12)
