"""The backward graph against torch's differentiation of the same network."""

import pytest
import torch
from torch import Tensor

from lipverify.errors import NetworkError
from lipverify.graph import (
    BackwardGraph,
    ForwardGraph,
    Node,
    backward_graph,
    evaluate,
    jacobian,
    output,
    row_jacobian,
)
from lipverify.numerics import DTYPE
from lipverify.operators import Dense, Gate, ReLU
from tests.oracles import autodiff, boxes, networks
from tests.oracles.networks import LARGER, PIECEWISE, Builder, Tiny, Weights

CLOSE = 1e-10
NETWORKS = (*PIECEWISE, *LARGER)


def activation_on_the_input() -> Tiny:
    make, builder = Weights(0), Builder(3)
    hidden = builder.activate(builder.INPUT, "tanh")
    return builder.finish("activation-on-input", builder.dense(hidden, make(2, 3)))


def activation_as_the_output() -> Tiny:
    make, builder = Weights(0), Builder(3)
    hidden = builder.dense(builder.INPUT, make(2, 3))
    return builder.finish("activation-as-output", builder.activate(hidden, "sigmoid"))


def chain_of_activations() -> Tiny:
    make, builder = Weights(0), Builder(2)
    hidden = builder.dense(builder.INPUT, make(3, 2))
    last = builder.activate(builder.activate(hidden, "leaky"), "tanh")
    return builder.finish("chain-of-activations", last)


def the_input_itself() -> Tiny:
    return Builder(2).finish("identity", Builder.INPUT)


ODD = (
    activation_on_the_input(),
    activation_as_the_output(),
    chain_of_activations(),
    the_input_itself(),
)


def smooth_points(tiny: Tiny, count: int = 200) -> Tensor:
    """Points at which the network has a derivative, well away from its kinks."""
    x = boxes.points(boxes.centered(tiny.inputs, 2.0), count)
    return x[autodiff.distance_to_kinks(tiny, x) > 1e-6]


@pytest.mark.parametrize("tiny", (*NETWORKS, *ODD), ids=str)
def test_value_and_jacobian_are_those_of_torch(tiny: Tiny) -> None:
    x = smooth_points(tiny)
    assert len(x) >= 100
    torch.testing.assert_close(output(tiny.graph, x), tiny(x), rtol=0, atol=CLOSE)
    torch.testing.assert_close(
        jacobian(tiny.backward, x), autodiff.jacobians(tiny, x), rtol=0, atol=CLOSE
    )


@pytest.mark.parametrize("tiny", (*NETWORKS, *ODD), ids=str)
def test_every_adjoint_is_that_of_torch(tiny: Tiny) -> None:
    """Also inside the graph: at fan-outs, the sum over all users."""
    check_adjoints(tiny, tiny.backward)


def check_adjoints(tiny: Tiny, backward: BackwardGraph) -> None:
    x = smooth_points(tiny, 40)
    row = torch.randn(tiny.outputs, generator=torch.Generator().manual_seed(1), dtype=DTYPE)
    expected = autodiff.adjoints(tiny, x, row)
    values = evaluate(tiny.graph, {ForwardGraph.INPUT: x.reshape(-1, *tiny.graph.input_shape)})
    seed = row.expand(len(x), -1).reshape(-1, *tiny.graph.output_shape)
    gates = {node.inputs[0]: values[node.inputs[0]] for node in tiny.graph.activations}
    found = evaluate(backward, {BackwardGraph.SEED: seed, **gates})
    assert set(backward.adjoints) == set(expected)
    for name, adjoint in expected.items():
        torch.testing.assert_close(found[backward.adjoint(name)], adjoint, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("tiny", NETWORKS[::3], ids=str)
def test_rows_are_combinations_of_the_jacobian(tiny: Tiny) -> None:
    x = smooth_points(tiny, 20)
    rows = torch.randn(4, tiny.outputs, generator=torch.Generator().manual_seed(2), dtype=DTYPE)
    expected = rows @ autodiff.jacobians(tiny, x)
    found = row_jacobian(tiny.backward, x, rows)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_the_derivative_at_a_kink_is_the_one_from_the_right() -> None:
    tiny = networks.kink_pair()
    zero = torch.zeros(1, 1, dtype=DTYPE)
    assert jacobian(tiny.backward, zero).item() == 2.0  # both gates open: gate-product set


def test_gates_share_the_preactivations_of_the_forward_graph() -> None:
    for tiny in NETWORKS:
        for gate in tiny.backward.gates:
            assert isinstance(gate.operator, Gate)
            preactivation, adjoint = gate.inputs
            assert preactivation in tiny.graph and preactivation in tiny.backward
            assert tiny.backward[preactivation].operator is None
            assert tiny.backward[adjoint].shape == tiny.graph[preactivation].shape


def test_two_activations_of_one_preactivation_have_a_gate_each() -> None:
    tiny = networks.fan_out(0)
    sources = [gate.inputs[0] for gate in tiny.backward.gates]
    assert len(sources) == len(tiny.graph.activations) == 3
    assert len(set(sources)) == 2


def test_unused_branches_have_no_adjoint() -> None:
    tiny = networks.unused_branch(0)
    unused = [node.name for node in tiny.graph if node.name not in tiny.backward.adjoints]
    assert len(unused) == 2
    used = [node.name for node in tiny.graph.activations]
    assert len(used) == 1 and len(tiny.backward.gates) == 1
    with pytest.raises(KeyError):
        tiny.backward.adjoint(unused[0])


def test_a_constant_network_has_no_backward_graph() -> None:
    weight = torch.ones(1, 2, dtype=DTYPE)
    constant = Node("constant", Dense(weight, None), (), (1,))
    graph = ForwardGraph([Node(ForwardGraph.INPUT, None, (), (2,)), constant], "constant")
    with pytest.raises(NetworkError, match="does not depend on the input"):
        backward_graph(graph)


@pytest.mark.parametrize("name", [BackwardGraph.SEED, "d/input~a"])
def test_forward_nodes_may_not_have_names_of_backward_nodes(name: str) -> None:
    """Engines keep both graphs in one table; a node taken for another would be unsound."""
    weight = torch.eye(2, dtype=DTYPE)
    nodes = [
        Node(ForwardGraph.INPUT, None, (), (2,)),
        Node("a", Dense(weight, None), (ForwardGraph.INPUT,), (2,)),
        Node("b", ReLU(), ("a",), (2,)),
        Node(name, Dense(weight, None), ("b",), (2,)),
    ]
    with pytest.raises(NetworkError, match="name"):
        backward_graph(ForwardGraph(nodes, name))
