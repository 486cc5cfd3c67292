"""The script that tries every network of a folder."""

import json
import subprocess
import sys
from pathlib import Path

from tests.cli import networks

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "survey.py"


def test_survey(tmp_path: Path) -> None:
    """One network that is known by hand, and one that is none."""
    folder = tmp_path / "nets"
    folder.mkdir()
    networks.linear(folder / "a.onnx")
    (folder / "b.onnx").write_bytes(b"nothing")
    command = [sys.executable, str(SCRIPT), str(folder), "--method", "interval", "--out"]
    ran = subprocess.run(
        [*command, str(tmp_path / "table")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    first, second = json.loads((tmp_path / "table.json").read_text())
    assert first["lower"] <= 7.0 <= first["upper"] <= 7.001
    assert first["operators"] == {"MatMul": 1} and first["why"] == ""
    assert 0 < first["peak_gb"] < 6
    assert second["why"].startswith("NetworkError") and "upper" not in second
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert len(lines) == 4 and all(line.count("|") == lines[0].count("|") for line in lines)
