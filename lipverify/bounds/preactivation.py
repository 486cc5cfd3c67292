"""Bounds of every preactivation over the region; everything about the Jacobian rests on them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.copies import original_entries
from lipverify.bounds.propagation import (
    Engine,
    Known,
    forward_relaxations,
    rounding_slack,
    steepness,
)
from lipverify.errors import InvertedInterval, NumericalFailure
from lipverify.graph import ForwardGraph, Node, evaluate_intervals
from lipverify.interval import Interval
from lipverify.operators import FACTOR, Activation
from lipverify.region import AbstractRegion

Preactivations = Mapping[str, Interval]


@dataclass(frozen=True, eq=False)
class ForwardProblem:
    """A network on a region, and the memory (bytes) that one step may use."""

    forward: ForwardGraph
    region: AbstractRegion
    memory: float = 4e9


def interval_values(problem: ForwardProblem) -> dict[str, Interval]:
    """The interval of every node's value, [1, *shape], by interval arithmetic."""
    box = problem.region.bounding
    start = box.reshape(1, *problem.forward.input_shape)
    return evaluate_intervals(problem.forward, {ForwardGraph.INPUT: start})


def crown(problem: ForwardProblem, engine: Engine, start: Mapping[str, Interval]) -> Preactivations:
    """CROWN bounds of every preactivation and factor, layer by layer, intersected with `start`.

    Only neurons whose gate is still open are bounded: the relaxation of the others is exact
    already. `start` holds at least one interval per preactivation.
    """
    known = Known({})
    for name, users in problem.forward.gated:
        current = start[name]
        index = torch.cat([open_of(user, current) for user in users]).unique()
        if index.numel():
            bounds = bound_entries(problem, engine, name, index, known)
            current = refine(current, index, bounds)
        known = known.with_one(name, current)
    return known


def open_entries(activation: Activation, preactivation: Interval) -> Tensor:
    """Flat indices of the neurons whose gate is not one number."""
    slope = activation.gate(preactivation)
    return (slope.lower < slope.upper).flatten().nonzero().flatten()


def open_of(user: Node, operand: Interval) -> Tensor:
    """As `open_entries`, for an activation or a product that takes the operand."""
    activation = user.operator
    return open_entries(activation if isinstance(activation, Activation) else FACTOR, operand)


def refine(current: Interval, index: Tensor, bounds: Interval) -> Interval:
    """`current` [1, *shape] with the entries `index` intersected with `bounds` [entries]."""
    lower, upper = current.lower.clone(), current.upper.clone()
    flat_lower, flat_upper = lower.reshape(-1), upper.reshape(-1)
    flat_lower[index] = torch.maximum(flat_lower[index], bounds.lower)
    flat_upper[index] = torch.minimum(flat_upper[index], bounds.upper)
    return Interval(lower, upper)


def bound_entries(
    problem: ForwardProblem,
    engine: Engine,
    target: str,
    index: Tensor,
    preactivations: Preactivations,
) -> Interval:
    """Bounds of the given flat entries of a forward node: [entries], rounded outward."""
    target, places = original_entries(problem.forward, target)
    # An entry that was copied to many places is bounded once.
    index, copies = places[index].unique(return_inverse=True)
    shape = problem.forward[target].shape
    lower, upper = [], []
    # The unit objectives of all entries of a convolution would take gigabytes.
    for part in index.split(chunk_size(problem, engine, target)):
        unit = one_hot(part, shape)
        upper.append(forward_upper(problem, engine, target, unit, preactivations))
        lower.append(-forward_upper(problem, engine, target, -unit, preactivations))
    try:
        return Interval(torch.cat(lower)[copies], torch.cat(upper)[copies])
    except InvertedInterval as error:
        raise NumericalFailure(f"bounds of {target!r} are inverted or NaN") from error


def forward_upper(
    problem: ForwardProblem,
    engine: Engine,
    target: str,
    objective: Tensor,
    preactivations: Preactivations,
) -> Tensor:
    """max objective . value of a forward node, rounded up: [specs, 1, *shape] -> [specs]."""
    forward = problem.forward
    relaxations = forward_relaxations(forward, target, preactivations)
    steep = steepness(forward, relaxations, preactivations)
    reach = problem.region.bounding.magnitude.reshape(1, *forward.input_shape)
    results = []
    for part in objective.split(chunk_size(problem, engine, target)):
        value = engine.forward_upper(target, part, preactivations)
        slack = rounding_slack(
            forward,
            target,
            part,
            {ForwardGraph.INPUT: reach},
            steep.slopes,
            steep.intercepts,
            steep.crossing,
        )
        results.append((value + slack).squeeze(1))
    return torch.cat(results)


def one_hot(index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Unit objectives for the flat entries `index` of a node: [entries, 1, *shape]."""
    size = 1
    for length in shape:
        size *= length
    rows = torch.zeros(index.numel(), size, dtype=torch.float64)
    rows[torch.arange(index.numel()), index] = 1.0
    return rows.reshape(index.numel(), 1, *shape)


def chunk_size(problem: ForwardProblem, engine: Engine, target: str) -> int:
    """How many functions of a node fit the memory."""
    return max(1, int(problem.memory / (8.0 * engine.values_held(problem.forward, target))))
