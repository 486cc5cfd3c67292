"""Instance files: one line per network, property and time limit, as competitions write them."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from lipverify.errors import SpecError
from lipverify.evidence.report_json import SpecFailure

NETWORKS, PROPERTIES = (".onnx", ".onnx.gz"), (".vnnlib", ".vnnlib.gz")
COLUMNS = {
    "network": ("network", "onnx", "model", "net"),
    "property": ("property", "vnnlib", "spec", "prop"),
    "timeout": ("timeout", "time", "seconds"),
}
"""Names that a header may use; without a header, the columns come in this order."""
KEPT_IN = {"network": ("onnx", "networks", "nets"), "property": ("vnnlib", "specs", "properties")}
"""Folders beside the file in which its networks and properties are looked for as well."""


@dataclass(frozen=True)
class Instance:
    """One line. `written` is the network and the property as the file names them."""

    network: Path
    vnnlib: Path
    written: tuple[str, str]
    timeout: float | None
    family: str
    line: int

    @property
    def name(self) -> str:
        return f"{self.vnnlib} with {self.network.name}"


@dataclass(frozen=True)
class BadInstance:
    """A line that names what is not there; `failure.spec` is file and line."""

    failure: SpecFailure
    written: tuple[str, str]
    family: str


def is_instances(path: str) -> bool:
    return path.lower().endswith(".csv")


def read_instances(path: Path) -> list[Instance | BadInstance]:
    """All lines in order; `SpecError` if the file is missing, or no such table."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except FileNotFoundError as error:
        raise SpecError("does not exist; expected an instances file", path) from error
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", path) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(f"is no table with commas: {error}", path) from error
    lines = [(line, row) for line, row in lines if any(row) and not row[0].startswith("#")]
    if not lines:
        raise SpecError("is empty; expected lines of network, property, timeout", path)
    columns = _columns(lines[0][1], path)
    found = list(_instances(path, lines[1:] if columns else lines, columns or [0, 1, 2]))
    if not found:
        raise SpecError("holds no instance below its header", path)
    return found


def _columns(first: list[str], path: Path) -> list[int] | None:
    """Where a header puts network, property and timeout (-1: nowhere); None without a header."""
    if first[0].lower().endswith(NETWORKS):
        return None
    names = [cell.lower() for cell in first]
    places = [
        next((names.index(name) for name in known if name in names), -1)
        for known in COLUMNS.values()
    ]
    if places[0] < 0 or places[1] < 0:
        raise SpecError(
            f"starts with {first[0][:40]!r}; expected lines of network, property, timeout, or a "
            "header with these names",
            path,
            1,
        )
    return places


def _instances(
    path: Path, lines: list[tuple[int, list[str]]], columns: list[int]
) -> Iterator[Instance | BadInstance]:
    for line, row in lines:
        cells = [row[place] if 0 <= place < len(row) else "" for place in columns]
        family = _family(path, cells[0])
        try:
            yield Instance(
                _file(path, line, cells[0], "network"),
                _file(path, line, cells[1], "property"),
                (cells[0], cells[1]),
                _timeout(path, line, cells[2]),
                family,
                line,
            )
        except SpecError as error:
            failure = SpecFailure(f"{path}:{line}", str(error))
            yield BadInstance(failure, (cells[0], cells[1]), family)


def _file(path: Path, line: int, written: str, column: str) -> Path:
    """The file of that name, packed or not, relative to the instances file."""
    if not written:
        raise SpecError(f"names no {column}; expected network, property, timeout", path, line)
    ends = NETWORKS if column == "network" else PROPERTIES
    if not written.lower().endswith(ends):
        raise SpecError(
            f"{written!r} is no {column}; expected a file ending in {' or '.join(ends)}", path, line
        )
    folders = [path.parent, *(path.parent / name for name in KEPT_IN[column])]
    for folder in folders:
        for name in (written, f"{written}.gz", written.removesuffix(".gz")):
            if (folder / name).is_file():
                return folder / name
    raise SpecError(f"{column} {written} does not exist in {path.parent}", path, line)


def _timeout(path: Path, line: int, written: str) -> float | None:
    if not written:
        return None
    try:
        seconds = float(written)
    except ValueError:
        seconds = float("nan")
    if not (isfinite(seconds) and seconds >= 0):
        raise SpecError(f"timeout {written!r} is no number of seconds", path, line)
    return seconds


def _family(path: Path, network: str) -> str:
    """The folder of the instances file, and the network's below it, if it has one of its own."""
    if ".." in Path(network).parts:
        return path.resolve().parent.name
    below = [part for part in Path(network).parent.parts if part not in (".", *KEPT_IN["network"])]
    return "/".join([path.resolve().parent.name, *below])
