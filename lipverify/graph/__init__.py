"""Forward and backward graphs."""

from lipverify.graph.backward import backward_graph
from lipverify.graph.dag import BackwardGraph, Dag, ForwardGraph, Node
from lipverify.graph.evaluate import (
    evaluate,
    evaluate_intervals,
    jacobian,
    jacobian_enclosure,
    output,
    output_enclosure,
    row_jacobian,
)

__all__ = [
    "BackwardGraph",
    "Dag",
    "ForwardGraph",
    "Node",
    "backward_graph",
    "evaluate",
    "evaluate_intervals",
    "jacobian",
    "jacobian_enclosure",
    "output",
    "output_enclosure",
    "row_jacobian",
]
