"""Ascent where the derivative jumps: along gradients of a smoothed Jacobian, ever less smoothed."""

import torch
from torch import Tensor

from lipverify.graph import BackwardGraph, ForwardGraph, evaluate, row_jacobian
from lipverify.operators import Gate
from lipverify.region import AbstractRegion
from lipverify.witness.goal import AbstractGoal, Stop
from lipverify.witness.population import Population

SHARES = (1.0, 0.3, 0.1, 0.03)
"""How far each step may go towards the region's extreme point along the gradient."""
RATE, LEAST_RATE = 0.1, 0.005


def ascend(
    backward: BackwardGraph,
    region: AbstractRegion,
    goal: AbstractGoal,
    starts: Tensor,
    widths: tuple[float, float],
    steps: int,
    stop: Stop,
) -> Population:
    """The best point met from each start [k, n], with its exact value.

    Each step looks along the gradient of c rows J v (c, v the current maximisers, as in Danskin's
    theorem), whose gates' jumps are spread over a width, relative to the preactivations' size, that
    falls from widths[0] to widths[1]. It takes the best of a few points between here and the
    region's extreme point in that direction (Frank and Wolfe 1956), better than here or not.
    """
    jacobians = row_jacobian(backward, starts, goal.rows)
    points, rows = starts, goal.combinations(jacobians) @ goal.rows
    best_points, best_values = starts, goal.values(jacobians)
    count, each = len(starts), torch.arange(len(starts))
    for step in range(steps):
        if stop():
            break
        width = widths[0] * (widths[1] / widths[0]) ** (step / max(1, steps - 1))
        gradient = _gradient(backward, goal, points, rows, width)
        if gradient is None:
            break
        far = region.vertices(gradient)
        proposals = torch.stack([points + share * (far - points) for share in SHARES])
        jacobians = row_jacobian(backward, proposals.flatten(0, 1), goal.rows)
        chosen = goal.values(jacobians).reshape(-1, count).argmax(0)
        points = proposals[chosen, each]
        jacobians = jacobians.reshape(len(SHARES), count, *jacobians.shape[1:])[chosen, each]
        rows, values = goal.combinations(jacobians) @ goal.rows, goal.values(jacobians)
        better = values > best_values
        best_values = torch.where(better, values, best_values)
        best_points = torch.where(better.unsqueeze(1), points, best_points)
    return Population(best_points, best_values)


def creep(
    backward: BackwardGraph,
    region: AbstractRegion,
    goal: AbstractGoal,
    starts: Tensor,
    widths: tuple[float, float],
    steps: int,
    stop: Stop,
) -> Population:
    """As `ascend`, by small steps along the gradient, scaled per input (Kingma and Ba 2015)."""
    radius = region.bounding.radius
    jacobians = row_jacobian(backward, starts, goal.rows)
    points, rows = starts, goal.combinations(jacobians) @ goal.rows
    best_points, best_values = starts, goal.values(jacobians)
    first, second = torch.zeros_like(points), torch.zeros_like(points)
    for step in range(steps):
        if stop():
            break
        width = widths[0] * (widths[1] / widths[0]) ** (step / max(1, steps - 1))
        gradient = _gradient(backward, goal, points, rows, width)
        if gradient is None:
            break
        scaled = gradient * radius
        first = 0.9 * first + 0.1 * scaled
        second = 0.99 * second + 0.01 * scaled**2
        ahead = first / (1 - 0.9 ** (step + 1))
        size = (second / (1 - 0.99 ** (step + 1))).sqrt() + 1e-12
        rate = RATE * (1 - step / steps) + LEAST_RATE
        points = region.project(points + rate * radius * ahead / size)
        if step % 3 == 2:
            jacobians = row_jacobian(backward, points, goal.rows)
            rows, values = goal.combinations(jacobians) @ goal.rows, goal.values(jacobians)
            better = values > best_values
            best_values = torch.where(better, values, best_values)
            best_points = torch.where(better.unsqueeze(1), points, best_points)
    return Population(best_points, best_values)


def _gradient(
    backward: BackwardGraph, goal: AbstractGoal, points: Tensor, rows: Tensor, width: float
) -> Tensor | None:
    """The gradient of the smoothed value at each point [b, n]; None where it has none at all."""
    x = points.clone().requires_grad_(True)
    with torch.enable_grad():
        smooth = _smooth_row(backward, x, rows, width)
        value = (smooth * goal.directions(smooth.detach())).sum()
        if not value.requires_grad:
            return None
        return torch.autograd.grad(value, x, allow_unused=True)[0]


def _smooth_row(backward: BackwardGraph, x: Tensor, rows: Tensor, width: float) -> Tensor:
    """rows J at each point with smoothed gates: [b, n], [b, m] -> [b, n]."""
    forward = backward.forward
    values = evaluate(forward, {ForwardGraph.INPUT: x.reshape(-1, *forward.input_shape)})
    adjoints = {BackwardGraph.SEED: rows.reshape(-1, *forward.output_shape)}
    for node in backward:
        operator = node.operator
        if operator is None:
            continue
        if isinstance(operator, Gate):
            z = values[node.inputs[0]]
            spread = width * (z.detach().abs().mean() + 1e-9)
            slope = operator.activation.smooth_derivative(z, float(spread))
            adjoints[node.name] = slope * adjoints[node.inputs[1]]
        else:
            adjoints[node.name] = operator.evaluate(*(adjoints[name] for name in node.inputs))
    return adjoints[backward.jacobian].reshape(x.shape[0], -1)
