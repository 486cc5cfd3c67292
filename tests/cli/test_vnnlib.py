"""VNN-LIB files and instances files through the command line, on networks known by hand."""

import csv
import gzip
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lipverify.spec.vnnlib import read_vnnlib
from lipverify.spec.vnnlib.property import spec_of
from tests.cli import networks
from tests.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]

VARIABLES = "".join(f"(declare-const {name}_{i} Real)\n" for name in "XY" for i in (0, 1))
BOX = "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 -1) (<= X_1 1)))\n"
UNSAT = VARIABLES + BOX + "(assert (>= Y_0 3.5))\n"
"""The network is y = (x0 - 2 x1, 3 x0 + 4 x1): y0 <= 3 on the box."""
SAT = VARIABLES + BOX + "(assert (or (>= Y_0 3.5) (>= Y_1 6.5)))\n"
EMPTY = VARIABLES + BOX + "(assert (>= X_0 2))\n(assert (>= Y_0 0))\n"
ANY = VARIABLES + BOX
DECLARED = """(vnnlib-version <2.0>)
(declare-network f (declare-input A {kind} [1,2]) (declare-output B {kind} [2]))
"""
SAT_2 = DECLARED + (
    "(assert (and (>= A[0,0] 0) (<= A[0,0] 1) (>= A[0,1] -1) (<= A[0,1] 1)))\n"
    "(assert (>= B[1] 6.5))\n"
)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return networks.linear(tmp_path / "net.onnx")


def put(folder: Path, text: str, name: str = "p.vnnlib") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def answer(cli: Cli, folder: Path, *arguments: object) -> dict:
    out = folder / "out.json"
    cli("verify", *arguments, "--json", out, "--quiet")
    (result,) = json.loads(out.read_text())["results"]
    return result


def test_verdicts_and_exit_codes(cli: Cli, net: Path, tmp_path: Path) -> None:
    for text, code in ((UNSAT, 0), (SAT, 1), (EMPTY, 0), (ANY, 1)):
        ran = cli("verify", put(tmp_path, text), "--network", net, "--quiet")
        assert ran.code == code, ran.err


def test_counterexamples_satisfy_the_file_with_onnxruntime(
    cli: Cli, net: Path, tmp_path: Path
) -> None:
    path = put(tmp_path, SAT)
    result = answer(cli, tmp_path, path, "--network", net)
    (x,), (y,) = result["counterexample"]["inputs"], result["counterexample"]["outputs"]
    engine = onnxruntime.InferenceSession(net, providers=["CPUExecutionProvider"])
    (again,) = engine.run(None, {"x": np.array([x], dtype=np.float32)})
    assert again[0].tolist() == y and read_vnnlib(path).holds(x, y)
    assert result["kind"] == "vnnlib" and result["claim"] == "real"
    assert result["network"] == str(net)


def test_an_empty_box_is_said(cli: Cli, net: Path, tmp_path: Path) -> None:
    result = answer(cli, tmp_path, put(tmp_path, EMPTY), "--network", net)
    assert result["verdict"] == "verified" and "trivially unsat" in result["remark"]
    assert "trivially unsat" in cli("verify", tmp_path / "p.vnnlib", "--network", net).out


def test_a_float_type_is_answered_about_the_reals_and_says_so(
    cli: Cli, net: Path, tmp_path: Path
) -> None:
    path = put(tmp_path, SAT_2.format(kind="float32"))
    result = answer(cli, tmp_path, path, "--network", net)
    assert result["verdict"] == "falsified" and result["claim"] == "real"
    assert "float32" in result["remark"] and "real numbers" in result["remark"]
    put(tmp_path, SAT_2.format(kind="Real"))
    assert "remark" not in answer(cli, tmp_path, path, "--network", f"f={net}")


STRICT = {
    "never": ("(assert (> Y_0 3))", "unknown"),  # y0 reaches 3 at a corner and not more
    "inside": ("(assert (> Y_0 2))\n(assert (< X_0 1))", "falsified"),
    "off the edge": ("(assert (>= Y_1 6.9))\n(assert (< X_0 1))\n(assert (< X_1 1))", "falsified"),
    "no room": ("(assert (< X_0 0))", "verified"),
}


@pytest.mark.parametrize("case", STRICT)
def test_strict_constraints(case: str, cli: Cli, net: Path, tmp_path: Path) -> None:
    text, verdict = STRICT[case]
    path = put(tmp_path, VARIABLES + BOX + text)
    result = answer(cli, tmp_path, path, "--network", net, "--timeout", 20)
    assert result["verdict"] == verdict or (case == "never" and result["verdict"] == "verified")
    if verdict == "falsified":
        found = result["counterexample"]
        assert read_vnnlib(path).holds(found["inputs"][0], found["outputs"][0])


