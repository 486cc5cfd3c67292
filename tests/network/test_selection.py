"""Layers that pick entries by their size, from torch and from ONNX, against the originals."""

from collections.abc import Callable
from functools import cache
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
from torch import Tensor, nn

from lipverify.errors import NetworkError
from lipverify.graph import output
from lipverify.network import Network, load_network
from lipverify.network.onnx_selection import SELECTION_CONVERTERS as ONNX_CONVERTERS
from lipverify.network.selection import merge_exchange
from lipverify.network.torch_selection import SELECTION_CONVERTERS as TORCH_CONVERTERS
from lipverify.operators import ReLU
from tests.oracles.budget import quickly
from tests.selection_modules import (
    GroupSort,
    HouseholderOfAngles,
    HouseholderOfPairs,
    HouseholderOfVector,
    MaxMin,
)

N = "batch"
VECTOR = (6,)
SIGNAL = (3, 9)
IMAGE = (2, 7, 6)
VOLUME = (1, 4, 4, 3)

TORCH: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "pool-1d": (nn.MaxPool1d(2), SIGNAL),
    "pool-1d-all": (nn.MaxPool1d(3, 2, 1, dilation=2), SIGNAL),
    "pool-2d": (nn.MaxPool2d(2), IMAGE),
    "pool-2d-one": (nn.MaxPool2d(1), IMAGE),
    "pool-2d-all": (nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2)), IMAGE),
    "pool-2d-ceil": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 6, 6)),
    "pool-3d": (nn.MaxPool3d(2), VOLUME),
    "adaptive-1d": (nn.AdaptiveMaxPool1d(4), SIGNAL),
    "adaptive-2d": (nn.AdaptiveMaxPool2d((2, 4)), IMAGE),
    "adaptive-3d": (nn.AdaptiveMaxPool3d(2), VOLUME),
    "max-min": (MaxMin(), VECTOR),
    "max-min-channels": (MaxMin(), (4, 2, 3)),
    "max-min-by-dimension": (
        lambda x: torch.stack([x.view(-1, 3, 2).max(2)[0], x.view(-1, 3, 2).min(2).values], 2),
        VECTOR,
    ),
    "group-sort": (GroupSort(3), VECTOR),
    "sort-descending": (lambda x: torch.sort(x, dim=1, descending=True).values, VECTOR),
    "sort-channels": (lambda x: torch.sort(x, dim=1).values, (3, 2, 2)),
    "msort": (lambda x: torch.msort(x[0]).unsqueeze(0), (3, 2)),
    "top-2": (lambda x: x.topk(2)[0], VECTOR),
    "least-2": (lambda x: x.topk(2, largest=False)[0], VECTOR),
    "amax": (lambda x: x.amax((1, 2)), IMAGE),
    "amin-keep": (lambda x: x - x.amin(-1, keepdim=True), SIGNAL),
    "max-of-all": (lambda x: (x.max() - x).reshape(1, -1), VECTOR),
    "fmax": (lambda x: torch.fmax(x, x.flip(1)) + torch.fmin(x, 2 * x), VECTOR),
    "broadcast": (lambda x: torch.maximum(x, x[:, :1]), VECTOR),
    "constant": (lambda x: torch.maximum(x, torch.linspace(-1, 1, 6)), VECTOR),
    "constant-first": (lambda x: torch.minimum(torch.tensor(0.25), x), VECTOR),
    "same": (lambda x: torch.maximum(x, x) - 2 * torch.max(x, x.roll(1, 1)), VECTOR),
    "maxout": (lambda x: x.view(-1, 2, 3).max(2).values, VECTOR),
    "householder-angles": (HouseholderOfAngles(3), VECTOR),
    "householder-vector": (HouseholderOfVector(6), VECTOR),
    "householder-pairs": (HouseholderOfPairs(3), VECTOR),
    "where": (lambda x: torch.where(x > 0.5, 2 * x - 1, x * 0 + 0.0), VECTOR),
    "where-not": (lambda x: torch.where(~(x >= 0.5), x, 2 * x - 0.5), VECTOR),
    "where-branches": (lambda x: torch.where(x < x.flip(1), x, x.flip(1)), VECTOR),
    "masked-fill": (lambda x: x.masked_fill(x <= 0, 0.0), VECTOR),
    "times-comparison": (lambda x: x * (x > 0) - 0.5 * x * (x <= 0).float(), VECTOR),
}


