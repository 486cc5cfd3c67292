"""--checkpoint and --resume for real: processes that are killed, and what is in the way."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from lipverify.search.checkpoint import file
from tests.cli import networks as onnx_files
from tests.cli.conftest import Cli
from tests.oracles import networks
from tests.oracles.networks import Tiny

ROOT = Path(__file__).resolve().parents[2]
THREADS = ("--threads", "1")
GATES_FIRST = ("--method", "quadratic")
"""A search whose steps do not depend on the time; `auto` tries a program for half of it before."""
PATIENCE = 120.0
"""Seconds to wait for a process at most."""


def write_network(tiny: Tiny, path: Path) -> Path:
    """A dense ReLU network as ONNX; its weights are float32 already."""
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, np.ndarray] = {}
    last = "x"
    affine = [node for node in tiny.graph if hasattr(node.operator, "weight")]
    for index, node in enumerate(affine):
        operator: Any = node.operator
        weights[f"w{index}"] = operator.weight.T.numpy().astype(np.float32)
        weights[f"b{index}"] = operator.bias.numpy().astype(np.float32)
        out = "y" if index == len(affine) - 1 else f"z{index}"
        nodes.append(helper.make_node("Gemm", [last, f"w{index}", f"b{index}"], [out]))
        if out != "y":
            nodes.append(helper.make_node("Relu", [out], [f"a{index}"]))
            last = f"a{index}"
    return onnx_files.save(path, nodes, weights, tiny.inputs, tiny.outputs)


def write_spec(folder: Path, name: str, *properties: str, inputs: int = 3) -> Path:
    """On the box [-1.5, 1.5]^n of net.onnx."""
    path = folder / name
    ends = f"{{lower: {[-1.5] * inputs}, upper: {[1.5] * inputs}}}"
    asked = "".join(f"  - {{{text}}}\n" for text in properties)
    path.write_text(f"lipverify: 1\nnetwork: net.onnx\nregion: {ends}\nproperties:\n{asked}")
    return path


GATES = networks.dense((4, 8, 8, 2), 1)
"""Over a hundred subproblems over gates."""
MANY = networks.dense((4, 12, 12, 2), 1)
"""A search over gates that takes minutes: it does not end before a signal comes."""
FEW = networks.dense((3, 6, 6, 2), 0)
"""Thirty subproblems over gates."""
INPUTS = networks.dense((4, 30, 30, 2), 1)
"""Thousands of boxes."""
LIPSCHITZ = "kind: lipschitz"
CLOSE = "kind: lipschitz, gap: 0.001"


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lipverify.cli", "verify", *map(str, arguments), *THREADS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(*arguments: object) -> int:
    process = started(*arguments)
    try:
        process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode


def results(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["results"]


TIMED = ("seconds", "stages", "timeline", "resumed")


def plain(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key not in TIMED} for record in records]


def wait_for_search(path: Path, key: str) -> None:
    """Until the file holds a search that is under way."""
    end = monotonic() + PATIENCE
    while monotonic() < end:
        if path.exists():
            members = file.read(path)  # whole at any time
            if f'"{key}"'.encode() in members.get("property-0.json", b""):
                return
        sleep(0.01)
    raise AssertionError("no checkpoint of a search in time")


@pytest.mark.parametrize(
    ("tiny", "asked", "method", "key"),
    [
        (GATES, LIPSCHITZ, "quadratic", "gate splits"),
        (INPUTS, CLOSE, "input-split", "input splits"),
    ],
    ids=["gates", "inputs"],
)
def test_kill_9(tiny: Tiny, asked: str, method: str, key: str, tmp_path: Path) -> None:
    """Killed in the middle of the search, and again after it was resumed; then let go on."""
    write_network(tiny, tmp_path / "net.onnx")
    spec = write_spec(tmp_path, "a.yaml", asked, inputs=tiny.inputs)
    path, whole, resumed = (tmp_path / name for name in ("a.checkpoint", "whole", "resumed"))
    by = ("--method", method)
    assert finished(spec, *by, "--json", whole) == 0
    keep = (*by, "--checkpoint", path, "--checkpoint-every", "0.05")
    for _ in range(2):
        process = started(spec, *keep, "--resume")
        try:
            wait_for_search(path, key)
            if path.exists():
                stamp = path.stat().st_mtime_ns
                while path.stat().st_mtime_ns == stamp and process.poll() is None:
                    sleep(0.005)
        finally:
            process.kill()  # SIGKILL
            process.communicate()
        assert process.returncode == -signal.SIGKILL, "it had ended before it was killed"
    assert finished(spec, *keep, "--resume", "--json", resumed) == 0
    assert plain(results(resumed)) == plain(results(whole))
    (record,) = results(resumed)
    assert record["resumed"] is True and record["subproblems"] > 100
    assert finished(spec, *keep, "--json", tmp_path / "none") == 3


def test_ctrl_c_gives_the_interval_so_far(tmp_path: Path) -> None:
    """In the middle of a search: bound, reason, exit code; the checkpoint goes on from there."""
    write_network(MANY, tmp_path / "net.onnx")
    spec = write_spec(tmp_path, "a.yaml", LIPSCHITZ, LIPSCHITZ, inputs=4)
    other = write_spec(tmp_path, "b.yaml", LIPSCHITZ, inputs=4)
    folder, out = tmp_path / "kept", tmp_path / "out.json"
    folder.mkdir()
    arguments = (spec, other, *GATES_FIRST, "--checkpoint", folder, "--checkpoint-every", "0.05")
    process = started(*arguments, "--json", out)
    end = monotonic() + PATIENCE
    while not list(folder.glob("a-*.checkpoint")) and monotonic() < end:
        sleep(0.01)
    (path,) = folder.glob("a-*.checkpoint")
    wait_for_search(path, "gate splits")
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, errors
    assert "stopped by Ctrl-C" in errors and "interrupted" in text
    first, second, third = results(out)
    assert [record["verdict"] for record in (first, second, third)] == ["unknown"] * 3
    assert first["reason"].startswith("interrupted: ")
    assert 0 < first["bound"]["lower"] <= first["bound"]["upper"] < 100
    assert first["subproblems"] > 0 and first["seconds"] > 0
    assert second["bound"] is None and third["bound"] is None
    more = ("--max-subproblems", first["subproblems"] + 4)
    assert finished(*arguments, *more, "--resume", "--json", out) == 0
    records = results(out)
    assert [record["verdict"] for record in records] == ["verified"] * 3
    assert records[0]["resumed"] and records[0]["subproblems"] > first["subproblems"]
    assert records[0]["bound"]["upper"] <= first["bound"]["upper"]


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_several_specs_have_a_folder(jobs: int, tmp_path: Path) -> None:
    write_network(FEW, tmp_path / "net.onnx")
    specs = [write_spec(tmp_path, f"{name}.yaml", LIPSCHITZ) for name in "ab"]
    kept = ("--checkpoint", tmp_path / "kept")
    keep = (*GATES_FIRST, *kept, "--max-subproblems", 3, "--jobs", jobs)
    out = tmp_path / "out.json"
    assert finished(*specs, *keep) == 0
    names = sorted(path.name[:2] for path in (tmp_path / "kept").iterdir())
    assert names == ["a-", "b-"]
    assert finished(*specs, *keep) == 3, "files in the way"
    assert finished(*specs, *keep, "--resume", "--json", out) == 0
    assert all(record["resumed"] for record in results(out))


def test_arguments_that_cannot_be_meant(cli: Cli, tmp_path: Path) -> None:
    onnx_files.linear(tmp_path / "net.onnx")
    first, second = (
        write_spec(tmp_path, name, LIPSCHITZ, inputs=2) for name in ("a.yaml", "b.yaml")
    )
    there = tmp_path / "there"
    there.write_bytes(b"something")
    for arguments, says in (
        ((first, "--resume"), "--resume needs --checkpoint"),
        ((first, "--checkpoint", tmp_path / "no" / "x"), "does not exist; make it first"),
        ((first, "--checkpoint", there), "there is a checkpoint already; resume it"),
        ((first, second, "--checkpoint", there), "is a file, and 2 specs need a folder"),
        ((first, "--checkpoint", there, "--resume"), "is no checkpoint, or a damaged one"),
        ((first, "--branching", "widest"), "--branching 'widest' is not offered"),
    ):
        ran = cli("verify", *arguments, *THREADS)
        assert ran.code == 3 and says in ran.err, (arguments, ran.err)
        assert there.read_bytes() == b"something"
    assert cli("verify", first, "--checkpoint-every", "-1", *THREADS).code == 3


def test_the_one_off_command_has_them_too(cli: Cli, tmp_path: Path) -> None:
    model = write_network(networks.dense((3, 6, 6, 2), 0), tmp_path / "net.onnx")
    path, out = tmp_path / "a.checkpoint", tmp_path / "out.json"
    asked = ("lipschitz", model, "--center", "0", "--radius", "1.5", *THREADS)
    keep = ("--checkpoint", path, "--json", out, "--branching", "width")
    assert cli(*asked, *keep).code == 0
    first = results(out)
    assert cli(*asked, *keep).code == 3
    assert cli(*asked, *keep, "--resume").code == 0
    assert plain(results(out)) == plain(first) and results(out)[0]["resumed"]
    assert cli(*asked, *keep, "--resume", "--radius", "1").code == 3


def test_heuristics_are_listed(cli: Cli) -> None:
    out = cli("supports").out
    assert "pseudo-costs" in out and "look-ahead" in out
