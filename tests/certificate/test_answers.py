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
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Robustness
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
