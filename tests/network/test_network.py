"""What a loaded network offers: its graph's form, the original, hashes, pickles, inspection."""

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto
from onnx_models import assert_equals_original, integers, model, node, numbers, points, save

from lipverify.errors import NetworkError, NetworkMismatch
from lipverify.graph import ForwardGraph, Node, evaluate_intervals, output
from lipverify.interval import Interval
from lipverify.network import Network, load_network
from lipverify.network.network import check_agreement
from lipverify.operators import Conv, Dense, Scale

N = "batch"


def _mlp(folder: Path, batch: int | str = N) -> Path:
    nodes = [
        node("MatMul", "x w", "h"),
        node("Add", "h b", "a"),
        node("Relu", "a", "r"),
        node("Gemm", "r w b", "y"),
    ]
    return save(model(nodes, [batch, 4], {"w": numbers(4, 4), "b": numbers(4)}), folder)


def test_form_of_the_graph(tmp_path: Path) -> None:
    path = _mlp(tmp_path)
    network = load_network(path)
    assert [n.name for n in network.graph] == ["input", "Gemm_1", "Relu_2", "Gemm_3"]
    assert [n.origin for n in network.graph][1:] == ["MatMul:h", "Relu:r", "Gemm:y"]
    assert network.graph.input_shape == network.graph.output_shape == (4,)
    assert network.graph.parameters == 40
    assert network.source == str(path)
    assert network.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [n.operator for n in network.nodes] == ["MatMul", "Add", "Relu", "Gemm"]
    assert [n.parameters for n in network.nodes] == [16, 4, 0, 20]
    assert network.nodes[0].shape == (1, 4)
    first = network.graph["Gemm_1"].operator
    assert isinstance(first, Dense)
    assert first.weight.dtype == torch.float64
    assert torch.equal(first.weight, torch.tensor(numbers(4, 4)).T.double())


def test_strings_and_paths(tmp_path: Path) -> None:
    path = _mlp(tmp_path)
    assert load_network(str(path)).sha256 == load_network(path).sha256
    with pytest.raises(NetworkError, match="expected a path or a torch module, not int"):
        load_network(3)  # pyright: ignore[reportArgumentType]


def test_conv_bias_is_fused(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Add", "c b")]
    weights = {"w": numbers(3, 2, 2, 2), "b": numbers(3, 1, 1)}
    network = load_network(save(model(nodes, [N, 2, 4, 4], weights, output_rank=4), tmp_path))
    (conv,) = [n.operator for n in network.graph if n.operator is not None]
    assert isinstance(conv, Conv)
    assert conv.bias is not None and torch.equal(conv.bias, torch.tensor(numbers(3, 1, 1)).ravel())


def test_matmul_with_two_users_keeps_its_own_node(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "h"), node("Add", "h b", "a"), node("Add", "a h", "y")]
    weights = {"w": numbers(4, 4), "b": numbers(4)}
    network = load_network(save(model(nodes, [N, 4], weights), tmp_path))
    assert [n.name for n in network.graph] == ["input", "Gemm_1", "Scale_2", "Add_3"]


def test_changes_of_shape_alone_make_no_node(tmp_path: Path) -> None:
    nodes = [
        node("Unsqueeze", "x axis", "u"),
        node("Transpose", "u", "t", perm=[0, 2, 1]),
        node("Relu", "t", "r"),
        node("Reshape", "r back", "b"),
        node("Gemm", "b w", "y"),
    ]
    weights = {"axis": integers(1), "back": integers(-1, 4), "w": numbers(4, 2)}
    graph = load_network(save(model(nodes, [N, 4], weights), tmp_path)).graph
    assert [n.name for n in graph] == ["input", "Relu_1", "Gemm_2"]


@pytest.mark.parametrize(
    ("shape", "inner", "batched"),
    [
        ((N, 4), (4,), True),
        ((1, 4), (4,), False),
        ((4,), (4,), False),
        ((3, 4), (3, 4), False),
        ((1, 1, 1, 4), (1, 1, 4), False),
    ],
)
def test_batch(tmp_path: Path, shape: tuple, inner: tuple, batched: bool) -> None:
    made = model([node("MatMul", "x w")], shape, {"w": numbers(4, 2)}, output_rank=len(shape))
    network = load_network(save(made, tmp_path))
    assert network.graph.input_shape == inner
    assert network.evaluator.batched is batched
    assert_equals_original(network)


def test_a_dynamic_batch_that_is_not_one_is_run_point_by_point(tmp_path: Path) -> None:
    """The first dimension is dynamic, but a reshape was exported for a batch of 1."""
    weights = {"one": integers(1, -1), "w": numbers(4, 2)}
    nodes = [node("Reshape", "x one", "f"), node("MatMul", "f w")]
    network = load_network(save(model(nodes, [N, 2, 2], weights), tmp_path))
    assert not network.evaluator.batched
    assert_equals_original(network)


def test_a_network_that_mixes_its_batch_is_run_point_by_point(tmp_path: Path) -> None:
    weights = {"axes": integers(0)}
    nodes = [
        node("Relu", "x", "r"),
        node("Shape", "x", "s"),
        node("Cast", "s", "f", to=TensorProto.FLOAT),
        node("Mul", "r f", "y"),  # at a batch of 1: [1, 2] times x
    ]
    network = load_network(save(model(nodes, [N, 2], weights), tmp_path))
    assert not network.evaluator.batched
    assert_equals_original(network)


