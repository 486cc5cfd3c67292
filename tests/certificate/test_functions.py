"""Certificates of networks of every function that both the search and the checker know."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from lipverify.bounds.methods import Setting
from lipverify.config import PreactivationConfig, VerifyConfig
from lipverify.evidence.certificate.certify import prove
from lipverify.evidence.certificate.claim import lipschitz_claim, output_claim
from lipverify.evidence.certificate.tree import NotProved
from lipverify.evidence.record import CertificateRecord
from lipverify.graph.evaluate import row_jacobian
from lipverify.network import load_network
from lipverify.norms import norm_named
from lipverify.query import output_query, violations
from lipverify.region import Box
from lipverify.spec.property import Lipschitz, Robustness
from tests.checker import handmade

FUNCTIONS: dict[str, dict[str, Any]] = {
    "Celu": {"alpha": 0.75},
    "Clip": {},
    "Elu": {"alpha": 0.5},
    "Exp": {},
    "HardSigmoid": {"alpha": 0.25},
    "HardSwish": {},
    "LeakyRelu": {},
    "Selu": {},
    "Sigmoid": {},
    "Softplus": {},
    "Softsign": {},
    "Tanh": {},
}


def network(path: Path, name: str) -> Path:
    """4 inputs, two hidden layers of 5, 3 outputs."""
    generator = np.random.default_rng(1)
    nodes, stored, value = [], [], "input"
    for k, (rows, columns) in enumerate(((5, 4), (5, 5), (3, 5))):
        weight = generator.standard_normal((rows, columns)) / 2
        for label, array in ((f"w{k}", weight), (f"b{k}", 0.3 * generator.standard_normal(rows))):
            stored.append(numpy_helper.from_array(array.astype(np.float32), label))
        nodes.append(helper.make_node("Gemm", [value, f"w{k}", f"b{k}"], [f"z{k}"], transB=1))
        operands = [f"z{k}", "low", "high"] if name == "Clip" else [f"z{k}"]
        if k < 2:
            nodes.append(helper.make_node(name, operands, [f"a{k}"], **FUNCTIONS[name]))
        value = f"a{k}"
    if name == "Clip":
        for label, end in (("low", -0.25), ("high", 0.5)):
            stored.append(numpy_helper.from_array(np.float32(end), label))
    return handmade.save(path, nodes, stored, [1, 4], "z2", [1, 3])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_certified(tmp_path: Path, name: str) -> None:
    """The constant on a box, a little above the steepest of many points, and the class there; no
    certificate says less than the steepest point."""
    net = load_network(network(tmp_path / "n.onnx", name))
    center = torch.tensor([0.1, -0.2, 0.3, 0.4], dtype=torch.float64)
    setting = Setting(net, Box(center - 0.02, center + 0.02), PreactivationConfig())
    norm, rows = norm_named("inf"), torch.eye(3, dtype=torch.float64)
    share = torch.rand(2000, 4, dtype=torch.float64, generator=torch.manual_seed(1))
    slopes = row_jacobian(setting.backward, center + 0.04 * (share - 0.5), rows)
    value = float(slopes.abs().sum(2).max())
    prop = Lipschitz(norm, norm, tuple(map(tuple, rows.tolist())))

    def proved(at_most: float, seconds: float) -> CertificateRecord:
        claim = lipschitz_claim(setting.region, prop, at_most)
        return prove(setting, claim, tmp_path / "x.lipcert", VerifyConfig(), seconds)

    assert proved(1.25 * value, 20.0).accepted
    with pytest.raises(NotProved):
        proved(0.999 * value, 0.5)
    label = int(net.original(center.unsqueeze(0))[0].argmax())
    query = output_query(Robustness(label), label, 3)
    claim = output_claim(setting.region, violations(query))
    assert prove(setting, claim, tmp_path / "y.lipcert", VerifyConfig(), 10.0).accepted
