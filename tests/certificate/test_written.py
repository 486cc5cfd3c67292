"""Certificates that are written for tiny networks, against the list of their linear regions.

A true claim gets a certificate that the checker accepts, also where it is exactly at the value; the
same certificate with a smaller claim, and an attempt at that claim, are refused.
"""

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
from lipverify.evidence.certificate.tree import NotProved
from lipverify.norms import norm_named
from lipverify.query_output import clause
from lipverify.spec.property import Lipschitz, Monotonicity
from tests.certificate.cases import CONFIG, SECONDS, Case, random_case
from tests.certificate.edit import edited
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


def judge_lipschitz(case: Case, norms: tuple[str, str], folder: Path) -> None:
    value = case.regions.norm(*norms)
    exact = "2" not in norms
    at = value if exact else value * (1 + ROUNDING)
    below = nextafter(value, -inf) if exact else value * (1 - ROUNDING)
    assert proved(case, lipschitz(case, norms, at), folder), (norms, at)
    path = folder / "x.lipcert"
    assert check(path, case.path).accepted
    smaller = edited(path, lambda head, _: head["property"].update(at_most=below.hex()))
    report = check(smaller, case.path)
    assert not report.accepted and report.reason
    assert proved(case, lipschitz(case, norms, 1.001 * value + 1e-6), folder)
    if value > 0:
        assert not proved(case, lipschitz(case, norms, below), folder)


def judge_monotonicity(case: Case, folder: Path) -> None:
    weights = tuple([1.0] * case.tiny.outputs)
    lower, upper = case.regions.entries(torch.tensor([weights], dtype=torch.float64))
    for input_ in range(case.tiny.inputs):
        least = float(lower[0, input_])
        for margin, true in ((least, True), (nextafter(least, inf), False)):
            claim = monotonicity_claim(case.box, Monotonicity(weights, (input_,), (), margin))
            assert proved(case, claim, folder) is true, (input_, margin)
        most = float(upper[0, input_])
        claim = monotonicity_claim(case.box, Monotonicity(weights, (), (input_,), -most))
        assert proved(case, claim, folder), (input_, most)


def judge_outputs(case: Case, folder: Path) -> None:
    """f_0 - f_last < value and a bit; two rows at once, of which one never holds."""
    count = case.tiny.outputs
    row = torch.zeros(count, dtype=torch.float64)
    row[0] += 1.0
    row[-1] -= 0.5
    largest = case.regions.maximum(row)
    unsafe = [(-row).tolist()]
    for offset, true in ((1e-9, True), (0.5, True), (-1e-9, False)):
        bound = largest + offset * (1 + abs(largest))
        claim = output_claim(case.box, [clause(unsafe, [bound], count)])
        assert proved(case, claim, folder) is true, (largest, offset)
    both = clause([(-row).tolist(), row.tolist()], [largest - 1.0, 1.001 - largest], count)
    assert proved(case, output_claim(case.box, [both]), folder)


NORMS = (("inf", "inf"), ("2", "inf"), ("1", "inf"), ("1", "1"), ("1", "2"))


@pytest.mark.parametrize("seed", quickly(range(500), 30))
def test_verdicts_are_those_of_the_enumeration(tmp_path: Path, seed: int) -> None:
    case = random_case(tmp_path, seed)
    match seed % 4:
        case 0 | 1:
            judge_lipschitz(case, NORMS[(seed // 4) % len(NORMS)], tmp_path)
        case 2:
            judge_monotonicity(case, tmp_path)
        case 3:
            judge_outputs(case, tmp_path)
