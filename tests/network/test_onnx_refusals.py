"""What cannot be read is refused by a named error that says what, where and what was expected."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import model, node, numbers, save

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.network import load_network

N = "batch"
W = {"w": numbers(4, 4)}


def _write(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "bad.onnx"
        path.write_bytes(content)
        return path

    return make


BAD_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none.onnx", "no such file; expected an ONNX file"),
    "folder.onnx": (lambda folder: _folder(folder), "a folder; expected an ONNX file"),
    "empty": (_write(b""), "the file is empty; expected an ONNX model"),
    "text": (_write(b"this is no network"), "not a valid ONNX model"),
    "truncated": (
        _write(model([node("Gemm", "x w")], [N, 4], W).SerializeToString()[:60]),
        "not a valid ONNX model",
    ),
    "other-message": (
        _write(numpy_helper.from_array(numbers(3)).SerializeToString()),
        "not a valid",
    ),
    "suffix": (lambda folder: folder / "model.pt", "expected a file ending in .onnx"),
}


def _folder(folder: Path) -> Path:
    path = folder / "folder.onnx"
    path.mkdir()
    return path


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name: str, tmp_path: Path) -> None:
    make, expected = BAD_FILES[name]
    path = make(tmp_path)
    with pytest.raises(NetworkError, match=expected) as caught:
        load_network(path)
    assert str(path) in str(caught.value)


def _nan() -> onnx.ModelProto:
    weight = numbers(4, 4)
    weight[1, 2] = np.nan
    return model([node("Gemm", "x broken")], [N, 4], {"broken": weight})


def _infinite_folded() -> onnx.ModelProto:
    weight = numbers(4, 4)
    weight[0, 0] = np.inf
    nodes = [node("Transpose", "broken", "t"), node("MatMul", "x t")]
    return model(nodes, [N, 4], {"broken": weight})


def _two_inputs() -> onnx.ModelProto:
    made = model([node("Add", "x second")], [N, 4])
    made.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [N, 4]))
    return made


def _external() -> onnx.ModelProto:
    made = model([node("Gemm", "x w")], [N, 4], W)
    tensor = made.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    return made


def _unknown_type() -> onnx.ModelProto:
    made = model([node("Gemm", "x w")], [N, 4], W)
    made.graph.initializer[0].data_type = 115
    return made


def _no_batch_norm_channels() -> onnx.ModelProto:
    weights = {key: abs(numbers(4)) for key in ("s", "b", "m", "v")}
    return model([node("BatchNormalization", "x s b m v")], [N, 5], weights)


def _old_opset() -> onnx.ModelProto:
    return model([node("Relu", "x")], [N, 4], opset=6)


BAD_NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], Sequence[str]]] = {
    "nan": (_nan, ["initialiser 'broken' holds 1 entries that are NaN or infinite"]),
    "infinite": (_infinite_folded, ["initialiser 'broken' holds 1 entries"]),
    "two-inputs": (_two_inputs, ["expected one input, found 2", "'x'", "'second'"]),
    "dynamic": (
        lambda: model([node("Relu", "x")], [N, 3, "height"], output_rank=3),
        ["input 'x' of shape ['batch', 3, 'height'] has a dynamic dimension", "the batch"],
    ),
    "integer-input": (
        lambda: model([node("Identity", "x")], [N, 3], dtype=TensorProto.INT64),
        ["has type int64; expected float or double"],
    ),
    "external": (_external, ["initialiser 'w' is stored in weights.bin, which does not exist"]),
    "onnxruntime": (
        lambda: _one(
            "Conv",
            "x k",
            (N, 1, 5),
            3,
            {"k": numbers(1, 1, 2)},
            auto_pad="SAME_UPPER",
            dilations=[2],
        ),
        ["onnxruntime cannot run it on shape [1, 1, 5]"],
    ),
    "unknown-type": (_unknown_type, ["initialiser 'w' cannot be read"]),
    "too-large": (
        lambda: model([node("Relu", "x")], [1, 2**25]),
        ["a tensor of shape [1, 33554432] has more than 16777216 entries"],
    ),
    "no-order": (
        lambda: model([node("Transpose", "x", perm=[0, 1, 1])], [1, 2, 2], output_rank=3),
        ["Transpose at node 'Transpose:y': "],
    ),
    "shapes": (
        lambda: model([node("MatMul", "x w")], [N, 5], W),
        ["MatMul at node 'MatMul:y': shapes do not fit"],
    ),
    "old-opset": (_old_opset, ["opset 6; 7 or newer is needed"]),
    "channels": (_no_batch_norm_channels, ["BatchNormalization"]),
    "constant-output": (
        lambda: model([node("Identity", "w")], [N, 4], W),
        ["the output 'y' does not depend on the input"],
    ),
    "shape-output": (
        lambda: model(
            [node("Relu", "x", "h"), node("Shape", "h", "s"), node("Cast", "s", to=1)],
            [1, 4],
            output_rank=1,
        ),
        ["the output 'y' does not depend on the input"],
    ),
}


@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_bad_networks(name: str, tmp_path: Path) -> None:
    make, expected = BAD_NETWORKS[name]
    path = save(make(), tmp_path)
    with pytest.raises(NetworkError) as caught:
        load_network(path)
    assert not isinstance(caught.value, UnsupportedOperator)
    for part in (str(path), *expected):
        assert part in str(caught.value)


def _batch_norm(variance: float, epsilon: float, **attributes: int) -> onnx.ModelProto:
    weights = {key: numbers(4) for key in ("s", "b", "m")}
    weights["v"] = np.full(4, variance, dtype=np.float32)
    nodes = [node("BatchNormalization", "x s b m v", epsilon=epsilon, **attributes)]
    return model(nodes, [N, 4], weights)


def _conv4d() -> onnx.ModelProto:
    weights = {"w": numbers(1, 1, 2, 2, 2, 2)}
    return model([node("Conv", "x w")], [N, 1, 3, 3, 3, 3], weights, output_rank=6)


def _one(op: str, inputs: str = "x", shape=(N, 4), rank: int = 2, weights=None, **attributes):
    return model([node(op, inputs, **attributes)], shape, weights or W, output_rank=rank)


UNSUPPORTED_USES: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "hardmax": (lambda: _one("Hardmax"), "Hardmax at node 'Hardmax:y': this operator"),
    "custom-domain": (
        lambda: _with_domain(),
        "some.vendor.Magic at node 'Magic:y': this operator is not supported",
    ),
    "gemm-transA": (lambda: _one("Gemm", "x w", (4, 2), transA=1), "transA=1 is not supported"),
    "gemm-constant-first": (
        lambda: _one("Gemm", "w x", (4, 2)),
        "its first matrix (operand 0) must depend on the input",
    ),
    "pow-by-value": (lambda: _one("Pow", "x x"), "its exponent (operand 1) must be a constant"),
    "pow-several": (
        lambda: _one("Pow", "x p", weights={"p": np.float32([1, 2, 3, 4])}),
        "its exponents differ from entry to entry",
    ),
    "pow-zero": (lambda: _one("Pow", "x p", weights={"p": np.float32(0)}), "the exponent 0"),
    "clip-crossed": (
        lambda: _one("Clip", "x a b", weights={"a": np.float32(1), "b": np.float32(0)}),
        "its lower bound is above its upper one",
    ),
    "gather-by-value": (
        lambda: model([node("Cast", "x", "i", to=7), node("Gather", "x i")], [1, 4], output_rank=3),
        "it rounds to int64",
    ),
    "einsum-diagonal": (
        lambda: _one("Einsum", "x w", (1, 4), 1, equation="bi,ii->b"),
        "takes a diagonal",
    ),
    "resize-cubic": (
        lambda: _one(
            "Resize", "x - s", (N, 1, 3, 3), 4, {"s": np.float32([1, 1, 2, 2])}, mode="cubic"
        ),
        "mode=cubic is not supported",
    ),
    "div-by-zero": (
        lambda: _one("Div", "x z", weights={"z": np.float32([1, 0, 1, 1])}),
        "it divides by a constant that holds a zero",
    ),
    "conv-variable-weight": (
        lambda: _one("Conv", "x x", (1, 1, 3, 3), 4),
        "its weight (operand 1) must be a constant",
    ),
    "conv-4d": (_conv4d, "it has 4 space dimensions; 1 to 3 are supported"),
    "conv-many-samples": (
        lambda: _one("Conv", "x k", (2, 1, 3, 3), 4, {"k": numbers(1, 1, 2, 2)}),
        "its operand holds 2 samples",
    ),
    "einsum-three": (
        lambda: _one("Einsum", "x w w", (1, 4), 2, equation="bi,ij,jk->bk"),
        "3 operands; write it as several of two",
    ),
    "pool-ceil-counts-padding": (
        lambda: _one(
            "AveragePool",
            "x",
            (N, 1, 5, 5),
            4,
            kernel_shape=[2, 2],
            strides=[2, 2],
            ceil_mode=1,
            count_include_pad=1,
        ),
        "Export it with ceil_mode=0",
    ),
    "batch-norm-zero-variance": (
        lambda: _batch_norm(0.0, 0.0),
        "variance + epsilon is not positive",
    ),
    "batch-norm-training": (
        lambda: _training_batch_norm(),
        "training_mode=1 is not supported",
    ),
    "cast-to-integer": (
        lambda: model([node("Cast", "x", "i", to=7), node("Cast", "i", to=1)], [N, 4]),
        "Cast at node 'Cast:i': it rounds to int64",
    ),
    "random-weight": (
        lambda: model([node("RandomNormal", "", "r", shape=[4, 4]), node("MatMul", "x r")], [N, 4]),
        "RandomNormal at node 'RandomNormal:r'",
    ),
    "dropout-training": (
        lambda: _one(
            "Dropout", "x ratio train", weights={"ratio": np.float32(0.5), "train": np.array(True)}
        ),
        "it is in training mode",
    ),
    "dropout-mask": (
        lambda: model(
            [node("Dropout", "x", "d mask"), node("Cast", "mask", "m", to=1), node("Add", "d m")],
            [N, 4],
        ),
        "its further outputs are used: ['mask']",
    ),
    "reshape-by-value": (
        lambda: model([node("Cast", "x", "s", to=7), node("Reshape", "w s")], [2], W),
        "it rounds to int64",
    ),
}


def _with_domain() -> onnx.ModelProto:
    made = model([helper.make_node("Magic", ["x"], ["y"], "Magic:y", domain="some.vendor")], [N, 4])
    made.opset_import.append(helper.make_opsetid("some.vendor", 1))
    return made


def _training_batch_norm() -> onnx.ModelProto:
    made = _batch_norm(1.0, 0.1, training_mode=1)
    made.graph.node[0].output.extend(["mean_out", "variance_out"])
    made.opset_import[0].version = 14
    return made


@pytest.mark.parametrize("name", UNSUPPORTED_USES)
def test_unsupported_uses(name: str, tmp_path: Path) -> None:
    make, expected = UNSUPPORTED_USES[name]
    with pytest.raises(UnsupportedOperator) as caught:
        load_network(save(make(), tmp_path))
    message = str(caught.value)
    assert expected in message
    assert "supported operators: Abs, Add" in message


def test_all_unsupported_nodes_are_listed(tmp_path: Path) -> None:
    nodes = [
        node("Hardmax", "x", "a"),
        node("Relu", "a", "b"),
        node("Mul", "b a", "c"),
        node("NonZero", "c", "d"),  # no shape can be told behind it
        node("Cast", "d", "e", to=1),
        node("Hardmax", "e", "y"),
    ]
    nodes[1].name = ""
    with pytest.raises(UnsupportedOperator) as caught:
        load_network(save(model(nodes, [N, 4]), tmp_path))
    message = str(caught.value)
    assert "3 of 6 nodes cannot be bounded" in message
    assert "Hardmax at node 'Hardmax:a': this operator is not supported" in message
    assert "Mul at" not in message
    assert "NonZero at node 'NonZero:d'" in message
    assert "Hardmax at node 'Hardmax:y'" in message
    assert "Relu at" not in message


def test_nodes_without_a_name_are_numbered(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a"), node("Hardmax", "a", "y")]
    nodes[1].name = ""
    with pytest.raises(UnsupportedOperator, match="Hardmax at node 'Hardmax_1'"):
        load_network(save(model(nodes, [N, 4]), tmp_path))


def test_unused_nodes_do_not_matter(tmp_path: Path) -> None:
    nodes = [node("Hardmax", "x", "unused"), node("Relu", "x", "y")]
    graph = load_network(save(model(nodes, [N, 4]), tmp_path)).graph
    assert [n.name for n in graph] == ["input", "Relu_1"]
