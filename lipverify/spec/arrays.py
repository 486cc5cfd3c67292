"""Lists of numbers in spec files: written out, nested, or named in an npz file."""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lipverify.spec.problem import Misfit, hint, shown

Vector = NDArray[np.float64]

REFERENCE_KEYS = ("file", "array", "index")


@dataclass(frozen=True)
class ArrayFolder:
    """Where relative file names lead: the folder of the spec file."""

    path: Path


def number(value: object) -> float:
    """A finite number; `Misfit` for anything else, true and false among it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        quotes = "; write it without quotes" if isinstance(value, str) and _is_number(value) else ""
        raise Misfit(f"expected a number, found {shown(value)}{quotes}")
    try:
        result = float(value)
    except OverflowError:
        raise Misfit("expected a finite number, found one too large for a float64") from None
    if not isfinite(result):
        raise Misfit(f"expected a finite number, found {result}")
    return result


def scalar_or_vector(value: object, folder: ArrayFolder) -> Vector:
    """One number ([]) or a list of them ([n]); nested lists and arrays are read row by row."""
    if isinstance(value, dict):
        array = _finite(_referenced(value, folder))
        return array if array.ndim == 0 else array.reshape(-1)
    if isinstance(value, list):
        return np.array(list(_flat(value, ())), dtype=np.float64)
    return np.array(number(value), dtype=np.float64)


def vector(value: object, folder: ArrayFolder) -> Vector:
    """A list of numbers [n]; nested lists and arrays are read row by row."""
    if not isinstance(value, list | dict):
        raise Misfit(f"expected a list of numbers, found {shown(value)}")
    array = scalar_or_vector(value, folder)
    if array.ndim == 0:
        raise Misfit("expected a list of numbers, found a single one; is 'index' one too many?")
    if array.size == 0:
        raise Misfit("expected a list of numbers, found an empty one")
    return array


def rows(value: object, folder: ArrayFolder) -> list[Vector]:
    """A list of lists of numbers, or an array [r, m]."""
    if isinstance(value, dict):
        array = _finite(_referenced(value, folder))
        if array.ndim != 2 or array.size == 0:
            raise Misfit(f"expected an array of rows, found one of shape {array.shape}")
        return list(array)
    if not isinstance(value, list) or not value or not isinstance(value[0], list | dict):
        raise Misfit(f"expected a list of rows such as [[1, -1, 0]], found {shown(value)}")
    result: list[Vector] = []
    for position, row in enumerate(value):
        try:
            result.append(vector(row, folder))
        except Misfit as misfit:
            raise misfit.under(position) from None
    return result


def pair(reference: dict[str, Any], folder: ArrayFolder) -> tuple[Vector, Vector]:
    """The two rows of an array [2] or [2, ...]."""
    array = _finite(_referenced(reference, folder))
    if array.ndim == 0 or len(array) != 2:
        raise Misfit(f"expected an array of two rows, found one of shape {array.shape}")
    if array.ndim == 1:
        return array[0].reshape(()), array[1].reshape(())
    return array[0].reshape(-1), array[1].reshape(-1)


def integer(value: object, folder: ArrayFolder) -> int:
    """A whole number, or one named in an npz file."""
    if isinstance(value, dict):
        array = _referenced(value, folder)
        if array.ndim != 0 or array.dtype.kind not in "iu":
            raise Misfit(
                f"expected a whole number, found an array of shape {array.shape} and type "
                f"{array.dtype}; give its 'index'"
            )
        return int(array)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Misfit(f"expected a whole number, found {shown(value)}")
    return value


def _flat(value: list[Any], at: tuple[int, ...]) -> Iterator[float]:
    for position, item in enumerate(value):
        if isinstance(item, list):
            yield from _flat(item, (*at, position))
            continue
        try:
            yield number(item)
        except Misfit as misfit:
            raise misfit.under(*at, position) from None


def _finite(array: NDArray[Any]) -> Vector:
    values = array.astype(np.float64)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        place = f" at {list(index)}" if index else ""
        raise Misfit(f"expected finite numbers, found {values[index]}{place}")
    return values


def _referenced(reference: dict[str, Any], folder: ArrayFolder) -> NDArray[Any]:
    """The array of numbers that {file, array, index} names."""
    for key in reference:
        if key not in REFERENCE_KEYS:
            raise Misfit(f"unknown key {key!r}; {hint(key, REFERENCE_KEYS)}", key)
    for key in ("file", "array"):
        if not isinstance(reference.get(key), str):
            found = shown(reference[key]) if key in reference else "none"
            raise Misfit(
                f"expected {{file: x.npz, array: name}}: {key!r} must be a text, found {found}"
            )
    array = _load(folder.path / reference["file"], reference["file"], reference["array"])
    if array.dtype.kind not in "iuf":
        raise Misfit(f"expected numbers, found type {array.dtype} in {reference['file']}", "array")
    return _row(array, reference) if "index" in reference else array


def _row(array: NDArray[Any], reference: dict[str, Any]) -> NDArray[Any]:
    index = reference["index"]
    if isinstance(index, bool) or not isinstance(index, int):
        raise Misfit(f"expected a whole number, found {shown(index)}", "index")
    name = f"array {reference['array']!r} of {reference['file']}"
    if array.ndim == 0:
        raise Misfit(f"{name} is a single number; leave the index out", "index")
    if not 0 <= index < len(array):
        raise Misfit(f"{index} is out of range: {name} has {len(array)} rows, from 0", "index")
    return np.asarray(array[index])


def _load(path: Path, file: str, name: str) -> NDArray[Any]:
    if not path.is_file():
        raise Misfit(f"{file} does not exist in {path.parent}", "file")
    if not zipfile.is_zipfile(path):
        raise Misfit(f"{file} is not an npz file; write one with numpy.savez", "file")
    try:
        # Opened here, since numpy leaves the file open where it is no sound archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            if name not in archive.files:
                message = f"array {name!r} is not in {file}; {hint(name, archive.files)}"
                raise Misfit(message, "array")
            array = archive[name]
    except Misfit:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise Misfit(f"array {name!r} of {file} cannot be read: {error}", "array") from error
    if not isinstance(array, np.ndarray):
        raise Misfit(f"{name!r} in {file} is no array; write it with numpy.savez", "array")
    return array


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
