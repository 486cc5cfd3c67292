"""The collection of real networks beside the project: each is read, or refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_models import assert_equals_original

from lipverify.errors import NetworkError
from lipverify.graph import output
from lipverify.network import inspect_network, load_network

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
FILES = sorted(SHARED.rglob("*.onnx")) if SHARED.is_dir() else []

REFUSED: dict[str, str] = {}

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not FILES, reason="no folder shared/data beside the project"),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_is_read_or_refused(path: Path) -> None:
    if path.name in REFUSED:
        with pytest.raises(NetworkError, match=REFUSED[path.name]):
            load_network(path)
        assert not inspect_network(path).is_supported
    else:
        assert_equals_original(load_network(path))
        assert inspect_network(path).is_supported


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.with_suffix(".check.npz").exists() and p.name not in REFUSED],
    ids=lambda path: path.name,
)
def test_stored_output(path: Path) -> None:
    """The stored input is the file's own input: files that preprocess hold that as nodes."""
    network = load_network(path)
    with np.load(path.with_suffix(".check.npz")) as check:
        x, y = torch.tensor(check["x"]).double(), torch.tensor(check["y"]).double()
    ours = output(network.graph, x.reshape(1, -1))
    reach = max(1.0, float(y.abs().max()))
    assert float((ours - y.reshape(1, -1)).abs().max()) <= 1e-5 * reach
