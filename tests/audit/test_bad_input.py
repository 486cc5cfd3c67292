"""What an audit refuses, and how it says so."""

from pathlib import Path
from typing import Any

import pandas
import pytest

from lipverify.audit.file import read_audit
from lipverify.audit.run import AuditConfig, run_audit
from lipverify.audit.table import read_records
from lipverify.errors import CheckpointError, InputError, SpecError, UnknownMethod
from tests.audit.cases import (
    numbers,
    plain_audit,
    ran,
    weights,
    write_audit,
    write_network,
    write_table,
)

LAYERS = weights([3, 4, 1], 0)
COLUMNS: dict[str, Any] = {
    "age": {"type": "integer", "range": [18, 90]},
    "job": {"type": "ordinal", "categories": ["low", "high"]},
    "rate": {},
}
ROWS: list[list[Any]] = [[30, "low", 0.5], [41, "high", 0.25], [55, "low", 1.5]]


def case(folder: Path, rows: list[list[Any]], columns: Any = None, **keys: Any) -> Path:
    write_network(folder / "net.onnx", LAYERS)
    write_table(folder / "table.csv", ["age", "job", "rate"], rows)
    return write_audit(folder, columns or COLUMNS, **{"increasing": ["rate"], **keys})


def with_cell(row: int, column: int, cell: Any) -> list[list[Any]]:
    rows = [list(one) for one in ROWS]
    rows[row][column] = cell
    return rows


CELLS = [
    (1, 2, "", "row 2 (line 3), column 'rate': missing value"),
    (1, 2, "nan", "row 2 (line 3), column 'rate': missing value"),
    (0, 2, "much", "row 1 (line 2), column 'rate': not a finite number, found 'much'"),
    (0, 2, "inf", "not a finite number"),
    (2, 0, 17, "row 3 (line 4), column 'age': outside of its range [18, 90], found '17'"),
    (2, 0, 30.5, "not a whole number"),
    (2, 1, "middle", "row 3 (line 4), column 'job': no such category, found 'middle'"),
]


@pytest.mark.parametrize(("row", "column", "cell", "words"), CELLS)
def test_bad_cells_are_named_and_may_be_skipped(
    tmp_path: Path, row: int, column: int, cell: Any, words: str
) -> None:
    path = case(tmp_path, with_cell(row, column, cell))
    with pytest.raises(SpecError) as caught:
        read_records(read_audit(path))
    assert words in str(caught.value) and "--skip-bad-rows" in str(caught.value)
    records = read_records(read_audit(path), skip_bad_rows=True)
    assert records.numbers == tuple(number for number in (1, 2, 3) if number != row + 1)
    assert sum(count for _, count in records.skipped) == 1


def test_nothing_is_left_without_good_rows(tmp_path: Path) -> None:
    path = case(tmp_path, [["x", "low", 1]])
    with pytest.raises(SpecError, match="no row can be used"):
        read_records(read_audit(path), skip_bad_rows=True)


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is empty"):
        read_records(read_audit(case(tmp_path, [])))
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(SpecError, match="is empty"):
        read_records(read_audit(tmp_path / "audit.yaml"))


def test_a_missing_column_has_its_nearest_name(tmp_path: Path) -> None:
    columns = {**COLUMNS, "rates": {}}
    del columns["rate"]
    path = case(tmp_path, ROWS, columns, increasing=["rates"])
    with pytest.raises(SpecError, match="no column 'rates'; did you mean 'rate'"):
        read_records(read_audit(path))


def test_groups_have_to_be_one_hot(tmp_path: Path) -> None:
    write_network(tmp_path / "net.onnx", LAYERS)
    write_table(tmp_path / "table.csv", ["a", "b", "c"], [[1, 0, 2], [1, 1, 2], [0, 0.5, 1]])
    path = write_audit(
        tmp_path,
        {"a": {}, "b": {}, "c": {"range": [0, 3]}},
        groups={"kind": ["a", "b"]},
        increasing=["c"],
    )
    with pytest.raises(SpecError, match=r"2 of 3 rows.*row 2 .*'kind': not one-hot .*found '1, 1'"):
        read_records(read_audit(path))
    assert read_records(read_audit(path), skip_bad_rows=True).numbers == (1,)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"increasing": ["ages"]}, "no feature is named 'ages'; did you mean 'age'"),
    ({"increasing": ["rate", "rate"]}, "named twice"),
    ({"increasing": ["rate"], "decreasing": ["rate"]}, "asked about twice"),
    ({"increasing": []}, "expected a list of names"),
    ({"insensitive": ["job"]}, "by how much may the output move"),
    ({"insensitive": [{"feature": "jobs", "at_most": 1}]}, "did you mean 'job'"),
    ({"regions": ["lines"]}, "did you mean 'line'"),
    ({"regions": ["neighbourhood"]}, "needs 'radius' or 'share'"),
    ({"regions": [{"kind": "joint", "features": ["rate"]}]}, "two or more"),
    ({"regions": [{"kind": "conditional"}]}, "needs 'where'"),
    ({"regions": [{"kind": "conditional", "where": ["old"]}]}, "expected a condition"),
    ({"regions": [{"kind": "conditional", "where": ["agee >= 2"]}]}, "did you mean 'age'"),
    ({"regions": [{"kind": "conditional", "where": ["rate > 2"]}]}, "write >= instead"),
    ({"regions": ["line", "line"], "name": 3}, "expected a text"),
    ({"output": {"probability": 0, "link": "logit"}}, "expected one of softmax, sigmoid"),
    ({"output": {"index": 0, "weights": [1]}}, "expected one of index"),
    ({"columns": {"age": {"type": "numbr"}}}, "did you mean 'number'"),
    ({"columns": {"age": {"type": "ordinal"}}}, "needs 'categories'"),
    ({"columns": {"age": {"standard": {"mean": 1}}}}, "'std' is missing"),
    ({"columns": {"age": {"standard": {"mean": 1, "std": 0}}}}, "std > 0"),
    ({"columns": {"age": {"min-max": 3}}}, "expected a mapping"),
    ({"table": "tables.csv"}, "does not exist"),
    ({"network": "nets.onnx"}, "does not exist"),
    ({"colums": 1}, "unknown key; did you mean 'columns'"),
]


