"""ONNX operators that act on each entry, and what networks spell out with them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_models import (
    assert_equals_original,
    assert_jacobian_is_autograd,
    integers,
    model,
    node,
    numbers,
    save,
)

from lipverify.network import Network, load_network
from lipverify.operators import (
    Activation,
    Gelu,
    GeluTanh,
    HardSwish,
    LeakyReLU,
    Mish,
    Pow,
    ReLU,
    Silu,
    Softsign,
)

N = "batch"


def scalar(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def _one(op: str, *, opset: int = 20, shift: float = 0.0, inputs: str = "h", **attributes):
    """A dense layer, then the operator."""
    nodes = [node("Gemm", "x w b", "h"), node(op, inputs, **attributes)]
    weights = {"w": numbers(4, 5), "b": numbers(5) + np.float32(shift)}
    return model(nodes, [N, 4], weights, opset=opset)


def _with(op: str, inputs: str, opset: int = 20, **constants: np.ndarray) -> onnx.ModelProto:
    made = _one(op, opset=opset, inputs=inputs)
    for name, array in constants.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return made


def _positive(op: str, inputs: str = "p", **constants: np.ndarray) -> onnx.ModelProto:
    """The operator behind 1/2 + |x|."""
    nodes = [node("Abs", "x", "a"), node("Add", "a half", "p"), node(op, inputs)]
    return model(nodes, [N, 4], {"half": scalar(0.5), **constants}, opset=20)


PLAIN = {
    "abs": lambda: _one("Abs"),
    "celu": lambda: _one("Celu", alpha=0.7),
    "clip": lambda: _with("Clip", "h low high", low=scalar(-0.5), high=scalar(1.25)),
    "clip-relu6": lambda: _with("Clip", "h low high", low=scalar(0), high=scalar(6)),
    "clip-below": lambda: _with("Clip", "h low", low=scalar(-0.3)),
    "clip-above": lambda: _with("Clip", "h - high", high=scalar(0.4)),
    "clip-nothing": lambda: _one("Clip"),
    "clip-attributes": lambda: _one("Clip", opset=9, min=-0.5, max=0.5),
    "cos": lambda: _one("Cos"),
    "elu": lambda: _one("Elu", alpha=1.5),
    "erf": lambda: _one("Erf"),
    "exp": lambda: _one("Exp"),
    "gelu": lambda: _one("Gelu"),
    "gelu-tanh": lambda: _one("Gelu", approximate="tanh"),
    "hard-sigmoid": lambda: _one("HardSigmoid"),
    "hard-sigmoid-sixth": lambda: _one("HardSigmoid", alpha=1 / 6),
    "hard-swish": lambda: _one("HardSwish"),
    "log": lambda: _positive("Log"),
    "mish": lambda: _one("Mish"),
    "prelu": lambda: _with("PRelu", "h s", s=numbers(5)),
    "prelu-one": lambda: _with("PRelu", "h s", s=scalar(0.2)),
    "pow-2": lambda: _with("Pow", "h p", p=scalar(2)),
    "pow-3-integer": lambda: _with("Pow", "h p", p=integers(3)),
    "pow-half": lambda: _positive("Pow", "p e", e=scalar(0.5)),
    "pow-one": lambda: _with("Pow", "h p", p=scalar(1)),
    "pow-of-a-number": lambda: _with("Pow", "c h", c=scalar(1.7)),
    "reciprocal": lambda: _positive("Reciprocal"),
    "divided-by": lambda: _positive("Div", "c p", c=numbers(4)),
    "selu": lambda: _one("Selu"),
    "selu-own": lambda: _one("Selu", alpha=1.2, gamma=0.9),
    "sin": lambda: _one("Sin"),
    "softplus": lambda: _one("Softplus"),
    "softsign": lambda: _one("Softsign"),
    "sqrt": lambda: _positive("Sqrt"),
}

ROOT2, HALF, ONE = scalar(2**0.5), scalar(0.5), scalar(1)
PI = scalar((2 / np.pi) ** 0.5)


def _spelled(text: str, opset: int = 18, **constants: np.ndarray) -> onnx.ModelProto:
    """Lines "Op inputs -> output" behind a dense layer h."""
    nodes = [node("Gemm", "x w b", "h")]
    for line in text.strip().splitlines():
        call, output = line.split("->")
        op, inputs = call.strip().split(" ", 1)
        nodes.append(node(op, inputs, output.strip()))
    weights = {"w": numbers(4, 5), "b": numbers(5), **constants}
    return model(nodes, [N, 4], weights, opset=opset)


FUSED = {
    "gelu-div": (
        "Div h r -> a\nErf a -> e\nAdd e one -> s\nMul h s -> m\nMul m half -> y",
        {"r": ROOT2, "one": ONE, "half": HALF},
        Gelu,
    ),
    "gelu-mul": (
        "Mul h r -> a\nErf a -> e\nAdd one e -> s\nMul h half -> g\nMul g s -> y",
        {"r": scalar(0.70710677), "one": ONE, "half": HALF},
        Gelu,
    ),
    "gelu-half-inside": (
        "Mul h r -> a\nErf a -> e\nMul e half -> f\nAdd f half -> s\nMul s h -> y",
        {"r": scalar(0.70710677), "half": HALF},
        Gelu,
    ),
    "gelu-tanh-pow": (
        "Pow h three -> c\nMul c k -> d\nAdd h d -> i\nMul i p -> v\nTanh v -> t\n"
        "Add t one -> s\nMul h half -> g\nMul g s -> y",
        {"three": scalar(3), "k": scalar(0.044715), "p": PI, "one": ONE, "half": HALF},
        GeluTanh,
    ),
    "gelu-tanh-mul": (
        "Mul h h -> q\nMul q h -> c\nMul c k -> d\nAdd h d -> i\nMul i p -> v\nTanh v -> t\n"
        "Add one t -> s\nMul h s -> m\nMul m half -> y",
        {"k": scalar(0.044715), "p": PI, "one": ONE, "half": HALF},
        GeluTanh,
    ),
    "silu": ("Sigmoid h -> s\nMul h s -> y", {}, Silu),
    "swish-1.702": (
        "Mul h k -> v\nSigmoid v -> s\nMul s h -> y",
        {"k": scalar(1.702)},
        Silu,
    ),
    "silu-by-tanh": (
        "Mul h half -> v\nTanh v -> t\nAdd t one -> s\nMul s h -> m\nMul m half -> y",
        {"one": ONE, "half": HALF},
        Silu,
    ),
    "silu-by-exp": (
        "Neg h -> n\nExp n -> e\nAdd e one -> d\nDiv h d -> y",
        {"one": ONE},
        Silu,
    ),
    "mish": ("Softplus h -> s\nTanh s -> t\nMul h t -> y", {}, Mish),
    "hard-swish": (
        "Add h three -> a\nClip a zero six -> c\nMul h c -> m\nDiv m six -> y",
        {"three": scalar(3), "zero": scalar(0), "six": scalar(6)},
        HardSwish,
    ),
    "hard-swish-by-sigmoid": ("HardSigmoid h -> s\nMul h s -> y", {}, HardSwish),
    "softsign": ("Abs h -> a\nAdd a one -> d\nDiv h d -> y", {"one": ONE}, Softsign),
    "square": ("Mul h h -> y", {}, Pow),
    "cube": ("Mul h h -> s\nMul s h -> y", {}, Pow),
}


@pytest.mark.parametrize("name", PLAIN)
def test_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    _check(PLAIN[name](), tmp_path)


@pytest.mark.parametrize("name", FUSED)
def test_spelled_out(name: str, tmp_path: Path) -> None:
    """Recognised as one activation, and equal to what is spelled out."""
    text, constants, expected = FUSED[name]
    network = _check(_spelled(text, **constants), tmp_path)
    assert _activations(network) == [expected]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clip", [ReLU, ReLU]),
        ("clip-below", [ReLU]),
        ("clip-above", [ReLU]),
        ("prelu", [ReLU]),
        ("prelu-one", [LeakyReLU]),
        ("clip-nothing", []),
        ("hard-sigmoid", [ReLU, ReLU]),
    ],
)
def test_piecewise_linear_ones_are_split_by_every_method(name, expected, tmp_path) -> None:
    assert _activations(load_network(save(PLAIN[name](), tmp_path))) == expected


NEARLY = {
    "erf-minus": ("Erf h -> e\nSub e one -> s\nMul h s -> y", {"one": ONE}),
    "shifted": ("Add h one -> a\nSigmoid h -> s\nMul a s -> y", {"one": ONE}),
    "other-entries": ("Mul h k -> v\nSigmoid v -> s\nMul h s -> y", {"k": numbers(5)}),
    "uneven-hard-swish": (
        "Add h one -> a\nClip a zero six -> c\nMul h c -> y",
        {"one": ONE, "zero": scalar(0), "six": scalar(6)},
    ),
    "other-cubic": (
        "Pow h three -> c\nAdd h c -> i\nTanh i -> t\nAdd t one -> s\nMul h s -> y",
        {"three": scalar(3), "one": ONE},
    ),
}


@pytest.mark.parametrize("name", NEARLY)
def test_what_is_nearly_known_is_a_product(name: str, tmp_path: Path) -> None:
    text, constants = NEARLY[name]
    network = _check(_spelled(text, **constants), tmp_path)
    assert len(network.graph.products) == 1


def _activations(network: Network) -> list[type[Activation]]:
    return [type(node.operator) for node in network.graph.activations]


def _check(proto: onnx.ModelProto, folder: Path) -> Network:
    network = load_network(save(proto, folder))
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)
    return network


def test_points_outside_the_domain_are_not_compared(tmp_path: Path) -> None:
    """log(x) is NaN at negative points for both; where both are numbers, they agree."""
    network = load_network(save(model([node("Log", "x")], [N, 1]), tmp_path))
    x = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    torch.testing.assert_close(network.original(x), torch.log(x), rtol=1e-6, atol=1e-6)
