"""Graphs are read-only values, and refuse what is no network."""

from dataclasses import FrozenInstanceError

import networkx as nx
import pytest
import torch

from lipverify.errors import NetworkError
from lipverify.graph import Dag, ForwardGraph, Node
from lipverify.numerics import DTYPE
from lipverify.operators import Add, Dense, ReLU
from tests.oracles import networks

INPUT = Node(ForwardGraph.INPUT, None, (), (2,))
WEIGHT = torch.eye(2, dtype=DTYPE)


def relu(name: str, *inputs: str) -> Node:
    return Node(name, ReLU(), inputs, (2,))


def test_two_nodes_of_one_name_are_refused() -> None:
    with pytest.raises(NetworkError, match="two nodes are called 'a'"):
        Dag([INPUT, relu("a", "input"), relu("a", "input")])


def test_an_unknown_operand_is_refused() -> None:
    with pytest.raises(NetworkError, match="'b' uses 'nowhere'"):
        Dag([INPUT, relu("b", "nowhere")])


def test_a_cycle_is_refused() -> None:
    with pytest.raises(NetworkError, match="not before it"):
        Dag([INPUT, relu("a", "b"), relu("b", "a")])


def test_a_node_that_uses_itself_is_refused() -> None:
    with pytest.raises(NetworkError, match="not before it"):
        Dag([INPUT, relu("a", "a")])


def test_a_network_has_exactly_one_input() -> None:
    with pytest.raises(NetworkError, match="exactly one input"):
        ForwardGraph([INPUT, Node("other", None, (), (2,))], "input")
    with pytest.raises(NetworkError, match="exactly one input"):
        ForwardGraph([], "input")


def test_the_output_is_a_node() -> None:
    with pytest.raises(NetworkError, match="'nowhere' is no node"):
        ForwardGraph([INPUT], "nowhere")


def test_nodes_are_read_only() -> None:
    with pytest.raises(FrozenInstanceError):
        INPUT.name = "other"  # type: ignore[misc]


def test_nodes_cannot_be_replaced() -> None:
    dag = Dag([INPUT, relu("a", "input")])
    with pytest.raises(TypeError):
        dag["a"] = INPUT  # type: ignore[index]


def test_the_list_given_is_not_kept() -> None:
    nodes = [INPUT, relu("a", "input")]
    dag = Dag(nodes)
    nodes.append(relu("b", "a"))
    assert len(dag) == 2


def test_the_networkx_view_is_frozen() -> None:
    view = networks.fan_out(0).graph.networkx
    assert nx.is_directed_acyclic_graph(view)
    for change in (
        lambda: view.add_node("new"),
        lambda: view.add_edge("input", "new"),
        lambda: view.remove_node("input"),
        lambda: view.remove_edge(*next(iter(view.edges()))),
    ):
        with pytest.raises(nx.NetworkXError):
            change()


def test_the_networkx_view_holds_nodes_and_operand_positions() -> None:
    sub = Node("sub", Add((1, -1)), ("a", "input"), (2,))
    dag = Dag([INPUT, Node("a", Dense(WEIGHT), ("input",), (2,)), sub])
    view = dag.networkx
    assert view.nodes["sub"]["node"] is dag["sub"]
    assert {(u, data["operand"]) for u, _, data in view.in_edges("sub", data=True)} == {
        ("a", 0),
        ("input", 1),
    }


def test_a_node_may_use_an_operand_twice() -> None:
    dag = Dag([INPUT, Node("twice", Add((1, 1)), ("input", "input"), (2,))])
    assert dag.networkx.number_of_edges("input", "twice") == 2
    assert dag.users("input") == ("twice",)


def test_iteration_is_topological_both_ways() -> None:
    for tiny in (*networks.PIECEWISE, *networks.LARGER):
        for dag in (tiny.graph, tiny.backward):
            seen: set[str] = set()
            for node in dag:
                assert set(node.inputs) <= seen
                seen.add(node.name)
            assert [n.name for n in dag.reversed()] == [n.name for n in dag][::-1]


def test_ancestors_are_those_of_networkx() -> None:
    for tiny in (networks.fan_out(0), networks.unused_branch(0)):
        for dag in (tiny.graph, tiny.backward):
            for node in dag:
                expected = nx.ancestors(dag.networkx, node.name) | {node.name}
                assert dag.ancestors(node.name) == expected


def test_activations_of_unused_branches_are_not_counted() -> None:
    tiny = networks.unused_branch(0)
    all_of_them = [node for node in tiny.graph if isinstance(node.operator, ReLU)]
    assert len(all_of_them) == 2 and len(tiny.graph.activations) == 1


def test_adjoints_given_out_are_a_copy() -> None:
    backward = networks.fan_out(0).backward
    changed = dict(backward.adjoints)
    changed.clear()
    taken = backward.adjoints
    assert isinstance(taken, dict)
    taken.clear()
    assert backward.adjoints
