"""Properties of kind `monotonicity`."""

from dataclasses import dataclass
from typing import final

from lipverify.spec.entry import PropertyEntry
from lipverify.spec.fields import Inputs, Number
from lipverify.spec.outputs import Output, OutputField, describe_rows
from lipverify.spec.problem import Misfit
from lipverify.spec.sizes import Sizes

SHOWN = 4
"""As many features are named in a description."""


@final
@dataclass(frozen=True, eq=False)
class Monotonicity:
    """d (weights . f) / d x_i >= margin for i in `increasing`, <= -margin for i in `decreasing`."""

    kind = "monotonicity"
    weights: tuple[float, ...]
    increasing: tuple[int, ...]
    decreasing: tuple[int, ...]
    margin: float = 0.0

    def describe(self, features: tuple[str, ...]) -> str:
        """The property in a few words; `features` names the inputs."""
        signed = [f"+{features[i]}" for i in self.increasing]
        signed += [f"-{features[i]}" for i in self.decreasing]
        rest = f" and {len(signed) - SHOWN} more" if len(signed) > SHOWN else ""
        asked = f", margin {self.margin:g}" if self.margin else ""
        what = "" if self.weights == (1.0,) else f" {describe_rows((self.weights,))}"
        return f"{self.kind}{what}: {' '.join(signed[:SHOWN])}{rest}{asked}"


@final
class MonotonicityEntry(PropertyEntry):
    output: OutputField = Output()
    increasing: Inputs = ()
    decreasing: Inputs = ()
    margin: Number = 0.0

    def bind(self, sizes: Sizes) -> Monotonicity:
        weights = self.output.row(sizes, "output")
        increasing = _positions(self.increasing, sizes, "increasing")
        decreasing = _positions(self.decreasing, sizes, "decreasing")
        if not increasing and not decreasing:
            raise Misfit("names no feature; list some under 'increasing' or 'decreasing'")
        for position, feature in enumerate(decreasing):
            if feature in increasing:
                raise Misfit(
                    f"feature {sizes.features[feature]!r} is also under 'increasing'; remove one",
                    "decreasing",
                    position,
                )
        return Monotonicity(weights, increasing, decreasing, self.margin)


def _positions(features: tuple[int | str, ...], sizes: Sizes, key: str) -> tuple[int, ...]:
    positions: list[int] = []
    for position, feature in enumerate(features):
        index = sizes.input(feature, key, position)
        if index in positions:
            raise Misfit(
                f"feature {sizes.features[index]!r} is named twice; remove one", key, position
            )
        positions.append(index)
    return tuple(positions)
