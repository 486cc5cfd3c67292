"""Pairs of neurons that a region keeps apart: never claimed of a pair that some input joins."""

import pytest
import torch

from lipverify.bounds.conflicts import Conflicts, find_conflicts
from lipverify.bounds.methods import Setting
from lipverify.config import PreactivationConfig
from lipverify.graph import evaluate
from lipverify.region import Box
from tests.bounds import cases
from tests.oracles import networks
from tests.oracles.budget import quickly
from tests.oracles.networks import LARGER, PIECEWISE, Tiny, from_weights
from tests.oracles.originals import network

FOUND: list[int] = []


def check(setting: Setting, conflicts: Conflicts, points: torch.Tensor) -> None:
    forward = setting.network.graph
    inputs = points.reshape(-1, *forward.input_shape)
    values = evaluate(forward, {forward.INPUT: inputs})
    for pair in conflicts.pairs:
        first, second = (
            side * values[node].flatten(1)[:, index]
            for node, index, side in (pair.first, pair.second)
        )
        assert not bool(((first >= 0) & (second >= 0)).any()), pair
        assert bool((second[first >= 0] <= pair.second_upper).all()), pair
        assert bool((first[second >= 0] <= pair.first_upper).all()), pair


@pytest.mark.parametrize(
    ("tiny", "kind"), quickly(cases.every((*PIECEWISE, *LARGER), cases.REGIONS), 150)
)
def test_no_input_joins_a_conflict(tiny: Tiny, kind: str) -> None:
    setting = cases.setting_of(tiny, kind)
    conflicts = setting.conflicts
    FOUND.append(len(conflicts))
    check(setting, conflicts, cases.points_of(tiny, kind))


def test_the_sweep_found_conflicts() -> None:
    assert sum(FOUND) > 100


def tensor(values: list[object]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def line(first: float, second: float) -> Setting:
    """relu(x - first) + relu(second - x) on [-1, 1]."""
    tiny = from_weights(
        [
            (tensor([[1.0], [-1.0]]), tensor([-first, second])),
            (tensor([[1.0, 1.0]]), tensor([0.0])),
        ],
        "line",
    )
    ends = torch.ones(1, dtype=torch.float64)
    return Setting(network(tiny), Box(-ends, ends), PreactivationConfig())


def test_by_hand() -> None:
    apart, touching, joined = line(0.5, -0.25), line(0.25, 0.25), line(0.0, 0.5)
    assert {(p.first[2], p.second[2]) for p in apart.conflicts.pairs} == {(1, 1)}
    # At x = 0.25 both are 0: each side of each kink borders on both of the other's.
    assert not touching.conflicts.pairs
    assert {(p.first[2], p.second[2]) for p in joined.conflicts.pairs} == {(-1, -1)}


def test_what_a_split_implies() -> None:
    setting = line(0.5, -0.25)
    (pair,) = setting.conflicts.pairs
    node, index, side = pair.first
    ((neuron, (other, least)),) = setting.conflicts.implied([(node, index, side)]).items()
    assert neuron == pair.second[:2] and other == -pair.second[2]
    # x >= 0.5 leaves -0.25 - x at most -0.75.
    assert 0 < least <= 0.75
    assert least == pytest.approx(0.75, rel=0.5)
    assert not setting.conflicts.implied([(node, index, -side)])


def test_smooth_and_too_many_neurons_have_none() -> None:
    smooth = cases.setting_of(networks.dense((2, 4, 2), 0, "tanh"), "offset")
    assert not smooth.conflicts.pairs
    setting = line(0.5, -0.25)
    problem = setting.forward_problem
    assert not find_conflicts(problem, setting.alpha_preactivations, most=1).pairs
