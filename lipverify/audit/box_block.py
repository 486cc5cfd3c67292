"""Questions on boxes of inputs: attacked along lines, then proved by bounds and their searches.

A violation is looked for first, on lines through points of the box, where it is decided exactly;
then all boxes are bounded together; what is left goes, one by one, through the stages and searches
of `verify`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from time import perf_counter

import torch
from torch import Tensor

from lipverify.audit.answer import Answer, Found
from lipverify.audit.box_change import change_in_boxes
from lipverify.audit.confirm import Candidate
from lipverify.audit.context import Context
from lipverify.audit.line_block import Block, broken_steps
from lipverify.audit.lines import Line, decide_sign, walked
from lipverify.audit.points import drawn, is_valid, valid_near
from lipverify.audit.question import Direction, Question
from lipverify.audit.regions import Part, admits, moving_range, parts_of
from lipverify.audit.slope_boxes import SlopeEnds, slope_ends
from lipverify.bounds.methods import Setting, method_named
from lipverify.errors import UnsupportedOperator
from lipverify.query import SlopeQuery
from lipverify.region import Box
from lipverify.search.budget import Clock, Note
from lipverify.search.input_split import NAME as INPUT_SPLITS
from lipverify.search.input_split import slope_search
from lipverify.search.job import Decision, Job
from lipverify.search.ladder import BREAKDOWNS
from lipverify.search.monotonicity import decide_monotonicity
from lipverify.search.output_search import MOST_INPUTS, silent
from lipverify.verdict import Falsified, Reason, Unknown, Verdict, Verified

ATTACK = "line walks through points"
BATCHED = "bounds of many boxes"
LINES = 8
"""Lines through each box that are walked before it is bounded."""
SPLIT_SHARE = 0.5
"""Of the time for one box, for branch and bound over its inputs, before all other searches."""
BOXES = 8
"""So many boxes of that search take no longer than one subproblem of the others."""
RELAXED = (
    "the box is larger than the values that discrete features take; it is not proved for these"
)


@dataclass(frozen=True, eq=False)
class _Case:
    """One question about one record (or about all inputs), with its boxes."""

    record: int
    which: int
    question: Question
    x: Tensor
    parts: tuple[Part, ...]


def answer_boxes(context: Context, positions: Sequence[int | None], which: Sequence[int]) -> Block:
    """Questions `which` (none on walkable lines) for the records at `positions`; None: global."""
    answers: list[Answer] = []
    for number in which:
        cases = list(_cases(context, positions, number))
        if context.audit.questions[number].direction is Direction.INSENSITIVE:
            for case in cases:
                begun = perf_counter()
                found = change_in_boxes(context, case.question, case.x, case.parts, case.record)
                seconds = perf_counter() - begun
                answers.append(replace(found, question=case.which, seconds=seconds))
        else:
            answers += _signs(context, cases)
    return Block(tuple(answers))


def _cases(context: Context, positions: Sequence[int | None], number: int):  # noqa: ANN202
    question = context.audit.questions[number]
    for position in positions:
        x = context.records.inputs[position or 0]
        if position is not None and not admits(question.region, context.features, x):
            continue
        record = 0 if position is None else context.records.numbers[position]
        parts = tuple(parts_of(question, context.features, x))
        yield _Case(record, number, question, x, parts)


def _signs(context: Context, cases: Sequence[_Case]) -> list[Answer]:
    begun = perf_counter()
    answers: dict[int, Answer] = _attacked(context, cases) if context.walkable else {}
    left = [place for place in range(len(cases)) if place not in answers]
    bounds = _batched(context, [cases[place] for place in left])
    shared = (perf_counter() - begun) / max(1, len(cases))
    for place, known in zip(left, bounds, strict=True):
        begun = perf_counter()
        answers[place] = _proved(context, cases[place], known)
        seconds = shared + perf_counter() - begun
        answers[place] = replace(answers[place], seconds=seconds)
    return [
        answer if answer.seconds else replace(answer, seconds=shared)
        for answer in (answers[place] for place in range(len(cases)))
    ]


def _attacked(context: Context, cases: Sequence[_Case]) -> dict[int, Answer]:
    """Falsified answers, by the place of their case."""
    owners: list[int] = []
    lines: list[Line] = []
    for place, case in enumerate(cases):
        seed = context.config.seed * 1_000_003 + case.record * 1009 + case.which
        generator = torch.Generator().manual_seed(seed)
        each = max(1, LINES // len(case.parts))
        points = [drawn(part, context.features, each, generator) for part in case.parts]
        starts = [*torch.cat(points)]
        if case.record:
            starts.insert(0, case.x)
        feature = context.features[case.question.feature]
        low, high = moving_range(case.question.region, feature)
        lines += [Line(point, feature, low, high) for point in starts]
        owners += [place] * len(starts)
    found: dict[int, Answer] = {}
    for place, line, pieces in zip(owners, lines, walked(context.target, lines), strict=True):
        if place not in found:
            answer = _broken(context, cases[place], line, pieces)
            if answer is not None:
                found[place] = answer
    return found


def _broken(context: Context, case: _Case, line: Line, pieces) -> Answer | None:  # noqa: ANN001
    """Falsified, if the line breaks the claim and the original network confirms it."""
    sign, margin = case.question.direction.sign, context.audit.margin
    answer = decide_sign(context.target, line, pieces, sign, margin)
    if answer.proof is None:
        return None
    candidates = broken_steps(line, answer, sign, margin)
    confirmed = context.judge.judged([candidates])[0]
    if confirmed.shortest is None:
        return None
    return Answer(
        case.record,
        case.which,
        Found.FALSIFIED,
        -inf,  # of one line something is known, of the box nothing
        inf,
        ATTACK,
        0.0,
        pair=confirmed.shortest,
        worst=confirmed.worst,
        parts=answer.pieces.parts(),
    )


def _batched(context: Context, cases: Sequence[_Case]) -> list[SlopeEnds]:
    """Proved ends of each case's derivative; infinite where the method has none."""
    nothing = SlopeEnds(-inf, inf)
    if not cases or context.config.method != "auto":
        return [nothing] * len(cases)
    question = cases[0].question
    index, sign = context.features[question.feature].index, question.direction.sign
    groups = [case.parts for case in cases]
    try:
        return slope_ends(context, index, sign, context.audit.margin, groups)
    except (UnsupportedOperator, *BREAKDOWNS):
        return [nothing] * len(cases)


