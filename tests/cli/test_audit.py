"""`lipverify audit`: files, exit codes, messages."""

import json
from pathlib import Path

import pytest

from lipverify.cli import main
from tests.audit.cases import plain_audit, weights

SHIPPED = Path(__file__).resolve().parents[2] / "specs" / "audits"
FILES = {"audit.json", "audit.md", "audit.sqlite", "records.csv", "report.html"}


def test_files_totals_and_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = weights([3, 6, 6, 1], 1, positive=True)
    path = plain_audit(tmp_path, layers, 6, increasing=["a", "b"])
    assert main(["audit", str(path), "--out", str(tmp_path / "out")]) == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    totals = json.loads((tmp_path / "out" / "audit.json").read_text())["totals"]
    assert [row["verified"] for row in totals] == [6, 6]
    assert "12 verified, 0 falsified, 0 unknown" in capsys.readouterr().out
    other = tmp_path / "other"
    other.mkdir()
    path = plain_audit(other, layers, 6, decreasing=["a"])
    assert main(["audit", str(path), "--out", str(other / "out"), "--quiet"]) == 1
    assert main(["audit", str(path), "--out", str(other / "out"), "--quiet"]) == 3
    assert "--resume" in capsys.readouterr().err
    assert main(["audit", str(path), "--out", str(other / "out"), "--quiet", "--resume"]) == 1


def test_bad_rows_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = plain_audit(tmp_path, weights([2, 4, 1], 0, positive=True), 4, increasing=["a"])
    table = tmp_path / "table.csv"
    table.write_text(table.read_text() + "3.0,0.0\n,0.5\n")
    assert main(["audit", str(path), "--out", str(tmp_path / "out")]) == 3
    assert "row 5 (line 6), column 'a'" in capsys.readouterr().err
    asked = ["audit", str(path), "--out", str(tmp_path / "out"), "--skip-bad-rows"]
    assert main(asked) == 0
    skipped = json.loads((tmp_path / "out" / "audit.json").read_text())["table"]["skipped"]
    assert skipped == {"a: missing value": 1, "a: outside of its range [-1, 1]": 1}


SHOWN = {
    "diabetes_plain": {"verified", "falsified"},
    "diabetes_monotone": {"verified"},
    "breast_cancer_plain": {"verified", "falsified"},
    "breast_cancer_monotone": {"verified"},
}


@pytest.mark.parametrize("name", SHOWN)
def test_shipped_audits_show_the_difference(name: str, tmp_path: Path) -> None:
    """On every line, of expected directions: all proved for the monotone network."""
    text = (SHIPPED / f"{name}.yaml").read_text()
    head, _, _ = text.partition("regions:")
    folder = SHIPPED.as_posix()
    for part in ("networks/", "data/"):
        head = head.replace(f" {part}", f" {folder}/{part}")
    path = tmp_path / f"{name}.yaml"
    path.write_text(f"{head}regions: [line]\n")
    code = main(["audit", str(path), "--out", str(tmp_path / "out"), "--sample", "60", "--quiet"])
    totals = json.loads((tmp_path / "out" / "audit.json").read_text())["totals"]
    ordered = [row for row in totals if row["direction"] != "insensitive"]
    found = {word for row in ordered for word in ("verified", "falsified", "unknown") if row[word]}
    assert found == SHOWN[name]
    assert code == (1 if any(row["falsified"] for row in totals) else 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_shipped_audits_run_as_they_are(name: str, tmp_path: Path) -> None:
    asked = ["audit", str(SHIPPED / f"{name}.yaml"), "--out", str(tmp_path / "out")]
    assert main([*asked, "--sample", "6", "--timeout", "2", "--quiet"]) == 1
