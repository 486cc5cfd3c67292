"""Every VNN-LIB file of the collection beside the project can be read."""

from pathlib import Path

import pytest

from lipverify.spec.vnnlib import read_vnnlib

pytestmark = pytest.mark.shared


def test_all_files_of_the_collection(shared: Path) -> None:
    files = sorted((shared / "data").rglob("*.vnnlib"))
    assert len(files) >= 20
    for path in files:
        found = read_vnnlib(path)
        (query,) = found.queries()
        assert query.region.size == found.layout.inputs
        assert query.unsafe and query.outputs == found.layout.outputs