def _proved(context: Context, case: _Case, known: SlopeEnds) -> Answer:
    """By the bounds, or by the stages and searches of the method, box by box."""
    sign, margin = case.question.direction.sign, context.audit.margin
    lower, upper = known.lower, known.upper
    worst = lower if sign > 0 else -upper
    verified = Answer(case.record, case.which, Found.VERIFIED, lower, upper, BATCHED, 0.0)
    if worst >= margin:
        return verified
    index = context.features[case.question.feature].index
    query = SlopeQuery(context.target.row, (index,), (-sign,), -margin)
    ends: list[SlopeEnds] = []
    stage, clock = BATCHED, Clock(context.config.timeout)
    for place, part in enumerate(case.parts):
        ahead = len(case.parts) - place
        share = clock if clock.left is None else clock.limited(clock.left / ahead)
        least, point = _split(context, part, query, share)
        if least >= margin:
            stage = INPUT_SPLITS
            ends.append(SlopeEnds(least, inf) if sign > 0 else SlopeEnds(-inf, -least))
            continue
        broken = None if point is None else _near(context, case, part, point)
        if broken is not None:
            return replace(broken, method=INPUT_SPLITS)
        decision = _decided(context, part, query, share)
        stage = decision.stage
        bound = decision.features[0].bound if decision.features else None
        ends.append(SlopeEnds(bound.lower, bound.upper) if bound else SlopeEnds(-inf, inf))
        if not isinstance(decision.verdict, Verified):
            # Of the boxes that were not looked at, only what is known of all holds.
            met = _met(known, ends) if ahead == 1 else known
            return _not_proved(context, case, part, decision.verdict, stage, met)
    met = _met(known, ends)
    return replace(verified, lower=met.lower, upper=met.upper, method=stage)


