"""Ctrl-C in the middle of a search for unsafe outputs: what is proved so far is reported."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lipverify.graph import output
from tests.cli.test_checkpoint import PATIENCE, ROOT, results, write_network
from tests.oracles import networks

HARD = networks.dense((12, 60, 60, 2), 3)
"""Branch and bound over its neurons takes much longer than the test."""
SIZE = 1.0


def attained(row: list[float]) -> float:
    """About the largest value of row . f on the box."""
    generator = torch.Generator().manual_seed(0)
    x = SIZE * (torch.rand(20_000, 12, generator=generator, dtype=torch.float64) - 0.5).sign()
    return float((output(HARD.graph, x) @ torch.tensor(row, dtype=torch.float64)).max())


def property_text(limit: float) -> str:
    names = [f"(declare-const X_{i} Real)" for i in range(12)]
    names += [f"(declare-const Y_{j} Real)" for j in range(2)]
    box = [f"(assert (<= X_{i} {SIZE}))(assert (>= X_{i} -{SIZE}))" for i in range(12)]
    return "\n".join([*names, *box, f"(assert (>= Y_0 {limit}))"])


def interrupted(stage: str, *arguments: object) -> tuple[int, str, str]:
    """The command, sent SIGINT once it says that it is at that stage: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "lipverify.cli", "verify", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--verbose", "--threads", "1", "--timeout", str(PATIENCE)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    seen = ""
    try:
        for line in process.stderr:
            seen += line
            if stage in line:
                break
        assert process.poll() is None, seen
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, text, seen + errors


def test_an_instances_file(tmp_path: Path) -> None:
    """One decided, one at work, one not begun: each has its line, and its word."""
    write_network(HARD, tmp_path / "net.onnx")
    best = attained([1.0, 0.0])
    asked = {"easy": -1e3, "hard": 1.4 * best, "last": -1e3}
    for name, limit in asked.items():
        (tmp_path / f"{name}.vnnlib").write_text(property_text(limit))
    with (tmp_path / "instances.csv").open("w", newline="") as file:
        csv.writer(file).writerows(["net.onnx", f"{name}.vnnlib", 100] for name in asked)
    out = tmp_path / "out.json"
    code, text, errors = interrupted("neuron splits", tmp_path / "instances.csv", "--json", out)
    assert "stopped by Ctrl-C: what was not decided by then is unknown" in errors
    assert "Traceback" not in errors + text
    easy, hard, last = results(out)
    assert [one["verdict"] for one in (easy, hard, last)] == ["falsified", "unknown", "unknown"]
    assert code == 1, "one is falsified"
    assert hard["reason"].startswith("interrupted: stopped by Ctrl-C in stage neuron splits")
    # How deep outputs get into the unsafe set: as far as was met, and as far as is not refuted.
    assert hard["bound"]["lower"] < 0 < hard["bound"]["upper"]
    assert last["bound"] is None and "before it was its turn" in last["reason"]
    assert len(json.loads(out.read_text())["instances"]) == 3


@pytest.mark.slow
def test_a_robustness_property(tmp_path: Path) -> None:
    write_network(HARD, tmp_path / "net.onnx")
    margin = -1.4 * attained([1.0, -1.0])
    asked = f"  - {{kind: robustness, label: 1, margin: {margin}}}\n"
    spec = tmp_path / "a.yaml"
    spec.write_text(
        "lipverify: 1\nnetwork: net.onnx\n"
        f"region: {{lower: {[-SIZE] * 12}, upper: {[SIZE] * 12}}}\n"
        f"properties:\n{asked}{asked}"
    )
    out = tmp_path / "out.json"
    code, text, errors = interrupted("neuron splits", spec, "--json", out)
    assert code == 2 and "stopped by Ctrl-C" in errors and "Traceback" not in errors + text
    first, second = results(out)
    assert first["verdict"] == second["verdict"] == "unknown"
    assert first["bound"]["lower"] < first["bound"]["upper"]
    assert second["bound"] is None
