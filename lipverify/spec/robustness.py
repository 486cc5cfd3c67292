"""Properties of kind `robustness`."""

from dataclasses import dataclass
from typing import Annotated, final

from pydantic import Field

from lipverify.spec import arrays
from lipverify.spec.arrays import ArrayFolder
from lipverify.spec.entry import PropertyEntry
from lipverify.spec.fields import Number, with_folder
from lipverify.spec.problem import Misfit, shown
from lipverify.spec.sizes import Sizes

PREDICTED = "predicted"


@final
@dataclass(frozen=True, eq=False)
class Robustness:
    """f_label - f_j >= margin (> 0 where margin is 0) for every other output j.

    `label` None: the class that the network predicts at the region's centre.
    """

    kind = "robustness"
    label: int | None
    margin: float = 0.0

    def describe(self, features: tuple[str, ...]) -> str:
        """The property in a few words; `features` names the inputs."""
        label = PREDICTED if self.label is None else self.label
        asked = f", margin {self.margin:g}" if self.margin else ""
        return f"{self.kind} label {label}{asked}"


def _label(value: object, folder: ArrayFolder) -> int | None:
    if value == PREDICTED:
        return None
    if isinstance(value, str):
        raise Misfit(f"expected an output's position or {PREDICTED}, found {shown(value)}")
    return arrays.integer(value, folder)


Label = Annotated[int | None, with_folder(_label)]
"""An output's position; None for the predicted one."""


@final
class RobustnessEntry(PropertyEntry):
    label: Label = Field(description=f"an output's position, or {PREDICTED}")
    margin: Number = 0.0

    def bind(self, sizes: Sizes) -> Robustness:
        if sizes.outputs < 2:
            raise Misfit("robustness is about classes: it needs a network with two outputs or more")
        if self.label is None:
            return Robustness(None, self.margin)
        return Robustness(sizes.output(self.label, "label"), self.margin)
