"""Which cases of a sweep run every time, and which only with the slow tests."""

from collections.abc import Sequence
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet


def quickly(values: Sequence[Any], count: int) -> list[Any]:
    """`count` of the values, spread over all of them; the others are marked slow."""
    chosen = {round(k * (len(values) - 1) / max(1, count - 1)) for k in range(count)}
    return [value if k in chosen else _slow(value) for k, value in enumerate(values)]


def _slow(value: Any) -> ParameterSet:
    if isinstance(value, ParameterSet):
        return pytest.param(*value.values, id=value.id, marks=(*value.marks, pytest.mark.slow))
    arguments = value if isinstance(value, tuple) else (value,)
    return pytest.param(*arguments, marks=pytest.mark.slow)
