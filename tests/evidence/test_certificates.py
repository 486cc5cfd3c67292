"""Certificates in bundles: filed, checked by another program, and never taken on trust."""

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from lipverify.cli import main
from lipverify.evidence.bundle import certificates, verify_bundle
from lipverify.evidence.bundle.certificates import Check, Split, split_tree
from lipverify.evidence.bundle.record import Record
from tests.evidence.conftest import inside
from tests.evidence.manifests import load, stating

TREE = (
    {"steps": [], "split": {"layer": 0, "neuron": 3, "at": "0x0.0p+0"}},
    {"split": {"input": 2, "at": "0x1.8p-1"}},
    {},
    {"proofs": []},
    {},
)


def write_certificate(
    path: Path, nodes: tuple[dict[str, Any], ...] = TREE, manifest: dict[str, Any] | None = None
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest or {}))
        archive.writestr("tree.jsonl", "".join(json.dumps(node) + "\n" for node in nodes))
    return path


def test_tree_of_splits(tmp_path: Path) -> None:
    assert split_tree(write_certificate(tmp_path / "a.lipcert")) == [
        Split(0, "z[0,3] at 0"),
        Split(1, "x[2] at 0.75"),
        Split(2, ""),
        Split(2, ""),
        Split(1, ""),
    ]
    (tmp_path / "b").write_bytes(b"no zip")
    assert split_tree(tmp_path / "b") is None
    assert split_tree(write_certificate(tmp_path / "c", (*TREE, {}))) is None


def program(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the checker, which says its arguments and ends with that code."""
    script = tmp_path / f"checker{code}"
    script.write_text(f'#!/bin/sh\necho "looked at $3 and $4"\nexit {code}\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(certificates, "is_available", lambda: True)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0, "accepted"),
        (1, "rejected"),
        (2, "not checked"),
        (3, "not checked"),
        (139, "not checked"),
    ],
)
def test_exit_codes_of_the_checker(
    code: int, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, code, monkeypatch)
    found = certificates.check(tmp_path / "a.lipcert", tmp_path / "net.onnx")
    assert found.verdict == verdict
    assert found.detail.endswith("looked at a.lipcert and net.onnx")  # no path of this machine


def test_without_a_checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "is_available", lambda: False)
    assert certificates.check(tmp_path / "a", tmp_path / "b").verdict == "not checked"


@pytest.fixture
def certified(work: Path, tmp_path: Path) -> Path:
    """A folder like `work` in which the first result has a certificate."""
    folder = Path(shutil.copytree(work, tmp_path / "work"))
    document = json.loads((folder / "decided.json").read_text())
    network, spec = load(folder / "specs" / "wine_sigmoid_robust.yaml")
    write_certificate(folder / "wine.lipcert", manifest=stating(network, spec))
    document["results"][0]["certificate"] = {"path": "wine.lipcert"}
    (folder / "decided.json").write_text(json.dumps(document))
    return folder


def bundle(folder: Path, verdict: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Record]:
    said = Check(verdict, "as told")  # type: ignore[arg-type]
    monkeypatch.setattr(certificates, "check", lambda *_: said)
    out = folder.parent / "bundle"
    with inside(folder):
        assert main(["evidence", "decided.json", "--out", str(out)]) == 0
    return out, Record.model_validate_json((out / "record.json").read_bytes())


@pytest.mark.parametrize(
    ("verdict", "status", "certified_count"),
    [("accepted", "established", 1), ("not checked", "established", 0), ("rejected", "open", 0)],
)
def test_filed(
    verdict: str,
    status: str,
    certified_count: int,
    certified: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, record = bundle(certified, verdict, monkeypatch)
    prop = record.properties[0]
    assert prop.status == status and record.coverage.certified == certified_count
    assert prop.certificate is not None and prop.certificate.checker == verdict
    assert (out / prop.certificate.path).read_bytes() == (certified / "wine.lipcert").read_bytes()
    assert "5 nodes, 3 leaves" in (out / "report.html").read_text()
    assert {row.certificate for row in record.traceability if row.property == "P1"} == {
        f"{prop.certificate.path} ({verdict})"
    }
    assert prop.certificate.claim == "matches", prop.certificate.claim_detail
    gsn = (out / "gsn.yaml").read_text()
    assert ("NOT SHOWN: wine-sigmoid-robust[0]" in gsn) == (status == "open")


@pytest.mark.parametrize(
    ("made_with", "now", "wrong", "still_open"),
    [
        ("accepted", "accepted", 0, 0),
        ("accepted", "rejected", 1, 0),
        ("accepted", "not checked", 0, 1),
        ("not checked", "accepted", 0, 0),
        ("not checked", "rejected", 1, 0),
        ("rejected", "accepted", 1, 0),
        ("rejected", "rejected", 0, 0),
    ],
)
def test_checked_again(
    made_with: str,
    now: str,
    wrong: int,
    still_open: int,
    certified: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, _ = bundle(certified, made_with, monkeypatch)
    monkeypatch.setattr(certificates, "check", lambda *_: Check(now, "now"))  # type: ignore[arg-type]
    found = verify_bundle(out)
    assert (len(found.wrong), len(found.open)) == (wrong, still_open)
    assert all(finding.file.endswith("wine.lipcert") for finding in found.findings)


def test_certificate_that_changed_since_is_refused(certified: Path, tmp_path: Path) -> None:
    document = json.loads((certified / "decided.json").read_text())
    document["results"][0]["certificate"]["sha256"] = "0" * 64
    (certified / "decided.json").write_text(json.dumps(document))
    with inside(certified):
        assert main(["evidence", "decided.json", "--out", str(tmp_path / "x")]) == 3


def test_certificate_of_something_else(certified: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker accepts it, but it states less than the property: nothing may rest on it."""
    network, spec = load(certified / "specs" / "wine_sigmoid_robust.yaml")
    manifest = stating(network, spec)
    manifest["property"]["unsafe"].pop()
    write_certificate(certified / "wine.lipcert", manifest=manifest)
    out, record = bundle(certified, "accepted", monkeypatch)
    assert record.properties[0].status == "open" and record.coverage.certified == 0
    goal = yaml.safe_load((out / "gsn.yaml").read_text())["GP1"]
    assert goal["undeveloped"] is True and "states something else" in goal["text"]
    assert not verify_bundle(out).wrong


def test_more_certificates_are_filed(certified: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads((certified / "decided.json").read_text())
    document["results"][0]["more_certificates"] = [{"path": "wine.lipcert"}]
    (certified / "decided.json").write_text(json.dumps(document))
    out, record = bundle(certified, "accepted", monkeypatch)
    (more,) = record.properties[0].more_certificates
    assert (out / more.path).is_file()
    assert "2 certificates: looked at again" in verify_bundle(out).checked


def test_checker_is_never_taken_from_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is worked in may hold a package of the checker's name."""
    fake = tmp_path / "lipverify" / "checker"
    fake.mkdir(parents=True)
    (tmp_path / "lipverify" / "__init__.py").write_text("")
    (fake / "__init__.py").write_text("")
    (fake / "__main__.py").write_text("print('accepted by an impostor')\n")
    monkeypatch.setattr(certificates, "is_available", lambda: True)
    with inside(tmp_path):
        found = certificates.check(Path("a.lipcert"), Path("net.onnx"))
    assert "impostor" not in found.detail and found.verdict != "accepted"
