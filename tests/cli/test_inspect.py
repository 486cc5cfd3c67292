"""`inspect` on a region, and `supports` as a table of abilities."""

import json
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lipverify.operators import ACTIVATIONS, AFFINE
from tests.cli.conftest import Cli


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """relu(x0), relu(x1 - 1), relu(x0 + x1 - 5): on [-0.5, 1.5]^2 two of them are open."""
    weight = np.array([[1, 0, 1], [0, 1, 1]], np.float32)
    bias = np.array([0, -1, -5], np.float32)
    node = helper.make_node
    graph = helper.make_graph(
        [node("Gemm", ["x", "w", "b"], ["h"], "layer"), node("Relu", ["h"], ["y"], "act")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    return path


def check(document: dict) -> None:
    layer, act = document["nodes"]
    assert "unstable" not in layer
    assert (act["unstable"], act["neurons"]) == (2, 3)
    methods = document["estimates"]["methods"]
    assert {"interval", "mean-split", "linear", "quadratic", "milp"} <= methods.keys()
    for cost in methods.values():
        assert cost["seconds"] >= 0 and 0 <= cost["bytes"] <= 4e9
    assert document["estimates"]["open_by"] == "CROWN"


def test_a_ball(cli: Cli, net: Path) -> None:
    ran = cli("inspect", net, "--center", "0.5", "--radius", 1, "--json", "-")
    assert ran.code == 0
    check(json.loads(ran.out))
    assert "2/3 (67%)" in ran.err and "estimates, from sizes alone" in ran.err


def test_a_spec(cli: Cli, net: Path, tmp_path: Path) -> None:
    """In the units of its preprocessing: x / 10."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "lipverify: 1\nnetwork: net.onnx\nregion: {lower: [-5, -5], upper: [15, 15]}\n"
        "preprocessing: {std: 10}\nproperties:\n  - kind: lipschitz\n"
    )
    out = tmp_path / "out.json"
    assert cli("inspect", net, "--region", spec, "--json", out).code == 0
    check(json.loads(out.read_text()))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--center", "0"), "--radius is missing"),
        (("--radius", "1"), "--center is missing"),
        (("--region", "none.yaml"), "does not exist"),
        (("--region", "none.yaml", "--radius", "1"), "not both"),
        (("--center", "0,0,0", "--radius", "1"), "expected 2 numbers"),
    ],
)
def test_regions_that_do_not_fit(options: tuple[str, ...], says: str, cli: Cli, net: Path) -> None:
    ran = cli("inspect", net, *options)
    assert ran.code == 3 and says in ran.err


def test_supports_json(cli: Cli) -> None:
    ran = cli("supports", "--json", "-")
    assert ran.code == 0
    document = json.loads(ran.out)
    rows = {row["name"]: row for row in document["operators"]}
    assert rows.keys() == {*AFFINE, *ACTIVATIONS, "Choice", "Product"}
    product = rows["Product"]["methods"]
    assert product["linear"] and not (product["milp"] or product["line walk"])
    assert "LSTM" in rows["Product"]["onnx"] and "MaxPool" in rows["Choice"]["onnx"]
    assert rows["Relu"]["onnx"] == ["Relu"] and rows["Relu"]["torch"] == ["relu"]
    assert all(rows["Relu"]["methods"].values())
    tanh = rows["Tanh"]["methods"]
    assert tanh["linear"] and tanh["quadratic"] and tanh["gate branching"]
    assert not (tanh["milp"] or tanh["line walk"])
    assert rows["Conv"]["torch"] == ["conv1d", "conv2d"]
    assert {"Gemm", "MatMul", "Relu"} <= set(document["onnx"])
    assert "yes" in ran.err


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_abilities_are_what_the_methods_do(name: str) -> None:
    """Against the methods themselves, on a network of the operator."""
    import torch

    from lipverify.bounds.line import walk_line
    from lipverify.errors import UnsupportedOperator
    from lipverify.graph import ForwardGraph, Node
    from lipverify.milp.size import unsupported
    from lipverify.operators import Dense
    from lipverify.search.abilities import ABILITIES

    operator = ACTIVATIONS[name]
    assert is_dataclass(operator)
    numbers = [2.0 for entry in fields(operator) if entry.default is MISSING]
    weight = torch.eye(2, dtype=torch.float64)
    source = ForwardGraph.INPUT
    graph = ForwardGraph(
        [
            Node(source, None, (), (2,)),
            Node("z", Dense(weight, None), (source,), (2,)),
            Node("a", operator(*numbers), ("z",), (2,)),
        ],
        "a",
    )
    assert ABILITIES["milp"](operator) == (unsupported(graph) is None)
    try:
        walk_line(graph, torch.zeros(2).double(), 0, -1.0, 1.0, weight[:1])
        walked = True
    except UnsupportedOperator:
        walked = False
    assert ABILITIES["line walk"](operator) == walked
