"""Sign combinations of rows are exact, or are not used."""

from fractions import Fraction
from itertools import product

import pytest
import torch

from lipverify.numerics import DTYPE
from lipverify.search.ladder import sign_rows
from tests.oracles import boxes, networks
from tests.oracles.regions import Regions
from tests.search.questions import ask, check_norm, lipschitz


def all_signs(rows: torch.Tensor) -> set[tuple[Fraction, ...]]:
    """Both signs of every combination, exactly."""
    exact = [[Fraction(float(entry)) for entry in row] for row in rows]
    return {
        tuple(
            sum(s * x for s, x in zip(signs, column, strict=True))
            for column in zip(*exact, strict=True)
        )
        for signs in product((1, -1), repeat=len(rows))
    }


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_combination_up_to_a_common_sign(count: int) -> None:
    rows = networks.Weights(count)(count, 3)
    found = sign_rows(rows)
    assert found is not None and len(found) == 2 ** (count - 1)
    assert all_signs(rows) == all_of(found) | all_of(-found)


def all_of(rows: torch.Tensor) -> set[tuple[Fraction, ...]]:
    return {tuple(Fraction(float(entry)) for entry in row) for row in rows}


@pytest.mark.parametrize(
    "entries", [[[1.0], [2.0**-60]], [[0.1], [0.2], [0.3]], [[1e308], [1e308]]]
)
def test_rounded_combinations_are_not_used(entries: list[list[float]]) -> None:
    assert sign_rows(torch.tensor(entries, dtype=DTYPE)) is None


def test_rows_whose_sums_are_rounded_are_still_bounded() -> None:
    tiny = networks.dense((2, 4, 3, 2), 0)
    rows = torch.tensor([[0.1, 0.7], [0.2, -0.3], [0.3, 1e-20]], dtype=DTYPE)
    regions = Regions(tiny, boxes.offset(2))
    for input_norm in ("1", "2", "inf"):
        result = ask(tiny, regions.box, lipschitz(tiny, input_norm, "1", rows=rows))
        check_norm(result, regions.norm(input_norm, "1", rows), None)
