"""A spec: a network, a region of its inputs, and what is asked there."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lipverify.reading import AS_IT_IS, Reading
from lipverify.region import AbstractRegion

if TYPE_CHECKING:  # some kinds of property make specs of their own
    from lipverify.spec.property import Property


@dataclass(frozen=True, eq=False)
class Spec:
    """One spec, checked against its network's input and output sizes.

    `path` is None for specs made in Python. `features` names the inputs ("x0", "x1", ... unless
    the file names them). `reading` says how the network's file is to be read.
    """

    name: str
    region: AbstractRegion
    properties: "tuple[Property, ...]"
    features: tuple[str, ...]
    path: Path | None = None
    network: Path | None = None
    reading: Reading = AS_IT_IS
    timeout: float | None = None
    """Seconds per property that the file itself allows; None leaves it to the settings."""
    requirements: tuple[tuple[str, ...], ...] = ()
    """Identifiers of the requirements that each property stands for; () where there are none."""
    sha256: str = ""
    """Of the file's text; "" for specs made in Python."""

    def requirements_of(self, index: int) -> tuple[str, ...]:
        """The requirements that property number `index` stands for."""
        return self.requirements[index] if self.requirements else ()
