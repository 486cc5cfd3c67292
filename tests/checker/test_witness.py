"""Counterexamples and attained values in exact arithmetic."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipverify.checker import Report, check
from lipverify.checker.__main__ import main
from tests.checker import handmade, truth
from tests.checker.test_rules import LOWER, SIZES, UPPER


def ask(
    path: Path, network: Path, kind: str, asked: Any, points: Any, region: Any = None, **more: Any
) -> Report:
    witness = {"points": [handmade.floats(point) for point in points], **more}
    head = handmade.manifest(network, region or handmade.box([-1], [1]), asked, witness=witness)
    return check(handmade.write(path / "w.lipcert", {**head, "kind": kind}, None), network)


@pytest.fixture
def hat(tmp_path: Path) -> Path:
    """2 |x| + x: slopes -1 and 3; a value of exactly 0 at 0."""
    return handmade.mlp(tmp_path / "n.onnx", [[[1.0], [-1.0]], [[3.0, 1.0]]], [[0.0, 0.0], [0.0]])


def clause(coefficient: float, offset: float, strict: bool) -> dict[str, Any]:
    entry = {
        "coefficients": handmade.floats([coefficient]),
        "offsets": handmade.floats([offset]),
        "strict": [strict],
    }
    return {"kind": "robustness", "unsafe": [entry]}


def test_outputs(tmp_path: Path, hat: Path) -> None:
    assert ask(tmp_path, hat, "falsified", clause(1, 0, False), [[0.0]]).accepted
    assert "not unsafe" in ask(tmp_path, hat, "falsified", clause(1, 0, True), [[0.0]]).reason
    assert ask(tmp_path, hat, "falsified", clause(1, -1e-300, True), [[0.0]]).accepted
    assert "not unsafe" in ask(tmp_path, hat, "falsified", clause(1, 1e-300, False), [[0.0]]).reason
    assert ask(tmp_path, hat, "falsified", clause(-1, 3, False), [[1.0]]).accepted
    outside = ask(tmp_path, hat, "falsified", clause(-1, 3, False), [[np.nextafter(1.0, 2.0)]])
    assert "not in the region" in outside.reason


def test_monotonicity(tmp_path: Path, hat: Path) -> None:
    def asked(way: str, margin: float) -> dict[str, Any]:
        return {
            "kind": "monotonicity",
            "weights": handmade.floats([1]),
            way: [0],
            "margin": handmade.scalar(margin),
        }

    assert ask(
        tmp_path, hat, "falsified", asked("increasing", 0.0), [[-1.0], [-0.5]], objective=0
    ).accepted
    assert ask(tmp_path, hat, "falsified", asked("decreasing", 0.0), [[-1.0], [1.0]]).accepted
    assert not ask(tmp_path, hat, "falsified", asked("increasing", 0.0), [[-1.0], [1.0]]).accepted
    assert not ask(tmp_path, hat, "falsified", asked("increasing", 0.0), [[-0.5], [-1.0]]).accepted
    assert not ask(tmp_path, hat, "falsified", asked("increasing", 3.0), [[0.0], [0.5]]).accepted
    assert ask(
        tmp_path, hat, "falsified", asked("increasing", np.nextafter(3.0, 4.0)), [[0.0], [0.5]]
    ).accepted
    # Outputs far from 0, whose difference alone counts, both ways.
    for bias in (-8.0, 8.0):
        raised = handmade.mlp(tmp_path / "r.onnx", [[[1.0]], [[1.0]]], [[4.0], [bias]])
        for way, steep in (("increasing", 1.0), ("decreasing", -1.0)):
            for margin, good in ((np.nextafter(steep, 2.0), True), (steep, False)):
                report = ask(tmp_path, raised, "falsified", asked(way, margin), [[-0.5], [0.75]])
                assert report.accepted is good, (bias, way, margin)


def test_lipschitz(tmp_path: Path, hat: Path) -> None:
    exact, more, less = (
        handmade.lipschitz(3.0),
        np.nextafter(3.0, 4.0),
        handmade.lipschitz(np.nextafter(3.0, 0.0)),
    )
    direction = {"direction": handmade.floats([2.0])}
    attained = {"at_least": handmade.scalar(3.0)}
    for extra in (
        {"points": [[0.0], [0.5]]},
        {"points": [[0.25]], **direction},
        {"points": [[1.0]], **direction},
    ):
        assert ask(tmp_path, hat, "falsified", less, **extra).accepted
        assert not ask(tmp_path, hat, "falsified", exact, **extra).accepted
        assert ask(tmp_path, hat, "attained", exact, **extra, **attained).accepted
        assert not ask(
            tmp_path, hat, "attained", exact, **extra, at_least=handmade.scalar(more)
        ).accepted
    assert "kink" in ask(tmp_path, hat, "attained", exact, [[0.0]], **direction, **attained).reason
    assert (
        "points are one" in ask(tmp_path, hat, "attained", exact, [[0.5], [0.5]], **attained).reason
    )
    flat = handmade.box([0.5], [0.5])
    assert (
        "leads out"
        in ask(tmp_path, hat, "attained", exact, [[0.5]], flat, **direction, **attained).reason
    )


@pytest.mark.parametrize("name", sorted(truth.ACTIVATIONS))
@pytest.mark.parametrize(
    "norms", [("inf", "inf"), ("2", "2"), ("1", "2"), ("2", "1"), ("inf", "1"), ("2", "inf")]
)
def test_norms_and_activations(tmp_path: Path, name: str, norms: tuple[str, str]) -> None:
    """The quotient of two points, and of a derivative, in every pair of norms."""
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 1, SIZES, name)
    x = np.array([0.1, -0.2, 0.3])
    y, direction = np.array([0.2, 0.1, -0.3]), np.array([1.0, -2.0, 0.5])
    order = {"1": 1, "2": 2, "inf": np.inf}
    out = [truth.values(weights, biases, name, point[None])[-1][0] for point in (x, y)]
    pair = np.linalg.norm(out[0] - out[1], order[norms[1]]) / np.linalg.norm(x - y, order[norms[0]])
    steep = truth.jacobian(weights, biases, name, x[None])[0] @ direction
    slope = np.linalg.norm(steep, order[norms[1]]) / np.linalg.norm(direction, order[norms[0]])
    region = handmade.box(LOWER, UPPER)
    for value, extra in (
        (pair, {"points": [x, y]}),
        (slope, {"points": [x], "direction": handmade.floats(direction)}),
    ):
        for factor, good in ((1 - 1e-9, True), (1 + 1e-9, False)):
            limit = handmade.scalar(value * factor)
            asked = handmade.lipschitz(5.0, *norms)
            assert (
                ask(
                    tmp_path, network, "attained", asked, **extra, region=region, at_least=limit
                ).accepted
                is good
            )
            broken = handmade.lipschitz(value * factor, *norms)
            assert (
                ask(tmp_path, network, "falsified", broken, **extra, region=region).accepted is good
            )


def test_both_numbers_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact outputs beside onnxruntime's, with preprocessing; the verdict does not need it."""
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 3, [3, 5, 2])
    points = [np.array([0.1, -0.2, 0.3]), np.array([0.4, 0.0, -0.5])]
    witness = {"points": [handmade.floats(x) for x in points], "at_least": handmade.scalar(0.0)}
    area, asked = handmade.box([-1] * 3, [1] * 3), handmade.lipschitz(9.0)
    head = handmade.manifest(network, area, asked, witness=witness, kind="attained")
    head["network"]["preprocessing"] = {"mean": handmade.floats([0.5]), "std": handmade.floats([3])}
    path = handmade.write(tmp_path / "w.lipcert", head, None)
    assert main([str(path), str(network), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    x = (np.array(points) - 0.5) / 3
    truth_there = truth.values(weights, biases, "Relu", x)[-1]
    assert np.array(found["outputs"]) == pytest.approx(truth_there, abs=1e-14)
    assert np.array(found["onnxruntime"]) == pytest.approx(truth_there, abs=1e-6)
    assert np.array(found["onnxruntime"]) != pytest.approx(truth_there, abs=1e-12)  # float32
    assert main([str(path), str(network)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("accepted") and len(lines) == 2
    assert lines[1].startswith(f"outputs at point 1: exact {truth_there[1][0]:.9g}, ")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main([str(path), str(network)]) == 0
    assert capsys.readouterr().out.count("onnxruntime is not installed") == 2
    monkeypatch.undo()
    broken = {**head, "witness": {**witness, "at_least": handmade.scalar(1e9)}}
    assert main([str(handmade.write(path, broken, None)), str(network)]) == 1
    assert "onnxruntime" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Softplus", "Elu", "Exp", "Softsign"])
def test_smooth_functions(tmp_path: Path, name: str) -> None:
    """Values and derivatives in enclosures, against float64."""
    functions = {
        "Softplus": (lambda z: np.logaddexp(z, 0), lambda z: 1 / (1 + np.exp(-z))),
        "Elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.exp(np.minimum(z, 0))),
        "Exp": (np.exp, np.exp),
        "Softsign": (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
    }
    function, slope = functions[name]
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 4, [3, 6, 1], name)
    first, last = (weight.astype(float) for weight in weights)
    x = np.array([[0.1, -0.2, 0.3], [0.4, 0.0, -0.5]])
    direction, area = np.array([1.0, -2.0, 0.5]), handmade.box([-1] * 3, [1] * 3)
    z = x @ first.T + biases[0]
    pair = abs(np.diff(function(z) @ last[0]))[0] / abs(x[0] - x[1]).max()
    steep = abs(last[0] * slope(z[0]) @ first @ direction) / 2
    for value, extra in (
        (pair, {"points": list(x)}),
        (steep, {"points": [x[0]], "direction": handmade.floats(direction)}),
    ):
        for factor, good in ((1 - 1e-9, True), (1 + 1e-9, False)):
            extra["at_least"] = handmade.scalar(value * factor)
            asked = handmade.lipschitz(9.0)
            assert ask(tmp_path, network, "attained", asked, **extra, region=area).accepted is good
