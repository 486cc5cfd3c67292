"""Bundles that were altered and hashed anew: what still gives them away."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lipverify.cli import main
from lipverify.errors import InputError
from lipverify.evidence.bundle import Verification, verify_bundle
from lipverify.evidence.bundle.record import Record
from lipverify.evidence.bundle.statement import (
    SUMS,
    files_of,
    statement_text,
    sums_text,
)
from lipverify.files import file_sha256
from tests.evidence.conftest import inside
from tests.evidence.sources import SPECS

ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
from cryptography.hazmat.primitives import serialization as s  # noqa: E402


def seal(folder: Path) -> None:
    """What someone does who changes a bundle and knows its format, but not the signer's key."""
    record = Record.model_validate_json((folder / "record.json").read_bytes())
    digests = {name: file_sha256(folder / name) for name in files_of(folder)}
    (folder / "statement.json").write_bytes(statement_text(record, digests).encode())
    digests = {name: file_sha256(folder / name) for name in files_of(folder)}
    (folder / SUMS).write_bytes(sums_text(digests).encode())


def alter(folder: Path, change: Callable[[Any], None]) -> Verification:
    document = json.loads((folder / "record.json").read_text())
    change(document)
    (folder / "record.json").write_text(json.dumps(document))
    seal(folder)
    return verify_bundle(folder)


def prop(document: Any, kind: str, verdict: str) -> Any:
    return next(p for p in document["properties"] if (p["kind"], p["verdict"]) == (kind, verdict))


def move_counterexample(document: Any) -> None:
    prop(document, "monotonicity", "falsified")["counterexample"]["inputs"][1][0] += 0.5


def swap_pair(document: Any) -> None:
    found = prop(document, "monotonicity", "falsified")["counterexample"]
    found["inputs"][1] = found["inputs"][0]


def satisfy_constraints(document: Any) -> None:
    found = prop(document, "vnnlib", "falsified")["counterexample"]
    found["inputs"][0] = [0.0 for _ in found["inputs"][0]]


def raise_lower_end(document: Any) -> None:
    prop(document, "lipschitz", "verified")["bound"]["lower"] *= 1.001


def other_network(document: Any) -> None:
    document["networks"][0]["sha256"] = "0" * 64


def other_parameters(document: Any) -> None:
    document["networks"][1]["parameters_sha256"] = "0" * 64


def other_spec(document: Any) -> None:
    document["specs"][0]["sha256"] = "0" * 64


def leave_the_folder(document: Any) -> None:
    document["specs"][0]["path"] = "../" + document["specs"][0]["path"]
    document["properties"][0]["spec"] = document["specs"][0]["path"]


def wrong_word(document: Any) -> None:
    document["properties"][0]["verdict"] = "safe"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (move_counterexample, "counterexample of P2 is not confirmed"),
        (swap_pair, "counterexample of P2 is not confirmed"),
        (satisfy_constraints, "counterexample of P7 is not confirmed"),
        (raise_lower_end, "witness of P5 is not confirmed"),
        (other_network, "is not the network"),
        (other_parameters, "is not the network"),
        (other_spec, "is not the spec"),
        (leave_the_folder, "leads out of the bundle"),
    ],
)
def test_hashed_anew(change: Callable[[Any], None], says: str, copied: Path) -> None:
    found = alter(copied, change)
    assert any(says in str(finding) for finding in found.wrong), found


def test_record_of_another_form(copied: Path) -> None:
    document = json.loads((copied / "record.json").read_text())
    wrong_word(document)
    (copied / "record.json").write_text(json.dumps(document))
    digests = {name: file_sha256(copied / name) for name in files_of(copied)}
    statement = json.loads((copied / "statement.json").read_text())
    for subject in statement["subject"]:
        subject["digest"]["sha256"] = digests[subject["name"]]
    (copied / "statement.json").write_text(json.dumps(statement))
    digests["statement.json"] = file_sha256(copied / "statement.json")
    (copied / SUMS).write_text(sums_text(digests))
    (finding,) = verify_bundle(copied).wrong
    assert finding.file == "record.json" and "no record" in finding.detail


