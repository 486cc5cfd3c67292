"""The checker's reader against the solver's and onnxruntime, for every operator it knows."""

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from lipverify.checker import Rejected, Unreadable
from lipverify.checker.activations import ACTIVATIONS
from lipverify.checker.archive import Clock
from lipverify.checker.forward import Problem
from lipverify.checker.network import MOVES, OPERATORS, load
from lipverify.checker.region import Region
from lipverify.checker.witness import evaluate as evaluated
from lipverify.graph.evaluate import output
from lipverify.network import load_network
from tests.checker import handmade

SPECS = Path(__file__).resolve().parents[2] / "specs"


def entry(network: Path, **more: Any) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(network.read_bytes()).hexdigest(), **more}


def evaluate(network: Path, x: np.ndarray, **more: Any) -> tuple[np.ndarray, float]:
    """Outputs at x, and the width of their enclosure."""
    point = [Fraction(float(value)) for value in x.ravel()]
    ends = [int(value * 2**128) for value in point]
    net = load(network, entry(network, **more))
    problem = Problem(net, Region(ends, ends, None, None), 128, Clock(60))
    there = evaluated(problem, point, [])
    lower, upper = (np.array(ends, dtype=object) for ends in there.outputs)
    one = 1 << there.problem.bits
    return np.array([a / one for a in lower]), max(upper - lower) / one


def agree(network: Path, shape: list[int]) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    found, width = evaluate(network, x)
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    original = session.run(None, {session.get_inputs()[0].name: x})[0].ravel()
    assert found == pytest.approx(original, abs=1e-4, rel=1e-4)
    graph = load_network(str(network)).graph
    solved = output(graph, torch.as_tensor(x, dtype=torch.float64).reshape(1, -1))
    assert found == pytest.approx(solved.ravel().numpy(), abs=1e-9, rel=1e-9)
    assert width < 1e-30


@pytest.mark.parametrize(
    "network", sorted((SPECS / "networks").glob("*.onnx")), ids=lambda path: path.stem
)
def test_shipped_networks(network: Path) -> None:
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    agree(network, [1, *session.get_inputs()[0].shape[1:]])


def constant(name: str, *shape: int, seed: int = 0, positive: bool = False) -> Any:
    values = np.random.default_rng([seed, *name.encode()]).standard_normal(shape).astype(np.float32)
    return numpy_helper.from_array(np.abs(values) + 0.1 if positive else values, name)


