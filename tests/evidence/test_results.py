"""Results say how they came about: intervals over time, the run, the question."""

import json
from pathlib import Path

import pytest

from lipverify.cli import main
from lipverify.search.budget import TIMELINE_POINTS, Clock, Note
from tests.cli import networks
from tests.evidence.conftest import inside

VNNLIB = """(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(assert (>= X_0 -1.0))
(assert (<= X_0 1.0))
(assert (>= X_1 -1.0))
(assert (<= X_1 1.0))
(assert (>= Y_0 {limit}))
"""


def test_timeline_is_thinned_and_keeps_its_ends() -> None:
    note = Note(None, 0, Clock(None))
    for k in range(5 * TIMELINE_POINTS):
        note("search", float(k), 1e6 - k, k)
        note("search", float(k), 1e6 - k, k + 1)  # nothing new
    points = note.timeline
    assert TIMELINE_POINTS / 2 <= len(points) <= TIMELINE_POINTS
    assert points[0].lower == 0.0
    assert points[-1].lower == 5 * TIMELINE_POINTS - 1
    assert [p.seconds for p in points] == sorted(p.seconds for p in points)
    assert [p.lower for p in points] == sorted(p.lower for p in points if p.lower is not None)


def test_timeline_ends_with_the_bound(work: Path) -> None:
    results = json.loads((work / "decided.json").read_text())["results"]
    for result in results:
        if result["bound"] is not None:
            _, lower, upper, _ = result["timeline"][-1]
            assert {"lower": lower, "upper": upper} == result["bound"]


def test_run(work: Path) -> None:
    run = json.loads((work / "more.json").read_text())["run"]
    assert run["command"][:2] == ["lipverify", "verify"]
    assert run["command"][-2:] == ["--method", "interval"]
    assert run["settings"]["method"] == "interval" and run["settings"]["seed"] == 0
    assert run["threads"] == 1 and run["started"].endswith("+00:00")
    assert {"torch", "onnx", "onnxruntime", "numpy"} <= set(run["packages"])
    assert run["processor"] and run["python"]


def test_vnnlib_beside_its_network(tmp_path: Path) -> None:
    """A VNN-LIB file is a spec of its own; its network is named in the command."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    networks.linear(tmp_path / "a" / "net.onnx")
    (tmp_path / "b" / "p.vnnlib").write_text(VNNLIB.format(limit=3.5))
    with inside(tmp_path):
        asked = ["verify", "b/p.vnnlib", "--network", "a/net.onnx", "--json", "r.json", "--quiet"]
        assert main(asked) == 0
        assert main(["evidence", "r.json", "--out", "bundle"]) == 0
        (tmp_path / "a").rename(tmp_path / "gone")
        assert main(["evidence", "--verify", "bundle"]) == 0
    record = json.loads((tmp_path / "bundle" / "record.json").read_text())
    spec, network = record["specs"][0]["path"], record["networks"][0]["path"]
    assert (tmp_path / "bundle" / spec).is_file() and (tmp_path / "bundle" / network).is_file()
    with inside(tmp_path / "bundle"):
        assert main([*record["specs"][0]["verify"], "--quiet"]) == 0


def test_one_question_of_two_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        networks.linear(tmp_path / name / "net.onnx")
    (tmp_path / "p.vnnlib").write_text(VNNLIB.format(limit=3.5))
    with inside(tmp_path):
        for name in ("a", "b"):
            options = ["--network", f"{name}/net.onnx", "--json", f"{name}.json", "--quiet"]
            assert main(["verify", "p.vnnlib", *options]) == 0
        assert main(["evidence", "a.json", "b.json", "--out", "bundle"]) == 3
    assert "two networks" in capsys.readouterr().err


def test_specs_in_separate_folders(tmp_path: Path) -> None:
    """No folder above what belongs together is kept; relative names that go up still work."""
    for name in ("one", "two"):
        folder = tmp_path / name / "private" / "specs"
        folder.mkdir(parents=True)
        networks.linear(folder.parent / "net.onnx")
        (folder / "a.yaml").write_text(
            "lipverify: 1\nnetwork: ../net.onnx\nregion: {center: [0, 0], radius: 1}\n"
            "properties: [{kind: lipschitz}]\n"
        )
    with inside(tmp_path):
        paths = [f"{name}/private/specs/a.yaml" for name in ("one", "two")]
        assert main(["verify", *paths, "--json", "r.json", "--quiet"]) == 0
        assert main(["evidence", "r.json", "--out", "bundle"]) == 0
        assert main(["evidence", "--verify", "bundle"]) == 0
    found = {
        p.relative_to(tmp_path / "bundle/inputs").as_posix()
        for p in (tmp_path / "bundle/inputs").rglob("*")
        if p.is_file()
    }
    assert found == {f"{k}/{name}" for k in (1, 2) for name in ("net.onnx", "specs/a.yaml")}


def test_absolute_names_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks.linear(tmp_path / "net.onnx")
    (tmp_path / "a.yaml").write_text(
        f"lipverify: 1\nnetwork: {tmp_path}/net.onnx\nregion: {{center: [0, 0], radius: 1}}\n"
        "properties: [{kind: lipschitz}]\n"
    )
    with inside(tmp_path):
        assert main(["verify", "a.yaml", "--json", "r.json", "--quiet"]) == 0
        assert main(["evidence", "r.json", "--out", "bundle"]) == 3
    assert "write it relative" in capsys.readouterr().err


def test_properties_without_an_answer_are_named(tmp_path: Path) -> None:
    networks.linear(tmp_path / "net.onnx")
    (tmp_path / "a.yaml").write_text(
        "lipverify: 1\nnetwork: net.onnx\nrequirement: SR-1\n"
        "region: {center: [0, 0], radius: 1}\nproperties: [{kind: lipschitz}, {kind: lipschitz}]\n"
    )
    with inside(tmp_path):
        assert main(["verify", "a.yaml", "--json", "r.json", "--quiet"]) == 0
        document = json.loads((tmp_path / "r.json").read_text())
        del document["results"][1]
        (tmp_path / "r.json").write_text(json.dumps(document))
        assert main(["evidence", "r.json", "--out", "bundle"]) == 0
    record = json.loads((tmp_path / "bundle/record.json").read_text())
    assert record["coverage"]["unanswered"] == ["inputs/a.yaml[1]"]
    gsn = (tmp_path / "bundle/gsn.yaml").read_text()
    assert "NOT ESTABLISHED: 1 of 2" in gsn
