"""Insensitivity where cheap bounds leave it open: searches over inputs, or over pairs of them.

`outputs_around` compares the record with inputs around it: one copy of the network, whose output
has to stay between two limits. `pairs_apart` compares two inputs that share everything but the
protected feature: two copies, whose difference has to stay below what is allowed. Both are queries
about outputs, and go through the attack and the branch and bound of `verify`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf, isnan, nan

import torch
from torch import Tensor

from lipverify.audit.columns import Feature
from lipverify.audit.confirm import Candidate, Confirmed
from lipverify.audit.context import Context
from lipverify.audit.difference import joined, network_of, pair_graph, split_pair
from lipverify.audit.output import Target
from lipverify.audit.points import valid_near
from lipverify.audit.question import Question
from lipverify.audit.regions import Part, between_values, moving_range, protected_values
from lipverify.interval import Interval
from lipverify.network import Network
from lipverify.numerics import DTYPE, add_up
from lipverify.query_output import Clause, OutputQuery
from lipverify.region import Box
from lipverify.search.budget import Clock
from lipverify.search.output_search import decide
from lipverify.verdict import Falsified, Reason, Unknown, Verified

WITHIN_ROUNDING = "what is allowed is within the rounding of the output itself"
NO_PAIR = (
    "the bounds' network has a pair of inputs that differs by more, but none was found that the "
    "table could hold and that the original network confirms"
)
HALVINGS = 200
"""Of the range in which a limit is looked for, until no float is left between its ends."""


Pairs = Callable[[Tensor, Part], tuple[Tensor, Tensor] | None]
"""From an input of a query's network, two inputs [n] that the table could hold."""


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search found: `reason` is None where a pair was confirmed, or all is proved.

    `upper` is the proved change (inf: none).
    """

    upper: float
    stage: str
    reason: Reason | None = None
    detail: str = ""
    pair: Confirmed | None = None


def outputs_around(
    context: Context,
    x: Tensor,
    parts: Sequence[Part],
    at_most: float,
    value: Interval,
    reach: Interval,
) -> Searched:
    """No input of the parts has an output further than `at_most` from that of the record x [n].

    `value` [1] encloses row . graph at x, and `reach` [1] on the parts.
    """
    target = context.target
    clauses: list[Clause] = []
    for sign in (1.0, -1.0):
        limit = _limit(target, sign, value, reach, at_most)
        if isnan(limit):
            return Searched(inf, "none", Reason.NUMERICS, WITHIN_ROUNDING)
        if limit < inf:
            clauses.append(_above(sign * target.row, limit))
    queries = [(p, OutputQuery(Box(p.lower, p.upper), tuple(clauses))) for p in parts]

    def pair(point: Tensor, part: Part) -> tuple[Tensor, Tensor] | None:
        near = valid_near(point, part, context.features)
        return None if near is None else (x, near)

    found = _searched(context, network_of(target, target.graph), queries, pair, at_most)
    # How far row . graph may still be above its limits says nothing about the asked output.
    return found if found.upper <= at_most else replace(found, upper=inf)


def pairs_apart(
    context: Context, question: Question, parts: Sequence[Part], at_most: float
) -> Searched:
    """No two inputs that share a point of the parts, but for the asked feature, differ by more.

    The parts are those of all other features.
    """
    feature = context.features[question.feature]
    network = network_of(context.target, pair_graph(context.target, feature))
    one = torch.ones(1, 1, dtype=DTYPE)
    values = protected_values(question, feature)
    queries = []
    for part in parts:
        if values is None:
            low, high = between_values(feature, *moving_range(question.region, feature))
            part = part.holding(feature, _scalar(low), _scalar(high))
            # Who is first does not matter: one direction tells of both.
            box = Box(joined(part.lower, [low]), joined(part.upper, [high]))
            queries.append((part, OutputQuery(box, (_above(one, at_most),))))
            continue
        for first, second in combinations(values, 2):
            part = part.holding(feature, first, first)
            box = Box(joined(part.lower, second), joined(part.upper, second))
            clauses = (_above(one, at_most), _above(-one, at_most))
            queries.append((part, OutputQuery(box, clauses)))

    def pair(point: Tensor, part: Part) -> tuple[Tensor, Tensor] | None:
        return _valid_pair(context, feature, point, part)

    return _searched(context, network, queries, pair, at_most)


def _valid_pair(
    context: Context, feature: Feature, z: Tensor, part: Part
) -> tuple[Tensor, Tensor] | None:
    """The pair that the table could hold nearest to z, the part's other features the same."""
    places = list(feature.inputs)
    first, second = split_pair(z, feature)
    near = valid_near(first, part, context.features)
    if near is None:
        return None
    if bool((part.lower[places] == part.upper[places]).all()):  # a value of its own, as it is
        other = near.clone()
        other[places] = second[places]
        return near, other
    second = torch.where(torch.isin(torch.arange(len(near)), torch.tensor(places)), second, near)
    other = valid_near(second, part, context.features)
    return None if other is None else (near, other)


