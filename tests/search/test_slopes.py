"""What is known of a derivative is the common part of what several stages proved."""

import pytest
import torch

from lipverify.query import SlopeQuery
from lipverify.search.slope_searches import Slope


def slope(lower: float, upper: float, sign: int = 1, stage: str = "first") -> Slope:
    query = SlopeQuery(torch.ones(1, 1, dtype=torch.float64), (0,), (sign,), 0.0)
    return Slope(query, 0, "x", lower, upper, stage, None)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("first", "second"), [((-2.0, 1.0), (-1.0, 3.0)), ((-1.0, 3.0), (-2.0, 1.0))]
)
def test_two_intervals_are_intersected(
    first: tuple[float, float], second: tuple[float, float], sign: int
) -> None:
    found = slope(*first, sign).met(slope(*second, sign, "second"))
    assert (found.lower, found.upper) == (-1.0, 1.0)
    assert found.stage == ("first" if slope(*first, sign).worst == 1.0 else "second")


def test_intervals_that_rounding_drives_apart_are_not_crossed() -> None:
    found = slope(-1.0, 0.0).met(slope(1e-300, 2.0))
    assert (found.lower, found.upper) == (1e-300, 2.0)


def test_a_bound_on_the_asked_side_only_gains() -> None:
    up, down = slope(-2.0, 3.0), slope(-2.0, 3.0, -1)
    assert [up.bounded("b", 1.0, None).upper, up.bounded("b", 4.0, None).upper] == [1.0, 3.0]
    assert [down.bounded("b", 1.0, None).lower, down.bounded("b", 4.0, None).lower] == [-1.0, -2.0]
    assert up.bounded("b", -1.0, None).proved and not up.bounded("b", 1.0, None).proved
    assert up.bounded("b", -9.0, None).upper == -2.0, "not below what is attained"
