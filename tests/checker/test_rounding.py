"""What is rounded is charged: coarse grids, tiny and huge weights, cancellation."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

import lipverify.checker.activations as activations
import lipverify.checker.network as reader
from lipverify.checker.archive import Clock
from lipverify.checker.forward import Known, Problem, bound
from lipverify.checker.jacobian import Backward
from lipverify.checker.region import region
from tests.checker import handmade, truth
from tests.checker.test_network import entry
from tests.checker.test_rules import BOUNDS, LOWER, SIZES, UPPER, ask


def enclosures(network: Path, bits: int, lines: bool, size: int) -> tuple[Known, Any]:
    """Preactivations by linear bounds, and elements of the Jacobian with blur, at 2^-bits."""
    net = reader.load(network, entry(network))
    area = region(handmade.box(LOWER, UPPER), net.inputs, bits)
    problem = Problem(net, area, bits, Clock(60))
    known = Known(problem)
    for step in BOUNDS:
        bound(known, {**step, "neurons": "all"})
    seed = [[Fraction(int(i == j)) for j in range(size)] for i in range(size)]
    backward = Backward(known, seed, whole=True)
    ends = [backward.row(row, lines).ends(-1) for row in range(size)]
    return known, ([lower for lower, _ in ends], [upper for _, upper in ends])


def divided(path: Path, seed: int, name: str) -> tuple[Path, list[np.ndarray], list[np.ndarray]]:
    """A network whose weights are followed by divisions by 3 and 7: no dyadic numbers."""
    _, weights, biases = handmade.random_mlp(path, seed, SIZES, name)
    nodes, initializers, value = [], [], "input"
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        for label, array in (("w", weight), ("b", bias), ("d", np.float32([3.0 + 4 * (k % 2)]))):
            initializers.append(numpy_helper.from_array(array, f"{label}{k}"))
        nodes.append(helper.make_node("Gemm", [value, f"w{k}", f"b{k}"], [f"y{k}"], transB=1))
        nodes.append(helper.make_node("Div", [f"y{k}", f"d{k}"], [f"z{k}"]))
        value = f"z{k}"
        if k + 1 < len(weights):
            nodes.append(helper.make_node(name, [value], [f"a{k}"]))
            value = f"a{k}"
    network = handmade.save(path, nodes, initializers, [1, SIZES[0]], value, [1, SIZES[-1]])
    factors = [3.0 + 4 * (k % 2) for k in range(len(weights))]
    exact = [weight.astype(float) / factor for weight, factor in zip(weights, factors, strict=True)]
    return (
        network,
        exact,
        [bias.astype(float) / factor for bias, factor in zip(biases, factors, strict=True)],
    )


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("name", ["Relu", "Abs", "Tanh"])
def test_coarse_coefficients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lines: bool
) -> None:
    """Coefficients on a grid of 1/16: their blur holds the true network."""
    monkeypatch.setattr(reader, "FINE", 4)
    for seed in range(4):
        network, weights, biases = divided(tmp_path / "n.onnx", seed, name)
        known, (lower, upper) = enclosures(network, 96, lines, SIZES[-1])
        x = truth.points(LOWER, UPPER, 1500)
        for k, z in enumerate(truth.values(weights, biases, name, x)[:-1]):
            assert (np.array([v / 2**96 for v in known.ends[k][0]]) <= z.min(0) + 1e-12).all()
            assert (np.array([v / 2**96 for v in known.ends[k][1]]) >= z.max(0) - 1e-12).all()
        found = truth.jacobian(weights, biases, name, x)
        assert (np.array(lower, dtype=object) / 2**96 <= found.min(0) + 1e-12).all()
        assert (np.array(upper, dtype=object) / 2**96 >= found.max(0) - 1e-12).all()


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "Tanh"])
def test_coarse_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Derived numbers on a grid of 1/8: wide, and never wrong."""
    for bits in (3, 5, 8):
        for seed in range(3):
            network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", seed, SIZES, name)
            x = truth.points(LOWER, UPPER, 1000)
            for lines in (False, True):
                known, (lower, upper) = enclosures(network, bits, lines, SIZES[-1])
                for k, z in enumerate(truth.values(weights, biases, name, x)[:-1]):
                    assert (np.array(known.ends[k][0]) / 2**bits <= z.min(0) + 1e-12).all()
                    assert (np.array(known.ends[k][1]) / 2**bits >= z.max(0) - 1e-12).all()
                found = truth.jacobian(weights, biases, name, x)
                assert (np.array(lower, dtype=float) / 2**bits <= found.min(0) + 1e-12).all()
                assert (np.array(upper, dtype=float) / 2**bits >= found.max(0) - 1e-12).all()