def test_original(tmp_path: Path) -> None:
    network = load_network(_mlp(tmp_path))
    assert network.dtype == torch.float32
    assert network.original(torch.zeros(0, 4, dtype=torch.float64)).shape == (0, 4)
    x = points(network)
    assert torch.equal(network.original(x), network.original(x.requires_grad_()))
    for bad in (torch.zeros(4), torch.zeros(2, 5)):
        with pytest.raises(NetworkError, match=r"expected \[batch, 4\]"):
            network.original(bad)


def test_original_of_a_double_network_is_double(tmp_path: Path) -> None:
    weights = {"w": numbers(4, 2).astype(np.float64) / 3}
    made = model([node("MatMul", "x w")], [N, 4], weights, dtype=TensorProto.DOUBLE)
    network = load_network(save(made, tmp_path))
    assert network.dtype == torch.float64
    assert_equals_original(network, relative=1e-14)


def test_the_file_may_go_after_loading(tmp_path: Path) -> None:
    path = _mlp(tmp_path)
    network = load_network(path)
    path.unlink()
    assert_equals_original(pickle.loads(pickle.dumps(network)))


def test_pickle_after_use(tmp_path: Path) -> None:
    network = load_network(_mlp(tmp_path))
    x = points(network)
    before = network.original(x)
    assert network.graph.users("input")
    again = pickle.loads(pickle.dumps(network))
    assert torch.equal(again.original(x), before)
    assert torch.equal(output(again.graph, x), output(network.graph, x))
    assert again.sha256 == network.sha256 and again.nodes == network.nodes


def test_repr_does_not_hold_the_weights(tmp_path: Path) -> None:
    network = load_network(_mlp(tmp_path))
    assert len(repr(network)) < 500 and len(repr(network.evaluator)) < 400


def _with_weight(network: Network, change: torch.Tensor) -> Network:
    """The same network, with another first weight in our graph only."""
    nodes: list[Node] = []
    for item in network.graph:
        operator = item.operator
        if item.name == "Gemm_1":
            assert isinstance(operator, Dense)
            operator = Dense(operator.weight + change, operator.bias)
        nodes.append(replace(item, operator=operator))
    return replace(network, graph=ForwardGraph(nodes, network.graph.output))


def test_disagreement_is_seen(tmp_path: Path) -> None:
    network = load_network(_mlp(tmp_path))
    check_agreement(_with_weight(network, torch.zeros(4, 4, dtype=torch.float64)))
    change = torch.zeros(4, 4, dtype=torch.float64)
    change[2, 1] = 0.01
    with pytest.raises(NetworkMismatch, match=r"differ by .* where outputs reach"):
        check_agreement(_with_weight(network, change))
    with pytest.raises(NetworkMismatch, match="NaN or infinite"):
        check_agreement(_with_weight(network, torch.full((4, 4), torch.nan, dtype=torch.float64)))


def test_overflow_is_no_agreement(tmp_path: Path) -> None:
    made = model([node("MatMul", "x w")], [N, 2], {"w": np.full((2, 2), 3e38, dtype=np.float32)})
    with pytest.raises(NetworkMismatch, match="NaN or infinite"):
        load_network(save(made, tmp_path))


def test_batch_norm_is_sound_where_its_shift_cancels(tmp_path: Path) -> None:
    """bias - factor mean is almost 0: a node that holds it cannot tell its rounding error."""
    epsilon = float(np.float32(0.1))
    for seed in range(8):
        scale, mean, variance = np.abs(numbers(3, seed=seed)).astype(np.float64) / 3 + 0.1
        bias = scale / np.sqrt(variance + epsilon) * mean
        weights = dict(zip("sbmv", np.array([[scale], [bias], [mean], [variance]]), strict=True))
        nodes = [node("BatchNormalization", "x s b m v", epsilon=epsilon)]
        made = model(nodes, [N, 1], weights, dtype=TensorProto.DOUBLE)
        network = load_network(save(made, tmp_path))
        for start in (0.0, 1e-17, 1e-3, 7.0):
            point = torch.tensor([[start]], dtype=torch.float64)
            values = evaluate_intervals(network.graph, {ForwardGraph.INPUT: Interval(point, point)})
            found = values[network.graph.output]
            # y with (y - bias) |y - bias| (variance + epsilon) = t |t|, t = scale (x - mean).
            target = Fraction(scale) * (Fraction(start) - Fraction(mean))
            for end, sign in ((found.lower, 1), (found.upper, -1)):
                gap = Fraction(float(end)) - Fraction(bias)
                left = gap * abs(gap) * (Fraction(variance) + Fraction(epsilon))
                assert sign * (target * abs(target) - left) >= 0


def test_gemm_products_that_round_are_kept_apart(tmp_path: Path) -> None:
    weight = numbers(3, 2).astype(np.float64) / 3
    made = model([node("Gemm", "x w", alpha=0.3)], [N, 3], {"w": weight}, dtype=TensorProto.DOUBLE)
    graph = load_network(save(made, tmp_path)).graph
    dense, scale = (n.operator for n in graph if n.operator is not None)
    assert isinstance(dense, Dense) and isinstance(scale, Scale)
    assert torch.equal(dense.weight, torch.tensor(weight).T)


def test_division_counts_its_rounding(tmp_path: Path) -> None:
    for divisor, rounding in ((3.0, 1), (4.0, 0)):
        made = model([node("Div", "x c")], [N, 2], {"c": np.float32(divisor)})
        graph = load_network(save(made, tmp_path)).graph
        operator = graph[graph.output].operator
        assert isinstance(operator, Scale) and operator.rounding == rounding


def test_import_is_light() -> None:
    code = (
        "import sys, lipverify.network;"
        "heavy = {'onnx', 'onnxruntime', 'torch.export._trace'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
