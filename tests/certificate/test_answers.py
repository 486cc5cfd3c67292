"""`certify` from a spec to the answer: verified means checked."""

import hashlib
from pathlib import Path

import pytest
import torch

from lipverify import api
from lipverify.checker import Report
from lipverify.checker import check as check_certificate
from lipverify.config import CertifyConfig, VerifyConfig
from lipverify.evidence.certificate import certify
from lipverify.network import load_network
from lipverify.norms import norm_named
from lipverify.spec import Spec
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Radius, Robustness
from lipverify.spec.sizes import Around
from lipverify.spec.vnnlib import read_vnnlib
from lipverify.spec.vnnlib.property import spec_of
from lipverify.verdict import Falsified, Reason, Unknown, Verified
from tests.certificate.cases import Case, random_case

LINF = norm_named("inf")
ROWS = ((1.0, 0.0), (0.0, 1.0))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return random_case(tmp_path, 0)


def answers(case: Case, folder: Path, *properties: Property) -> list[api.PropertyResult]:
    names = tuple(f"x{k}" for k in range(case.box.size))
    spec = Spec("tiny", case.box, properties, names)
    config = VerifyConfig(timeout=30.0, certify=CertifyConfig(folder))
    return list(api.verify_spec(case.network, spec, config))


def test_every_verdict_has_its_certificate(case: Case, tmp_path: Path) -> None:
    value = case.regions.norm("inf", "inf")
    found = answers(
        case,
        tmp_path / "certificates",
        Lipschitz(LINF, LINF, ROWS, 1.01 * value),
        Lipschitz(LINF, LINF, ROWS, 0.9 * value),
        Lipschitz(LINF, LINF, ROWS),
        Monotonicity((1.0, 0.0), (0,), (), -100.0),
        Robustness(0, -100.0),
    )
    verdicts = [type(result.verdict) for result in found]
    assert verdicts == [Verified, Falsified, Verified, Verified, Verified]
    for result in found:
        first, *_ = result.certificates
        assert first.kind == ("falsified" if isinstance(result.verdict, Falsified) else "proof")
        for record in result.certificates:
            raw = Path(record.path).read_bytes()
            assert record.accepted and record.sha256 == hashlib.sha256(raw).hexdigest()
            assert check_certificate(Path(record.path), case.path).accepted
        json = result.as_json()["certificate"]
        assert json["checker"]["verdict"] == "accepted" and json["path"] == first.path
    interval = found[2]
    proof, attained = interval.certificates
    assert interval.bound is not None and proof.at_most == interval.bound.upper
    assert attained.at_least is not None and proof.at_most is not None
    assert attained.at_least <= value <= proof.at_most <= value * (1 + 2e-6) + 1e-9


def test_what_the_checker_refuses_is_unknown(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certify, "check", lambda *_: Report(False, "for this test"))
    (found,) = answers(case, tmp_path / "x", Lipschitz(LINF, LINF, ROWS, 1e6))
    assert isinstance(found.verdict, Unknown) and found.verdict.reason is Reason.CERTIFICATE
    assert "for this test" in found.verdict.detail and not found.certificates
    assert not list((tmp_path / "x").iterdir())


