"""Properties of kind `lipschitz`."""

from dataclasses import dataclass
from typing import final

from lipverify.norms import AbstractNorm, LInf
from lipverify.spec.entry import PropertyEntry
from lipverify.spec.fields import Norm, Size
from lipverify.spec.outputs import Outputs, OutputsField, describe_rows
from lipverify.spec.sizes import Sizes


@final
@dataclass(frozen=True, eq=False)
class Lipschitz:
    """The largest operator norm of rows J(x) on the region, or: is it at most `at_most`?

    `rows` [r][m] are the row vectors c (unit vectors for plain outputs).
    """

    kind = "lipschitz"
    input_norm: AbstractNorm
    output_norm: AbstractNorm
    rows: tuple[tuple[float, ...], ...]
    at_most: float | None = None
    gap: float | None = None

    def describe(self, features: tuple[str, ...]) -> str:
        """The property in a few words; `features` names the inputs."""
        asked = "" if self.at_most is None else f" <= {self.at_most:g}"
        norms = f"{self.input_norm.name}->{self.output_norm.name}"
        return f"{self.kind} {norms} {describe_rows(self.rows)}{asked}"


@final
class LipschitzEntry(PropertyEntry):
    input_norm: Norm = LInf()
    output_norm: Norm = LInf()
    outputs: OutputsField = Outputs()
    at_most: Size = None
    gap: Size = None

    def bind(self, sizes: Sizes) -> Lipschitz:
        rows = self.outputs.rows(sizes, "outputs")
        return Lipschitz(self.input_norm, self.output_norm, rows, self.at_most, self.gap)
