"""Points of a region that the table could hold: whole numbers, known codes, one category each."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lipverify.audit.columns import ColumnType, Feature
from lipverify.audit.regions import Part
from lipverify.numerics import DTYPE

CORNERS = 3
"""Every third point is drawn from the inside, the others from corners."""


def drawn(
    part: Part, features: Mapping[str, Feature], count: int, generator: torch.Generator
) -> Tensor:
    """`count` points of the part [count, n] (fewer where codes leave none), valid ones."""
    shape = (count, len(part.lower))
    share = torch.rand(shape, generator=generator, dtype=DTYPE)
    corner = torch.arange(count).unsqueeze(1) % CORNERS != 0
    share = torch.where(corner, share.round(), share)
    points = part.lower + share * (part.upper - part.lower)
    points = torch.minimum(torch.maximum(points, part.lower), part.upper)
    valid = [valid_near(point, part, features) for point in points]
    kept = [point for point in valid if point is not None]
    return torch.stack(kept) if kept else points[:0]


def valid_near(point: Tensor, part: Part, features: Mapping[str, Feature]) -> Tensor | None:
    """The valid point of the part nearest to `point` [n], feature by feature; None: none."""
    found = point.clone()
    for feature in features.values():
        if feature.is_group:
            inputs = list(feature.inputs)
            allowed = part.upper[inputs] > 0.5
            weight = torch.where(allowed, point[inputs], -1.0)
            if not bool(allowed.any()):
                return None
            found[inputs] = 0.0
            found[inputs[int(weight.argmax())]] = 1.0
            continue
        low, high = float(part.lower[feature.index]), float(part.upper[feature.index])
        if low == high:
            continue  # as in the record
        value = float(point[feature.index])
        if feature.type is ColumnType.INTEGER:
            near = min(max(round(value), -(-low // 1)), high // 1)
            if not low <= near <= high:
                return None
            found[feature.index] = near
        elif feature.type is ColumnType.ORDINAL:
            codes = [code for code in feature.codes if low <= code <= high]
            if not codes:
                return None
            found[feature.index] = min(codes, key=lambda code: abs(code - value))
    return found


def is_valid(point: Tensor, part: Part, features: Mapping[str, Feature]) -> bool:
    near = valid_near(point, part, features)
    return near is not None and bool((near == point).all())
