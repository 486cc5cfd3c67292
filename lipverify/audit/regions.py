"""Regions around records, in the table's units: which records, which ranges, which boxes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil, floor

import torch
from torch import Tensor

from lipverify.audit.columns import ColumnType, Feature
from lipverify.audit.question import Direction, Question, Region, RegionKind
from lipverify.numerics import DTYPE, add_down, add_up

Features = Mapping[str, Feature]

MOST_CODES = 256
"""Combinations of categories of a global region that are looked at one by one."""


@dataclass(frozen=True, eq=False)
class Part:
    """A box [n] of inputs."""

    lower: Tensor
    upper: Tensor

    def holding(self, feature: Feature, lower: Tensor, upper: Tensor) -> "Part":
        """This part, with the feature's inputs in [lower, upper], [k] each."""
        low, high = self.lower.clone(), self.upper.clone()
        low[list(feature.inputs)], high[list(feature.inputs)] = lower, upper
        return Part(low, high)


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

    Discrete features may take all numbers between their least and their largest in the box: a box
    that is proved holds for theirs. Ordinal features whose own change is asked about take each code
    in a box of its own.
    """
    feature = features[question.feature]
    values = protected_values(question, feature)
    if question.direction is not Direction.INSENSITIVE or values is None:
        yield from _parts(question, features, x, _free(question, features))
        return
    for part in parts_beside(question, features, x):
        for value in values:
            yield part.holding(feature, value, value)


def parts_beside(question: Question, features: Features, x: Tensor) -> Iterator[Part]:
    """The boxes of all features but the asked one, which stays as in x."""
    yield from _parts(question, features, x, _free(question, features) - {question.feature})


def protected_values(question: Question, feature: Feature) -> tuple[Tensor, ...] | None:
    """What the asked feature's inputs [k] may be, if it takes few values; None: a range."""
    if feature.is_group:
        codes = torch.eye(len(feature.inputs), dtype=DTYPE)
        return tuple(codes[place] for place in moving_categories(question.region, feature))
    if feature.type is not ColumnType.ORDINAL:
        return None
    low, high = moving_range(question.region, feature)
    known = feature.values or ()
    return tuple(torch.tensor([code], dtype=DTYPE) for code in known if low <= code <= high)


def _free(question: Question, features: Features) -> set[str]:
    """The features that take all their values."""
    match question.region.kind:
        case RegionKind.GLOBAL:
            return set(features)
        case RegionKind.JOINT:
            return set(question.region.features)
        case _:
            return {question.feature}


def _parts(question: Question, features: Features, x: Tensor, free: set[str]) -> Iterator[Part]:
    region = question.region
    lower, upper = x.clone().to(DTYPE), x.clone().to(DTYPE)
    groups: list[tuple[Feature, tuple[int, ...]]] = []
    for name, feature in features.items():
        if feature.is_group:
            if name in free:
                groups.append((feature, moving_categories(region, feature)))
            continue
        low, high = moving_range(region, feature)
        at = feature.index
        if name in free:
            lower[at], upper[at] = between_values(feature, low, high)
        elif region.kind is RegionKind.NEIGHBOURHOOD and name != question.feature:
            spread = torch.tensor(_radius(region, feature), dtype=DTYPE)
            around = x[at].to(DTYPE)
            low = max(low, float(add_down(around, -spread)))
            high = min(high, float(add_up(around, spread)))
            lower[at], upper[at] = between_values(feature, low, high)
    yield from _with_groups(lower, upper, groups)


def between_values(feature: Feature, low: float, high: float) -> tuple[float, float]:
    """The smallest range that holds all values of a discrete feature in [low, high]."""
    match feature.type:
        case ColumnType.ORDINAL:
            inside = [code for code in feature.values or () if low <= code <= high]
            return (min(inside), max(inside)) if inside else (low, high)
        case ColumnType.INTEGER:
            first, last = float(ceil(low)), float(floor(high))
            return (first, last) if first <= last else (low, high)
        case _:
            return low, high


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
        yield Part(lower, upper)
        return
    for chosen in product(*(categories for _, categories in groups)):
        low, high = lower.clone(), upper.clone()
        for (feature, _), category in zip(groups, chosen, strict=True):
            for place, at in enumerate(feature.inputs):
                low[at] = high[at] = 1.0 if place == category else 0.0
        yield Part(low, high)
