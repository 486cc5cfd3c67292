"""Operator norms and norms of rows, from every stage: above the judge's, for all nine pairs."""

import pytest
import torch
from torch import Tensor

from lipverify.bounds.methods import STAGES
from lipverify.graph import jacobian_enclosure
from lipverify.norms import norm_named, operator_norm
from lipverify.numerics import DTYPE
from tests.bounds import cases
from tests.oracles import operator_norm as judge
from tests.oracles.budget import quickly
from tests.oracles.networks import LARGER, PIECEWISE, Tiny

NATIVE = [name for name in STAGES if name not in cases.THROUGH_LIRPA]
FEW = 60
"""Of sampled Jacobians, so many are given to the brute-force judge."""


def true_jacobians(tiny: Tiny, kind: str) -> Tensor:
    found = cases.jacobians_of(tiny, kind).flatten(1).unique(dim=0)
    chosen = found[:: max(1, len(found) // FEW)]
    return chosen.reshape(-1, tiny.outputs, tiny.inputs)


def true_norm(jacobians: Tensor, input_norm: str, output_norm: str) -> float:
    return max(judge.operator_norm(matrix, input_norm, output_norm) for matrix in jacobians.numpy())


def check_pairs(
    tiny: Tiny, kind: str, stages: list[str], rows: Tensor, pairs: tuple = judge.PAIRS
) -> None:
    setting = cases.setting_of(tiny, kind)
    truth = rows @ true_jacobians(tiny, kind)
    for stage in stages:
        for input_name in ("1", "2", "inf"):
            p = norm_named(input_name)
            bounds = STAGES[stage](setting, rows, p, None)
            norms = bounds.row_norm(p.dual)
            if bounds.joint is not None:
                exact = true_norm(truth, "2", "2")
                cases.check_above(bounds.joint, exact, f"{stage}: all rows together")
            cases.check_above(norms, p.dual.of(truth).amax(0), f"{stage}: rows from l{p.name}")
            for output_name in ("1", "2", "inf"):
                if (input_name, output_name) not in pairs:
                    continue
                q = norm_named(output_name)
                exact = true_norm(truth, input_name, output_name)
                what = f"{stage}: l{input_name} to l{output_name}"
                cases.check_above(operator_norm.upper(bounds.elements, p, q), exact, what)
                cases.check_above(operator_norm.from_rows(norms, q), exact, what)


@pytest.mark.parametrize(("tiny", "kind"), quickly(cases.every(PIECEWISE, ("offset", "wide")), 16))
def test_all_nine_pairs_against_the_oracle(tiny: Tiny, kind: str) -> None:
    check_pairs(tiny, kind, NATIVE, torch.eye(tiny.outputs, dtype=DTYPE))


@pytest.mark.parametrize(
    ("tiny", "kind"),
    quickly(cases.every(LARGER[:7], ("offset", "l2 ball", "clipped l1 ball")), 11),
)
def test_all_nine_pairs_against_samples(tiny: Tiny, kind: str) -> None:
    check_pairs(tiny, kind, NATIVE, torch.eye(tiny.outputs, dtype=DTYPE))


@pytest.mark.parametrize("choice", cases.ROWS[1:], ids=lambda choice: choice.name)
@pytest.mark.parametrize("tiny", (PIECEWISE[0], PIECEWISE[10], LARGER[5]), ids=str)
def test_combined_rows(tiny: Tiny, choice: cases.RowChoice) -> None:
    check_pairs(tiny, "offset", NATIVE, choice.make(tiny.outputs))


@pytest.mark.parametrize("tiny", (PIECEWISE[1], PIECEWISE[9], LARGER[2], LARGER[6]), ids=str)
def test_through_auto_lirpa(tiny: Tiny) -> None:
    check_pairs(tiny, "offset", list(cases.THROUGH_LIRPA), torch.eye(tiny.outputs, dtype=DTYPE))


@pytest.mark.parametrize(("input_norm", "output_norm"), judge.PAIRS)
def test_on_a_point_the_upper_end_meets_the_lower(input_norm: str, output_norm: str) -> None:
    """Exactly, for every pair whose norm of a known matrix is computed exactly."""
    p, q = norm_named(input_norm), norm_named(output_norm)
    for tiny in (*PIECEWISE[:4], *LARGER[:3]):
        point = cases.region_of(tiny, "point").center
        rows = torch.eye(tiny.outputs, dtype=DTYPE)
        enclosure = jacobian_enclosure(cases.setting_of(tiny, "point").backward, point, rows)
        lower = operator_norm.lower(enclosure, p, q)
        exact = judge.operator_norm(enclosure.center.numpy(), input_norm, output_norm)
        assert lower <= exact * (1 + 1e-12)
        for stage in NATIVE:
            bounds = STAGES[stage](cases.setting_of(tiny, "point"), rows, p, None)
            upper = operator_norm.upper(bounds.elements, p, q)
            assert lower <= upper
            if input_norm == "1" or output_norm == "inf":
                assert upper <= lower * (1 + 1e-9) + 1e-9, (tiny, stage)
