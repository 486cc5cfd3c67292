"""Preprocessing, fixed inputs, packed files and weights in other files."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_models import (
    assert_equals_original,
    assert_jacobian_is_autograd,
    model,
    node,
    numbers,
    save,
)

from lipverify.errors import NetworkError
from lipverify.graph import backward_graph, jacobian, output
from lipverify.network import inspect_network, load_network
from lipverify.reading import Preprocessing, Reading

N = "batch"
CONV = {"w": numbers(4, 2, 3, 3), "v": numbers(3, 16)}
CONV_NODES = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Flatten", "r", "f"),
              node("Gemm", "f v", "y", transB=1)]  # fmt: skip


def conv(folder: Path) -> Path:
    return save(model(CONV_NODES, [N, 2, 4, 4], CONV), folder)


PER_CHANNEL = Preprocessing(mean=(0.4, 120.0), std=(0.3, 60.0))
PER_INPUT = Preprocessing(scale=tuple(np.linspace(-2, 3, 32)), offset=(0.25,))


@pytest.mark.parametrize("given", [PER_CHANNEL, PER_INPUT, Preprocessing(mean=(3.0,))])
def test_preprocessing_is_in_front_of_graph_and_original(
    given: Preprocessing, tmp_path: Path
) -> None:
    path = conv(tmp_path)
    plain, raw = load_network(path), load_network(path, reading=Reading(given))
    x = torch.rand(3, 32, dtype=torch.float64) * 100
    mean, std, scale, offset = (
        torch.tensor(values or [neutral], dtype=torch.float64)
        for (_, values), neutral in zip(given, (0.0, 1.0, 1.0, 0.0), strict=True)
    )
    if len(mean) == 2:
        mean, std = mean.repeat_interleave(16), std.repeat_interleave(16)
    inside = ((x - mean) / std) * scale + offset
    expected = output(plain.graph, inside)
    assert torch.allclose(output(raw.graph, x), expected, rtol=1e-12, atol=1e-10)
    assert torch.allclose(raw.original(x), plain.original(inside), rtol=1e-4, atol=1e-3)
    # Derivatives are in raw units too.
    chain = jacobian(backward_graph(plain.graph), inside) * (scale / std)
    assert torch.allclose(jacobian(backward_graph(raw.graph), x), chain, rtol=1e-9, atol=1e-12)
    assert raw.sha256 == plain.sha256 and raw.reading.digest != plain.reading.digest == ""


def test_preprocessing_of_a_module() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    given = Reading(Preprocessing(mean=(1.0, 2.0, 3.0), std=(2.0,)))
    network = load_network(module, torch.zeros(1, 3), given)
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)
    assert not torch.allclose(
        network.original(torch.zeros(1, 3)), module(torch.zeros(1, 3)).double()
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"mean": (1.0,), "scale": (1.0,)},
        {"std": (0.0,)},
        {"std": (-1.0,)},
        {"std": (float("nan"),)},
        {"mean": (float("inf"),)},
        {"scale": (1.0, 0.0)},
    ],
)
def test_preprocessing_that_cannot_be_meant(parts: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(NetworkError, match="preprocessing"):
        Preprocessing(**parts)


def test_preprocessing_of_another_length(tmp_path: Path) -> None:
    with pytest.raises(
        NetworkError, match=r"mean has 3 numbers; expected 1, one per channel \(2\)"
    ):
        load_network(conv(tmp_path), reading=Reading(Preprocessing(mean=(1.0, 2.0, 3.0))))


@pytest.mark.parametrize("first", ["Sub", "Div", "Mul", "Add", "BatchNormalization"])
def test_normalisation_inside_the_file(first: str, tmp_path: Path) -> None:
    """It is kept as a linear operator: regions are in raw units by themselves."""
    if first == "BatchNormalization":
        nodes = [node(first, "x s b m v", "n")]
        weights = {name: np.abs(numbers(2, seed=i)) + 0.5 for i, name in enumerate("sbmv")}
    else:
        nodes, weights = [node(first, "x k", "n")], {"k": np.abs(numbers(2, 1, 1)) + 0.5}
    rest = [node("Conv", "n w", "c"), *CONV_NODES[1:]]
    clash = {**CONV, **weights, "v2": CONV["v"]}
    rest[-1] = node("Gemm", "f v2", "y", transB=1)
    network = load_network(save(model([*nodes, *rest], [N, 2, 4, 4], clash), tmp_path))
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)


def two_inputs(folder: Path, batch: int | str = N) -> Path:
    """y = relu(x w) + side * table[which]."""
    nodes = [
        node("MatMul", "x w", "h"),
        node("Relu", "h", "r"),
        node("Gather", "table which", "row"),
        node("Mul", "side row", "p"),
        node("Add", "r p", "y"),
    ]
    made = model(nodes, [batch, 3], {"w": numbers(3, 3), "table": numbers(4, 3)})
    for name, kind, shape in (
        ("side", TensorProto.FLOAT, [batch, 3]),
        ("which", TensorProto.INT64, [1]),
    ):
        made.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    return save(made, folder)


@pytest.mark.parametrize("batch", [N, 1])
def test_one_input_moves(batch: int | str, tmp_path: Path) -> None:
    path = two_inputs(tmp_path, batch)
    reading = Reading(inputs=(("side", (0.1, 2.0, -3.0)), ("which", (2.0,))))
    network = load_network(path, reading=reading)
    assert network.graph.input_size == 3
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)
    x = torch.zeros(1, 3, dtype=torch.float64)
    side = torch.tensor([[0.1, 2.0, -3.0]]).float().double()  # as the network receives it
    expected = side * torch.from_numpy(numbers(4, 3)[2]).double()
    assert torch.allclose(output(network.graph, x), expected, rtol=1e-15)
    again = pickle.loads(pickle.dumps(network))
    assert torch.equal(again.original(x), network.original(x))
    # Another input may move just as well.
    other = load_network(path, reading=Reading(inputs=(("x", (1.0,)), ("which", (0.0,)))))
    assert_equals_original(other)


def test_a_fixed_input_that_has_no_part_in_the_output(tmp_path: Path) -> None:
    made = model([node("Relu", "x", "y")], [N, 3])
    made.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 7]))
    network = load_network(save(made, tmp_path), reading=Reading(inputs=(("mask", (1.0,)),)))
    assert_equals_original(network)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ((), r"expected one input, found 3.*give values of all others"),
        ((("side", (1.0,)),), r"expected one input that is not fixed, found 2: 'x'.*'which'"),
        ((("sid", (1.0,)),), r"'sid' is no input of the network; known: x, side, which"),
        ((("side", (1.0, 2.0)), ("which", (0.0,))), r"'side' has 2 numbers; expected one, or 3"),
        ((("side", (1.0,)), ("which", (0.5,))), r"'which' holds a number that type int64 cannot"),
        ((("side", (1e300,)), ("which", (0.0,))), r"'side' holds a number that type float cannot"),
        (
            (("x", (1.0,)), ("side", (1.0,)), ("which", (0.0,))),
            "expected one input that is not fixed, found 0",
        ),
    ],
)
def test_fixed_inputs_that_do_not_fit(
    inputs: tuple[tuple[str, tuple[float, ...]], ...], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(NetworkError, match=expected):
        load_network(two_inputs(tmp_path), reading=Reading(inputs=inputs))


def test_a_module_has_no_inputs_to_fix() -> None:
    reading = Reading(inputs=(("x", (1.0,)),))
    with pytest.raises(NetworkError, match="none can be fixed"):
        load_network(torch.nn.ReLU(), torch.zeros(1, 2), reading)


def test_packed_file(tmp_path: Path) -> None:
    plain = conv(tmp_path)
    packed = tmp_path / "net.onnx.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    one, two = load_network(plain), load_network(packed)
    x = torch.rand(2, 32, dtype=torch.float64)
    assert torch.equal(output(one.graph, x), output(two.graph, x))
    assert torch.equal(one.original(x), two.original(x))
    assert inspect_network(packed).is_supported


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"x" * 1000)[:-9]], ids=["another format", "cut off"]
)
def test_damaged_packed_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx.gz"
    path.write_bytes(content)
    with pytest.raises(NetworkError, match="not packed by gzip, or is cut off"):
        load_network(path)


def external(folder: Path, location: str = "weights.bin") -> Path:
    path = folder / "net.onnx"
    made = onnx.load(conv(folder))
    onnx.save_model(
        made, path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    if location != "weights.bin":
        made = onnx.load(path, load_external_data=False)
        for tensor in made.graph.initializer:
            tensor.external_data[0].value = location
        path.write_bytes(made.SerializeToString())
    return path


def test_weights_in_another_file(tmp_path: Path) -> None:
    path = external(tmp_path)
    network = load_network(path)
    assert_equals_original(network)
    x = torch.rand(2, 32, dtype=torch.float64)
    assert torch.equal(output(network.graph, x), output(load_network(conv(tmp_path)).graph, x))
    # The digest covers the weights.
    weights = tmp_path / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[0] ^= 1
    weights.write_bytes(bytes(content))
    assert load_network(path).sha256 != network.sha256


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "a/../../b"])
def test_weights_outside_the_folder(location: str, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="expected a file in the model's folder"):
        load_network(external(tmp_path, location))


def test_weights_that_are_missing_or_cut_off(tmp_path: Path) -> None:
    path = external(tmp_path)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(NetworkError):
        load_network(path)
    weights.unlink()
    with pytest.raises(NetworkError, match=r"stored in weights\.bin, which does not exist"):
        load_network(path)


TWO = [
    node("Relu", "x", "y"),
    node("Gemm", "y w", "g", transB=1),
    node("Reshape", "g shape", "z"),
]


def two_outputs(folder: Path, batch: str | int = N) -> Path:
    """'y' [4], and 'z', six numbers in a shape of their own; also 'x' itself."""
    constants = {"w": numbers(6, 4), "shape": np.array([-1, 2, 3])}
    return save(model(TWO, [batch, 4], constants, outputs=("z", "y")), folder)


@pytest.mark.parametrize("batch", [N, 1])
def test_several_outputs_follow_one_another(batch: str | int, tmp_path: Path) -> None:
    path = two_outputs(tmp_path, batch)
    network = load_network(path)
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)
    x = torch.randn(5, 4, dtype=torch.float64)
    parts = [load_network(path, reading=Reading(output=name)) for name in ("z", "y")]
    assert [part.graph.output_size for part in parts] == [6, 4]
    for ours in (lambda n: output(n.graph, x), lambda n: n.original(x)):
        assert torch.allclose(ours(network), torch.cat([ours(n) for n in parts], 1))
    digests = {network.reading.digest, *(part.reading.digest for part in parts)}
    assert len(digests) == 3
    assert inspect_network(path).is_supported


def test_an_output_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="expected the output 'q'; known: 'z'"):
        load_network(two_outputs(tmp_path), reading=Reading(output="q"))


def test_what_other_outputs_need_does_not_matter(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "y"), node("Hardmax", "x", "z")]
    path = save(model(nodes, [N, 4], outputs=("y", "z")), tmp_path)
    with pytest.raises(NetworkError, match="Hardmax"):
        load_network(path)
    assert load_network(path, reading=Reading(output="y")).graph.output_size == 4
