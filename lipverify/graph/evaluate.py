"""The reference evaluation of graphs, and of their interval extension."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lipverify.errors import OutOfDomain
from lipverify.graph.dag import BackwardGraph, Dag, ForwardGraph
from lipverify.interval import Interval


def evaluate(dag: Dag, sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The value of every node, given those of the sources: [batch, *shape] each."""
    values = dict(sources)
    for node in dag:
        if node.operator is not None:
            values[node.name] = node.operator.evaluate(*(values[i] for i in node.inputs))
    return values


def evaluate_intervals(dag: Dag, sources: Mapping[str, Interval]) -> dict[str, Interval]:
    """The interval extension of `evaluate`, rounded outward.

    `OutOfDomain`, naming the node, where an operand may leave its operator's domain.
    """
    values = dict(sources)
    for node in dag:
        if node.operator is not None:
            try:
                values[node.name] = node.operator.interval(*(values[i] for i in node.inputs))
            except OutOfDomain as error:
                raise OutOfDomain(f"node {node.origin or node.name!r}: {error}") from error
    return values


def output(forward: ForwardGraph, x: Tensor) -> Tensor:
    """f(x) for flat inputs: [batch, n] -> [batch, m]."""
    start = {ForwardGraph.INPUT: x.reshape(-1, *forward.input_shape)}
    return evaluate(forward, start)[forward.output].reshape(x.shape[0], -1)


def output_enclosure(forward: ForwardGraph, x: Tensor) -> Interval:
    """A set that holds f(x) in real arithmetic, for flat inputs: [batch, n] -> [batch, m]."""
    start = x.reshape(-1, *forward.input_shape)
    values = evaluate_intervals(forward, {ForwardGraph.INPUT: Interval(start, start)})
    return values[forward.output].reshape(x.shape[0], -1)


def row_jacobian(backward: BackwardGraph, x: Tensor, rows: Tensor) -> Tensor:
    """rows J(x) at each point, kinks taken from the right: [batch, n], [r, m] -> [batch, r, n]."""
    forward = backward.forward
    batch, count = x.shape[0], rows.shape[0]
    values = evaluate(forward, {ForwardGraph.INPUT: x.reshape(-1, *forward.input_shape)})
    spread = {name: values[name].repeat_interleave(count, 0) for name, _ in forward.gated}
    seed = rows.repeat(batch, 1).reshape(batch * count, *forward.output_shape)
    adjoints = evaluate(backward, {BackwardGraph.SEED: seed, **spread})
    return adjoints[backward.jacobian].reshape(batch, count, -1)


def jacobian(backward: BackwardGraph, x: Tensor) -> Tensor:
    """J(x) for flat inputs, kinks taken from the right: [batch, n] -> [batch, m, n]."""
    return row_jacobian(backward, x, torch.eye(backward.forward.output_size, dtype=x.dtype))


def jacobian_enclosure(backward: BackwardGraph, x: Tensor, rows: Tensor) -> Interval:
    """A set that holds rows J for every element J of the Clarke Jacobian at x.

    Point-wise interval arithmetic, so kinks and rounding are covered: [n], [r, m] -> [r, n].
    """
    forward = backward.forward
    start = x.reshape(1, *forward.input_shape)
    values = evaluate_intervals(forward, {ForwardGraph.INPUT: Interval(start, start)})
    seed = rows.reshape(-1, *forward.output_shape)
    sources = {BackwardGraph.SEED: Interval(seed, seed)} | {
        name: values[name] for name, _ in forward.gated
    }
    adjoints = evaluate_intervals(backward, sources)
    return adjoints[backward.jacobian].reshape(rows.shape[0], -1)
