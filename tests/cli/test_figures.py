"""Numbers are shown short, and never better than they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipverify.cli import figures

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


@given(finite)
def test_ends_are_rounded_outward(value: float) -> None:
    low, high = float(figures.lower(value)), float(figures.upper(value))
    assert low <= value <= high
    if abs(value) > 1e-300:
        assert high - low <= 2e-5 * abs(value)


@pytest.mark.parametrize(
    ("value", "lower", "upper"),
    [
        (16.1499999, "16.1499", "16.15"),
        (154.12897714, "154.128", "154.129"),
        (-0.1, "-0.100001", "-0.1"),
        (40.0, "40", "40"),
        (0.0, "0", "0"),
        (1234567.0, "1.23456e+06", "1.23457e+06"),
        (float("inf"), "inf", "inf"),
    ],
)
def test_examples(value: float, lower: str, upper: str) -> None:
    assert (figures.lower(value), figures.upper(value)) == (lower, upper)


def test_interval_with_open_ends() -> None:
    assert figures.interval(None, 2.0) == "[?, 2]"
    assert figures.interval(1.0, None) == "[1, ?]"


@pytest.mark.parametrize(
    ("value", "text"), [(0.001, "0.00 s"), (9.876, "9.88 s"), (12.34, "12.3 s"), (345.6, "346 s")]
)
def test_seconds(value: float, text: str) -> None:
    assert figures.seconds(value) == text
