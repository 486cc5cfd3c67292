"""Audits with `--certify`: verified means checked; what falsifies is evaluated exactly as well."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from lipverify.audit import REPORTS, AuditConfig, AuditProgress, run_audit
from lipverify.audit.answer import Found
from lipverify.checker import Report, check
from lipverify.checker.exact import floats, scalar
from lipverify.cli.app import main
from lipverify.errors import CheckpointError
from lipverify.evidence.certificate import certify
from lipverify.verdict import Reason
from tests.audit.cases import (
    numbers,
    plain_audit,
    weights,
    write_audit,
    write_network,
    write_table,
)
from tests.audit.test_runs import without_times
from tests.certificate.edit import contents

REGIONS = [
    "line",
    {"kind": "neighbourhood", "share": 0.05},
    {"kind": "joint", "features": ["a", "b"]},
    "global",
]


def mixed(folder: Path, rows: int = 3, **keys: object) -> Path:
    """Increasing in a and c, by weights that are positive but for those of b."""
    first, bias, second, last = weights([3, 5, 1], 4, positive=True)
    first[:, 1] *= [1, -1, 1, -1, 1]
    asked = {"increasing": ["a", "b"], "decreasing": ["c"], "regions": REGIONS, **keys}
    return plain_audit(folder, [first, bias, second, last], rows, **asked)


def run(path: Path, out: str, certificates: str = "proofs", **config: object):  # noqa: ANN201
    given = AuditConfig(timeout=30.0, certify=path.parent / certificates, **config)  # type: ignore[arg-type]
    return run_audit(path, path.parent / out, given)


def check_all(answers, folder: Path, network: Path, claim: str = "monotonicity") -> int:  # noqa: ANN001
    """Each certificate named is there, has its digest, and is accepted: how many there are."""
    count = 0
    for answer in answers:
        for name, digest in answer.certificate.files if answer.certificate else ():
            raw = (folder / name).read_bytes()
            assert hashlib.sha256(raw).hexdigest() == digest
            report = check(folder / name, network)
            assert report.accepted, report.reason
            kind = "proof" if answer.found is Found.VERIFIED else "falsified"
            assert report.kind == kind and report.claim.startswith(claim)
            count += 1
    return count


@pytest.mark.parametrize("end", ["", "Sigmoid"])
def test_every_region_has_its_certificates(tmp_path: Path, end: str) -> None:
    path = mixed(tmp_path, end=end, output=0)
    with run(path, "out").store as store:
        answers = list(store.answers())
    plain = run_audit(path, tmp_path / "plain", AuditConfig(timeout=30.0))
    with plain.store:
        expected = [answer.found for answer in plain.answers()]
    assert [answer.found for answer in answers] == expected
    assert {Found.VERIFIED, Found.FALSIFIED} <= set(expected)
    for answer in answers:
        if answer.found is not Found.UNKNOWN:
            assert answer.certificate is not None, answer.detail
    count = check_all(answers, tmp_path / "proofs", tmp_path / "net.onnx")
    assert count == len(list((tmp_path / "proofs").iterdir())) >= len(expected) // 2


def test_the_preprocessing_of_the_audit_is_in_the_claim(tmp_path: Path) -> None:
    layers = weights([2, 4, 1], 1, positive=True)
    write_network(tmp_path / "net.onnx", layers)
    write_table(tmp_path / "table.csv", "ab", (10 * numbers(3, 2, 3)).tolist())
    columns = {
        "a": {"range": [-10.0, 10.0], "standard": {"mean": 1.0, "std": 5.0}},
        "b": {"range": [-10.0, 10.0], "standard": {"mean": 0.5, "std": 3.0}},
    }
    path = write_audit(tmp_path, columns, increasing=["a", "b"], regions=["line", "global"])
    with run(path, "out").store as store:
        answers = list(store.answers())
    assert {answer.found for answer in answers} == {Found.VERIFIED}
    assert check_all(answers, tmp_path / "proofs", tmp_path / "net.onnx") == len(answers)


def test_what_the_checker_refuses_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certify, "check", lambda *_: Report(False, "for this test"))
    result = run(mixed(tmp_path), "out")
    with result.store:
        answers = list(result.answers())
        text = {name: report(result) for name, report in REPORTS.items()}
    assert {answer.found for answer in answers} == {Found.UNKNOWN, Found.FALSIFIED}
    lost = [answer for answer in answers if answer.reason is Reason.CERTIFICATE]
    assert lost and all("for this test" in answer.detail for answer in lost)
    assert all("exact evaluation" in a.detail for a in answers if a.found is Found.FALSIFIED)
    assert not list((tmp_path / "proofs").iterdir())
    facts = json.loads(text["audit.json"])
    assert all(
        row["verified"] == row["falsified"] == 0 for row in facts["certificates"]["questions"]
    )
    assert facts["certificates"]["without"] and "for this test" in text["audit.md"]


def test_insensitive_features(tmp_path: Path) -> None:
    """A derivative that cannot add up to the change is proved; what is not is named."""
    layers = weights([3, 4, 1], 1)
    write_network(tmp_path / "net.onnx", layers)
    write_table(tmp_path / "table.csv", ["a", "kind"], [[0.5, "x"], [-0.25, "y"]])
    columns = {"a": {"range": [-1.0, 1.0]}, "kind": {"type": "one-hot", "categories": ["x", "y"]}}
    for at_most, expected in ((1000.0, Found.VERIFIED), (1e-6, Found.FALSIFIED)):
        asked = [{"feature": name, "at_most": at_most} for name in ("a", "kind")]
        folder = tmp_path / expected.value
        regions = ["line", {"kind": "neighbourhood", "share": 0.1}]
        path = write_audit(tmp_path, columns, insensitive=asked, regions=regions)
        result = run(path, folder.name, f"proofs-{expected.value}")
        with result.store:
            answers = list(result.answers())
        assert {answer.found for answer in answers} == {expected}, answers
        proofs = tmp_path / f"proofs-{expected.value}"
        assert len(answers) == 8 and all(answer.certificate for answer in answers)
        assert check_all(answers, proofs, tmp_path / "net.onnx", "") >= 8


def test_what_is_certified_of_insensitive_features_is_enough(tmp_path: Path) -> None:
    """The bound of the derivative times the distance of any two points that are compared."""
    layers = weights([2, 4, 1], 1)
    asked = [{"feature": "a", "at_most": 50.0}]
    regions = ["line", {"kind": "neighbourhood", "share": 0.2}, "global"]
    path = plain_audit(tmp_path, layers, 3, insensitive=asked, regions=regions)
    result = run(path, "out")
    with result.store:
        answers = list(result.answers())
    records = result.context.records.inputs
    assert len(answers) == 7 and {answer.found for answer in answers} == {Found.VERIFIED}
    for answer in answers:
        assert answer.certificate is not None
        ((name, _),) = answer.certificate.files
        head, _ = contents(tmp_path / "proofs" / name)
        lower, upper = (floats(head["region"][end], end) for end in ("lower", "upper"))
        kind = result.context.audit.questions[answer.question].region.name
        if kind != "global":
            x = records[answer.record - 1].tolist()
            assert all(a <= b <= c for a, b, c in zip(lower, x, upper, strict=True))
        assert (lower[0], upper[0]) == (-1.0, 1.0)
        assert (lower[1] == upper[1]) == (kind == "line")
        if head["property"]["kind"] == "monotonicity":
            assert kind != "neighbourhood 0.2" and head["property"]["increasing"] == [0]
            assert head["property"]["decreasing"] == [0]
            bound = -scalar(head["property"]["margin"], "margin") * (upper[0] - lower[0])
        else:
            farthest = [max(b - y, y - a) for a, y, b in zip(lower, x, upper, strict=True)]
            bound = scalar(head["property"]["at_most"], "at_most") * max(farthest)
        assert 49.9 < bound <= 50.0


def test_what_is_verified_but_not_certified_is_named(tmp_path: Path) -> None:
    """|x| from -1 to 1 changes by 1 at most; its derivative, by itself, allows 2."""
    one = np.ones((1, 2), dtype=np.float32)
    both = np.array([[1.0], [-1.0]], dtype=np.float32)
    zero = np.zeros(2, dtype=np.float32)
    path = plain_audit(
        tmp_path,
        [both, zero, one, zero[:1]],
        1,
        insensitive=[{"feature": "a", "at_most": 1.5}],
        regions=["line"],
    )
    plain = run_audit(path, tmp_path / "plain", AuditConfig())
    with plain.store:
        assert [answer.found for answer in plain.answers()] == [Found.VERIFIED]
    result = run(path, "out")
    with result.store:
        (answer,) = result.answers()
        facts = json.loads(REPORTS["audit.json"](result))
    assert answer.found is Found.UNKNOWN and answer.reason is Reason.CERTIFICATE
    assert "a derivative too small for 'a'" in answer.detail
    assert facts["undecided"][0]["detail"] == answer.detail


def test_reports_and_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = weights([2, 4, 1], 1, positive=True)
    path = plain_audit(tmp_path, layers, 3, increasing=["a", "b"], regions=["line", "global"])
    out, proofs = tmp_path / "out", tmp_path / "made" / "here"
    code = main(["audit", str(path), "--out", str(out), "--certify", str(proofs)])
    capsys.readouterr()
    assert code == 0
    facts = json.loads((out / "audit.json").read_text())
    found = facts["certificates"]
    verified = sum(row["verified"] for row in facts["totals"])
    assert sum(row["verified"] for row in found["questions"]) == verified == 8
    assert found["files"] == 8 == len(list(proofs.iterdir())) and found["folder"] == str(proofs)
    line = "8 of 8 verified answers and 0 of 0 falsified answers"
    assert line in (out / "audit.md").read_text() and line in (out / "report.html").read_text()
    rows = (out / "records.csv").read_text().splitlines()
    assert "certificates" in rows[0] and all(".lipcert" in row for row in rows[1:])


@pytest.mark.slow
def test_shared_work_gives_the_same(tmp_path: Path) -> None:
    path = mixed(tmp_path, 5, regions=REGIONS[:2])
    one, two = (reported(path, out, jobs=jobs) for jobs, out in ((1, "one"), (2, "two")))
    assert one == two


def test_resumed_work_gives_the_same(tmp_path: Path) -> None:
    path = mixed(tmp_path, 5, regions=REGIONS[:2])
    one = reported(path, "one")

    def stop(progress: AuditProgress) -> None:
        raise KeyboardInterrupt

    given = AuditConfig(timeout=30.0, certify=tmp_path / "proofs-two")
    result = run_audit(path, tmp_path / "two", given, stop)
    assert result.interrupted
    result.store.close()
    with pytest.raises(CheckpointError, match="certified"):
        run_audit(path, tmp_path / "two", AuditConfig(timeout=30.0, resume=True))
    assert reported(path, "two", resume=True) == one


def reported(path: Path, out: str, **config: object) -> dict[str, str]:
    """All reports without times, and the certificates' names and digests."""
    result = run(path, out, f"proofs-{out}", **config)
    with result.store:
        texts = {name: report(result) for name, report in REPORTS.items()}
    found = {n: without_times(n, t.replace(f"proofs-{out}", "proofs")) for n, t in texts.items()}
    for file in sorted((path.parent / f"proofs-{out}").iterdir()):
        found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found