def _above(row: Tensor, limit: float) -> Clause:
    """row [1, m] . y > limit must not be."""
    strict = torch.ones(1, dtype=torch.bool)
    return Clause(-row, torch.tensor([limit], dtype=DTYPE), strict)


def _searched(
    context: Context,
    network: Network,
    queries: Sequence[tuple[Part, OutputQuery]],
    pair: Pairs,
    at_most: float,
) -> Searched:
    """Box by box, each with an even share of the time that is left, until a pair is confirmed."""
    clock = Clock(context.config.timeout)
    stage, worst = "none", 0.0
    left_open: Searched | None = None
    for place, (part, query) in enumerate(queries):
        left = clock.left
        share = clock if left is None else clock.limited(left / (len(queries) - place))
        answer = decide(network, query, context.config, share)
        depth = max([0.0 if not len(query.unsafe) else -inf, *answer.bound.tolist()])
        worst = max(worst, float(add_up(_scalar(at_most), _scalar(depth))))
        if left_open is None:
            stage = answer.stage
        match answer.verdict:
            case Falsified(counterexample):
                confirmed = _confirmed(context, pair(counterexample.inputs[0], part), at_most)
                if confirmed is not None:
                    return Searched(inf, answer.stage, pair=confirmed)
                left_open = left_open or Searched(inf, stage, Reason.CANDIDATE, NO_PAIR)
            case Unknown(reason, detail):
                left_open = left_open or Searched(inf, stage, reason, detail)
            case Verified():
                pass
    if left_open is None:
        return Searched(min(worst, at_most), stage)
    return replace(left_open, upper=worst)


def _confirmed(
    context: Context, pair: tuple[Tensor, Tensor] | None, at_most: float
) -> Confirmed | None:
    """The pair in the order in which the output rises, if the original shows it."""
    if pair is None:
        return None
    candidates = [
        Candidate(*ends, -1, -at_most, by_shown=True) for ends in (pair, (pair[1], pair[0]))
    ]
    found = context.judge.judged([candidates])[0]
    return None if found.shortest is None else found


def _limit(target: Target, sign: float, value: Interval, reach: Interval, at_most: float) -> float:
    """The largest number that sign x row . graph may be; inf: it may be all that it can be.

    NaN where even the record's own output is not within `at_most` of itself, proved.

    The asked output is no further than `at_most` from that at `value`, proved, for all numbers up
    to the limit: what comes behind row . graph only rises.
    """
    here = target.measured(value)

    def allowed(number: float) -> bool:
        there = target.measured(Interval(*2 * (torch.tensor([sign * number], dtype=DTYPE),)))
        if sign > 0:
            far = add_up(there.upper, -here.lower)
        else:
            far = add_up(here.upper, -there.lower)
        return bool((far <= at_most).all())

    ends = sign * torch.cat([value.lower, value.upper, reach.lower, reach.upper])
    low, high = float(ends[:2].max()), float(ends.max())
    if allowed(high):
        return inf
    if not allowed(low):
        return nan
    for _ in range(HALVINGS):
        middle = low / 2 + high / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low


def _scalar(number: float) -> Tensor:
    return torch.tensor(number, dtype=DTYPE)
