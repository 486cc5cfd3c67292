"""The search for points that attain or violate: sampling, ascent, and exact re-evaluation.

Everything here looks from below. A value found becomes a proved lower end only through
`proved_norm`: interval arithmetic at the point, which covers kinks and rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.config import WitnessConfig
from lipverify.graph import (
    BackwardGraph,
    ForwardGraph,
    evaluate,
    jacobian_enclosure,
    output,
    row_jacobian,
)
from lipverify.norms import AbstractNorm, operator_norm
from lipverify.numerics import SMALLEST
from lipverify.operators import AbstractOperator, Activation, Gate
from lipverify.query import NormQuery, OutputQuery
from lipverify.region import AbstractRegion

SAME = 1e-9
"""Values closer than this, relatively, count as one."""

WORK = 4e8
"""About how many numbers (points x rows x nodes' sizes) one search may compute per round."""

POLISHING = 60
"""Steps of the ascent that ends a search on smooth networks."""

PROVED = 3
"""So many of the best points are re-evaluated in interval arithmetic."""
BESIDE = 1e-6
"""How far beside them, as a share of the region's width, it is tried as well."""

STEP_WORK = 4e5
"""About how many numbers the points that climb may compute per step, each several times."""

Stop = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class NormWitness:
    """A point [n] at which rows J is at least `value` (proved), nearly attained along v [n]."""

    point: Tensor
    direction: Tensor
    output: int | None
    value: float


@dataclass(frozen=True, eq=False)
class _Population:
    points: Tensor
    values: Tensor


def search_norm(
    backward: BackwardGraph,
    region: AbstractRegion,
    query: NormQuery,
    config: WitnessConfig,
    seed: int,
    stop: Stop = lambda: False,
) -> NormWitness:
    """The point of the largest operator norm found; its value is proved from below.

    Samples first; then the best points climb: along the gradient of c.J v with the gates' jumps
    smoothed (c, v the current maximisers, as in Danskin's theorem), jumping to the region's
    extreme points, and by re-drawing random blocks of inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    count = _affordable(backward, query.rows.shape[0], config.samples)

    def measure(points: Tensor) -> Tensor:
        jacobians = row_jacobian(backward, points, query.rows)
        return operator_norm.attained(jacobians, query.input_norm, query.output_norm)[0]

    points = region.sample(count, generator)
    best = _Population(points, measure(points))
    keep = min(count, _climbers(backward, query.rows.shape[0], config.ascents))
    record, stale = float(best.values.max()), 0
    for step in range(config.steps):
        if stop() or stale >= config.patience:
            break
        best = _top(best, keep)
        stale = 0 if float(best.values[0]) > record else stale + 1
        record = max(record, float(best.values[0]))
        width = _smoothing(step, config.steps)
        climbed = _climb(backward, region, query, best.points, width)
        redrawn = _redraw(region, best.points, generator)
        proposals = torch.cat([climbed, redrawn])
        values = measure(proposals)
        best = _Population(torch.cat([best.points, proposals]), torch.cat([best.values, values]))
    finalists = _top(best, PROVED).points
    # At a kink, `measure` may see slopes that no point near it has, and nothing can be proved.
    step = (
        BESIDE
        * region.bounding.width
        * torch.randn(finalists.shape, generator=generator, dtype=finalists.dtype)
    )
    finalists = torch.cat([finalists, region.project(finalists + step)])
    found = [prove_norm(backward, query, point) for point in finalists]
    return max(found, key=lambda witness: witness.value)


def prove_norm(backward: BackwardGraph, query: NormQuery, point: Tensor) -> NormWitness:
    """The point with a proved bound below its Clarke Jacobians' norm (kinks: of all of them)."""
    enclosure = jacobian_enclosure(backward, point, query.rows)
    value = operator_norm.lower(enclosure, query.input_norm, query.output_norm)
    _, c, v = operator_norm.attained(
        enclosure.center.unsqueeze(0), query.input_norm, query.output_norm
    )
    single = int(c[0].abs().argmax()) if int((c[0] != 0).sum()) == 1 else None
    return NormWitness(point, v[0], single, value)


def search_slope(
    backward: BackwardGraph,
    region: AbstractRegion,
    row: Tensor,
    index: int,
    sign: int,
    config: WitnessConfig,
    seed: int,
) -> Tensor:
    """Points [k, n] at which sign d(row . f)/d x_index is large, the largest first."""
    generator = torch.Generator().manual_seed(seed)
    count = _affordable(backward, 1, config.samples)
    points = region.sample(count, generator)

    def measure(points: Tensor) -> Tensor:
        return sign * row_jacobian(backward, points, row)[:, 0, index]

    best = _Population(points, measure(points))
    keep = min(config.ascents, count)
    direction = torch.zeros(region.size, dtype=torch.float64)
    direction[index] = float(sign)
    for step in range(config.steps // 2):
        best = _top(best, keep)
        width = _smoothing(step, config.steps // 2)
        found = len(best.points)
        rows, directions = row.expand(found, -1), direction.expand(found, -1)
        climbed = _climb_along(backward, region, best.points, rows, directions, width)
        proposals = torch.cat([climbed, _redraw(region, best.points, generator)])
        best = _Population(
            torch.cat([best.points, proposals]), torch.cat([best.values, measure(proposals)])
        )
    best = _top(best, keep)
    if all(_piecewise_linear(node.operator) for node in backward.forward.activations):
        return best.points
    # Fresh starts as well: the best points tend to lie in one basin.
    starts = torch.cat([best.points, region.sample(2 * keep, generator)])
    polished = _polished(backward, region, starts, row, direction)
    both = _Population(
        torch.cat([best.points, polished]), torch.cat([best.values, measure(polished)])
    )
    return _top(both, keep).points


def _piecewise_linear(operator: AbstractOperator | None) -> bool:
    return isinstance(operator, Activation) and operator.piecewise_linear


def _polished(
    backward: BackwardGraph, region: AbstractRegion, points: Tensor, row: Tensor, direction: Tensor
) -> Tensor:
    """The points [k, n] after projected gradient ascent of row J(x) direction [n].

    Every point has a step of its own, which grows while it rises and shrinks where it does not.
    Only for smooth networks: elsewhere the derivative is flat almost everywhere.
    """
    width = region.bounding.width
    size = torch.full((len(points), 1), 0.1, dtype=points.dtype)

    def rise(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone().requires_grad_(True)
        with torch.enable_grad():
            value = row_jacobian(backward, x, row)[:, 0] @ direction
            slope = torch.autograd.grad(value.sum(), x, allow_unused=True)[0]
        return value.detach(), torch.zeros_like(x) if slope is None else slope

    value, slope = rise(points)
    for _ in range(POLISHING):
        scaled = width * slope
        step = size * width * scaled / scaled.abs().amax(1, keepdim=True).clamp(min=SMALLEST)
        moved = region.project(points + step)
        new_value, new_slope = rise(moved)
        better = (new_value > value).unsqueeze(1)
        points = torch.where(better, moved, points)
        slope = torch.where(better, new_slope, slope)
        value = torch.maximum(value, new_value)
        size = torch.where(better, 2 * size, size / 4).clamp(max=1.0)
    return points


def search_output(
    forward: ForwardGraph,
    region: AbstractRegion,
    query: OutputQuery,
    config: WitnessConfig,
    seed: int,
    stop: Stop = lambda: False,
) -> Tensor:
    """Points [k, n] at which some row . f is large, the largest first, by projected gradient.

    Madry et al. 2018, with restarts; the best row is followed from each start.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = query.rows
    starts = region.sample(max(config.ascents * 4, 8), generator)
    points = starts.repeat_interleave(rows.shape[0], 0)
    targets = torch.arange(rows.shape[0]).repeat(starts.shape[0])
    if points.shape[0] > 256:
        values = (output(forward, starts) @ rows.T).flatten()
        chosen = values.topk(256).indices
        points, targets = points[chosen], targets[chosen]
    scale = region.bounding.width / 2
    best_points, best_values = (
        points,
        torch.full((points.shape[0],), -torch.inf, dtype=points.dtype),
    )
    for step in range(config.steps):
        x = points.clone().requires_grad_(True)
        with torch.enable_grad():
            value = (output(forward, x) * rows[targets]).sum(-1)
            gradient = torch.autograd.grad(value.sum(), x)[0]
        value = value.detach()
        better = value > best_values
        best_values = torch.where(better, value, best_values)
        best_points = torch.where(better.unsqueeze(1), points, best_points)
        if stop():
            break
        size = scale * (1.0 if step == 0 else 0.5 * (1 - step / config.steps))
        points = region.project(points + size * gradient.sign())
        if step == 0:
            points = region.vertices(gradient)
    order = best_values.argsort(descending=True)
    return best_points[order[: config.ascents]]


def _climb(
    backward: BackwardGraph,
    region: AbstractRegion,
    query: NormQuery,
    points: Tensor,
    width: float,
) -> Tensor:
    jacobians = row_jacobian(backward, points, query.rows)
    _, c, v = operator_norm.attained(jacobians, query.input_norm, query.output_norm)
    return _climb_along(backward, region, points, c @ query.rows, v, width)


def _climb_along(
    backward: BackwardGraph,
    region: AbstractRegion,
    points: Tensor,
    rows: Tensor,
    directions: Tensor,
    width: float,
) -> Tensor:
    """Two proposals per point that increase row J(x) direction: a step, and an extreme point."""
    x = points.clone().requires_grad_(True)
    with torch.enable_grad():
        value = (_smooth_row(backward, x, rows, width) * directions).sum()
        if value.requires_grad:
            gradient = torch.autograd.grad(value, x, allow_unused=True)[0]
        else:
            gradient = None
    if gradient is None:
        return points
    step = region.bounding.width * (0.05 + 0.2 * width)
    moved = region.project(points + step * gradient.sign())
    return torch.cat([moved, region.vertices(gradient)])


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
            activation: Activation = operator.activation
            spread = width * (z.detach().abs().mean() + 1e-9)
            adjoints[node.name] = (
                activation.smooth_derivative(z, float(spread)) * adjoints[node.inputs[1]]
            )
        else:
            adjoints[node.name] = operator.evaluate(*(adjoints[name] for name in node.inputs))
    return adjoints[backward.jacobian].reshape(x.shape[0], -1)


def _redraw(region: AbstractRegion, points: Tensor, generator: torch.Generator) -> Tensor:
    """Each point with a random block of its inputs replaced, twice: small and large blocks."""
    results = []
    for share in (0.05, 0.3):
        fresh = region.sample(points.shape[0], generator)
        mask = torch.rand(points.shape, generator=generator, dtype=points.dtype) < max(
            share, 1.0 / points.shape[1]
        )
        results.append(region.project(torch.where(mask, fresh, points)))
    mates = points[torch.randperm(points.shape[0], generator=generator)]
    mask = torch.rand(points.shape, generator=generator, dtype=points.dtype) < 0.5
    results.append(region.project(torch.where(mask, mates, points)))
    return torch.cat(results)


def _top(population: _Population, count: int) -> _Population:
    """The best points, of each value only one: those of one linear region share their value."""
    order = population.values.argsort(descending=True)
    ordered = population.values[order]
    new = torch.ones(len(ordered), dtype=torch.bool)
    new[1:] = ordered[1:] < ordered[:-1] - SAME * ordered[:-1].abs()
    order = order[new][:count]
    return _Population(population.points[order], population.values[order])


def _smoothing(step: int, steps: int) -> float:
    """From wide (1) to narrow (0.02) over a search, three times."""
    phase = (3 * step / max(1, steps)) % 1.0
    return 0.02**phase


def _affordable(backward: BackwardGraph, rows: int, samples: int) -> int:
    per_point = rows * sum(node.size for node in backward)
    return max(8, min(samples, int(WORK / max(1, per_point))))


def _climbers(backward: BackwardGraph, rows: int, most: int) -> int:
    per_point = rows * sum(node.size for node in backward)
    return max(8, min(most, int(STEP_WORK / max(1, per_point))))


__all__ = [
    "AbstractNorm",
    "NormWitness",
    "prove_norm",
    "search_norm",
    "search_output",
    "search_slope",
]