class Then(nn.Module):
    """Entries in a known disorder, then a call."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x * torch.linspace(1.0, -1.5, x.shape[-1]) + 0.125)


@cache
def loaded(name: str) -> Network:
    call, shape = TORCH[name]
    torch.manual_seed(0)
    return load_network(Then(call), torch.zeros(1, *shape))


@pytest.mark.parametrize("name", quickly(list(TORCH), 20))
def test_torch_module(name: str) -> None:
    network = loaded(name)
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)


@pytest.mark.slow
def test_every_torch_call_is_tried() -> None:
    """By what torch's export makes of the modules above."""
    seen = {info.operator for name in TORCH for info in loaded(name).nodes}
    spelled_otherwise = {
        "aten.max_pool1d_with_indices",
        "aten.max_pool2d_with_indices",
        "aten.max_pool3d_with_indices",
    }
    assert set(TORCH_CONVERTERS) - spelled_otherwise <= seen


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: x * (x > 1), "jumps"),
        (lambda x: torch.where(x > 0, x, x + 1e-3), "jumps"),
        (lambda x: (x > 0).float() + x, "jumps"),
        (lambda x: torch.relu(x * (x > 0.5)), "jumps"),
        (lambda x: (x > 0) * 1.0 * (x < 1), "two comparisons"),
        (lambda x: (x * (x > 0.5)) + (x * (x < 0.25)), "different comparisons"),
        (lambda x: x.max(1)[1].float().reshape(1, 1) + x, "not supported|is used"),
        (lambda x: x.topk(2, sorted=False)[0], "order"),
    ],
)
def test_what_jumps_is_refused(call: Callable[[Tensor], Tensor], match: str) -> None:
    with pytest.raises(NetworkError, match=match):
        load_network(Then(call), torch.zeros(1, 3))


def _pool(shape=(N, 2, 7, 6), opset: int = 13, op: str = "MaxPool", **given) -> onnx.ModelProto:
    return model([node(op, "x", **given)], shape, opset=opset, output_rank=len(shape))


def _of(op: str, inputs: str, shape=(N, 4), rank: int = 2, opset: int = 13, **given):
    constants = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    attributes = {name: value for name, value in given.items() if name not in constants}
    nodes = [node("Neg", "x", "m"), node("MatMul", "x w", "h")] if "h" in inputs.split() else []
    weights = constants | ({"w": numbers(4, 4)} if nodes else {})
    return model(
        [*nodes, node(op, inputs, "y i" if op == "TopK" else "y", **attributes)],
        shape,
        weights,
        opset=opset,
        output_rank=rank,
    )


def _max_min() -> onnx.ModelProto:
    """As torch exports chunk, max, min, cat."""
    nodes = [
        node("MatMul", "x w", "h"),
        node("Split", "h", "a b", axis=1),
        node("Max", "a b", "p"),
        node("Min", "a b", "q"),
        node("Concat", "p q", axis=1),
    ]
    return model(nodes, (N, 4), {"w": numbers(4, 4)})


def _group_sort() -> onnx.ModelProto:
    nodes = [
        node("Reshape", "x s", "g"),
        node("TopK", "g k", "v i", axis=2, largest=0),
        node("Reshape", "v t"),
    ]
    constants = {"s": integers(-1, 2, 3), "k": integers(3), "t": integers(-1, 6)}
    return model(nodes, (N, 6), constants)


def _householder(compare: str) -> onnx.ModelProto:
    """x where v.x > 0, x - 2 v (v.x) elsewhere."""
    v = np.array([[0.6], [0.0], [-0.8]], dtype=np.float32)
    nodes = [
        node("MatMul", "x v", "z"),
        node(compare, "z zero", "c"),
        node("Mul", "z two", "d"),
        node("Sub", "x d", "r"),
        node("Where", "c x r" if compare.startswith("Greater") else "c r x"),
    ]
    return model(nodes, (N, 3), {"v": v, "two": 2 * v.T, "zero": np.zeros(1, np.float32)})


def _by_product() -> onnx.ModelProto:
    """x (x > 0) + 0.5 x not(x > 0), with casts."""
    nodes = [
        node("Greater", "x zero", "c"),
        node("Not", "c", "n"),
        node("Cast", "c", "cf", to=1),
        node("Cast", "n", "nf", to=1),
        node("Mul", "x cf", "a"),
        node("Mul", "nf x", "b"),
        node("Mul", "b half", "bh"),
        node("Add", "a bh"),
    ]
    constants = {"zero": np.zeros(1, np.float32), "half": np.full(1, 0.5, np.float32)}
    return model(nodes, (N, 3), constants)


