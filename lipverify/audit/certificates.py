"""Certificates of an audit's answers: claims about derivatives on boxes, and pairs that break them.

A direction is monotonicity on each box of the question. That a feature hardly matters follows from
a derivative too small for the change; it may be true without. What is verified without a
certificate that the checker accepts is unknown then.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import torch
from torch import Tensor

from lipverify.audit.answer import Answer, Certificate, Found, Pair
from lipverify.audit.columns import ColumnType
from lipverify.audit.context import Context
from lipverify.audit.question import Direction, Question, RegionKind
from lipverify.audit.regions import between_values, moving_range, parts_beside, parts_of
from lipverify.bounds.methods import Setting
from lipverify.checker import Unreadable
from lipverify.errors import LipverifyError, UnsupportedCertificate
from lipverify.evidence.certificate.certify import prove, witnessed
from lipverify.evidence.certificate.claim import Claim, lipschitz_claim, monotonicity_claim
from lipverify.evidence.certificate.counterexamples import pair_points
from lipverify.evidence.certificate.tree import NotProved
from lipverify.evidence.certificate.witnesses import Point
from lipverify.evidence.record import CertificateRecord
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.region import Box
from lipverify.search.budget import Clock
from lipverify.spec.property import Lipschitz, Monotonicity
from lipverify.verdict import Reason

ROUNDED = 1 + 2.0**-50
"""Covers the rounding of a few float operations."""
UNSHOWN = "the pair has no exact evaluation that shows it"


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question in the words of certificates, on a box; `claimed` by a `Lipschitz` of one row or
    a `Monotonicity`."""

    region: Box
    prop: Lipschitz | Monotonicity

    @property
    def claim(self) -> Claim:
        if isinstance(self.prop, Monotonicity):
            return monotonicity_claim(self.region, self.prop)
        assert self.prop.at_most is not None
        return lipschitz_claim(self.region, self.prop, self.prop.at_most)


def certified(context: Context, answer: Answer) -> Answer:
    """The answer with its certificate; a verified one that gets none is unknown."""
    if answer.found is Found.UNKNOWN:
        return answer
    question = context.audit.questions[answer.question]
    write = _proofs if answer.found is Found.VERIFIED else _witnesses
    try:
        records = write(context, answer, question)
    except NotProved as error:
        return _given_up(context, answer, question, str(error))
    except (LipverifyError, Unreadable) as error:
        return _given_up(context, answer, question, f"{type(error).__name__}: {error}")
    return replace(answer, certificate=_joined(records))


def _given_up(context: Context, answer: Answer, question: Question, why: str) -> Answer:
    detail = f"no certificate: {why}"
    feature = context.features[question.feature]
    if answer.found is Found.FALSIFIED:
        return replace(answer, detail=detail)
    if question.direction is Direction.INSENSITIVE:
        detail += (
            f"; what would be certified is a derivative too small for {question.feature!r} to "
            "bring such a change about, which is more than the question"
        )
    elif feature.type in (ColumnType.ORDINAL, ColumnType.INTEGER):
        detail += f"; certificates are about all numbers between the values of {feature.name!r}"
    return replace(answer, found=Found.UNKNOWN, reason=Reason.CERTIFICATE, detail=detail)


def _joined(records: tuple[CertificateRecord, ...]) -> Certificate:
    return Certificate(
        tuple((Path(record.path).name, record.sha256) for record in records),
        sum(record.bytes for record in records),
        sum(record.seconds for record in records),
        sum(record.check_seconds for record in records),
    )


def _proofs(context: Context, answer: Answer, question: Question) -> tuple[CertificateRecord, ...]:
    """One per box of the question."""
    x, clock = _record(context, answer), Clock(context.config.timeout)
    if question.direction is Direction.INSENSITIVE:
        asked = list(_small(context, question, x))
    else:
        prop = _signed(context, question)
        parts = parts_of(question, context.features, x)
        asked = [_Asked(Box(part.lower, part.upper), prop) for part in parts]
    records = []
    for place, one in enumerate(asked):
        left = inf if clock.left is None else clock.left / (len(asked) - place)
        setting, path = _setting(context, one.region), _path(context, answer, place)
        records.append(prove(setting, one.claim, path, context.config, left))
    return tuple(records)