def whole(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def node(kind: str, *inputs: str, to: str, **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [to], **attributes)


SMALL: dict[str, tuple[list[int], list[Any], list[Any]]] = {
    "residual": (
        [1, 4],
        [
            node("MatMul", "input", "w", to="a"),
            node("Add", "c", "a", to="z"),
            node("Relu", "z", to="r"),
            node("MatMul", "r", "w", to="s"),
            node("Sub", "s", "input", to="t"),
            node("Tanh", "t", to="u"),
            node("Concat", "u", "r", to="v", axis=1),
            node("Mul", "k", "v", to="m"),
            node("Neg", "m", to="n"),
            node("Div", "n", "d", to="output"),
        ],
        [constant("w", 4, 4), constant("c", 4), constant("k", 8), constant("d", 1, positive=True)],
    ),
    "convolutions": (
        [1, 2, 6, 5],
        [
            node("Conv", "input", "w", "c", to="a", pads=[1, 0, 2, 1], strides=[2, 1], group=2),
            node("BatchNormalization", "a", "g", "b", "m", "v", to="n", epsilon=1e-3),
            node("LeakyRelu", "n", to="r"),
            node(
                "AveragePool",
                "r",
                to="p",
                kernel_shape=[2, 2],
                pads=[1, 1, 0, 0],
                count_include_pad=0,
            ),
            node("Conv", "p", "x", to="y", dilations=[1, 2]),
            node("Clip", "y", "low", "high", to="z"),
            node("GlobalAveragePool", "z", to="q"),
            node("Squeeze", "q", "axes", to="s"),
            node("Unsqueeze", "s", "axes", to="t"),
            node("Flatten", "t", to="output"),
        ],
        [
            constant("w", 4, 1, 3, 2),
            constant("c", 4),
            constant("g", 4),
            constant("b", 4),
            constant("m", 4),
            constant("v", 4, positive=True),
            constant("x", 3, 4, 2, 2),
            numpy_helper.from_array(np.float32(-0.5), "low"),
            numpy_helper.from_array(np.float32(0.75), "high"),
            whole("axes", 2, 3),
        ],
    ),
    "layout": (
        [1, 2, 3, 2],
        [
            node("Transpose", "input", to="a", perm=[0, 3, 1, 2]),
            node("Reshape", "a", "shape", to="b"),
            node("Abs", "b", to="c"),
            node("Gemm", "c", "w", "k", to="d", transB=1, alpha=0.5, beta=2.0),
            node("Identity", "d", to="e"),
            node("Dropout", "e", to="f"),
            node("Sigmoid", "f", to="g"),
            node("Constant", to="one", value=constant("one", 1, 3)),
            node("Add", "g", "one", to="output"),
        ],
        [whole("shape", 0, -1), constant("w", 3, 12), constant("k", 3)],
    ),
    "moves": (
        [1, 2, 3, 4],
        [
            node("Slice", "input", "starts", "ends", "axes", "steps", to="a"),
            node("Gather", "a", "picked", to="b", axis=1),
            node("Pad", "b", "pads", to="c"),
            node("Tile", "c", "repeats", to="d"),
            node("Expand", "d", "shape", to="e"),
            helper.make_node("Split", ["e", "sizes"], ["f", "g"], axis=3),
            node("Relu", "f", to="h"),
            helper.make_node("Cast", ["h"], ["i"], to=1),
            node("Sum", "h", "i", "k", to="j"),
            node("ReduceSum", "j", "last", to="l", keepdims=0),
            node("ReduceMean", "g", to="m", axes=[-1, 1], keepdims=1),
            node("Squeeze", "m", to="n"),
            node("Tanh", "n", to="o"),
            node("MatMul", "o", "v", to="p"),
            node("Flatten", "l", to="q", axis=-1),
            node("Add", "q", "p", to="output"),
        ],
        [
            whole("starts", -1, 0),
            whole("ends", -(2**62), 3),
            whole("axes", 3, -2),
            whole("steps", -2, 2),
            whole("picked", 1, 0, -1),
            whole("pads", 0, 1, 0, 1, 0, 0, 0, 2),
            whole("repeats", 1, 1, 2, 1),
            whole("shape", 1, 4, 4, 1),
            whole("sizes", 2, 3),
            whole("last", -1),
            constant("k", 1, 4, 4, 1),
            constant("v", 4),
        ],
    ),
    "blocks": (
        [1, 4, 2, 3],
        [
            node("DepthToSpace", "input", to="a", blocksize=2),
            node("SpaceToDepth", "a", to="b", blocksize=2),
            helper.make_node("Split", ["b"], ["c", "d"], axis=1),
            node("Mul", "c", "two", to="e"),
            node("Concat", "e", "d", "x", to="f", axis=1),
            node("MatMul", "f", "w", to="g"),
            node("Gemm", "u", "v", to="h", transA=1, alpha=0.25),
            node("Mul", "h", "g", to="output"),
        ],
        [
            constant("two", 1),
            constant("x", 1, 1, 2, 3),
            constant("w", 5, 3, 2),
            constant("u", 3, 2),
            constant("v", 3, 2),
        ],
    ),
    "activations": (
        [1, 6],
        [
            node("Relu", "input", to="a"),
            node("Abs", "a", to="b"),
            node("LeakyRelu", "b", to="c", alpha=-0.25),
            node("Elu", "c", to="d", alpha=0.5),
            node("Selu", "d", to="e"),
            node("Celu", "e", to="f", alpha=3.0),
            node("Softplus", "f", to="g"),
            node("Softsign", "g", to="h"),
            node("HardSwish", "h", to="i"),
            node("HardSigmoid", "i", to="j", alpha=0.5),
            node("Exp", "j", to="k"),
            node("Tanh", "k", to="l"),
            node("Sigmoid", "l", to="m"),
            node("Clip", "m", "", "high", to="n"),
            node("Clip", "n", "low", to="o"),
            node("Clip", "o", to="output"),
        ],
        [
            numpy_helper.from_array(np.float32(0.5), "low"),
            numpy_helper.from_array(np.float32(0.75), "high"),
        ],
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_operators(tmp_path: Path, name: str) -> None:
    shape, nodes, initializers = SMALL[name]
    network = handmade.save(tmp_path / "n.onnx", nodes, initializers, shape, "output", [1, None])  # type: ignore[list-item]
    agree(network, shape)


def test_every_operator_is_tested() -> None:
    used = {node.op_type for _, nodes, _ in SMALL.values() for node in nodes}
    assert used == {*OPERATORS, *MOVES, *ACTIVATIONS, "Clip", "HardSigmoid"}


def test_preprocessing_and_fixed_inputs(tmp_path: Path) -> None:
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 2, [3, 4, 2])
    x = np.array([0.3, -1.2, 2.5])
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.7])
    found, _ = evaluate(
        network, x, preprocessing={"mean": handmade.floats(mean), "std": handmade.floats(std)}
    )
    inner, _ = evaluate(network, (x - mean) / std)
    assert found == pytest.approx(inner, abs=1e-12)
    found, _ = evaluate(
        network, x, preprocessing={"scale": handmade.floats([2.0]), "offset": handmade.floats(mean)}
    )
    assert found == pytest.approx(evaluate(network, 2 * x + mean)[0], abs=1e-12)