ONNX: dict[str, Callable[[], onnx.ModelProto]] = {
    "pool": lambda: _pool(kernel_shape=[2, 2], strides=[2, 2]),
    "pool-1d": lambda: _pool((N, 3, 9), kernel_shape=[3], strides=[2], pads=[1, 0]),
    "pool-all": lambda: _pool(
        kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 0, 1], dilations=[1, 2]
    ),
    "pool-ceil": lambda: _pool(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "pool-ceil-pads": lambda: _pool(
        (N, 2, 6, 6), kernel_shape=[2, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1
    ),
    "pool-same": lambda: _pool(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "pool-same-lower": lambda: _pool(kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    "pool-global": lambda: _pool(op="GlobalMaxPool"),
    "max": lambda: _of("Max", "h x m"),
    "min": lambda: _of("Min", "h x"),
    "max-constant": lambda: _of("Max", "x c h d", c=numbers(4), d=numbers(1, 1)),
    "min-constant": lambda: _of("Min", "c x d", c=numbers(4), d=numbers(4, seed=1)),
    "max-of-one": lambda: _of("Max", "x"),
    "reduce-max": lambda: _of("ReduceMax", "x", (N, 3, 4), 2, axes=[1], keepdims=0),
    "reduce-max-18": lambda: _of("ReduceMax", "x a", (N, 3, 4), 3, 18, a=integers(-1)),
    "reduce-min": lambda: _of("ReduceMin", "x", (N, 3, 4), 3, axes=[2, 1]),
    "reduce-nothing": lambda: _of("ReduceMax", "x", opset=18, noop_with_empty_axes=1),
    "top-k": lambda: _of("TopK", "x k", k=integers(3)),
    "top-k-old": lambda: _of("TopK", "x", opset=9, k=2, axis=-1),
    "max-min": _max_min,
    "group-sort": _group_sort,
    "householder": lambda: _householder("Greater"),
    "householder-or-equal": lambda: _householder("GreaterOrEqual"),
    "householder-less": lambda: _householder("Less"),
    "householder-less-or-equal": lambda: _householder("LessOrEqual"),
    "by-product": _by_product,
}


@pytest.mark.parametrize("name", ONNX)
def test_onnx_file(name: str, tmp_path: Path) -> None:
    network = load_network(save(ONNX[name](), tmp_path))
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)


def test_every_onnx_operator_is_tried() -> None:
    tried = {proto.op_type for make in ONNX.values() for proto in make().graph.node}
    assert set(ONNX_CONVERTERS) <= tried


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: _pool(kernel_shape=[8, 2]), "kernel|shape"),
        (lambda: _of("TopK", "x k", k=integers(2), sorted=0), "order"),
        (
            lambda: _pool(kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
            "padding alone",
        ),
        (lambda: _jump(), "jumps"),
    ],
)
def test_onnx_refusals(make: Callable[[], onnx.ModelProto], match: str, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=match):
        load_network(save(make(), tmp_path))


def _jump() -> onnx.ModelProto:
    """x above 0.5, -x below."""
    nodes = [node("Greater", "x c", "g"), node("Neg", "x", "n"), node("Where", "g x n")]
    return model(nodes, (N, 3), {"c": np.full((1, 3), 0.5, np.float32)})


@pytest.mark.parametrize("size", range(1, 11))
def test_merge_exchange_sorts_everything(size: int) -> None:
    """By the 0-1 principle (Knuth 1998, section 5.3.4): every vector of zeros and ones."""
    table = (torch.arange(2**size).unsqueeze(1) >> torch.arange(size)) & 1
    for step in merge_exchange(size):
        assert len({place for pair in step for place in pair}) == 2 * len(step)
        first, second = table[:, [i for i, _ in step]], table[:, [j for _, j in step]]
        table[:, [i for i, _ in step]] = torch.maximum(first, second)
        table[:, [j for _, j in step]] = torch.minimum(first, second)
    assert bool((table[:, 1:] <= table[:, :-1]).all())


def test_values_at_ties() -> None:
    """Equal entries, and infinities of size: maxima and sorted values are exact."""
    network = load_network(GroupSort(3), torch.zeros(1, 6, dtype=torch.float64))
    x = torch.tensor([[1.0, 1.0, 1.0, -0.0, 0.0, -1e300], [1e300, 1.0, -1e300, 5.0, 5.0, 1e-300]])
    x = x.to(torch.float64)
    expected = x.view(2, 2, 3).sort(2)[0].flatten(1)
    assert torch.equal(output(network.graph, x), expected)


def test_one_gate_for_each_pair() -> None:
    """Of the larger and the smaller, of both halves of a Householder pair, of shared windows."""

    def gates(call: Callable[[Tensor], Tensor], *shape: int) -> int:
        graph = load_network(Then(call), torch.zeros(1, *shape)).graph
        return sum(n.size for n in graph.activations if isinstance(n.operator, ReLU))

    assert gates(MaxMin(), 6) == 3
    assert gates(HouseholderOfAngles(3), 6) == 3
    assert gates(HouseholderOfVector(6), 6) == 1
    assert gates(nn.MaxPool1d(2), 1, 8) == 4
    assert gates(nn.MaxPool2d(2), 1, 4, 4) == 8 + 4
    assert gates(lambda x: torch.maximum(x, x.flip(1)) - torch.minimum(x.flip(1), x), 4) == 4
