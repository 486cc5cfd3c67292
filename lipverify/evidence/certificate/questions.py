"""From properties to the claims that a certificate can be about."""

from collections.abc import Iterator

import torch

from lipverify.errors import UnsupportedCertificate
from lipverify.evidence.certificate.claim import (
    Claim,
    OutputClaim,
    lipschitz_claim,
    monotonicity_claim,
    output_claim,
)
from lipverify.network import Network
from lipverify.query import output_query, violations
from lipverify.region import AbstractRegion, ball_region
from lipverify.spec.property import Lipschitz, Monotonicity, Radius, Robustness
from lipverify.spec.vnnlib.copies import Question
from lipverify.spec.vnnlib.read import VnnLibFile


def class_claim(network: Network, prop: Robustness, region: AbstractRegion) -> OutputClaim:
    """That the class stays: the asked one, or that at the region's centre."""
    label = prop.label
    if label is None:
        label = int(network.original(region.center.unsqueeze(0))[0].argmax())
    query = output_query(prop, label, network.graph.output_size)
    return output_claim(region, violations(query))


def radius_claim(network: Network, prop: Radius, size: float) -> OutputClaim:
    """That the class stays on the ball of radius `size`."""
    around, label = prop.around, prop.label
    if label is None:
        label = int(network.original(around.center.unsqueeze(0))[0].argmax())
    radius = torch.tensor(size, dtype=torch.float64)
    region = ball_region(around.center, radius, prop.norm, around.clip)
    return class_claim(network, Robustness(label), region)


def vnnlib_claims(file: VnnLibFile) -> Iterator[Claim]:
    """One per box of the file, or per question about one copy."""
    if file.layout.copies > 1:
        yield from (question_claim(question) for question in file.questions)
        return
    if file.joins_inputs:
        raise UnsupportedCertificate(
            "certificates know no constraints that mix inputs and outputs of the network"
        )
    for query in file.queries():
        yield output_claim(query.region, query.unsafe)


def question_claim(question: Question) -> Claim:
    match question.property:
        case Monotonicity() as prop:
            return monotonicity_claim(question.region, prop)
        case Lipschitz() as prop if prop.at_most is not None and all(question.moving):
            return lipschitz_claim(question.region, prop, prop.at_most)
        case _:
            raise UnsupportedCertificate(
                "certificates know no Lipschitz bound for some inputs alone, and no question about "
                "equal inputs"
            )
