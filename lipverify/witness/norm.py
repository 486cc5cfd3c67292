"""Points at which the norm of the Jacobian is large."""

import torch
from torch import Tensor

from lipverify.config import WitnessConfig
from lipverify.graph import BackwardGraph
from lipverify.query import NormQuery
from lipverify.region import AbstractRegion
from lipverify.witness.ascent import ascend, creep
from lipverify.witness.goal import NormGoal, Stop
from lipverify.witness.local_map import is_piecewise_linear
from lipverify.witness.point import NormWitness, prove_norm
from lipverify.witness.population import Population, affordable
from lipverify.witness.redraw import redraw
from lipverify.witness.walk import Walk

SAMPLE_WORK = 1e8
ASCENT_WORK = 8e5
WALK_WORK = 1.5e8
"""About how many numbers samples, a step of all that climb, and a walk may compute."""
WIDTHS = ((1.0, 0.01), (0.3, 0.003))
"""Over which shares of the preactivations' size jumps are spread: at first, and in the end."""
PROVED = 3
"""So many of the best points are re-evaluated in interval arithmetic."""
BESIDE = 1e-6
"""How far beside them, as a share of the region's width, it is tried as well."""


def search_norm(
    backward: BackwardGraph,
    region: AbstractRegion,
    query: NormQuery,
    config: WitnessConfig,
    seed: int,
    stop: Stop = lambda: False,
) -> NormWitness:
    """The point of the largest operator norm found by climbing; its value is proved from below."""
    generator = torch.Generator().manual_seed(seed)
    found = _climbed(backward, region, NormGoal(query), config, generator, stop)
    finalists = found.top(PROVED).points
    # At a kink, the values may see slopes that no point near it has, and nothing can be proved.
    noise = torch.randn(finalists.shape, generator=generator, dtype=finalists.dtype)
    beside = region.project(finalists + BESIDE * region.bounding.width * noise)
    return _best_proved(backward, query, torch.cat([finalists, beside]))


def walk_norm(
    backward: BackwardGraph,
    region: AbstractRegion,
    query: NormQuery,
    known: NormWitness,
    config: WitnessConfig,
    seed: int,
    stop: Stop = lambda: False,
) -> NormWitness:
    """A point at least as good as the `known` one, by walks over the linear regions.

    From there first, then from points that climbed from new samples, until the budget of linear
    programs is spent. Networks that are not piecewise linear have no such regions.
    """
    if not is_piecewise_linear(backward):
        return known
    generator = torch.Generator().manual_seed(seed + 1)
    goal = NormGoal(query)
    walk = Walk(backward, region, goal, config.programs, WALK_WORK, stop)
    walk.run(known.point, config.patience)
    for _ in range(config.rounds):
        if walk.spent:
            break
        fresh = _climbed(backward, region, goal, config, generator, stop)
        for point in fresh.top(config.walks).points:
            walk.run(point, config.patience)
    found = _best_proved(backward, query, walk.found.top(PROVED).points)
    return found if found.value > known.value else known


def _best_proved(backward: BackwardGraph, query: NormQuery, points: Tensor) -> NormWitness:
    found = [prove_norm(backward, query, point) for point in points]
    return max(found, key=lambda witness: witness.value)


def _climbed(
    backward: BackwardGraph,
    region: AbstractRegion,
    goal: NormGoal,
    config: WitnessConfig,
    generator: torch.Generator,
    stop: Stop,
) -> Population:
    """The best of samples, and what climbed from them."""
    rows = len(goal.rows)
    points = region.sample(affordable(backward, rows, SAMPLE_WORK, config.samples), generator)
    samples = Population(points, goal.measure(backward, points))
    climbers = affordable(backward, rows, ASCENT_WORK, config.climbers)
    few = affordable(backward, rows, ASCENT_WORK / 4, config.climbers)
    best = samples.top(climbers)
    found = best
    for widths in WIDTHS:
        starts = best.points[:few]
        found = found.join(ascend(backward, region, goal, starts, widths, config.steps, stop))
    slowly = 2 * config.steps
    found = found.join(creep(backward, region, goal, best.points, WIDTHS[1], slowly, stop))
    top = found.top(climbers)
    return found.join(redraw(backward, region, goal, top, config.steps, generator, stop))
