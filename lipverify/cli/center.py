"""Points given on the command line: numbers, or files of numbers."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lipverify.errors import InputError, SpecError
from lipverify.spec.arrays import ArrayFolder, vector
from lipverify.spec.problem import Misfit

FORMS = "a number, a list such as 0.1,0.2, or a file .npy, .npz:array, .npz:array:index, .csv, .txt"

Point = NDArray[np.float64]


def read_center(text: str, size: int) -> Point:
    """The point [size] that `text` gives; `InputError` if it is none, or of another length."""
    values = _numbers(text)
    if values is None:
        values = _from_file(text)
    elif values.size == 1:
        return np.full(size, values[0])
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(
            f"--center {text}: expected finite numbers, found {values[index]} at {index}"
        )
    if values.size != size:
        raise InputError(
            f"--center {text}: expected {size} numbers, one per input of the network, found "
            f"{values.size}"
        )
    return values


def _numbers(text: str) -> Point | None:
    """A comma list; None if it is something else."""
    try:
        return np.array([float(part) for part in text.strip("[] ").split(",")])
    except ValueError:
        return None


def _from_file(text: str) -> Point:
    file, *rest = text.split(":")
    path = Path(file)
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz", ".csv", ".txt") or (rest and suffix != ".npz"):
        raise InputError(f"--center {text}: expected {FORMS}")
    if not path.is_file():
        raise InputError(f"--center {text}: {file} does not exist; expected {FORMS}")
    if suffix == ".npz":
        return _from_npz(text, path, rest)
    try:
        if suffix == ".npy":
            values = np.load(path, allow_pickle=False).astype(np.float64)
        else:
            content = path.read_text(encoding="utf-8").replace(",", " ").split()
            values = np.array([float(part) for part in content])
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InputError(f"--center {text}: {file} cannot be read: {error}") from error
    return values.reshape(-1)


def _from_npz(text: str, path: Path, rest: list[str]) -> Point:
    """As in spec files: {file, array, index}."""
    if len(rest) not in (1, 2) or (len(rest) == 2 and not rest[1].isdigit()):
        raise InputError(f"--center {text}: expected {path}:ARRAY or {path}:ARRAY:INDEX")
    reference: dict[str, str | int] = {"file": str(path), "array": rest[0]}
    if len(rest) == 2:
        reference["index"] = int(rest[1])
    try:
        return vector(reference, ArrayFolder(Path()))
    except (Misfit, SpecError) as error:
        raise InputError(f"--center {text}: {error}") from error
