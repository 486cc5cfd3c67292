"""Verdicts against a grid and against the other engine, and of networks monotone by design."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from lipverify.api import verify_spec
from lipverify.audit.answer import Answer, Found, Trend
from lipverify.config import VerifyConfig
from lipverify.network import load_network
from lipverify.region import Box
from lipverify.spec import Monotonicity, Spec
from lipverify.verdict import Falsified, Verified
from tests.audit.cases import module_of, plain_audit, ran, weights

GRID = 400
EVERYWHERE = ["line", {"kind": "neighbourhood", "radius": 0.05}, "global"]


def on_grid(layers: list[np.ndarray], x: np.ndarray, index: int) -> np.ndarray:
    points = np.repeat(x[None], GRID, axis=0)
    points[:, index] = np.linspace(-1, 1, GRID)
    with torch.no_grad():
        return module_of(layers)(torch.from_numpy(points)).numpy()[:, 0]


def rerun(path: Path, answer: Answer) -> tuple[float, float]:
    """Both ends of the pair, by onnxruntime itself."""
    assert answer.pair is not None
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    points = np.array([answer.pair.before, answer.pair.after], dtype=np.float32)
    values = np.asarray(session.run(None, {"x": points})[0])[:, 0]
    return float(values[0]), float(values[1])


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_lines_agree_with_a_grid(tmp_path: Path, seed: int) -> None:
    layers = weights([3, 10, 10, 1], seed)
    path = plain_audit(tmp_path, layers, increasing=["a", "b"], decreasing=["c"])
    result = ran(path)
    table = result.context.records.inputs.numpy()
    found = {Found.VERIFIED: 0, Found.FALSIFIED: 0}
    for answer in result.answers():
        question = result.context.audit.questions[answer.question]
        index = "abc".index(question.feature)
        sign = question.direction.sign
        rises = sign * np.diff(on_grid(layers, table[answer.record - 1], index))
        found[answer.found] += 1  # a KeyError for what is not decided
        if answer.found is Found.VERIFIED:
            assert rises.min() >= -1e-12
        else:
            assert answer.pair is not None and answer.worst is not None
            before, after = np.array(answer.pair.before), np.array(answer.pair.after)
            assert np.flatnonzero(before != after).tolist() == [index]
            assert np.delete(before, index).tolist() == pytest.approx(
                np.delete(table[answer.record - 1], index).tolist(), abs=0
            )
            assert -1 <= before[index] < after[index] <= 1
            first, second = rerun(tmp_path / "net.onnx", answer)
            assert sign * (second - first) < 0
        slopes = np.diff(on_grid(layers, table[answer.record - 1], index)) / (2 / (GRID - 1))
        assert answer.lower <= slopes.min() + 1e-9 and slopes.max() - 1e-9 <= answer.upper
    assert sum(found.values()) == 36
    result.store.close()


def test_parts_agree_with_a_grid(tmp_path: Path) -> None:
    layers = weights([2, 12, 12, 1], 5)
    result = ran(plain_audit(tmp_path, layers, increasing=["a"], decreasing=["b"]))
    table = result.context.records.inputs.numpy()
    checked = 0
    for answer in result.answers():
        index = answer.question
        values = on_grid(layers, table[answer.record - 1], index)
        places = np.linspace(-1, 1, GRID)
        for part in answer.parts:
            inside = (part.start <= places[:-1]) & (places[1:] <= part.end)
            steps = np.diff(values)[inside]
            if part.trend is Trend.INCREASING:
                assert (steps >= -1e-12).all()
            elif part.trend is Trend.DECREASING:
                assert (steps <= 1e-12).all()
            else:
                assert part.trend is Trend.CONSTANT, "nothing is open on a line"
                assert np.abs(steps).max(initial=0) < 1e-12
            checked += int(inside.sum())
    assert checked > 100
    result.store.close()


def test_monotone_by_construction_is_verified_everywhere(tmp_path: Path) -> None:
    layers = weights([3, 8, 8, 1], 1, positive=True)
    regions = [*EVERYWHERE, {"kind": "joint", "features": ["a", "c"]}]
    path = plain_audit(tmp_path, layers, 5, increasing=["a", "b", "c"], regions=regions)
    result = ran(path)
    assert {answer.found for answer in result.answers()} == {Found.VERIFIED}
    assert len(list(result.answers())) == 3 * (5 + 5 + 1) + 2 * 5
    result.store.close()


def test_one_flipped_sign_is_found(tmp_path: Path) -> None:
    """relu(a + b + 0.1 ...) with one weight of the last layer turned."""
    layers = weights([3, 8, 8, 1], 1, positive=True)
    layers[4][0, 3] *= -30
    path = plain_audit(tmp_path, layers, 5, increasing=["a", "b", "c"], regions=EVERYWHERE)
    result = ran(path)
    assert Found.FALSIFIED in {answer.found for answer in result.answers()}
    broken = [row for row in result.totals if row["region"] == "global" and row["falsified"]]
    assert broken, "the flaw is in the region of all inputs"
    result.store.close()


def spec_verdict(path: Path, lower: np.ndarray, upper: np.ndarray, feature: int, sign: int):
    """Of the machinery for spec files, by branch and bound over the inputs."""
    network = load_network(path)
    box = Box(torch.from_numpy(lower), torch.from_numpy(upper))
    up, down = ((feature,), ()) if sign > 0 else ((), (feature,))
    names = tuple(f"x{i}" for i in range(len(lower)))
    spec = Spec("one", box, (Monotonicity((1.0,), up, down),), names)
    config = VerifyConfig(method="input-split", timeout=10.0)
    return next(verify_spec(network, spec, config)).verdict


@pytest.mark.parametrize("seed", [0, pytest.param(range(1, 28), marks=pytest.mark.slow)])
def test_two_engines_never_contradict(tmp_path: Path, seed: int | range) -> None:
    """72 queries each time; with the slow ones, 2,016."""
    decided = 0
    for one in [seed] if isinstance(seed, int) else seed:
        folder = tmp_path / str(one)
        folder.mkdir()
        sizes = [[2, 6, 1], [3, 8, 8, 1], [2, 5, 5, 5, 1]][one % 3]
        layers = weights(sizes, 100 + one)
        names = [chr(ord("a") + place) for place in range(sizes[0])]
        half = names[: len(names) // 2]
        rest = [name for name in names if name not in half]
        path = plain_audit(folder, layers, 36, increasing=half, decreasing=rest)
        result = ran(path)
        table = result.context.records.inputs.numpy()
        for answer in result.answers():
            question = result.context.audit.questions[answer.question]
            index = names.index(question.feature)
            lower, upper = table[answer.record - 1].copy(), table[answer.record - 1].copy()
            lower[index], upper[index] = -1.0, 1.0
            other = spec_verdict(folder / "net.onnx", lower, upper, index, question.direction.sign)
            assert not (isinstance(other, Verified) and answer.found is Found.FALSIFIED)
            assert not (isinstance(other, Falsified) and answer.found is Found.VERIFIED)
            decided += isinstance(other, Verified | Falsified)
        result.store.close()
    assert decided > 30


def test_boxes_agree_with_samples(tmp_path: Path) -> None:
    layers = weights([3, 8, 8, 1], 11, positive=True)
    layers[0][:, 1] *= -1
    layers[2][:, 2] *= -1  # what one neuron does comes with the other sign: not by construction
    path = plain_audit(tmp_path, layers, 6, increasing=["a"], decreasing=["b"], regions=EVERYWHERE)
    result = ran(path)
    module = module_of(layers)
    random = torch.Generator().manual_seed(0)
    verified = 0
    for answer in result.answers():
        question = result.context.audit.questions[answer.question]
        if question.region.name != "neighbourhood" or answer.found is not Found.VERIFIED:
            continue
        index, sign = "abc".index(question.feature), question.direction.sign
        x = result.context.records.inputs[answer.record - 1]
        points = x + 0.05 * (2 * torch.rand(400, 3, generator=random, dtype=torch.float64) - 1)
        points = points.clamp(-1, 1)
        points[:, index] = 2 * torch.rand(400, generator=random, dtype=torch.float64) - 1
        points.requires_grad_(True)
        (slopes,) = torch.autograd.grad(module(points).sum(), points)
        assert float((sign * slopes[:, index]).min()) >= 0
        assert answer.lower <= float(slopes[:, index].min())
        verified += 1
    assert verified
    result.store.close()
