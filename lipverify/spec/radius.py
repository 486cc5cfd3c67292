"""Properties of kind `radius`."""

from dataclasses import dataclass
from typing import Annotated, final

from pydantic import PlainValidator

from lipverify.errors import UnsupportedNorm
from lipverify.norms import AbstractNorm, norm_named
from lipverify.spec import arrays
from lipverify.spec.entry import PropertyEntry
from lipverify.spec.fields import Size
from lipverify.spec.problem import Misfit
from lipverify.spec.robustness import PREDICTED, Label
from lipverify.spec.sizes import Around, Sizes

DEFAULT_GAP = 0.05


@final
@dataclass(frozen=True, eq=False)
class Radius:
    """How far around a point the class stays the same, in `norm`; looked at up to `largest`.

    The answer is an interval [proved, broken]: no input closer than `proved` (or as close) has
    another class, an input at distance `broken` has (infinite: none was found). With `at_least`:
    is the radius at least that? `label` None: the class that the network predicts at the point.
    """

    kind = "radius"
    around: Around
    norm: AbstractNorm
    largest: float
    label: int | None = None
    at_least: float | None = None
    gap: float = DEFAULT_GAP

    def describe(self, features: tuple[str, ...]) -> str:
        """The property in a few words."""
        label = PREDICTED if self.label is None else self.label
        asked = "" if self.at_least is None else f" >= {self.at_least:g}"
        return f"{self.kind} l{self.norm.name} label {label}{asked}"


def _norm(value: object) -> AbstractNorm | None:
    try:
        return norm_named(value)
    except UnsupportedNorm as error:
        raise Misfit(str(error)) from None


def _gap(value: object) -> float:
    gap = arrays.number(value)
    if not gap > 0:
        raise Misfit(f"expected a number > 0, found {gap}")
    return gap


@final
class RadiusEntry(PropertyEntry):
    norm: Annotated[AbstractNorm | None, PlainValidator(_norm)] = None
    label: Label = None
    at_least: Size = None
    gap: Annotated[float, PlainValidator(_gap)] = DEFAULT_GAP

    def bind(self, sizes: Sizes) -> Radius:
        if sizes.outputs < 2:
            raise Misfit("radius is about classes: it needs a network with two outputs or more")
        around = sizes.around
        if around is None:
            raise Misfit("radius needs a region of the form center, radius: it is about that point")
        if around.largest is None:
            raise Misfit("radius needs a region with one radius: the largest that is looked at")
        if not around.largest > 0:
            raise Misfit("radius needs a region with a radius > 0: the largest that is looked at")
        if self.at_least is not None and self.at_least > around.largest:
            raise Misfit(
                f"expected at most the region's radius {around.largest:g}, found {self.at_least:g}",
                "at_least",
            )
        label = None if self.label is None else sizes.output(self.label, "label")
        norm = around.norm if self.norm is None else self.norm
        return Radius(around, norm, around.largest, label, self.at_least, self.gap)
