"""Bundles stand alone: moved, they verify; altered, they name what was altered."""

import json
import shlex
from pathlib import Path

import pytest

from lipverify.cli import main
from lipverify.evidence.bundle import verify_bundle
from lipverify.evidence.bundle.record import Record
from tests.evidence.conftest import inside
from tests.evidence.sources import FILES, SPECS


def record_of(folder: Path) -> Record:
    return Record.model_validate_json((folder / "record.json").read_bytes())


def test_files_are_known(made: Path) -> None:
    found = sorted(p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file())
    assert found == sorted(FILES)


def test_moved_bundle_verifies(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with inside(copied):
        assert main(["evidence", "--verify", "."]) == 0
    said = capsys.readouterr()
    assert not said.err
    assert f"{len(FILES)} files: compared with their SHA-256" in said.out
    assert "2 counterexamples: looked at again" in said.out
    assert "2 witnesses: looked at again" in said.out
    assert "signature: none" in said.out and "4 verified properties: no certificate" in said.out


def test_proofs_can_be_made_again_inside(copied: Path) -> None:
    """The commands of the record, run in the bundle: the same verdicts of the same questions."""
    record = record_of(copied)
    again = {}
    with inside(copied):
        for command in record.reproduce:
            program, *arguments = shlex.split(command)
            assert program == "lipverify"
            main([*arguments, "--quiet", "--json", str(copied.parent / "again.json")])
            for result in json.loads((copied.parent / "again.json").read_text())["results"]:
                key = result["spec"], result["property"]
                again[key] = result["verdict"], result["question_sha256"], result["bound"]
    assert again == {
        (p.spec, p.index): (
            p.verdict,
            p.question_sha256,
            None if p.bound is None else p.bound.model_dump(),
        )
        for p in record.properties
    }


@pytest.mark.parametrize("name", FILES)
def test_one_byte_changed_is_found(name: str, copied: Path) -> None:
    content = (copied / name).read_bytes()
    for place in sorted({0, len(content) // 3, len(content) // 2, len(content) - 1}):
        flipped = bytearray(content)
        flipped[place] ^= 1
        (copied / name).write_bytes(flipped)
        wrong = verify_bundle(copied).wrong
        assert [finding.file for finding in wrong] == [name], (place, wrong)
        (copied / name).write_bytes(content)


@pytest.mark.parametrize("name", ["statement.json", "SHA256SUMS"])
def test_no_byte_of_the_lists_is_free(name: str, copied: Path) -> None:
    content = (copied / name).read_bytes()
    for place in range(0, len(content), 37):
        flipped = bytearray(content)
        flipped[place] ^= 0x20
        (copied / name).write_bytes(flipped)
        assert name in {finding.file for finding in verify_bundle(copied).wrong}, place
    (copied / name).write_bytes(content + b"\n")
    assert name in {finding.file for finding in verify_bundle(copied).wrong}


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(name: str, copied: Path) -> None:
    (copied / name).unlink()
    found = verify_bundle(copied)
    assert name in {finding.file for finding in found.wrong}
    assert any("missing" in finding.detail for finding in found.wrong)


@pytest.mark.parametrize("name", ["more.txt", "inputs/data/more.npz", "certificates/x.lipcert"])
def test_added_file_is_named(name: str, copied: Path) -> None:
    (copied / name).parent.mkdir(exist_ok=True)
    (copied / name).write_bytes(b"")
    (finding,) = verify_bundle(copied).wrong
    assert finding.file == name and "added" in finding.detail


def test_link_is_refused(copied: Path, tmp_path: Path) -> None:
    outside = tmp_path / "report.html"
    (copied / "report.html").rename(outside)
    (copied / "report.html").symlink_to(outside)
    (finding,) = verify_bundle(copied).wrong
    assert finding.file == "report.html" and "no plain file" in finding.detail


def test_exit_codes_and_words(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "junit.xml").write_bytes(b"<a/>")
    assert main(["evidence", "--verify", str(copied)]) == 1
    assert capsys.readouterr().err.startswith("junit.xml: was changed")
    assert main(["evidence", "--verify", str(copied / "inputs")]) == 3
    assert main(["evidence", "--verify", str(copied), "--out", "x"]) == 3
    assert main(["evidence", "--out", "x"]) == 3


def test_same_results_give_the_same_bytes(work: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    with inside(work):
        assert main(["evidence", *(f"{name}.json" for name in SPECS), "--out", str(out)]) == 0
    for name in FILES:
        assert (out / name).read_bytes() == (made / name).read_bytes(), name


def test_no_path_of_this_machine(work: Path, made: Path) -> None:
    for name in FILES:
        content = (made / name).read_bytes()
        for path in (work, made, Path.home(), Path.cwd()):
            assert str(path).encode() not in content, (name, path)


@pytest.mark.parametrize(
    "name",
    [
        "specs/wine_sigmoid_robust.yaml",
        "specs/networks/digits_mlp.onnx",
        "specs/data/diabetes.npz",
        "specs/vnnlib/digits_mlp_image_9_broken.vnnlib",
    ],
)
def test_what_changed_since_is_refused(
    name: str, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {
        "specs/wine_sigmoid_robust.yaml": lambda old: old + b"# another\n",
        "specs/networks/digits_mlp.onnx": lambda old: old + b"\x0a\x00",
        "specs/data/diabetes.npz": lambda _: (work / "specs/data/shifted.npz").read_bytes(),
        "specs/vnnlib/digits_mlp_image_9_broken.vnnlib": lambda old: old.replace(b"0.", b"0.0", 1),
    }
    shift(work / "specs/data/diabetes.npz", work / "specs/data/shifted.npz")
    before = (work / name).read_bytes()
    (work / name).write_bytes(changed[name](before))
    try:
        with inside(work):
            out = tmp_path / "out"
            assert main(["evidence", *(f"{n}.json" for n in SPECS), "--out", str(out)]) == 3
    finally:
        (work / name).write_bytes(before)
    assert "has changed since it was verified" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def shift(source: Path, target: Path) -> None:
    import numpy as np

    with np.load(source) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(target, **{n: a + 1 if a.dtype.kind == "f" else a for n, a in arrays.items()})


def test_answers_given_twice_are_refused(work: Path, tmp_path: Path) -> None:
    with inside(work):
        code = main(["evidence", "more.json", "more.json", "--out", str(tmp_path / "x")])
    assert code == 3


def test_folder_in_the_way_is_left_alone(work: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with inside(work):
        assert main(["evidence", "more.json", "--out", str(tmp_path)]) == 3
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"results": []}', '{"results": [{}], "run": {}}', "not json"]
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    assert main(["evidence", str(tmp_path / "r.json"), "--out", str(tmp_path / "x")]) == 3