SCALES = {"tiny": 2.0**-70, "denormal": 2.0**-135, "huge": 2.0**70}


@pytest.mark.parametrize("name", SCALES)
def test_extreme_weights(tmp_path: Path, name: str) -> None:
    """f(x) = s |x1 + x2 / 4|: 1.25 s is the constant; precision decides how near the proof gets."""
    scale = SCALES[name]
    weights = [np.array([[1.0, 0.25], [-1.0, -0.25]]), np.full((1, 2), scale)]
    network = handmade.mlp(tmp_path / "n.onnx", weights, [np.zeros(2), np.zeros(1)])
    box = handmade.box([-1, -1], [1, 1])
    leaf = {
        "steps": [{"step": "intervals"}],
        "proofs": [{"rule": "mean-split", "objectives": "all"}],
    }
    step = {
        "step": "bound",
        "layer": 0,
        "neurons": [1],
        "multipliers": [{"layer": 0, "neurons": [0], "beta": handmade.floats([-1.0, 1.0])}],
    }
    split = {"split": {"layer": 0, "neuron": 0, "at": handmade.scalar(0.0)}}
    nodes = [split, {**leaf, "steps": [step]}, {**leaf, "steps": [step]}]
    for precision, factor, expected in (
        (512, 1.0, True),
        (512, 1 - 1e-9, False),
        (64, 1 - 1e-9, False),
    ):
        asked = handmade.lipschitz(1.25 * scale * factor)
        assert ask(tmp_path, network, asked, nodes, box, precision=precision).accepted is expected


def test_cancellation(tmp_path: Path) -> None:
    """Two equal neurons of a huge slope, subtracted: the constant 0 is accepted."""
    big = 2.0**27 + 8.0
    weights = [np.array([[big], [big]]), np.array([[1.0, -1.0]])]
    network = handmade.mlp(tmp_path / "n.onnx", weights, [np.full(2, 4 * big), np.zeros(1)])
    leaf = {"proofs": [{"rule": "mean-split", "objectives": "all"}]}
    assert ask(tmp_path, network, handmade.lipschitz(0.0), [leaf], handmade.box([-1], [1])).accepted


def test_slopes_that_have_no_grid() -> None:
    with pytest.raises(Exception, match="LeakyRelu"):
        activations.leaky(1e-30)
    assert activations.leaky(0.25).range(activations.Span(-16, -16), 2) == (-4, -4)


@pytest.mark.parametrize("factor", [-3.0, 2.0])
def test_what_is_off_stays_in_reach_behind_a_factor(
    tmp_path: Path, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 / sqrt(2) of a batch normalisation, times a factor of either sign: blur has none."""
    monkeypatch.setattr(reader, "FINE", 4)
    arrays = {"one": [1.0], "zero": [0.0], "two": [2.0], "factor": [[factor]]}
    parts = [numpy_helper.from_array(np.float32(value), name) for name, value in arrays.items()]
    nodes = [
        helper.make_node(
            "BatchNormalization", ["input", "one", "zero", "zero", "two"], ["n"], epsilon=0.0
        ),
        helper.make_node("Gemm", ["n", "factor"], ["y"]),
    ]
    network = handmade.save(tmp_path / "n.onnx", nodes, parts, [1, 1], "y", [1, 1])
    found = reader.load(network, entry(network)).output
    (weight,), (off,) = ([m.rows[0][0] / (1 << m.bits)] for m in (found.parts[-1], found.blur[-1]))
    assert 0 < abs(weight - factor / np.sqrt(2)) <= off < abs(factor) / 2
