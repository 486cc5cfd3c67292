"""Regions around records, in the table's units: which records, which ranges, which boxes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from lipverify.audit.columns import Feature
from lipverify.audit.question import Question, Region, RegionKind
from lipverify.numerics import DTYPE, add_down, add_up

Features = Mapping[str, Feature]

MOST_CODES = 256
"""Combinations of categories of a global region that are looked at one by one."""


@dataclass(frozen=True, eq=False)
class Part:
    """A box [n] of inputs. `fixed_groups`: every one-hot group has one category in it."""

    lower: Tensor
    upper: Tensor
    fixed_groups: bool


def admits(region: Region, features: Features, x: Tensor) -> bool:
    """Whether the record x [n] meets the region's conditions."""
    for condition in region.where:
        feature = features[condition.feature]
        if condition.category is not None:
            if float(x[feature.inputs[condition.category]]) != 1.0:
                return False
        elif not condition.lower <= float(x[feature.index]) <= condition.upper:
            return False
    return True


def moving_range(region: Region, feature: Feature) -> tuple[float, float]:
    """The feature's range, cut by the region's conditions; may be empty (low > high)."""
    low, high = feature.lower, feature.upper
    for condition in region.where:
        if condition.feature == feature.name and condition.category is None:
            low, high = max(low, condition.lower), min(high, condition.upper)
    return low, high


def moving_categories(region: Region, feature: Feature) -> tuple[int, ...]:
    """The categories of a group that the region's conditions leave."""
    left = range(len(feature.inputs))
    for condition in region.where:
        if condition.feature == feature.name and condition.category is not None:
            left = [place for place in left if place == condition.category]
    return tuple(left)


def parts_of(question: Question, features: Features, x: Tensor) -> Iterator[Part]:
    """The boxes that a question is about; x [n] is the record (of a global region: any).

    Discrete features may take all numbers between theirs: a box that is proved holds for theirs.
    """
    region = question.region
    moving = {question.feature}
    if region.kind is RegionKind.JOINT:
        moving = set(region.features)
    lower, upper = x.clone().to(DTYPE), x.clone().to(DTYPE)
    groups: list[tuple[Feature, tuple[int, ...]]] = []
    for name, feature in features.items():
        free = region.kind is RegionKind.GLOBAL or name in moving
        if feature.is_group:
            if free:
                groups.append((feature, moving_categories(region, feature)))
            continue
        low, high = moving_range(region, feature)
        at = feature.index
        if free:
            lower[at], upper[at] = low, high
        elif region.kind is RegionKind.NEIGHBOURHOOD:
            radius = _radius(region, feature)
            around = x[at].to(DTYPE)
            spread = torch.tensor(radius, dtype=DTYPE)
            lower[at] = max(low, float(add_down(around, -spread)))
            upper[at] = min(high, float(add_up(around, spread)))
    yield from _with_groups(lower, upper, groups)


def _radius(region: Region, feature: Feature) -> float:
    named = dict(region.radius)
    if named:
        return named.get(feature.name, 0.0)
    return region.share * (feature.upper - feature.lower)


def _with_groups(
    lower: Tensor, upper: Tensor, groups: list[tuple[Feature, tuple[int, ...]]]
) -> Iterator[Part]:
    """One box per combination of categories; beyond `MOST_CODES`, one box around them all."""
    count = 1
    for _, categories in groups:
        count *= len(categories)
    if count > MOST_CODES:
        for feature, categories in groups:
            for place, at in enumerate(feature.inputs):
                lower[at], upper[at] = 0.0, 1.0 if place in categories else 0.0
        yield Part(lower, upper, False)
        return
    for chosen in product(*(categories for _, categories in groups)):
        low, high = lower.clone(), upper.clone()
        for (feature, _), category in zip(groups, chosen, strict=True):
            for place, at in enumerate(feature.inputs):
                low[at] = high[at] = 1.0 if place == category else 0.0
        yield Part(low, high, True)
