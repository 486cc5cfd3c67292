"""ONNX operators that multiply branches, and recurrent ones, against onnxruntime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_models import (
    assert_equals_original,
    assert_jacobian_is_autograd,
    integers,
    model,
    node,
    numbers,
    save,
)

from lipverify.errors import UnsupportedOperator
from lipverify.network import load_network

N = "batch"
SEQUENCE = (N, 4, 3)
HIDDEN = 2


def _matrices(nodes: list[onnx.NodeProto], rank: int = 3, **weights: np.ndarray):
    """x [N, 4, 3] times two weights of shape [3, 5]: branches a and b."""
    start = [node("MatMul", "x w", "a"), node("MatMul", "x v", "b")]
    both = {"w": numbers(3, 5), "v": numbers(3, 5, seed=1), **weights}
    return model([*start, *nodes], SEQUENCE, both, output_rank=rank)


def _one(op: str, rank: int = 3, opset: int = 13, inputs: str = "h", **attributes):
    """One operator on a hidden tensor [N, 4, 3]."""
    weights = {"s": numbers(3), "t": numbers(3, seed=1), "four": numbers(4), "u": numbers(4)}
    weights |= {"last": integers(-1), "both": integers(1, 2)}
    nodes = [node("Tanh", "x", "h"), node(op, inputs, **attributes)]
    return model(nodes, SEQUENCE, weights, opset=opset, output_rank=rank)


def _recurrent(
    op: str, gates: int, inputs: str = "q w r b", shown: str = "y", opset: int = 14, **attributes
) -> onnx.ModelProto:
    """A sequence [N, 4, 3], turned for the layer; `shown` is one of its outputs."""
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    weights = {
        "w": 0.5 * numbers(ways, gates * HIDDEN, 3),
        "r": 0.5 * numbers(ways, gates * HIDDEN, HIDDEN),
        "b": 0.5 * numbers(ways, 2 * gates * HIDDEN),
        "h0": 0.5 * numbers(ways, 1, HIDDEN),
        "c0": 0.5 * numbers(ways, 1, HIDDEN, seed=1),
        "lengths": np.array([4], dtype=np.int32),
    }
    turn = node("Transpose", "x", "q", perm=[1, 0, 2])
    outputs = ["states", "hidden", "cell"][: 3 if op == "LSTM" else 2]
    layer = node(op, inputs, " ".join(outputs), hidden_size=HIDDEN, **attributes)
    last = node("Identity", outputs[outputs.index(shown)] if shown != "y" else "states", "y")
    shape = (1, 4, 3)  # the layer's batch is not the first dimension
    return model(
        [turn, layer, last], shape, weights, opset=opset, output_rank=4 if shown == "y" else 3
    )


CASES: dict[str, Callable[[], onnx.ModelProto]] = {
    "mul": lambda: _matrices([node("Mul", "a b")]),
    "mul-broadcast": lambda: _matrices(
        [node("ReduceSum", "b one", "c", keepdims=1), node("Mul", "a c")], one=integers(1)
    ),
    "div": lambda: _matrices(
        [
            node("Mul", "b b", "c"),
            node("Add", "c one", "d"),
            node("Div", "a d"),
        ],
        one=np.ones(1, dtype=np.float32),
    ),
    "gemm": lambda: model(
        [
            node("Reshape", "x s", "a"),
            node("Tanh", "a", "b"),
            node("Gemm", "a b c", transB=1, alpha=0.5),
        ],
        [1, 6],
        {"s": integers(2, 3), "c": numbers(2)},
    ),
    "matmul": lambda: _matrices(
        [node("Transpose", "b", "c", perm=[0, 2, 1]), node("MatMul", "a c")]
    ),
    "einsum": lambda: _matrices([node("Einsum", "a b", equation="bik,bjk->bji")]),
    "einsum-diagonal-product": lambda: _matrices(
        [node("Einsum", "a b", equation="bik,bik->bi")], rank=2
    ),
    "softmax": lambda: _one("Softmax", inputs="h", axis=-1),
    "softmax-middle": lambda: _one("Softmax", axis=1),
    "softmax-old": lambda: _one("Softmax", opset=11, axis=1),
    "log-softmax": lambda: _one("LogSoftmax"),
    "log-sum-exp": lambda: _one("ReduceLogSumExp", axes=[1]),
    "log-sum-exp-all": lambda: _one("ReduceLogSumExp", 1, keepdims=0),
    "sum-square": lambda: _one("ReduceSumSquare", 2, axes=[1], keepdims=0),
    "l2": lambda: _one("ReduceL2", axes=[2]),
    "l2-operand": lambda: _one("ReduceL2", opset=18, inputs="h both"),
    "layer-norm": lambda: _one("LayerNormalization", opset=17, inputs="h s t"),
    "layer-norm-no-bias": lambda: _one("LayerNormalization", opset=17, inputs="h s", epsilon=0.1),
    "rms-norm": lambda: _one("RMSNormalization", opset=23, inputs="h s"),
    "instance-norm": lambda: _one("InstanceNormalization", inputs="h four u"),
    "group-norm": lambda: _one(
        "GroupNormalization", opset=21, inputs="h four u", num_groups=2, epsilon=0.01
    ),
    "spelled-layer-norm": lambda: _matrices(
        [
            node("ReduceMean", "a", "m", axes=[-1]),
            node("Sub", "a m", "c"),
            node("Pow", "c two", "q"),
            node("ReduceMean", "q", "spread", axes=[-1]),
            node("Add", "spread eps", "e"),
            node("Sqrt", "e", "r"),
            node("Div", "c r"),
        ],
        two=np.array(2, dtype=np.float32),
        eps=np.array(0.1, dtype=np.float32),
    ),
    "spelled-softmax": lambda: _matrices(
        [
            node("Exp", "a", "e"),
            node("ReduceSum", "e last", "s", keepdims=1),
            node("Div", "e s"),
        ],
        last=integers(-1),
    ),
    "rnn": lambda: _recurrent("RNN", 1),
    "rnn-relu": lambda: _recurrent("RNN", 1, activations=["Relu"]),
    "rnn-reverse": lambda: _recurrent("RNN", 1, direction="reverse", shown="hidden"),
    "rnn-no-bias": lambda: _recurrent("RNN", 1, "q w r"),
    "lstm": lambda: _recurrent("LSTM", 4),
    "lstm-states": lambda: _recurrent("LSTM", 4, "q w r b lengths h0 c0", shown="cell"),
    "lstm-both-ways": lambda: _recurrent("LSTM", 4, direction="bidirectional"),
    "gru": lambda: _recurrent("GRU", 3),
    "gru-linear-first": lambda: _recurrent(
        "GRU", 3, "q w r b - h0", shown="hidden", linear_before_reset=1
    ),
    "gru-both-ways": lambda: _recurrent(
        "GRU", 3, "q w r b - h0", direction="bidirectional", shown="hidden"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    network = load_network(save(CASES[name](), tmp_path))
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "clip": (lambda: _recurrent("LSTM", 4, clip=1.0), "clip is not supported"),
    "activations": (
        lambda: _recurrent("RNN", 1, activations=["Affine"]),
        "its activations ['affine'] are not the default ones",
    ),
    "lengths": (
        lambda: _shorter(_recurrent("GRU", 3, "q w r b lengths")),
        "its sequence lengths [3] are not all 4",
    ),
    "one-of-one": (
        lambda: model([node("Einsum", "x x", equation="ii,ij->j")], [4, 4], output_rank=1),
        "takes a diagonal",
    ),
}


def _shorter(proto: onnx.ModelProto) -> onnx.ModelProto:
    for tensor in proto.graph.initializer:
        if tensor.name == "lengths":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([3], dtype=np.int32), "lengths"))
    return proto


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, tmp_path: Path) -> None:
    make, expected = REFUSED[name]
    with pytest.raises(UnsupportedOperator) as caught:
        load_network(save(make(), tmp_path))
    assert expected in str(caught.value)