def test_a_module_has_no_file_to_be_about(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    config = VerifyConfig(certify=CertifyConfig(tmp_path))
    network = load_network(module, torch.zeros(1, 2))
    found = api.lipschitz(network, [0.0, 0.0], 0.1, at_most=1e6, config=config)
    assert isinstance(found.verdict, Unknown) and found.verdict.reason is Reason.CERTIFICATE
    assert "ONNX" in found.verdict.detail


def one_copy(case: Case, folder: Path, bound: float) -> Path:
    """Output 0 is at most `bound` somewhere in the box."""
    inputs, outputs = case.box.size, case.tiny.outputs
    names = [*(f"X_{i}" for i in range(inputs)), *(f"Y_{i}" for i in range(outputs))]
    text = "".join(f"(declare-const {name} Real)\n" for name in names)
    for i, (low, high) in enumerate(zip(case.box.lower, case.box.upper, strict=True)):
        text += f"(assert (>= X_{i} {float(low)!r}))\n(assert (<= X_{i} {float(high)!r}))\n"
    path = folder / "one.vnnlib"
    path.write_text(text + f"(assert (<= Y_0 {bound!r}))\n")
    return path


def two_copies(case: Case, folder: Path) -> Path:
    """Output 0 rises somewhere as input 0 rises and the others stay."""
    shapes = f"[1,{case.box.size}]", f"[1,{case.tiny.outputs}]"
    text = f"""(vnnlib-version <2.0>)
(declare-network f (declare-input X Real {shapes[0]}) (declare-output Y Real {shapes[1]}))
(declare-network g (equal-to f) (declare-input A Real {shapes[0]})
  (declare-output B Real {shapes[1]}))
"""
    for i, (low, high) in enumerate(zip(case.box.lower, case.box.upper, strict=True)):
        for name in "XA":
            text += f"(assert (>= {name}[0,{i}] {float(low)!r}))\n"
            text += f"(assert (<= {name}[0,{i}] {float(high)!r}))\n"
        text += f"(assert ({'<=' if i == 0 else '=='} X[0,{i}] A[0,{i}]))\n"
    path = folder / "two.vnnlib"
    path.write_text(text + "(assert (> B[0,0] Y[0,0]))\n")
    return path


def answered(case: Case, path: Path, folder: Path) -> api.PropertyResult:
    config = VerifyConfig(timeout=30.0, certify=CertifyConfig(folder))
    (found,) = api.verify_spec(case.network, spec_of(read_vnnlib(path)), config)
    return found


def test_files_have_certificates_both_ways(case: Case, tmp_path: Path) -> None:
    row = torch.zeros(case.tiny.outputs, dtype=torch.float64)
    row[0] = -1.0
    least = -case.regions.maximum(row)
    for bound, word in ((least - 0.01, "verified"), (least + 0.5, "falsified")):
        found = answered(case, one_copy(case, tmp_path, bound), tmp_path / word)
        assert found.verdict.word == word
        (record,) = found.certificates
        assert record.accepted and record.kind == ("proof" if word == "verified" else "falsified")
        assert check_certificate(Path(record.path), case.path).accepted


def test_pairs_of_files_over_two_copies_are_evaluated_exactly(case: Case, tmp_path: Path) -> None:
    _, upper = case.regions.entries(torch.eye(case.tiny.outputs, dtype=torch.float64))
    assert float(upper[0, 0]) > 0
    found = answered(case, two_copies(case, tmp_path), tmp_path / "x")
    assert isinstance(found.verdict, Falsified), found.verdict
    (record,) = found.certificates
    assert record.accepted and record.kind == "falsified"
    assert check_certificate(Path(record.path), case.path).accepted


def test_a_broken_radius_has_its_point(tmp_path: Path) -> None:
    seen = 0
    for seed in (0, 1, 3, 5):
        case = random_case(tmp_path, seed)
        center = case.box.center
        spec = Spec(
            "r",
            case.box,
            (Radius(Around(center, 50.0, LINF), LINF, 50.0, None, 40.0),),
            tuple(f"x{k}" for k in range(case.box.size)),
        )
        config = VerifyConfig(timeout=30.0, certify=CertifyConfig(tmp_path / f"radius{seed}"))
        (found,) = api.verify_spec(case.network, spec, config)
        if not isinstance(found.verdict, Falsified):
            continue
        seen += 1
        (record,) = found.certificates
        assert record.accepted and record.kind == "falsified"
        assert check_certificate(Path(record.path), case.path).accepted
    assert seen


def test_constraints_that_mix_inputs_and_outputs_are_named(case: Case, tmp_path: Path) -> None:
    path = one_copy(case, tmp_path, 0.0)
    path.write_text(path.read_text() + "(assert (<= Y_0 X_0))\n")
    found = answered(case, path, tmp_path / "x")
    why = found.remark
    if isinstance(found.verdict, Unknown):
        why = found.verdict.detail
    assert "mix inputs and outputs" in why
