"""Insensitivity beyond lines: searches over inputs and pairs of them, against dense grids."""

from collections.abc import Callable
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from lipverify.audit.answer import Answer, Found
from lipverify.audit.change_search import _limit
from lipverify.audit.context import Context, prepare
from lipverify.audit.difference import joined, pair_graph, split_pair
from lipverify.config import VerifyConfig
from lipverify.graph import output
from lipverify.interval import Interval
from tests.audit.cases import module_of, ran, weights, write_audit, write_network, write_table
from tests.oracles.budget import quickly

GRID = np.linspace(-1, 1, 41)
SIGMOID = {"probability": 1, "link": "sigmoid"}
COLUMNS: dict[str, dict[str, Any]] = {
    "number": {"range": [-1.0, 1.0]},
    "group": {"type": "one-hot", "categories": ["u", "v", "w"]},
    "code": {"type": "ordinal", "categories": ["u", "v", "w"], "codes": [-1, 0.5, 1]},
}
CODES = {"number": GRID[:, None], "group": np.eye(3), "code": np.array([[-1.0], [0.5], [1.0]])}


def case(folder: Path, kind: str, seed: int, region: Any, end: str = "", **keys: Any) -> Path:
    """Inputs a and p (protected, of that kind), and a record at a = 0.25."""
    size = 1 + CODES[kind].shape[1]
    folder.mkdir()
    write_network(folder / "net.onnx", weights([size, 10, 8, 1], seed), end)
    if keys.pop("smooth", False):
        model = onnx.load(folder / "net.onnx")
        for node in model.graph.node:
            if node.op_type == "Relu":
                node.op_type = "Tanh"
        onnx.save(model, folder / "net.onnx")
    write_table(folder / "table.csv", ["a", "p"], [[0.25, 0.0 if kind == "number" else "u"]])
    columns = {"a": {"range": [-1.0, 1.0]}, "p": COLUMNS[kind]}
    return write_audit(folder, columns, regions=[region], insensitive=["p"], **keys)


def shown(context: Context, points: np.ndarray) -> np.ndarray:
    target = context.target
    return target.shown(target.original(torch.tensor(points))).numpy()


def table_of(context: Context, kind: str, others: np.ndarray) -> np.ndarray:
    """The asked output [others, values of p]."""
    codes = CODES[kind]
    rows = np.array([[a, *code] for a, code in product(others, codes)])
    return shown(context, rows).reshape(len(others), len(codes))


def only(path: Path, **config: Any) -> tuple[Context, Answer]:
    result = ran(path, **config)
    with result.store:
        (answer,) = result.answers()
    return result.context, answer


def check_pair(context: Context, kind: str, answer: Answer, at_most: float) -> None:
    assert answer.pair is not None
    before, after = np.array(answer.pair.before), np.array(answer.pair.after)
    assert abs(answer.pair.output_after - answer.pair.output_before) > at_most
    values = shown(context, np.array([before, after]))
    assert np.allclose(values, [answer.pair.output_before, answer.pair.output_after], atol=1e-5)
    for point in (before, after):
        assert (np.abs(point) <= 1).all()
        assert kind == "number" or any(np.allclose(point[1:], code) for code in CODES[kind])


Truth = Callable[[Context], float]
CASES: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in CODES),
    ("number", {"output": SIGMOID}),
    ("group", {"output": {"probability": 1}, "end": "Sigmoid"}),
    ("code", {"smooth": True}),
    ("group", {"smooth": True}),
]


def both_sides(
    tmp_path: Path, kind: str, seed: int, region: Any, keys: dict[str, Any], truth: Truth
) -> set[str]:
    """Allowed is a little more, then a little less, than the largest change on the grid."""
    path = case(tmp_path / "probe", kind, seed, region, delta=1.0, **keys)
    largest = truth(prepare(str(path), VerifyConfig(), skip_bad_rows=False))
    stages = set()
    for share, expected in ((1.1, Found.VERIFIED), (0.9, Found.FALSIFIED)):
        path = case(tmp_path / str(share), kind, seed, region, delta=share * largest, **keys)
        context, answer = only(path)
        assert answer.found is expected, (share, answer)
        if expected is Found.FALSIFIED:
            check_pair(context, kind, answer, share * largest)
        else:
            assert answer.lower <= largest + 1e-6 and largest - 1e-6 <= answer.upper
        stages.add(answer.method)
    return stages


