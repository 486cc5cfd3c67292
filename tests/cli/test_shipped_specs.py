"""The shipped spec files through the command line, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = json.loads((ROOT / "specs" / "expected.json").read_text())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lipverify.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=570)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The whole folder without branching; the only verdict that time could change stays unknown."""
    path = tmp_path_factory.mktemp("shipped") / "results.json"
    ran = run("verify", "specs", "--max-subproblems", "1", "--timeout", "20", "--json", str(path))
    assert ran.returncode == 1, ran.stderr  # some are falsified on purpose
    return json.loads(path.read_text())


def test_every_file_is_expected(document: dict) -> None:
    assert {Path(result["spec"]).name for result in document["results"]} == set(EXPECTED)
    assert not document["errors"]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_verdicts(document: dict, name: str) -> None:
    results = [result for result in document["results"] if Path(result["spec"]).name == name]
    assert [result["verdict"] for result in results] == EXPECTED[name]


def test_results_hold_what_they_promise(document: dict) -> None:
    for result in document["results"]:
        assert result["claim"] == "real" and len(result["network_sha256"]) == 64
        assert (result["counterexample"] is not None) == (result["verdict"] == "falsified")
        assert (result["reason"] is not None) == (result["verdict"] == "unknown")
        if result["kind"] == "lipschitz":
            assert 0 < result["bound"]["lower"] <= result["bound"]["upper"]


def test_a_tiny_timeout_is_unknown() -> None:
    ran = run("verify", "specs/digits_resnet_undecided.yaml", "--timeout", "0", "--quiet")
    assert ran.returncode == 2
    assert "1 unknown" in ran.stdout