def test_what_is_refused(tmp_path: Path) -> None:
    network, _, _ = handmade.random_mlp(tmp_path / "n.onnx", 2, [3, 4, 2])
    with pytest.raises(Rejected, match="another network"):
        load(network, {"sha256": "0" * 64})
    for kind, inputs in (("Softmax", ["input"]), ("Mul", ["input", "input"]), ("Foo", ["input"])):
        nodes = [helper.make_node(kind, inputs, ["output"])]
        bad = handmade.save(tmp_path / "bad.onnx", nodes, [], [1, 3], "output", [1, 3])
        with pytest.raises(Unreadable, match=kind):
            load(bad, entry(bad))
    for nodes in (
        [node("Pad", "input", "pads", "three", to="output")],
        [node("Pad", "input", "pads", to="output", mode="what")],
        [helper.make_node("Cast", ["input"], ["output"], to=7)],
        [helper.make_node("Cast", ["three"], ["t"], to=9), node("Mul", "input", "t", to="output")],
        [node("Gather", "pads", "pads", to="t"), node("Add", "t", "input", to="output")],
        [node("Add", "input", "three", to="output", axis=0, broadcast=1)],
        [node("Dropout", "input", "half", "yes", to="output")],
        [node("Relu", "three", to="t"), node("Add", "input", "t", to="output")],
        [node("Relu", "input", "input", to="output")],
        [node("Div", "three", "input", to="output")],
        [node("Flatten", "nothing", to="output")],
        [node("DepthToSpace", "input", to="output", blocksize=2)],
        [helper.make_node("Relu", ["input"], ["output"], domain="com.example")],
    ):
        stored = [
            whole("pads", 0, 1, 0, 0),
            numpy_helper.from_array(np.float32(3), "three"),
            numpy_helper.from_array(np.float32(0.5), "half"),
            numpy_helper.from_array(np.array(True), "yes"),
        ]
        bad = handmade.save(tmp_path / "bad.onnx", nodes, stored, [1, 3], "output", [1, 3])
        with pytest.raises(Unreadable, match=nodes[0].op_type):
            load(bad, entry(bad))
    model = onnx.load(str(network))
    model.functions.append(
        helper.make_function("", "Relu", ["x"], ["y"], [node("Neg", "x", to="y")], [])
    )
    bad.write_bytes(model.SerializeToString())
    with pytest.raises(Unreadable, match="functions"):
        load(bad, entry(bad))
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"\x08" * 50)
    with pytest.raises((Unreadable, Rejected)):
        load(junk, entry(junk))


@pytest.mark.parametrize("operator", ["Elu", "HardSigmoid", "LeakyRelu", "Selu", "Celu"])
def test_defaults_of_attributes_are_the_solver_s(tmp_path: Path, operator: str) -> None:
    """float32 numbers, as in onnxruntime: 0.01 and 0.2 are none in float64."""
    node = helper.make_node(operator, ["input"], ["y"])
    network = handmade.save(tmp_path / "n.onnx", [node], [], [1, 4], "y", [1, 4])
    x = np.array([[-1.75, -0.625, 0.5, 2.25]], dtype=np.float32)
    found, _ = evaluate(network, x)
    solved = output(load_network(str(network)).graph, torch.as_tensor(x, dtype=torch.float64))
    assert found == pytest.approx(solved.ravel().numpy(), abs=1e-13, rel=1e-13)
