"""Counterexamples in the words of certificates, the likely best first."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lipverify.bounds.methods import Setting
from lipverify.errors import UnsupportedCertificate
from lipverify.evidence.certificate.claim import OutputClaim, monotonicity_claim
from lipverify.evidence.certificate.questions import (
    class_claim,
    question_claim,
    radius_claim,
    vnnlib_claims,
)
from lipverify.evidence.certificate.witnesses import Point, broken
from lipverify.network import Network
from lipverify.region import AbstractRegion
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Radius, Robustness, VnnLib
from lipverify.spec.vnnlib.read import VnnLibFile

Inputs = tuple[Tensor, ...]
MOST_CLAUSES = 2
"""Of an unsafe point, so many clauses are tried, the most deeply violated first."""


def counterexample_points(setting: Setting, prop: Property, inputs: Inputs) -> Iterator[Point]:
    """Raises `UnsupportedCertificate` where the format has no words for it."""
    network, region = setting.network, setting.region
    match prop:
        case Lipschitz():
            yield from broken(setting, prop, inputs[0])
        case Monotonicity():
            yield from pair_points(region, prop, inputs)
        case Robustness():
            yield from _unsafe(network, class_claim(network, prop, region), inputs)
        case Radius():
            size = prop.largest if prop.at_least is None else prop.at_least
            yield from _unsafe(network, radius_claim(network, prop, size), inputs)
        case VnnLib():
            yield from _of_file(network, prop.file, inputs)


def pair_points(region: AbstractRegion, prop: Monotonicity, inputs: Inputs) -> Iterator[Point]:
    """Of two points that differ in one input, which the property is about."""
    moved = (inputs[1] - inputs[0]).nonzero().flatten().tolist()
    asked = (*prop.increasing, *prop.decreasing)
    if len(moved) != 1 or moved[0] not in asked:
        raise UnsupportedCertificate(
            "certificates know counterexamples to monotonicity that move one input, this one moves "
            f"{len(moved)}"
        )
    low, high = sorted(inputs, key=lambda x: float(x[moved[0]]))
    claim = monotonicity_claim(region, prop)
    for number, index in enumerate(asked):
        if index == moved[0]:
            yield Point(region, claim.asked, (low, high), number)


def _unsafe(network: Network, claim: OutputClaim, inputs: Inputs) -> Iterator[Point]:
    """One point at which a clause holds."""
    y = network.original(inputs[0].unsqueeze(0))
    depths = [float(clause.values(y).max()) for clause in claim.clauses]
    order = sorted(range(len(depths)), key=lambda k: depths[k])
    for number in order[:MOST_CLAUSES]:
        yield Point(claim.region, claim.asked, inputs[:1], number)


def _of_file(network: Network, file: VnnLibFile, inputs: Inputs) -> Iterator[Point]:
    if file.layout.copies == 1:
        for claim in vnnlib_claims(file):
            assert isinstance(claim, OutputClaim)
            if _holds(claim.region, inputs[:1]):
                yield from _unsafe(network, claim, inputs)
        return
    for question in file.questions:
        if not _holds(question.region, inputs):
            continue
        claim = question_claim(question)
        match question.property:
            case Monotonicity() as prop:
                yield from pair_points(question.region, prop, inputs)
            case _:
                yield Point(claim.region, claim.asked, inputs)


def _holds(region: AbstractRegion, points: Inputs) -> bool:
    return bool(region.contains(torch.stack(points)).all())
