"""The folder that tests of spec files write into."""

from pathlib import Path

import pytest

from tests.spec.files import fill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)
