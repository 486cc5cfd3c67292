"""The affine function that a piecewise linear network is around a point, and what holds it there.

In floats: it only suggests where to look.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.graph import BackwardGraph, ForwardGraph, Node, evaluate, evaluate_intervals
from lipverify.interval import Interval
from lipverify.operators import Activation, AffineOperator, Gate
from lipverify.region import AbstractRegion

MAP_WORK = 3e7
"""About how many numbers one local map may hold."""


@dataclass(frozen=True, eq=False)
class LocalMap:
    """Around a point x [n]: rows J, and a wall for each next kink of each preactivation.

    Wall k is where heights[k] + slopes[k] . (x' - x) = 0; inside, that is positive. Beyond it,
    rows J gains the product of lefts[:, k] and slopes[k]. `neurons[k]` numbers its preactivation
    as `pieces` does.
    """

    jacobian: Tensor
    heights: Tensor
    slopes: Tensor
    lefts: Tensor
    neurons: Tensor
    steps: Tensor
    """+1 where the piece beyond has the next number, -1 where it has the one before."""


def is_piecewise_linear(backward: BackwardGraph) -> bool:
    """Whether all activations that the output depends on are, with a local map small enough."""
    forward = backward.forward
    sizes = sum(node.size for node in forward)
    if forward.products:
        return False
    return bool(forward.activations) and all(
        isinstance(node.operator, Activation) and node.operator.piecewise_linear
        for node in forward.activations
    ) and (forward.input_size + 1) * sizes <= MAP_WORK  # fmt: skip


def pieces(forward: ForwardGraph, points: Tensor) -> Tensor:
    """The number of the piece of every activation's every entry: [b, n] -> [b, entries]."""
    values = evaluate(forward, {ForwardGraph.INPUT: points.reshape(-1, *forward.input_shape)})
    found = [
        torch.bucketize(values[node.inputs[0]].flatten(1), _kinks(node), right=True)
        for node in forward.activations
    ]
    return torch.cat(found, 1).to(torch.int8)


def reachable(forward: ForwardGraph, region: AbstractRegion) -> dict[str, Tensor]:
    """Per activation, the places of the entries whose kinks the region may reach, by intervals."""
    box = region.bounding
    shape = (1, *forward.input_shape)
    start = Interval(box.lower.reshape(shape), box.upper.reshape(shape))
    values = evaluate_intervals(forward, {ForwardGraph.INPUT: start})
    found = {}
    for node in forward.activations:
        known = values[node.inputs[0]]
        lower, upper = known.lower.flatten(), known.upper.flatten()
        kinks = _kinks(node).unsqueeze(1)
        found[node.name] = ((lower <= kinks) & (kinks <= upper)).any(0).nonzero().flatten()
    return found


def local_map(
    backward: BackwardGraph, point: Tensor, rows: Tensor, open_: Mapping[str, Tensor]
) -> LocalMap:
    """The map around the point [n], for rows [r, m]; kinks are taken from the right.

    Only the `open_` entries of each activation get walls (`reachable`).
    """
    forward = backward.forward
    tangents, values = _tangents(forward, point)
    adjoints = {BackwardGraph.SEED: rows.reshape(-1, *forward.output_shape)}
    for node in backward:
        if isinstance(node.operator, Gate):
            z = values[node.inputs[0]]
            slope = node.operator.activation.derivative(z)
            adjoints[node.name] = slope * adjoints[node.inputs[1]]
        elif node.operator is not None:
            adjoints[node.name] = node.operator.evaluate(*(adjoints[i] for i in node.inputs))
    heights, slopes, lefts, neurons, steps, start = [], [], [], [], [], 0
    for node in forward.activations:
        where = open_[node.name]
        z = values[node.inputs[0]].flatten()[where]
        tangent = tangents[node.inputs[0]].flatten(1)[:, where].T
        adjoint = adjoints[backward.adjoint(node.name)].flatten(1)[:, where]
        for step in (1, -1):
            distance, jump = _beyond(node, z, step)
            chosen = (torch.isfinite(distance) & (jump != 0)).nonzero().flatten()
            heights.append(distance[chosen])
            slopes.append(-step * tangent[chosen])
            lefts.append(-step * adjoint[:, chosen] * jump[chosen])
            neurons.append(where[chosen] + start)
            steps.append(torch.full_like(chosen, step))
        start += node.size
    return LocalMap(
        adjoints[backward.jacobian].reshape(len(rows), -1),
        torch.cat(heights),
        torch.cat(slopes),
        torch.cat(lefts, 1),
        torch.cat(neurons),
        torch.cat(steps),
    )


def _kinks(node: Node) -> Tensor:
    assert isinstance(node.operator, Activation)
    return torch.tensor(node.operator.kinks, dtype=torch.float64)


def _beyond(node: Node, z: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The distance of each entry [k] to its next kink that way, and the slope's change there."""
    activation = node.operator
    assert isinstance(activation, Activation)
    kinks = _kinks(node)
    ends = torch.cat([kinks.new_tensor([-torch.inf]), kinks, kinks.new_tensor([torch.inf])])
    inner = (kinks[1:] + kinks[:-1]) / 2
    places = torch.cat([kinks[:1] - 1, inner, kinks[-1:] + 1])  # one inside each piece
    piece = torch.bucketize(z, kinks, right=True)
    distance = ends[piece + 1] - z if step > 0 else z - ends[piece]
    slopes = activation.derivative(places)
    beyond = (piece + step).clamp(0, len(kinks))
    return distance, slopes[beyond] - slopes[piece]


def _tangents(forward: ForwardGraph, point: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of every node: its derivative by each input, inputs first; and its value, batch of 1."""
    size = forward.input_size
    start = point.reshape(1, *forward.input_shape)
    values = evaluate(forward, {ForwardGraph.INPUT: start})
    unit = torch.eye(size, dtype=point.dtype).reshape(size, *forward.input_shape)
    tangents = {ForwardGraph.INPUT: unit}
    used = forward.ancestors(forward.output)
    for node in forward:
        operator = node.operator
        if operator is None or node.name not in used:
            continue
        if isinstance(operator, Activation):
            slope = operator.derivative(values[node.inputs[0]])
            tangents[node.name] = slope * tangents[node.inputs[0]]
        else:
            assert isinstance(operator, AffineOperator)
            parts = [operator.linear(tangents[i], k) for k, i in enumerate(node.inputs)]
            tangents[node.name] = sum(parts[1:], parts[0])
    return tangents, values