def write_key(path: Path) -> Path:
    """A private key; the public one lies beside it, as `.pub`."""
    key = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    )
    return path


@pytest.fixture(scope="module")
def signing(work: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed bundle, and the public key."""
    folder = tmp_path_factory.mktemp("signed")
    key = write_key(folder / "key.pem")
    with inside(work):
        arguments = ["decided.json", "--out", str(folder / "bundle"), "--sign", str(key)]
        assert main(["evidence", *arguments]) == 0
    return folder / "bundle", key.with_suffix(".pub")


@pytest.fixture
def signed(signing: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    return Path(shutil.copytree(signing[0], tmp_path / "signed")), signing[1]


def test_signed(signed: tuple[Path, Path]) -> None:
    folder, key = signed
    for given in (None, key):
        found = verify_bundle(folder, given)
        assert not found.findings
        assert any(text.startswith("signature: by") for text in found.checked)
    assert b"PRIVATE" not in b"".join((folder / name).read_bytes() for name in files_of(folder))


@pytest.mark.parametrize("name", ["statement.sig", "signer.pem", "statement.json", SUMS])
def test_one_byte_of_a_signed_bundle(name: str, signed: tuple[Path, Path]) -> None:
    folder, key = signed
    content = (folder / name).read_bytes()
    for place in range(0, len(content), max(1, len(content) // 16)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        (folder / name).write_bytes(flipped)
        for given in (None, key):
            said = [str(finding) for finding in verify_bundle(folder, given).wrong]
            assert any(name in text for text in said), (place, said)


def test_hashed_anew_but_not_signed(signed: tuple[Path, Path]) -> None:
    folder, key = signed

    def claim(document: Any) -> None:
        found = prop(document, "monotonicity", "falsified")
        found.update(verdict="verified", status="established", counterexample=None, replay=None)

    assert any(finding.file == "statement.sig" for finding in alter(folder, claim).wrong)
    assert any(finding.file == "statement.sig" for finding in verify_bundle(folder, key).wrong)


def test_signed_anew_by_another(signed: tuple[Path, Path], tmp_path: Path) -> None:
    folder, key = signed
    other = write_key(tmp_path / "other.pem")
    from lipverify.evidence.bundle.signature import sign

    signature, public = sign((folder / "statement.json").read_bytes(), other)
    (folder / "signer.pem").write_bytes(public)
    seal(folder)
    signature, _ = sign((folder / "statement.json").read_bytes(), other)
    (folder / "statement.sig").write_bytes(signature)
    digests = {name: file_sha256(folder / name) for name in files_of(folder)}
    (folder / SUMS).write_text(sums_text(digests))
    assert not verify_bundle(folder).findings  # consistent: only the real key tells
    (finding,) = verify_bundle(folder, key).wrong
    assert finding.file == "statement.sig"


def test_signature_taken_away(signed: tuple[Path, Path]) -> None:
    folder, key = signed
    (folder / "statement.sig").unlink()
    (folder / "signer.pem").unlink()
    seal(folder)
    assert not verify_bundle(folder).findings
    (finding,) = verify_bundle(folder, key).wrong
    assert finding.file == "statement.sig" and "not signed" in finding.detail


def test_unusable_keys(work: Path, signed: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no key")
    out = tmp_path / "out"
    with inside(work):
        for key in (tmp_path / "no.pem", tmp_path / "missing.pem", signed[1]):
            names = [f"{name}.json" for name in SPECS]
            assert main(["evidence", *names, "--out", str(out), "--sign", str(key)]) == 3
            assert not out.exists()
    with pytest.raises(InputError, match="public key"):
        verify_bundle(signed[0], tmp_path / "no.pem")


def test_without_cryptography(signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is checked; that the signature is not, is said, and is no success."""
    import sys

    folder, key = signed
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    found = verify_bundle(folder)
    assert not found.wrong
    assert [finding.file for finding in found.open] == ["statement.sig"]
    assert main(["evidence", "--verify", str(folder)]) == 3
    assert main(["evidence", "--verify", str(folder), "--verify-key", str(key)]) == 3
