"""Certificates that are written for tiny networks, against the list of their linear regions.

A true claim gets a certificate that the checker accepts, also where it is exactly at the value; the
same certificate with a smaller claim, and an attempt at that claim, are refused.
"""

from collections.abc import Callable
from math import inf, nextafter
from pathlib import Path

import pytest
import torch

from lipverify.checker import check
from lipverify.evidence.certificate.certify import prove
from lipverify.evidence.certificate.claim import (
    Claim,
    lipschitz_claim,
    monotonicity_claim,
    output_claim,
)
from lipverify.evidence.certificate.encode import floats
from lipverify.evidence.certificate.tree import NotProved
from lipverify.norms import norm_named
from lipverify.query_output import clause
from lipverify.spec.property import Lipschitz, Monotonicity
from tests.certificate.cases import CONFIG, SECONDS, Case, random_case
from tests.certificate.edit import Head, Nodes, edited
from tests.oracles.budget import quickly

ROUNDING = 1e-9
"""By which values of the judge that are not exact may be off."""


def proved(case: Case, claim: Claim, folder: Path) -> bool:
    try:
        return prove(case.setting, claim, folder / "x.lipcert", CONFIG, SECONDS).accepted
    except NotProved:
        return False


def lipschitz(case: Case, norms: tuple[str, str], at_most: float) -> Claim:
    rows = tuple(tuple(row) for row in torch.eye(case.tiny.outputs).tolist())
    prop = Lipschitz(norm_named(norms[0]), norm_named(norms[1]), rows)
    return lipschitz_claim(case.box, prop, at_most)


def refused(case: Case, folder: Path, change: Callable[[Head, Nodes], object]) -> bool:
    """Whether the certificate that was just accepted is refused for a claim that is wrong."""
    assert check(folder / "x.lipcert", case.path).accepted
    report = check(edited(folder / "x.lipcert", change), case.path)
    return not report.accepted and bool(report.reason)


def judge_lipschitz(case: Case, norms: tuple[str, str], folder: Path, attempt: bool) -> None:
    value = case.regions.norm(*norms)
    exact = "2" not in norms
    at = value if exact else value * (1 + ROUNDING)
    below = nextafter(value, -inf) if exact or value == 0 else value * (1 - ROUNDING)
    assert proved(case, lipschitz(case, norms, at), folder), (norms, at)
    assert refused(case, folder, lambda head, _: head["property"].update(at_most=below.hex()))
    assert proved(case, lipschitz(case, norms, 1.001 * value + 1e-6), folder)
    if attempt and value > 0:
        assert not proved(case, lipschitz(case, norms, below), folder)


def judge_monotonicity(case: Case, folder: Path, attempt: bool) -> None:
    weights = tuple([1.0] * case.tiny.outputs)
    lower, upper = case.regions.entries(torch.tensor([weights], dtype=torch.float64))
    input_ = int(lower[0].argmin())
    least = float(lower[0, input_])
    above = nextafter(least, inf)
    claim = monotonicity_claim(case.box, Monotonicity(weights, (input_,), (), least))
    assert proved(case, claim, folder), (input_, least)
    assert refused(case, folder, lambda head, _: head["property"].update(margin=above.hex()))
    if attempt:
        wrong = monotonicity_claim(case.box, Monotonicity(weights, (input_,), (), above))
        assert not proved(case, wrong, folder)
    most = float(upper[0, input_])
    claim = monotonicity_claim(case.box, Monotonicity(weights, (), (input_,), -most))
    assert proved(case, claim, folder), (input_, most)


def judge_outputs(case: Case, folder: Path, attempt: bool) -> None:
    """f_0 - f_last / 2 stays below its maximum and a bit; two rows that never hold together."""
    count = case.tiny.outputs
    row = torch.zeros(count, dtype=torch.float64)
    row[0] += 1.0
    row[-1] -= 0.5
    largest = case.regions.maximum(row)
    bit = ROUNDING * (1 + abs(largest))
    unsafe = [(-row).tolist()]

    def below(bound: float) -> Claim:
        return output_claim(case.box, [clause(unsafe, [bound], count)])

    def closer(head: Head, nodes: Nodes) -> None:
        head["property"]["unsafe"][0]["offsets"] = floats([largest - bit])

    assert proved(case, below(largest + bit), folder), largest
    assert refused(case, folder, closer)
    if attempt:
        assert not proved(case, below(largest - bit), folder)
    both = clause([(-row).tolist(), row.tolist()], [largest - 1.0, 1.001 - largest], count)
    assert proved(case, output_claim(case.box, [both]), folder)


NORMS = (("inf", "inf"), ("2", "inf"), ("1", "inf"), ("1", "1"), ("1", "2"))


@pytest.mark.parametrize("seed", quickly(range(500), 24))
def test_verdicts_are_those_of_the_enumeration(tmp_path: Path, seed: int) -> None:
    case, attempt = random_case(tmp_path, seed), seed % 7 == 0
    match seed % 4:
        case 0 | 1:
            judge_lipschitz(case, NORMS[(seed // 4) % len(NORMS)], tmp_path, attempt)
        case 2:
            judge_monotonicity(case, tmp_path, attempt)
        case 3:
            judge_outputs(case, tmp_path, attempt)
