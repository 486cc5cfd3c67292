"""The two forms of `region` in spec files."""

from abc import abstractmethod
from typing import final

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from lipverify.norms import LInf
from lipverify.region import AbstractRegion, Box, ball_region
from lipverify.spec.document import Document
from lipverify.spec.fields import (
    Entry,
    Norm,
    NumberOrNumbers,
    Numbers,
    Range,
    check_order,
    read_entry,
)
from lipverify.spec.problem import Misfit, hint, shown
from lipverify.spec.sizes import Around, Sizes

FORMS = "either center, radius (norm, clip) or lower, upper"


class RegionEntry(Entry):
    """A region as written, not yet held against a network."""

    @abstractmethod
    def bind(self, sizes: Sizes) -> AbstractRegion:
        """The region; `Misfit` or `RegionError` where it does not fit the network."""

    @abstractmethod
    def around(self, sizes: Sizes) -> Around | None:
        """The ball's parts; None for a region that is no ball."""


@final
class BallEntry(RegionEntry):
    center: Numbers = Field(description="a list of numbers, one per input")
    radius: NumberOrNumbers = Field(description="a number, or one per input")
    norm: Norm = LInf()
    clip: Range = None

    @model_validator(mode="after")
    def _check(self) -> "BallEntry":
        if self.radius.ndim and self.radius.shape != self.center.shape:
            raise Misfit(
                f"expected one number or {self.center.size}, as in center, found "
                f"{self.radius.size}",
                "radius",
            )
        negative = np.flatnonzero(self.radius < 0)
        if len(negative):
            index = int(negative[0])
            place = f" at input {index}" if self.radius.ndim else ""
            raise Misfit(
                f"expected numbers >= 0, found {self.radius.reshape(-1)[index]}{place}", "radius"
            )
        return self

    def bind(self, sizes: Sizes) -> AbstractRegion:
        center = sizes.per_input(self.center, "center")
        radius = sizes.per_input(self.radius, "radius")
        return ball_region(center, radius, self.norm, self._clip(sizes))

    def around(self, sizes: Sizes) -> Around | None:
        largest = float(self.radius) if self.radius.ndim == 0 else None
        center = sizes.per_input(self.center, "center")
        return Around(center, self.norm, largest, self._clip(sizes))

    def _clip(self, sizes: Sizes) -> tuple[Tensor, Tensor] | None:
        if self.clip is None:
            return None
        lower, upper = (sizes.per_input(end, "clip", i) for i, end in enumerate(self.clip))
        return lower, upper


@final
class BoxEntry(RegionEntry):
    lower: Numbers = Field(description="a list of numbers, one per input")
    upper: Numbers = Field(description="a list of numbers, one per input")

    @model_validator(mode="after")
    def _check(self) -> "BoxEntry":
        if self.lower.shape != self.upper.shape:
            raise Misfit(
                f"expected {self.lower.size} numbers, as in lower, found {self.upper.size}",
                "upper",
            )
        check_order(self.lower, self.upper)
        return self

    def bind(self, sizes: Sizes) -> AbstractRegion:
        return Box(sizes.per_input(self.lower, "lower"), sizes.per_input(self.upper, "upper"))

    def around(self, sizes: Sizes) -> Around | None:
        return None


def read_region(document: Document) -> RegionEntry:
    """The region of a spec file; `SpecError` where it is in neither form, or in both."""
    data = document.data["region"]
    if not isinstance(data, dict):
        raise document.error(f"expected a mapping, {FORMS}; found {shown(data)}", "region")
    ball = [key for key in ("center", "radius") if key in data]
    box = [key for key in ("lower", "upper") if key in data]
    if ball and box:
        raise document.error(
            f"holds {ball[0]!r} and {box[0]!r}; expected {FORMS}, not both", "region", box[0]
        )
    known = [*BallEntry.model_fields, *BoxEntry.model_fields]
    for key in data:
        if key not in known:
            raise document.error(f"unknown key; {hint(key, known)}", "region", key)
    if not ball and not box:
        raise document.error(f"expected {FORMS}", "region")
    return read_entry(BoxEntry if box else BallEntry, document, data, "region")