def _met(known: SlopeEnds, ends: Sequence[SlopeEnds]) -> SlopeEnds:
    """What is known of all boxes, and of each."""
    lower, upper = min(one.lower for one in ends), max(one.upper for one in ends)
    return SlopeEnds(max(known.lower, lower), min(known.upper, upper))


def _split(
    context: Context, part: Part, query: SlopeQuery, clock: Clock
) -> tuple[float, Tensor | None]:
    """Branch and bound over the inputs: a proved lower end of sign x derivative (-inf: none).

    And, where that does not prove the claim, perhaps a point [n] that may break it.
    """
    nothing = -inf, None
    few = int((part.upper > part.lower).sum()) <= MOST_INPUTS
    if context.config.method != "auto" or not few:
        return nothing
    limited = clock if clock.left is None else clock.limited(SPLIT_SHARE * clock.left)
    most, seed = context.config.max_subproblems, context.config.seed
    most = None if most is None else BOXES * most
    infinite = torch.full((1,), inf, dtype=torch.float64)
    try:
        setting = _setting(context, part)
        found = slope_search(setting, query, infinite, limited, silent, most, seed)
    except (UnsupportedOperator, *BREAKDOWNS):
        return nothing
    return -float(found.upper), found.candidates[0]


def _setting(context: Context, part: Part) -> Setting:
    config = context.config
    network = replace(context.target.network, graph=context.target.graph)
    return Setting(network, Box(part.lower, part.upper), config.preactivation, config.memory)


def _decided(context: Context, part: Part, query: SlopeQuery, clock: Clock) -> Decision:
    config, setting = context.config, _setting(context, part)
    names = tuple(f"x{i}" for i in range(len(part.lower)))
    job = Job(setting, method_named(config.method), config, clock, Note(None, 0, clock), names)
    return decide_monotonicity(job, query)


def _not_proved(
    context: Context,
    case: _Case,
    part: Part,
    verdict: Verdict,
    stage: str,
    ends: SlopeEnds,
) -> Answer:
    draft = Answer(case.record, case.which, Found.UNKNOWN, ends.lower, ends.upper, stage, 0.0)
    match verdict:
        case Unknown(reason, detail):
            return replace(draft, reason=reason, detail=detail)
        case Falsified(counterexample):
            pass
        case _:
            raise AssertionError(verdict)
    before, after = counterexample.inputs
    if is_valid(before, part, context.features) and is_valid(after, part, context.features):
        sign = case.question.direction.sign
        least = context.audit.margin * float((after - before).sum())
        pair = context.judge.judged([[Candidate(before, after, sign, least)]])[0]
        if pair.shortest is not None:
            return replace(draft, found=Found.FALSIFIED, pair=pair.shortest, worst=pair.worst)
        detail = "the original network does not confirm the pair that was found"
        return replace(draft, reason=Reason.CANDIDATE, detail=detail)
    found = _near(context, case, part, before)
    return found or replace(draft, reason=Reason.BOUND, detail=RELAXED)


def _near(context: Context, case: _Case, part: Part, point: Tensor) -> Answer | None:
    """Falsified, if the line through the valid point nearest to this one breaks the claim."""
    start = valid_near(point, part, context.features)
    if start is None or not context.walkable:
        return None
    feature = context.features[case.question.feature]
    line = Line(start, feature, *moving_range(case.question.region, feature))
    (pieces,) = walked(context.target, [line])
    return _broken(context, case, line, pieces)
