"""Replays say yes to what violates a property, and no to what does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from lipverify.evidence.bundle.facts import region_facts
from lipverify.evidence.bundle.replay import Replayed, replay_counterexample, replay_witness
from lipverify.network import Network, load_network
from lipverify.spec import Spec, bind, read_spec
from tests.cli import networks

BOX = "{lower: [-1, -1], upper: [1, 1]}"
BALL = "{center: [0.5, 0.0], radius: 1, norm: 2}"


def make(tmp_path: Path, prop: str, region: str = BOX, more: str = "") -> tuple[Network, Spec]:
    """y = (x0 - 2 x1, 3 x0 + 4 x1)."""
    networks.linear(tmp_path / "net.onnx")
    path = tmp_path / "a.yaml"
    path.write_text(
        f"lipverify: 1\nnetwork: net.onnx\n{more}\nregion: {region}\nproperties: [{{{prop}}}]\n"
    )
    file = read_spec(path)
    network = load_network(file.network, reading=file.reading)
    return network, bind(file, 2, 2)


def output(x: list[float]) -> list[float]:
    return [x[0] - 2 * x[1], 3 * x[0] + 4 * x[1]]


def replayed(tmp_path: Path, prop: str, inputs: list[list[float]], **settings: Any) -> Replayed:
    network, spec = make(tmp_path, prop, **settings)
    recorded = {"inputs": inputs, "outputs": [output(x) for x in inputs], "statement": ""}
    return replay_counterexample(network, spec, 0, recorded)


ROBUST = "kind: robustness, label: 0"
RISES = "kind: monotonicity, output: 0, increasing: [1], decreasing: [0]"


@pytest.mark.parametrize(
    ("prop", "inputs", "confirmed"),
    [
        (ROBUST, [[1.0, 0.0]], True),
        (ROBUST, [[-0.5, 0.0]], False),
        (ROBUST, [[0.0, 0.0]], True),  # a tie is no class
        (ROBUST, [[1.5, 0.0]], False),  # outside the region
        (f"{ROBUST}, margin: 2", [[-0.5, 0.0]], True),
        (RISES, [[0.0, 0.0], [0.0, 0.5]], True),
        (RISES, [[0.0, 0.5], [0.0, 0.0]], True),  # either order
        (RISES, [[0.0, 0.0], [0.5, 0.0]], True),  # input 0 rises, and has to fall
        (RISES, [[0.0, 0.0], [0.5, 0.5]], False),  # two inputs at once
        (RISES, [[0.0, 0.0], [0.0, 0.0]], False),
        (RISES, [[0.0, 0.0]], False),
        ("kind: monotonicity, output: 1, increasing: [1]", [[0.0, 0.0], [0.0, 0.5]], False),
        ("kind: monotonicity, output: 1, increasing: [1], margin: 5", [[0, 0], [0, 1]], True),
        ("kind: lipschitz, at_most: 6.9", [[0.0, 0.0]], True),
        ("kind: lipschitz, at_most: 7", [[0.0, 0.0]], False),
        (ROBUST, [[float("nan"), 0.0]], False),
        (ROBUST, [[0.0]], False),
        (ROBUST, [[1.0, 0.0], [1.0, 0.0]], False),
        ("kind: lipschitz", [[0.0, 0.0]], False),  # asks for an interval
    ],
)
def test_by_kind(prop: str, inputs: list[list[float]], confirmed: bool, tmp_path: Path) -> None:
    if len(inputs[0]) == 1:
        network, spec = make(tmp_path, prop)
        found = replay_counterexample(network, spec, 0, {"inputs": inputs, "outputs": [[0, 0]]})
    else:
        found = replayed(tmp_path, prop, inputs)
    assert found.confirmed is confirmed, found


@pytest.mark.parametrize(
    ("inputs", "confirmed"), [([0.5, 1.0], True), ([0.5, 1.001], False), ([0.5, -0.5], False)]
)
def test_radius(inputs: list[float], confirmed: bool, tmp_path: Path) -> None:
    """Label 0 where x0 - 2 x1 > 3 x0 + 4 x1, or x0 + 3 x1 < 0."""
    prop = "kind: radius, label: 0, at_least: 1"
    assert replayed(tmp_path, prop, [inputs], region=BALL).confirmed is confirmed


def test_deviation_from_what_was_recorded(tmp_path: Path) -> None:
    network, spec = make(tmp_path, ROBUST)
    recorded = {"inputs": [[1.0, 0.0]], "outputs": [[1.25, 3.0]]}
    assert replay_counterexample(network, spec, 0, recorded).deviation == 0.25


@pytest.mark.parametrize(("lower", "confirmed"), [(7.0, True), (6.0, True), (7.001, False)])
def test_witness(lower: float, confirmed: bool, tmp_path: Path) -> None:
    network, spec = make(tmp_path, "kind: lipschitz")
    found = replay_witness(network, spec, 0, [0.25, 0.5], lower)
    assert found is not None and found.confirmed is confirmed
    outside = replay_witness(network, spec, 0, [2.0, 0.5], 1.0)
    assert outside is not None and not outside.confirmed


def test_normalised_region(tmp_path: Path) -> None:
    """Behind (x - mean) / std and behind a negative scale; ends stay in order."""
    network, spec = make(tmp_path, ROBUST, more="preprocessing: {mean: [1, 2], std: [2, 4]}")
    facts = region_facts(spec.region, network)
    assert facts.raw.lower == [-1, -1] and facts.raw.upper == [1, 1]
    assert facts.normalised.lower == [-1, -0.75] and facts.normalised.upper == [0, -0.25]
    network, spec = make(tmp_path, ROBUST, more="preprocessing: {scale: -2, offset: [1, 0]}")
    facts = region_facts(spec.region, network)
    assert facts.normalised.lower == [-1, -2] and facts.normalised.upper == [3, 2]


def test_parameters_do_not_depend_on_layout(tmp_path: Path) -> None:
    from lipverify.network.onnx_file import read_file

    weights = {"w": np.eye(2, dtype=np.float32), "b": np.ones(2, dtype=np.float32)}
    digests = []
    for k, names in enumerate((("w", "b"), ("b", "w"))):
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["z"], name=f"mat{k}"),
            helper.make_node("Add", ["z", "b"], ["y"], name=f"add{k}"),
        ]
        path = networks.save(tmp_path / f"{k}.onnx", nodes, {n: weights[n] for n in names})
        digests.append(read_file(path))
    assert digests[0].parameters_sha256 == digests[1].parameters_sha256
    assert digests[0].sha256 != digests[1].sha256
    weights["b"][1] = np.nextafter(np.float32(1), np.float32(2))
    other = networks.save(tmp_path / "2.onnx", nodes, weights)
    assert read_file(other).parameters_sha256 != digests[0].parameters_sha256
