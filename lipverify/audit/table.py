"""The table of records, read with pandas, checked cell by cell and turned into network inputs."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.audit.columns import Column, ColumnType, Feature, Layout
from lipverify.audit.question import Audit, TableFile
from lipverify.errors import MissingDependency, SpecError
from lipverify.files import file_sha256
from lipverify.numerics import DTYPE
from lipverify.spec.problem import hint

if TYPE_CHECKING:
    import pandas

PARQUET = (".parquet", ".pq")
SHOWN = 5
"""As many bad cells are named in a message."""


@dataclass(frozen=True, eq=False)
class Records:
    """The usable rows: `inputs` [k, n] of the network, in the table's units, and the number of
    each row in the table, from 1. `skipped` counts rows left out, by reason."""

    inputs: Tensor
    numbers: tuple[int, ...]
    features: dict[str, Feature]
    rows: int
    skipped: tuple[tuple[str, int], ...]
    sha256: str


@dataclass(frozen=True)
class _Bad:
    """A cell that cannot be used, and why in a few words that other cells share."""

    row: int
    column: str
    reason: str
    text: str


class _Cells:
    """What is wrong so far."""

    def __init__(self) -> None:
        self.bad: list[_Bad] = []

    def note(self, wrong: NDArray[np.bool_], column: str, reason: str, texts: Any) -> None:
        for row in np.flatnonzero(wrong):
            self.bad.append(_Bad(int(row), column, reason, str(texts[row])[:40]))


def read_records(audit: Audit, *, skip_bad_rows: bool = False) -> Records:
    """The table's rows as inputs.

    Raises `SpecError` for a missing column (with the nearest name), an empty table, and, unless
    `skip_bad_rows`, for cells that cannot be used (row and column are named); `MissingDependency`
    without pandas (or pyarrow, for Parquet).
    """
    table = audit.table
    frame = _frame(table, audit.layout)
    if not len(frame):
        raise SpecError("is empty: there is no record to audit", table.path)
    cells = _Cells()
    parts = [_column(frame, column, table, cells) for column in audit.layout.columns]
    inputs = np.concatenate(parts, axis=1)
    _check_groups(audit.layout, inputs, cells)
    bad_rows = {cell.row for cell in cells.bad}
    if bad_rows and not skip_bad_rows:
        raise SpecError(_message(cells.bad, len(frame), table), table.path)
    good = np.array([row for row in range(len(frame)) if row not in bad_rows], dtype=np.int64)
    if not len(good):
        raise SpecError(f"no row can be used. {_message(cells.bad, len(frame), table)}", table.path)
    first = {}
    for cell in cells.bad:
        first.setdefault(cell.row, f"{cell.column}: {cell.reason}")
    used = inputs[good]
    return Records(
        torch.from_numpy(used).to(DTYPE),
        tuple(int(row) + 1 for row in good),
        audit.layout.features(_ranges(audit.layout, used)),
        len(frame),
        tuple(sorted(Counter(first.values()).items())),
        file_sha256(table.path),
    )


def _frame(table: TableFile, layout: Layout) -> "pandas.DataFrame":
    """The columns that are used, cells as text (numbers of a Parquet file as they are)."""
    try:
        import pandas
    except ImportError as error:
        raise MissingDependency(
            "pandas is needed to read tables; install it with: pip install pandas"
        ) from error
    path = table.path
    try:
        if path.suffix.lower() in PARQUET:
            frame = pandas.read_parquet(path)
        else:
            frame = pandas.read_csv(
                path,
                sep=table.separator,
                dtype=str,
                keep_default_na=False,
                skipinitialspace=True,
                encoding="utf-8-sig",
            )
    except ImportError as error:
        raise MissingDependency(
            f"{path}: pyarrow is needed to read Parquet; install it with: pip install pyarrow"
        ) from error
    except pandas.errors.EmptyDataError:
        raise SpecError("is empty: there is no record to audit", path) from None
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot be read as a table: {error}", path) from error
    known = [str(name) for name in frame.columns]
    for column in layout.columns:
        if column.name not in known:
            raise SpecError(
                f"has no column {column.name!r}; {hint(column.name, known)} (separator "
                f"{table.separator!r})",
                path,
            )
    return frame.loc[:, [column.name for column in layout.columns]]


def _column(
    frame: "pandas.DataFrame", column: Column, table: TableFile, cells: _Cells
) -> NDArray[np.float64]:
    """The inputs of one column [rows, width]; 0 where a cell is bad."""
    import pandas

    cell = frame[column.name]
    missing = np.asarray(cell.isna(), dtype=bool)
    texts = np.array([str(value).strip() for value in cell], dtype=object)
    missing = missing | np.isin(texts, np.array([*table.missing, "nan", "NaN"], dtype=object))
    cells.note(missing, column.name, "missing value", texts)
    if column.categories:
        return _coded(column, texts, missing, cells)
    parsed = np.asarray(pandas.to_numeric(pandas.Series(texts), errors="coerce"), dtype=np.float64)
    wrong = ~np.isfinite(parsed) & ~missing
    cells.note(wrong, column.name, "not a finite number", texts)
    usable = ~missing & ~wrong
    if column.type is ColumnType.INTEGER:
        broken = usable & (np.nan_to_num(parsed) != np.round(np.nan_to_num(parsed)))
        cells.note(broken, column.name, "not a whole number", texts)
        usable &= ~broken
    if column.range is not None:
        low, high = column.range
        outside = usable & ((parsed < low) | (parsed > high))
        cells.note(outside, column.name, f"outside of its range [{low:g}, {high:g}]", texts)
        usable = usable & ~outside
    return np.where(usable, parsed, 0.0)[:, None]


def _coded(
    column: Column, texts: NDArray[Any], missing: NDArray[np.bool_], cells: _Cells
) -> NDArray[np.float64]:
    place = {category: position for position, category in enumerate(column.categories)}
    found = np.array([place.get(text, -1) for text in texts])
    unknown = (found < 0) & ~missing
    cells.note(unknown, column.name, "no such category", texts)
    if column.type is ColumnType.ORDINAL:
        return np.array(column.codes)[np.maximum(found, 0)][:, None]
    return np.eye(column.width)[np.maximum(found, 0)]


def _check_groups(layout: Layout, inputs: NDArray[np.float64], cells: _Cells) -> None:
    for name, members in layout.groups:
        part = inputs[:, [layout.first[member] for member in members]]
        wrong = ~(np.isin(part, (0.0, 1.0)).all(1) & (part.sum(1) == 1.0))
        texts = [", ".join(f"{value:g}" for value in row) for row in part]
        cells.note(wrong, name, "not one-hot (one 1, the rest 0)", texts)


def _ranges(layout: Layout, inputs: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """The stated range of each column, or else that of the usable rows."""
    found: dict[str, tuple[float, float]] = {}
    for column in layout.columns:
        values = inputs[:, layout.first[column.name]]
        found[column.name] = column.range or (float(values.min()), float(values.max()))
        if column.type is ColumnType.ORDINAL:
            found[column.name] = (min(column.codes), max(column.codes))
    return found


def _message(bad: list[_Bad], rows: int, table: TableFile) -> str:
    """The first bad cells, by row."""
    is_text = table.path.suffix.lower() not in PARQUET
    named = []
    for cell in sorted(bad, key=lambda cell: cell.row)[:SHOWN]:
        line = f" (line {cell.row + 2})" if is_text else ""
        shown = f", found {cell.text!r}" if cell.text else ""
        named.append(f"row {cell.row + 1}{line}, column {cell.column!r}: {cell.reason}{shown}")
    rest = f"; and {len(bad) - SHOWN} more cells" if len(bad) > SHOWN else ""
    count = len({cell.row for cell in bad})
    return (
        f"{count} of {rows} rows cannot be used: {'; '.join(named)}{rest}. Correct them, or leave "
        "them out with --skip-bad-rows"
    )
