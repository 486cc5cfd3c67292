"""Properties of kind `vnnlib`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import torch
from pydantic import Field

from lipverify.errors import SpecError
from lipverify.region import Box
from lipverify.spec.arrays import ArrayFolder
from lipverify.spec.entry import PropertyEntry
from lipverify.spec.fields import with_folder
from lipverify.spec.problem import Misfit, shown
from lipverify.spec.sizes import Sizes
from lipverify.spec.spec import Spec
from lipverify.spec.vnnlib.read import VnnLibFile, read_vnnlib

LOOKED_AT = 64
"""So many boxes of a file are looked at for the region that is shown."""


@final
@dataclass(frozen=True, eq=False)
class VnnLib:
    """No input satisfies the file's assertions together with the outputs there."""

    kind = "vnnlib"
    file: VnnLibFile

    def describe(self, features: tuple[str, ...]) -> str:
        """The property in a few words."""
        name, layout = self.file.path.name, self.file.layout
        return f"{self.kind} {name}" + (" (two copies)" if layout.copies == 2 else "")


def around(properties: Sequence[VnnLib]) -> Box:
    """A box around the first boxes of all files; the point 0 where there is none.

    It is what is shown: each property is about its file's own boxes.
    """
    ends = [region.bounding for prop in properties for region in prop.file.regions(LOOKED_AT)]
    if not ends:
        zero = torch.zeros(properties[0].file.layout.inputs, dtype=torch.float64)
        return Box(zero, zero)
    lower = torch.stack([box.lower for box in ends]).amin(0)
    return Box(lower, torch.stack([box.upper for box in ends]).amax(0))


def spec_of(
    file: VnnLibFile, network: Path | None = None, timeout: float | None = None, name: str = ""
) -> Spec:
    """The file as a spec of its own."""
    prop = VnnLib(file)
    features = tuple(f"x{index}" for index in range(file.layout.inputs))
    title = name or file.path.name.split(".vnnlib")[0]
    region = around([prop])
    return Spec(
        title, region, (prop,), features, file.path, network, timeout=timeout, sha256=file.sha256
    )


def _file(value: object, folder: ArrayFolder) -> Path:
    if not isinstance(value, str) or not value.strip():
        raise Misfit(f"expected a file's name, found {shown(value)}")
    path = folder.path / value
    if not path.is_file():
        raise Misfit(f"{value} does not exist in {path.parent}")
    return path


@final
class VnnLibEntry(PropertyEntry):
    file: Annotated[Path, with_folder(_file)] = Field(description="a VNN-LIB file")

    def bind(self, sizes: Sizes) -> VnnLib:
        try:
            found = read_vnnlib(self.file)
            found.check_sizes(sizes.inputs, sizes.outputs)
        except SpecError as error:
            raise Misfit(str(error), "file") from error
        return VnnLib(found)
