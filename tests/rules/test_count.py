"""The sweep is as large as it is said to be. Comes last: it judges what the others counted."""

from pathlib import Path

import pytest

from tests.conftest import Checks

FEWEST = 10_000
HERE = Path(__file__).resolve().parent


def test_the_sweep_is_large(request: pytest.FixtureRequest, checks: Checks) -> None:
    swept = {item.path for item in request.session.items if item.path.parent == HERE}
    if request.config.option.keyword or swept != set(HERE.glob("test_*.py")):
        pytest.skip("only a part of the sweep has been run")
    assert checks.total >= FEWEST