def test_words_and_the_results_file(cli: Cli, net: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.txt"
    path = put(tmp_path, SAT)
    ran = cli("verify", path, "--network", net, "--vnncomp", "--results", results)
    assert results.read_text() == ran.out
    first, *rest = ran.out.splitlines()
    assert first == "sat" and rest[0].startswith("((X_0 ") and rest[-1].endswith("))")
    pairs = [line.strip(" ()").split() for line in rest]
    assert [name for name, _ in pairs] == ["X_0", "X_1", "Y_0", "Y_1"]
    values = [float(value) for _, value in pairs]
    assert read_vnnlib(path).holds(values[:2], values[2:])
    put(tmp_path, UNSAT)
    assert cli("verify", path, "--network", net, "--vnncomp").out == "unsat\n"
    ran = cli("verify", path, "--network", net, "--vnncomp", "--timeout", 0)
    assert ran.out == "timeout\n" and ran.code == 2
    ran = cli("verify", path, "--vnncomp", "--results", results)
    assert ran.out == results.read_text() == "error\n" and ran.code == 3


def test_assignments_of_version_2(cli: Cli, net: Path, tmp_path: Path) -> None:
    path = put(tmp_path, SAT_2.format(kind="Real"))
    lines = cli("verify", path, "--network", net, "--vnncomp").out.splitlines()
    assert lines[0] == "sat" and lines[1] == "A real [1,2]" and lines[4] == "B real [2]"
    assert read_vnnlib(path).holds(
        [float(text) for text in lines[2:4]], [float(text) for text in lines[5:7]]
    )


BAD = {
    "no network": (UNSAT, [], "needs a network"),
    "two networks": (UNSAT, ["{net}", "{net}"], "is about one network"),
    "missing network": (UNSAT, ["{net}x"], "does not exist"),
    "unknown name": (SAT_2.format(kind="Real"), ["g={net}"], "no such network"),
    "size": (VARIABLES + "(declare-const X_2 Real)" + BOX, ["{net}"], "X_2 has no"),
    "sizes": (VARIABLES + "(declare-const Y_2 Real)\n" + BOX, ["{net}"], "declares 3 outputs"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, cli: Cli, net: Path, tmp_path: Path) -> None:
    text, given, message = BAD[case]
    path = put(tmp_path, text)
    options = [part for name in given for part in ("--network", name.format(net=net))]
    ran = cli("verify", path, *options, "--quiet")
    errors = [line for line in ran.err.splitlines() if "error" in line]
    assert ran.code == 3 and len(errors) == 1 and message in errors[0] and str(path) in errors[0]


TWO = (
    "(vnnlib-version <2.0>)\n"
    "(declare-network f (declare-input X Real [2]) (declare-output Y Real [2]))\n"
    "(declare-network g ({relation} f) (declare-input A Real [2]) (declare-output B Real [2]))\n"
    "(assert (and (>= X[0] 0) (<= X[0] 1) (>= X[1] 0) (<= X[1] 1) (>= A[0] 0) (<= A[0] 1)))\n"
    "(assert (and (<= X[0] A[0]) (== X[1] A[1]) (< B[0] Y[0])))\n"
)


@pytest.mark.parametrize("relation", ["equal-to", "isomorphic-to"])
def test_copies_have_to_be_one_file(relation: str, cli: Cli, net: Path, tmp_path: Path) -> None:
    path = put(tmp_path, TWO.format(relation=relation))
    same, other = tmp_path / "same.onnx", networks.residual(tmp_path / "other.onnx")
    same.write_bytes(net.read_bytes())
    assert answer(cli, tmp_path, path, "--network", net)["verdict"] == "verified"
    both = ["--network", f"f={net}", "--network", f"g={same}"]
    assert answer(cli, tmp_path, path, *both)["verdict"] == "verified"
    ran = cli("verify", path, "--network", f"f={net}", "--network", f"g={other}")
    assert ran.code == 3 and f"{path}:3: network 'g' is {other}" in ran.err
    ran = cli("verify", path, "--network", f"f={net}")
    assert ran.code == (0 if relation == "equal-to" else 3)


def instances(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    networks.linear(folder / "net.onnx")
    put(folder, UNSAT, "holds.vnnlib")
    put(folder, SAT, "vnnlib/broken.vnnlib")
    return put(folder, "\n".join(lines) + "\n", "instances.csv")


def test_an_instances_file(cli: Cli, tmp_path: Path) -> None:
    path = instances(
        tmp_path / "family",
        "net.onnx,holds.vnnlib,20",
        "net.onnx,vnnlib/broken.vnnlib,20",
        "net.onnx,missing.vnnlib,20",
        "none.onnx,holds.vnnlib,20",
        "./net.onnx,broken.vnnlib,0",
    )
    out, results = tmp_path / "out.json", tmp_path / "results"
    ran = cli("verify", path, "--json", out, "--results", results, "--vnncomp")
    assert ran.code == 3
    words = ["unsat", "sat", "error", "error", "timeout"]
    assert [line.split(",")[2] for line in ran.out.splitlines()] == words
    assert f"{path}:3: property missing.vnnlib does not exist" in ran.err
    assert f"{path}:4: network none.onnx does not exist" in ran.err
    document = json.loads(out.read_text())
    (family,) = document["families"]
    assert (family["family"], family["instances"], family["solved"]) == ("family", 5, 2)
    assert [line["word"] for line in document["instances"]] == words
    with (results / "results.csv").open() as stream:
        assert [row["result"] for row in csv.DictReader(stream)] == words
    plot = (results / "cactus.svg").read_text()
    assert plot.startswith("<svg") and "family: 2 of 5" in plot
    texts = [file.read_text() for file in sorted(results.glob("*.txt"))]
    assert sorted(text.split()[0] for text in texts) == ["sat", "timeout", "unsat"]


def test_a_header_and_packed_files(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    path = instances(folder, "property,verdict,onnx", "holds.vnnlib,unsat,onnx/net.onnx")
    (folder / "onnx").mkdir()
    for name, target in (("net.onnx", "onnx/net.onnx.gz"), ("holds.vnnlib", "holds.vnnlib.gz")):
        (folder / target).write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    ran = cli("verify", path, "--vnncomp")
    assert ran.code == 0 and ran.out.startswith("onnx/net.onnx,holds.vnnlib,unsat,")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b,c\n", "expected lines of network, property, timeout"),
        ("onnx,vnnlib\n", "holds no instance"),
        ("net.onnx,holds.vnnlib,soon\n", "timeout 'soon'"),
        ("net.onnx,holds.txt,1\n", "is no property"),
        ("net.onnx\n", "names no property"),
    ],
)
def test_bad_instances_files(text: str, message: str, cli: Cli, tmp_path: Path) -> None:
    path = instances(tmp_path / "family")
    path.write_text(text)
    ran = cli("verify", path)
    assert ran.code == 3 and message in ran.err


def test_a_time_limit_of_the_command_line_is_the_most(cli: Cli, tmp_path: Path) -> None:
    path = instances(tmp_path / "family", "net.onnx,holds.vnnlib,20")
    assert cli("verify", path, "--vnncomp", "--timeout", 0).out.split(",")[2] == "timeout"


def test_specs_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    spec = spec_of(read_vnnlib(put(tmp_path, SAT)), timeout=3.0)
    again = pickle.loads(pickle.dumps(spec))
    assert again.timeout == 3.0
    assert again.properties[0].file.tree == spec.properties[0].file.tree


@pytest.mark.slow
def test_several_processes(cli: Cli, tmp_path: Path) -> None:
    lines = ["net.onnx,holds.vnnlib,20", "net.onnx,vnnlib/broken.vnnlib,20"]
    path = instances(tmp_path / "family", *lines)
    ran = cli("verify", path, "--vnncomp", "--jobs", 2)
    assert [line.split(",")[2] for line in ran.out.splitlines()] == ["unsat", "sat"]


def test_in_a_spec_file(cli: Cli, net: Path, tmp_path: Path) -> None:
    put(tmp_path, SAT)
    spec = put(
        tmp_path,
        "lipverify: 1\nnetwork: net.onnx\nproperties:\n  - {kind: vnnlib, file: p.vnnlib}\n",
        "spec.yaml",
    )
    assert answer(cli, tmp_path, spec)["verdict"] == "falsified"


def test_a_resumed_run_checks_its_counterexample(cli: Cli, net: Path, tmp_path: Path) -> None:
    path, kept = put(tmp_path, SAT), tmp_path / "kept"
    arguments = ["verify", path, "--network", net, "--quiet", "--checkpoint", kept]
    assert cli(*arguments).code == 1
    assert cli(*arguments, "--resume").code == 1


@pytest.mark.shared
def test_all_instances_of_the_collection_are_found(shared: Path) -> None:
    from lipverify.cli.instances import Instance, read_instances

    files = sorted((shared / "data").rglob("instances.csv"))
    assert len(files) >= 4
    for path in files:
        found = read_instances(path)
        assert found and all(isinstance(line, Instance) for line in found), path


def test_the_competitions_scripts(net: Path, tmp_path: Path) -> None:
    folder, results = ROOT / "scripts" / "vnncomp", tmp_path / "r.txt"
    path = put(tmp_path, SAT)
    environment = {**os.environ, "LIPVERIFY": f"{sys.executable} -m lipverify.cli"}

    def run(script: str, *arguments: object) -> int:
        command = ["bash", str(folder / script), *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=environment, timeout=100, capture_output=True
        ).returncode

    assert run("prepare_instance.sh", "v1", "test", net, path) == 0
    assert run("prepare_instance.sh", "v2", "test", net, path) != 0
    assert run("run_instance.sh", "v1", "test", net, path, results, 30) == 0
    assert results.read_text().startswith("sat\n((X_0 ")
    run("run_instance.sh", "v1", "test", net, tmp_path / "none.vnnlib", results, 30)
    assert results.read_text() == "error\n"
    assert run("install_tool.sh") != 0
