"""Neighbourhoods of records: which boxes are asked about, and that searches decide them."""

from pathlib import Path

import numpy as np
import torch

from lipverify.audit.answer import Found
from tests.audit.cases import (
    module_of,
    plain_audit,
    ran,
    weights,
    write_audit,
    write_network,
    write_table,
)


def between_codes() -> list[np.ndarray]:
    """f(a, c) rises in a for c = 0 and c = 1, and falls for c = 0.5.

    a - 2 relu(a + 4 hat(c) - 1.9) for a in [-1, 1], with a hat that is 0.5 at c = 0.5.
    """
    first = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    hat = [4, -8, 4]
    return [
        first,
        np.array([1, 0, -0.5, -1], np.float32),
        np.array([[1, 0, 0, 0], [1, *hat]], np.float32),
        np.array([0, -2.9], np.float32),
        np.array([[1, -2]], np.float32),
        np.zeros(1, np.float32),
    ]


def test_discrete_features_keep_the_values_that_their_neighbourhood_holds(tmp_path: Path) -> None:
    """A radius of less than the distance to the next code leaves the record's own code alone."""
    layers = between_codes()
    points = torch.tensor([[0.2, c] for c in (0.0, 0.5, 1.0)], dtype=torch.float64)
    step = torch.tensor([0.1, 0.0], dtype=torch.float64)
    with torch.no_grad():
        rise = module_of(layers)(points + step) - module_of(layers)(points)
    assert (rise[:, 0] > 0).tolist() == [True, False, True], "the case is as described"
    write_network(tmp_path / "net.onnx", layers)
    write_table(tmp_path / "table.csv", ["a", "c"], [[0.2, "no"], [-0.3, "yes"]])
    columns = {
        "a": {"range": [-1.0, 1.0]},
        "c": {"type": "ordinal", "categories": ["no", "yes"], "codes": [0, 1]},
    }
    regions = [{"kind": "neighbourhood", "radius": {"c": 0.6}}]
    result = ran(write_audit(tmp_path, columns, increasing=["a"], regions=regions))
    with result.store:
        answers = list(result.answers())
    assert [answer.found for answer in answers] == [Found.VERIFIED] * 2


def test_searches_decide_what_quick_bounds_leave_open(tmp_path: Path) -> None:
    """Every verdict agrees with slopes at sampled points; nothing stays open."""
    layers = weights([5, 16, 16, 1], 3)
    regions = [{"kind": "neighbourhood", "share": 0.1}]
    names = ["a", "b", "c", "d", "e"]
    path = plain_audit(tmp_path, layers, 12, increasing=names, regions=regions)
    result = ran(path)
    network = module_of(layers)
    with result.store:
        answers = list(result.answers())
    assert {answer.found for answer in answers} == {Found.VERIFIED, Found.FALSIFIED}
    generator = torch.Generator().manual_seed(0)
    for answer in answers:
        x = result.context.records.inputs[answer.record - 1]
        share = torch.rand(200, 5, generator=generator, dtype=torch.float64)
        near = (x + 0.4 * (share - 0.5)).clamp(-1, 1)
        near[:, answer.question] = 2 * share[:, answer.question] - 1
        near.requires_grad_(True)
        (slopes,) = torch.autograd.grad(network(near).sum(), near)
        slope = slopes[:, answer.question]
        assert answer.lower - 1e-9 <= float(slope.min()), "what is proved holds for samples"
        assert float(slope.max()) <= answer.upper + 1e-9
        if answer.found is Found.VERIFIED:
            assert float(slope.min()) >= -1e-12
        else:
            assert answer.pair is not None
            assert answer.pair.output_after < answer.pair.output_before
