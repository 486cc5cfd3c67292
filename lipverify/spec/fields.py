"""Types of the fields of spec files, each with its own message, and the base of their models."""

from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, ValidationInfo

from lipverify.errors import UnsupportedNorm
from lipverify.norms import AbstractNorm, norm_named
from lipverify.spec import arrays
from lipverify.spec.arrays import ArrayFolder, Vector
from lipverify.spec.document import Document
from lipverify.spec.problem import Location, Misfit, hint, shown

E = TypeVar("E", bound="Entry")
T = TypeVar("T")


class Entry(BaseModel):
    """A mapping in a spec file. Unknown keys are refused; every field checks its own value."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_entry(model: type[E], document: Document, data: object, *at: str | int) -> E:
    """`data`, found at `at` in the document, as a `model`; `SpecError` where it does not fit."""
    if not isinstance(data, dict):
        raise document.error(f"expected a mapping, found {shown(data)}", *at)
    try:
        return model.model_validate(data, context=ArrayFolder(document.path.parent))
    except ValidationError as error:
        _raise_first(error, model, document, at)


def _raise_first(
    error: ValidationError, model: type[Entry], document: Document, at: Location
) -> NoReturn:
    """The problem that comes first in the file, with the number of the others.

    Missing keys come last: a misspelt one is best reported as what it is.
    """
    details = error.errors()
    found = [(detail["type"] == "missing", _misfit(detail, model)) for detail in details]
    found.sort(key=lambda problem: (problem[0], document.line((*at, *problem[1].at))))
    first = found[0][1]
    more = f" (and {len(found) - 1} more here)" if len(found) > 1 else ""
    raise document.error(f"{first}{more}", *at, *first.at) from error


def _misfit(detail: Any, model: type[Entry]) -> Misfit:
    at: Location = detail["loc"]
    if detail["type"] == "extra_forbidden":
        key = str(at[-1])
        return Misfit(f"unknown key; {hint(key, model.model_fields)}", *at)
    if detail["type"] == "missing":
        what = model.model_fields[str(at[-1])].description
        return Misfit(f"the key {at[-1]!r} is missing ({what})", *at[:-1])
    problem = detail["ctx"]["error"]
    assert isinstance(problem, ValueError), detail
    return problem.under(*at) if isinstance(problem, Misfit) else Misfit(str(problem), *at)


def with_folder(read: Callable[[object, ArrayFolder], T]) -> PlainValidator:
    def validate(value: object, info: ValidationInfo) -> T:
        assert isinstance(info.context, ArrayFolder)
        return read(value, info.context)

    return PlainValidator(validate)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Misfit(f"expected a text, found {shown(value)}; put it in quotes")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise Misfit(f"expected a list of names, found {shown(value)}")
    seen: dict[str, int] = {}
    for position, item in enumerate(value):
        try:
            name = _text(item)
        except Misfit as misfit:
            raise misfit.under(position) from None
        if name in seen:
            raise Misfit(f"{name!r} is named twice, at {seen[name]} and {position}", position)
        seen[name] = position
    return tuple(seen)


def _size(value: object) -> float:
    result = arrays.number(value)
    if result < 0:
        raise Misfit(f"expected a number >= 0, found {result}")
    return result


def _norm(value: object) -> AbstractNorm:
    try:
        return norm_named(value)
    except UnsupportedNorm as error:
        raise Misfit(str(error)) from None


def _inputs(value: object) -> tuple[int | str, ...]:
    """Names and positions of inputs; checked against the network later."""
    if not isinstance(value, list):
        raise Misfit(f"expected a list such as [age, 3], found {shown(value)}")
    for position, item in enumerate(value):
        if isinstance(item, bool) or not isinstance(item, int | str):
            message = f"expected a feature's name or position, found {shown(item)}"
            raise Misfit(message, position)
    return tuple(value)


def _range(value: object, folder: ArrayFolder) -> tuple[Vector, Vector]:
    """Two ends, each a number or a list; or an array whose first dimension is two."""
    if isinstance(value, dict):
        both = arrays.pair(value, folder)
    elif isinstance(value, list) and len(value) == 2:
        both = [_end(value, position, folder) for position in range(2)]
    else:
        raise Misfit(f"expected two ends such as [0.0, 1.0], found {shown(value)}")
    lower, upper = both
    if lower.ndim and upper.ndim and lower.shape != upper.shape:
        raise Misfit(f"the ends have {lower.size} and {upper.size} numbers")
    check_order(lower, upper)
    return lower, upper


def _end(value: list[Any], position: int, folder: ArrayFolder) -> Vector:
    try:
        return arrays.scalar_or_vector(value[position], folder)
    except Misfit as misfit:
        raise misfit.under(position) from None


def check_order(lower: Vector, upper: Vector) -> None:
    """`Misfit` unless lower <= upper everywhere; the shapes agree or broadcast."""
    low, high = np.broadcast_arrays(lower, upper)
    wrong = np.flatnonzero(low > high)
    if len(wrong):
        index = int(wrong[0])
        ends = f"{low.reshape(-1)[index]} > {high.reshape(-1)[index]}"
        raise Misfit(f"lower > upper at input {index}: {ends}; swap or correct them")


def _requirements(value: object) -> tuple[str, ...]:
    """One identifier, or a list of them."""
    return (_text(value),) if isinstance(value, str) else _texts(value)


Text = Annotated[str, PlainValidator(_text)]
Texts = Annotated[tuple[str, ...] | None, PlainValidator(_texts)]
Requirements = Annotated[tuple[str, ...], PlainValidator(_requirements)]
"""Identifiers of the requirements that something stands for, such as SR-12."""
Number = Annotated[float, PlainValidator(arrays.number)]
Size = Annotated[float | None, PlainValidator(_size)]
Norm = Annotated[AbstractNorm, PlainValidator(_norm)]
Inputs = Annotated[tuple[int | str, ...], PlainValidator(_inputs)]
Numbers = Annotated[Vector, with_folder(arrays.vector)]
NumberOrNumbers = Annotated[Vector, with_folder(arrays.scalar_or_vector)]
Range = Annotated[tuple[Vector, Vector] | None, with_folder(_range)]
