"""The answers to all questions on lines of a block of records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from lipverify.audit.answer import Answer, Found
from lipverify.audit.confirm import Candidate, Confirmed
from lipverify.audit.context import Context
from lipverify.audit.curves import Curve
from lipverify.audit.insensitive import LineChange, change_on_line
from lipverify.audit.lines import Line, SignAnswer, decide_sign, is_broken, moved, steps_of, walked
from lipverify.audit.pieces import LinePieces
from lipverify.audit.question import Direction, Question
from lipverify.audit.regions import admits, moving_categories, moving_range
from lipverify.verdict import Reason

WALK = "line walk"
UNCONFIRMED = (
    "real arithmetic proves a violation that the original network's outputs do not show, not even "
    "in double precision"
)
OPEN = "the slope's sign is within rounding, and the network's weights are not exact"


@dataclass(frozen=True, eq=False)
class Block:
    """Answers, and the curves of each question over these records."""

    answers: tuple[Answer, ...]
    curves: dict[int, Curve] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Asked:
    """One question about one record, its line walked if it has one."""

    record: int
    which: int
    question: Question
    line: Line
    categories: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Draft:
    """An answer that may still need its pair."""

    answer: Answer
    candidates: tuple[Candidate, ...] = ()


def answer_lines(context: Context, positions: Sequence[int], which: Sequence[int]) -> Block:
    """Questions `which`, all on lines, for the records at `positions`."""
    begun = perf_counter()
    asked = list(_asked(context, positions, which))
    moving = [one for one in asked if not one.line.feature.is_group]
    pieces = dict(
        zip(map(id, moving), walked(context.target, [one.line for one in moving]), strict=True)
    )
    curves: dict[int, Curve] = {}
    drafts: list[_Draft] = []
    for one in asked:
        found = pieces.get(id(one))
        draft = _drafted(context, one, found)
        drafts.append(draft)
        if found is not None and one.line.low < one.line.high:
            curve = Curve.of(found, one.line.low, one.line.high)
            known = curves.get(one.which)
            curves[one.which] = curve if known is None else known.joined(curve)
    confirmed = context.judge.judged([draft.candidates for draft in drafts])
    seconds = (perf_counter() - begun) / max(1, len(asked))
    answers = [
        _finished(draft, found, seconds) for draft, found in zip(drafts, confirmed, strict=True)
    ]
    return Block(tuple(answers), curves)


def _asked(context: Context, positions: Sequence[int], which: Sequence[int]) -> Iterator[_Asked]:
    for position in positions:
        x = context.records.inputs[position]
        for number in which:
            question = context.audit.questions[number]
            feature = context.features[question.feature]
            if not admits(question.region, context.features, x):
                continue
            low, high = moving_range(question.region, feature)
            categories = moving_categories(question.region, feature) if feature.is_group else ()
            line = Line(x, feature, low, high)
            yield _Asked(context.records.numbers[position], number, question, line, categories)


def _drafted(context: Context, one: _Asked, pieces: LinePieces | None) -> _Draft:
    if one.question.direction is Direction.INSENSITIVE:
        assert one.question.at_most is not None
        found = change_on_line(context.target, one.line, pieces, one.categories)
        return _of_change(one, found, one.question.at_most)
    assert pieces is not None
    return _of_sign(context, one, pieces)


def _of_sign(context: Context, one: _Asked, pieces: LinePieces) -> _Draft:
    sign, margin = one.question.direction.sign, context.audit.margin
    answer = decide_sign(context.target, one.line, pieces, sign, margin)
    found = answer.pieces
    lower, upper = float(found.lower.min()), float(found.upper.max())
    if answer.holds:
        return _Draft(Answer(one.record, one.which, Found.VERIFIED, lower, upper, WALK, 0.0))
    parts = found.parts()
    draft = Answer(
        one.record,
        one.which,
        Found.UNKNOWN,
        lower,
        upper,
        WALK,
        0.0,
        Reason.NUMERICS,
        OPEN,
        parts=parts,
    )
    if answer.proof is None:
        return _Draft(draft)
    return _Draft(draft, broken_steps(one.line, answer, sign, margin))


def broken_steps(line: Line, answer: SignAnswer, sign: int, margin: float) -> tuple[Candidate, ...]:
    """The steps along a line that are proved to break the claim."""
    assert answer.proof is not None
    candidates = []
    for step in steps_of(line, answer.pieces, sign, answer.proof):
        if is_broken(answer.pieces, sign, margin, answer.proof, step):
            before, after = moved(line, step.tolist())
            least = margin * float(step[1] - step[0])
            candidates.append(Candidate(before, after, sign, least))
    return tuple(candidates)


def _of_change(one: _Asked, change: LineChange, at_most: float) -> _Draft:
    found = Found.VERIFIED if change.upper <= at_most else Found.UNKNOWN
    answer = Answer(one.record, one.which, found, change.lower, change.upper, WALK, 0.0)
    if found is Found.VERIFIED:
        return _Draft(answer)
    detail = "the change is within rounding of what is allowed"
    answer = Answer(
        one.record, one.which, found, change.lower, change.upper, WALK, 0.0, Reason.BOUND, detail
    )
    if not change.lower > at_most:
        return _Draft(answer)
    pairs = change.pairs(at_most)
    candidates = tuple(Candidate(low, high, -1, -at_most, by_shown=True) for low, high in pairs)
    return _Draft(answer, candidates)


def _finished(draft: _Draft, found: Confirmed, seconds: float) -> Answer:
    answer = draft.answer
    verdict, reason, detail = answer.found, answer.reason, answer.detail
    if found.shortest is not None:
        verdict, reason, detail = Found.FALSIFIED, None, ""
    elif draft.candidates:
        reason, detail = Reason.CANDIDATE, UNCONFIRMED
    return Answer(
        answer.record,
        answer.question,
        verdict,
        answer.lower,
        answer.upper,
        answer.method,
        seconds,
        reason,
        detail,
        found.shortest,
        found.worst,
        answer.parts,
    )
