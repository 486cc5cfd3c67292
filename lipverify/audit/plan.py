"""The work of an audit, cut into units that do not depend on how many processes share it.

A unit is answered and stored as a whole; its arithmetic is the same in every run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from lipverify.audit.answer import Answer, Found
from lipverify.audit.box_block import answer_boxes
from lipverify.audit.certificates import certified
from lipverify.audit.context import Context
from lipverify.audit.line_block import Block, answer_lines
from lipverify.audit.regions import admits
from lipverify.search.ladder import BREAKDOWNS
from lipverify.verdict import Reason

WALKED_RECORDS = 16
BOXED_RECORDS = 4
"""Records of one unit: what a kill loses at most."""

Positions = tuple[int | None, ...]


@dataclass(frozen=True)
class Unit:
    """Questions about the records at `positions` (None: the region of all inputs)."""

    number: int
    positions: Positions
    questions: tuple[int, ...]


def units_of(context: Context, positions: Sequence[int]) -> tuple[Unit, ...]:
    """All units for the sampled records, in order."""
    questions = list(enumerate(context.audit.questions))
    walked = tuple(number for number, question in questions if context.by_walk(question))
    boxed = [(number, question.region) for number, question in questions if number not in walked]
    plan: list[tuple[Positions, tuple[int, ...]]] = []
    if walked:
        plan += [(block, walked) for block in _blocks(positions, WALKED_RECORDS)]
    by_region = sorted(boxed, key=lambda one: (one[1].name, one[0]))
    for _, group in groupby(by_region, key=lambda one: one[1].name):
        found = list(group)
        numbers = tuple(number for number, _ in found)
        if found[0][1].per_record:
            plan += [(block, numbers) for block in _blocks(positions, BOXED_RECORDS)]
        else:
            plan += [((None,), (number,)) for number in numbers]
    return tuple(Unit(number, *part) for number, part in enumerate(plan))


def _blocks(positions: Sequence[int], size: int) -> list[Positions]:
    return [tuple(positions[start : start + size]) for start in range(0, len(positions), size)]


def asked_count(context: Context, units: Sequence[Unit]) -> int:
    """How many answers the units give: records outside of a region's conditions are not asked."""
    total = 0
    for unit in units:
        for number in unit.questions:
            region = context.audit.questions[number].region
            total += sum(
                position is None
                or admits(region, context.features, context.records.inputs[position])
                for position in unit.positions
            )
    return total


def answer_unit(context: Context, unit: Unit) -> Block:
    """Its answers, with certificates where asked for.

    Where arithmetic breaks down, the unit is cut until one question is left.
    """
    block = _answered(context, unit.positions, unit.questions)
    if context.config.certify is None:
        return block
    return replace(block, answers=tuple(certified(context, one) for one in block.answers))


def _answered(context: Context, positions: Positions, questions: tuple[int, ...]) -> Block:
    walked = context.by_walk(context.audit.questions[questions[0]])
    try:
        if walked:
            known = [position for position in positions if position is not None]
            return answer_lines(context, known, questions)
        return answer_boxes(context, positions, questions)
    except BREAKDOWNS as error:
        if len(positions) == len(questions) == 1:
            return _broken_down(context, positions[0], questions[0], str(error))
    if len(positions) > 1:
        parts = [_answered(context, (position,), questions) for position in positions]
    else:
        parts = [_answered(context, positions, (question,)) for question in questions]
    return _together(parts)


def _together(parts: Sequence[Block]) -> Block:
    curves = {}
    for part in parts:
        for number, curve in part.curves.items():
            curves[number] = curves[number].joined(curve) if number in curves else curve
    return Block(tuple(answer for part in parts for answer in part.answers), curves)


def _broken_down(context: Context, position: int | None, question: int, detail: str) -> Block:
    record = 0 if position is None else context.records.numbers[position]
    infinite = float("inf")
    answer = Answer(
        record, question, Found.UNKNOWN, -infinite, infinite, "none", 0.0, Reason.NUMERICS, detail
    )
    return Block((answer,))
