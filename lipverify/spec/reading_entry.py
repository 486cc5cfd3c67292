"""The keys `preprocessing` and `inputs` of spec files."""

from typing import Annotated, final

import numpy as np
from pydantic import model_validator

from lipverify.errors import NetworkError
from lipverify.reading import Preprocessing, Values
from lipverify.spec.arrays import ArrayFolder, scalar_or_vector
from lipverify.spec.document import Document
from lipverify.spec.fields import Entry, read_entry, with_folder
from lipverify.spec.problem import Misfit, shown

Inputs = tuple[tuple[str, Values], ...]


def _values(value: object, folder: ArrayFolder) -> Values:
    array = scalar_or_vector(value, folder)
    if array.size == 0:
        raise Misfit("expected a number or a list of numbers, found an empty list")
    return tuple(np.atleast_1d(array).tolist())


_Part = Annotated[Values, with_folder(_values)]


@final
class _PreprocessingEntry(Entry):
    mean: _Part = ()
    std: _Part = ()
    scale: _Part = ()
    offset: _Part = ()

    @model_validator(mode="after")
    def _check(self) -> "_PreprocessingEntry":
        self.value()
        return self

    def value(self) -> Preprocessing:
        try:
            return Preprocessing(self.mean, self.std, self.scale, self.offset)
        except NetworkError as error:
            raise Misfit(str(error).removeprefix("preprocessing: ")) from None


def read_preprocessing(document: Document) -> Preprocessing | None:
    """What the file says of it; `SpecError` where it does not fit, None where it says nothing."""
    if "preprocessing" not in document.data:
        return None
    data = document.data["preprocessing"]
    if data == {}:
        raise document.error("expected mean, std or scale, offset; found none", "preprocessing")
    return read_entry(_PreprocessingEntry, document, data, "preprocessing").value()


def _inputs(value: object, folder: ArrayFolder) -> Inputs:
    if not isinstance(value, dict) or not value:
        raise Misfit(
            "expected a mapping from names of the network's inputs to their values, found "
            f"{shown(value)}"
        )
    found: list[tuple[str, Values]] = []
    for name, given in value.items():
        try:
            found.append((name, _values(given, folder)))
        except Misfit as misfit:
            raise misfit.under(name) from None
    return tuple(sorted(found))


FixedInputs = Annotated[Inputs, with_folder(_inputs)]