@pytest.mark.parametrize("seed", quickly([0, 1, 2], 1))
@pytest.mark.parametrize(("kind", "keys"), CASES)
def test_pairs_that_share_all_else_are_decided(
    tmp_path: Path, kind: str, keys: dict[str, Any], seed: int
) -> None:
    def largest(context: Context) -> float:
        found = table_of(context, kind, GRID)
        return float((found.max(1) - found.min(1)).max())

    stages = both_sides(tmp_path, kind, seed, "global", keys, largest)
    assert stages - {"bounds of the derivative times the range", "bounds of the output on boxes"}


@pytest.mark.parametrize("seed", quickly([0, 1, 2], 1))
@pytest.mark.parametrize(("kind", "keys"), CASES)
def test_inputs_around_a_record_are_decided(
    tmp_path: Path, kind: str, keys: dict[str, Any], seed: int
) -> None:
    def largest(context: Context) -> float:
        here = shown(context, context.records.inputs.numpy())
        return float(np.abs(table_of(context, kind, np.linspace(0.05, 0.45, 41)) - here).max())

    region = {"kind": "neighbourhood", "radius": {"a": 0.2}}
    both_sides(tmp_path, kind, seed, region, keys, largest)


def test_verdicts_agree_with_grids_on_random_questions(tmp_path: Path) -> None:
    """Whatever the change that is allowed: no verified one is broken on the grid."""
    decided = dict.fromkeys(Found, 0)
    for seed in range(9):
        kind = ("number", "group", "code")[seed % 3]
        delta = float(np.random.default_rng(seed).uniform(0.1, 1.2))
        path = case(tmp_path / str(seed), kind, seed, "global", delta=delta)
        context, answer = only(path)
        found = table_of(context, kind, GRID)
        largest = float((found.max(1) - found.min(1)).max())
        decided[answer.found] += 1
        if answer.found is Found.VERIFIED:
            assert largest <= delta + 1e-6
        elif answer.found is Found.FALSIFIED:
            check_pair(context, kind, answer, delta)
    assert decided[Found.VERIFIED] >= 2 and decided[Found.FALSIFIED] >= 2


def test_a_search_that_is_stopped_decides_nothing(tmp_path: Path) -> None:
    path = case(tmp_path / "probe", "number", 1, "global", delta=1.0)
    found = table_of(prepare(str(path), VerifyConfig(), skip_bad_rows=False), "number", GRID)
    truth = float((found.max(1) - found.min(1)).max())
    path = case(tmp_path / "asked", "number", 1, "global", delta=1.05 * truth)
    _, answer = only(path, timeout=0.0)
    assert answer.found is Found.UNKNOWN and answer.reason is not None
    assert answer.upper > 1.05 * truth and "proved to be at most" in answer.detail


@pytest.mark.parametrize("keys", [{}, {"output": SIGMOID}])
def test_the_pair_network_is_the_difference_of_two_copies(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    path = case(tmp_path / "net", "group", 5, "global", delta=1.0, **keys)
    context = prepare(str(path), VerifyConfig(), skip_bad_rows=False)
    feature = context.features["p"]
    graph = pair_graph(context.target, feature)
    points = torch.randn(20, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    judge = module_of(weights([4, 10, 8, 1], 5))
    with torch.no_grad():
        first = judge(points[:, :4])[:, 0]
        second = judge(torch.cat([points[:, :1], points[:, 4:]], 1))[:, 0]
    if keys:
        first, second = first.sigmoid(), second.sigmoid()
    assert torch.allclose(output(graph, points)[:, 0], first - second, atol=1e-12)
    x, other = split_pair(joined(points[0, :4], points[0, 4:]), feature)
    assert torch.equal(x, points[0, :4])
    assert torch.equal(other, torch.cat([points[0, :1], points[0, 4:]]))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_limits_keep_outputs_as_near_as_is_allowed(tmp_path: Path, sign: float) -> None:
    """Behind a sigmoid: the limit is the logit of the probability that is still allowed."""
    path = case(tmp_path / "net", "number", 5, "global", delta=1.0, output=SIGMOID)
    target = prepare(str(path), VerifyConfig(), skip_bad_rows=False).target

    def point(*ends: float) -> Interval:
        return Interval(*(torch.tensor([end], dtype=torch.float64) for end in ends))

    chance = 1 / (1 + np.exp(-0.3))
    limit = _limit(target, sign, point(0.3, 0.3), point(-9.0, 9.0), 0.1)
    least = chance + sign * 0.1
    assert limit == pytest.approx(sign * np.log(least / (1 - least)), rel=1e-9)
    assert 1 / (1 + np.exp(-sign * limit)) == pytest.approx(least)
    assert _limit(target, sign, point(0.3, 0.3), point(-9.0, 9.0), 1.0) == inf
    assert np.isnan(_limit(target, sign, point(0.2, 0.3), point(-9.0, 9.0), 1e-3))