@pytest.mark.parametrize(("keys", "words"), WRONG, ids=lambda value: str(value)[:40])
def test_bad_files_are_named_with_their_line(
    tmp_path: Path, keys: dict[str, Any], words: str
) -> None:
    path = case(tmp_path, ROWS, **keys)
    with pytest.raises(SpecError) as caught:
        read_audit(path)
    assert words in str(caught.value)
    assert f"{path}:" in str(caught.value), "file and line"


def test_specs_are_no_audits(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("lipverify: 1\nproperties: []\n")
    with pytest.raises(SpecError, match="lipverify verify"):
        read_audit(path)


AGAINST_THE_NETWORK: list[tuple[dict[str, Any], str]] = [
    ({"columns": {"age": {}, "rate": {}}}, "2 columns make 2 inputs; the network net.onnx takes 3"),
    ({"output": 1}, "the network has 1 outputs"),
    ({"output": {"weights": [1, 2]}}, "expected 1 weights"),
    ({"output": {"probability": 1, "link": "softmax"}}, "out of range"),
    ({"output": {"log_odds": 1}}, "ends in a sigmoid"),
    ({"regions": [{"kind": "conditional", "where": ["age >= 95"]}]}, "leaves nothing of 'age'"),
]


@pytest.mark.parametrize(("keys", "words"), AGAINST_THE_NETWORK, ids=lambda value: str(value)[:40])
def test_what_does_not_fit_the_network(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        ran(case(tmp_path, ROWS, **keys))
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists(), "nothing is begun"


@pytest.mark.parametrize(
    ("outputs", "end", "keys", "words"),
    [
        (3, "", {"output": {"probability": 1, "link": "softmax"}}, "softmax of 3 outputs"),
        (3, "", {"output": {"probability": 1, "link": "sigmoid"}}, "needs a network with one"),
        (1, "Sigmoid", {"output": {"probability": 1, "link": "sigmoid"}}, "already; remove 'link"),
        (2, "Softmax", {"output": {"probability": 1, "link": "softmax"}}, "already; remove 'link"),
        (1, "", {"output": {"probability": 1, "link": "sigmoid"}, "margin": 0.1}, "margin: slopes"),
        (1, "Sigmoid", {"output": {"probability": 1}, "margin": 0.1}, "margin: slopes"),
        (2, "Softmax", {"output": {"log_odds": 1}, "margin": 0.1}, "margin: slopes"),
    ],
)
def test_what_does_not_fit_the_networks_end(
    tmp_path: Path, outputs: int, end: str, keys: dict[str, Any], words: str
) -> None:
    path = plain_audit(tmp_path, weights([2, 3, outputs], 0), 3, end=end, increasing=["a"], **keys)
    with pytest.raises(SpecError) as caught:
        ran(path)
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists(), "nothing is begun"


def test_a_constant_column_needs_a_range(tmp_path: Path) -> None:
    path = case(tmp_path, [[30, "low", 1], [40, "low", 1]])
    with pytest.raises(SpecError, match="is 1 in every record; give its range"):
        ran(path)


def test_databases_are_not_overwritten_nor_mixed(tmp_path: Path) -> None:
    path = plain_audit(tmp_path, LAYERS, increasing=["a"])
    ran(path).store.close()
    with pytest.raises(CheckpointError, match="--resume"):
        ran(path)
    ran(path, resume=True).store.close()
    with pytest.raises(CheckpointError, match="seed"):
        ran(path, resume=True, seed=1)
    text = path.read_text()
    path.write_text(text.replace("increasing", "decreasing"))
    with pytest.raises(CheckpointError, match="audit_sha256"):
        ran(path, resume=True)
    path.write_text(text)
    before = (tmp_path / "out" / "audit.sqlite").read_bytes()
    (tmp_path / "out" / "audit.sqlite").write_bytes(b"no database at all" * 99)
    with pytest.raises(CheckpointError, match="cannot be used"):
        ran(path, resume=True)
    (tmp_path / "out" / "audit.sqlite").write_bytes(before)
    ran(path, resume=True).store.close()


def test_other_arguments(tmp_path: Path) -> None:
    path = plain_audit(tmp_path, LAYERS, increasing=["a"])
    with pytest.raises(InputError, match="--sample 0"):
        run_audit(path, tmp_path / "out", AuditConfig(sample=0))
    with pytest.raises(UnknownMethod):
        run_audit(path, tmp_path / "out", AuditConfig(method="magic"))


def test_parquet_is_the_same_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = plain_audit(tmp_path, LAYERS, increasing=["a"])
    first = read_records(read_audit(path))
    frame = pandas.DataFrame(numbers(12, 3, 3), columns=["a", "b", "c"])
    frame.to_parquet(tmp_path / "table.parquet")
    path.write_text(path.read_text().replace("table.csv", "table.parquet"))
    second = read_records(read_audit(path))
    assert (first.inputs == second.inputs).all() and first.numbers == second.numbers
