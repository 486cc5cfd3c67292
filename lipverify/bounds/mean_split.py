"""The mean-split enclosure of the Jacobian (DESIGN 4.1).

Each gate is its mean plus a remainder, D = M + (D - M) with |D - M| <= R. Expanding the first
remainder from the output's side, with C(a, b) the derivative of a by b in the network whose gates
are all M, and S_j >= |rows J(f, a_j)| for the output a_j of gate j:

    rows J  in  rows C(f, x)  +-  sum over gates j of  S_j R_j |C(z_j, x)|,
    S_k  =  |rows C(f, a_k)|  +  sum over gates j behind k of  S_j R_j |C(z_j, a_k)|.

It is the same sum over chains of remainders as the recursion from the input's side, but only the
open gates' rows C(z_j, .) are ever formed, in chunks, and none is kept. With slopes [0, 1]
everywhere this is the global bound that Pintore and Despres 2024 (arXiv 2410.21053) call K4.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem
from lipverify.errors import NumericalFailure
from lipverify.graph import BackwardGraph, Node
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma, round_down, round_up
from lipverify.operators import AffineOperator, Gate


def mean_split(problem: JacobianProblem) -> JacobianBounds:
    """Elementwise bounds of rows J, and of every adjoint, rounded outward."""
    backward = problem.backward
    slopes = problem.slopes
    means = {name: slope.center for name, slope in slopes.items()}
    centers = _propagate(backward, {BackwardGraph.SEED: problem.seed}, means)
    reach, operations = _reach(backward, problem.seed.abs(), slopes)

    count = problem.rows.shape[0]
    watched = {gate.inputs[1] for gate in backward.gates} | {backward.jacobian}
    spread = {name: torch.zeros_like(centers[name]).flatten(1) for name in watched}
    for gate in backward.gates:  # those behind come first, so S of this one is complete
        radius = slopes[gate.name].radius.flatten()
        open_gates = (radius > 0).nonzero().flatten()
        if not open_gates.numel():
            continue
        adjoint = gate.inputs[1]
        bound = centers[adjoint].flatten(1).abs() + spread[adjoint]
        weight = (bound * radius)[:, open_gates]
        chunk = _chunk_size(problem, backward, count)
        for part, share in zip(open_gates.split(chunk), weight.split(chunk, dim=1), strict=True):
            pulled = _propagate(backward, {gate.name: _units(part, gate)}, means)
            for name in watched & pulled.keys():
                spread[name] = spread[name] + share @ pulled[name].flatten(1).abs()

    # Remainders of all gates are summed into one number, also those of parallel branches.
    sums = 2 * sum(gate.size for gate in backward.gates)

    def enclosure(name: str) -> Interval:
        center = centers[name].flatten(1)
        slack = 4 * gamma(operations[name] + sums) * reach[name].flatten(1) + SMALLEST
        radius = spread[name] + slack
        if not bool((torch.isfinite(center) & torch.isfinite(radius)).all()):
            raise NumericalFailure("overflow in the mean-split enclosure")
        bounds = Interval(round_down(center - radius), round_up(center + radius))
        return bounds.reshape(count, *backward[name].shape)

    return JacobianBounds(
        enclosure(backward.jacobian).reshape(count, -1),
        None,
        {gate.name: enclosure(gate.inputs[1]) for gate in backward.gates},
    )


def _propagate(
    backward: BackwardGraph, start: Mapping[str, Tensor], gates: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Values of the nodes that depend on `start`, gates fixed to the given slopes, rest zero."""
    values = dict(start)
    for node in backward:
        if node.name in values or node.operator is None:
            continue
        if isinstance(node.operator, AffineOperator):
            parts = [
                node.operator.linear(values[name], operand)
                for operand, name in enumerate(node.inputs)
                if name in values
            ]
            if parts:
                values[node.name] = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        elif node.inputs[1] in values:
            values[node.name] = gates[node.name] * values[node.inputs[1]]
    return values


def _reach(
    backward: BackwardGraph, seed: Tensor, slopes: Mapping[str, Interval]
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Sum of the magnitudes of all paths to each node, and the operations along the longest.

    Centres and remainders are both sums over paths of products of weights and slopes of modulus
    at most mean + radius <= 2 max |slope|; gamma(operations) times this bounds their rounding.
    """
    reach = {BackwardGraph.SEED: seed}
    operations = {BackwardGraph.SEED: 1}
    for node in backward:
        if node.operator is None:
            continue
        if isinstance(node.operator, AffineOperator):
            absolute = node.operator.absolute_cached
            reach[node.name] = absolute.evaluate(*(reach[name] for name in node.inputs))
            longest = max(operations[name] for name in node.inputs)
            operations[node.name] = longest + node.operator.terms + 4
        else:
            slope, adjoint = slopes[node.name], node.inputs[1]
            reach[node.name] = (slope.center.abs() + slope.radius) * reach[adjoint]
            operations[node.name] = operations[adjoint] + 8 + node.size
    return reach, operations


def _units(index: Tensor, gate: Node) -> Tensor:
    rows = torch.zeros(index.numel(), gate.size, dtype=torch.float64)
    rows[torch.arange(index.numel()), index] = 1.0
    return rows.reshape(index.numel(), *gate.shape)


def _chunk_size(problem: JacobianProblem, backward: BackwardGraph, count: int) -> int:
    total = sum(node.size for node in backward if not isinstance(node.operator, Gate))
    return max(1, int(problem.memory / (8.0 * 3 * max(total, count))))