def _witnesses(
    context: Context, answer: Answer, question: Question
) -> tuple[CertificateRecord, ...]:
    """Of the smallest pair, or of that with the largest effect."""
    path = _path(context, answer, 0)
    for pair in (answer.pair, answer.worst):
        if pair is None:
            continue
        points = _points(context, answer, question, pair)
        setting = _setting(context, Box(*[torch.tensor(pair.before, dtype=DTYPE)] * 2))
        record = witnessed(setting, points, path, context.config)
        if record is not None:
            return (record,)
    raise NotProved(UNSHOWN)


def _points(context: Context, answer: Answer, question: Question, pair: Pair) -> Iterator[Point]:
    ends = tuple(torch.tensor(values, dtype=DTYPE) for values in (pair.before, pair.after))
    both = torch.stack(ends)
    if question.direction is Direction.INSENSITIVE:
        length = float((both[1] - both[0]).abs().max())
        if context.target.output.link:
            raise UnsupportedCertificate(
                f"certificates have no claim about changes of the {context.target.name}, only of "
                "the network's own output"
            )
        most = ROUNDED * _of_output(context, question) / length
        prop = _lipschitz(context, most)
        region = Box(both.amin(0), both.amax(0))
        yield Point(region, lipschitz_claim(region, prop, most).asked, ends)
        return
    prop = _signed(context, question)
    for part in parts_of(question, context.features, _record(context, answer)):
        region = Box(part.lower, part.upper)
        if bool(region.contains(both).all()):
            yield from pair_points(region, prop, ends)


def _signed(context: Context, question: Question) -> Monotonicity:
    """Of the network's own outputs: what strictly increasing functions at its end keep the sign."""
    feature = context.features[question.feature]
    rising = question.direction is Direction.INCREASING
    asked = (feature.index,)
    margin = context.audit.margin
    return Monotonicity(_weights(context), asked if rising else (), () if rising else asked, margin)


def _small(context: Context, question: Question, x: Tensor) -> Iterator[_Asked]:
    """Derivatives that cannot add up to the change.

    Around a record all inputs move, from it; elsewhere the feature alone, or a group's inputs.
    """
    feature, most = context.features[question.feature], _of_output(context, question)
    if question.region.kind is RegionKind.NEIGHBOURHOOD:
        for part in parts_of(question, context.features, x):
            lower, upper = torch.minimum(part.lower, x), torch.maximum(part.upper, x)
            reach = float(torch.maximum(upper - x, x - lower).max())
            steep = most / reach / ROUNDED if reach > 0 else most
            yield _Asked(Box(lower, upper), _lipschitz(context, steep))
        return
    for part in parts_beside(question, context.features, x):
        if feature.is_group:
            zeros = torch.zeros(len(feature.inputs), dtype=DTYPE)
            wide = part.holding(feature, zeros, zeros + 1.0)
            yield _Asked(Box(wide.lower, wide.upper), _lipschitz(context, most))
            continue
        ends = between_values(feature, *moving_range(question.region, feature))
        low, high = (torch.tensor([end], dtype=DTYPE) for end in ends)
        wide = part.holding(feature, low, high)
        width = float(high - low)
        steep = most / width / ROUNDED if width > 0 else most
        index = (feature.index,)
        prop = Monotonicity(_weights(context), index, index, -steep)
        yield _Asked(Box(wide.lower, wide.upper), prop)


def _lipschitz(context: Context, at_most: float) -> Lipschitz:
    linf = norm_named("inf")
    return Lipschitz(linf, linf, (_weights(context),), at_most)


def _weights(context: Context) -> tuple[float, ...]:
    return tuple(context.target.shown_row.tolist())


def _of_output(context: Context, question: Question) -> float:
    """The change that the network's own output may show, so that the asked one keeps its."""
    target, at_most = context.target, question.at_most
    assert at_most is not None
    if target.output.log_odds and not target.output.link:
        raise UnsupportedCertificate(
            f"certificates have no claim about changes of the {target.name}, only of the network's "
            "own output"
        )
    link = target.output.link and not target.output.log_odds
    return at_most / target.steepness if link else at_most


def _record(context: Context, answer: Answer) -> Tensor:
    if not answer.record:
        return context.records.inputs[0]
    return context.records.inputs[context.records.numbers.index(answer.record)]


def _setting(context: Context, region: Box) -> Setting:
    config = context.config
    return Setting(context.target.network, region, config.preactivation, config.memory)


def _path(context: Context, answer: Answer, place: int) -> Path:
    assert context.config.certify is not None
    which = f"record{answer.record}" if answer.record else "all"
    name = f"question{answer.question}-{which}-{place}.lipcert"
    return context.config.certify.folder / name


__all__ = ["certified"]
