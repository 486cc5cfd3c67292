"""Pooling networks of the collection beside the project: intervals and robustness."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lipverify.api import verify_spec
from lipverify.config import VerifyConfig, WitnessConfig
from lipverify.graph import backward_graph, jacobian, output
from lipverify.network import load_network
from lipverify.norms import norm_named
from lipverify.region import Box
from lipverify.spec import Spec
from lipverify.spec.property import Lipschitz, Property, Robustness
from lipverify.verdict import Unknown, Verified

DATA = Path(__file__).parents[2].parent / "shared" / "data"
TINY = DATA / "tiny" / "conv_mp1.onnx"
LENET = DATA / "lipschitz_tools" / "uwaa_mnist_lenet.onnx"

FEW = WitnessConfig(samples=128, ascents=4, climbers=8, steps=5, programs=0)

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not DATA.is_dir(), reason="no folder shared/data beside the project"),
]


def ask(path: Path, x: torch.Tensor, radius: float, prop: Property, **settings: object):
    network = load_network(path)
    names = tuple(f"x{index}" for index in range(network.graph.input_size))
    spec = Spec(path.stem, Box(x - radius, x + radius), (prop,), names)
    config = VerifyConfig(**settings)  # type: ignore[arg-type]
    (result,) = verify_spec(network, spec, config)
    return network, result


def lipschitz(outputs: int) -> Lipschitz:
    rows = tuple(tuple(row) for row in torch.eye(outputs).tolist())
    return Lipschitz(norm_named("inf"), norm_named("inf"), rows, None, None)


def test_lipschitz_interval_of_a_small_pooling_network() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(192, generator=generator).double()
    network, result = ask(TINY, x, 0.01, lipschitz(5), method="mean-split", witness=FEW)
    assert isinstance(result.verdict, Verified) and result.bound is not None
    points = x + 0.01 * (2 * torch.rand(200, 192, generator=generator).double() - 1)
    truth = jacobian(backward_graph(network.graph), points).abs().sum(2).max()
    assert 0.5 * float(truth) <= result.bound.lower
    assert float(truth) <= result.bound.upper <= 3.0 * float(truth)


@pytest.mark.parametrize("radius", [1e-3, 0.02])
def test_robustness_of_a_small_pooling_network(radius: float) -> None:
    """Verified on a small box; wherever it is, no sample says otherwise."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(192, generator=generator).double()
    network = load_network(TINY)
    label = int(output(network.graph, x.unsqueeze(0)).argmax())
    _, result = ask(TINY, x, radius, Robustness(label, 0.0), timeout=30.0)
    points = x + radius * (2 * torch.rand(2000, 192, generator=generator).double() - 1)
    labels = output(network.graph, points).argmax(1)
    if isinstance(result.verdict, Verified):
        assert bool((labels == label).all())
    if radius == 1e-3:
        assert isinstance(result.verdict, Verified)


@pytest.mark.slow
def test_lenet_with_max_pooling() -> None:
    """784 inputs, two pools: an interval of the constant and robustness on a small box."""
    with np.load(LENET.with_suffix(".check.npz")) as check:
        x = torch.tensor(check["x"]).double().reshape(-1)
    _, result = ask(LENET, x, 1e-4, lipschitz(10), method="mean-split", timeout=60.0)
    assert result.bound is not None and result.bound.lower <= result.bound.upper < float("inf")
    network = load_network(LENET)
    label = int(output(network.graph, x.unsqueeze(0)).argmax())
    _, result = ask(LENET, x, 1e-4, Robustness(label, 0.0), timeout=60.0)
    assert isinstance(result.verdict, Verified | Unknown)
