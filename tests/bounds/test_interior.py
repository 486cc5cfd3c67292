"""Flat subproblems: claimed only of sign patterns that no generic input has."""

import pytest
import torch

from lipverify.bounds.interior import ExactForward
from lipverify.graph import evaluate
from lipverify.region import Box
from tests.bounds import cases
from tests.oracles import networks
from tests.oracles.boxes import centered
from tests.oracles.networks import PIECEWISE, Tiny
from tests.oracles.originals import network

Side = tuple[str, int, int]


def pattern(tiny: Tiny, x: torch.Tensor) -> list[Side]:
    """The sides that the preactivations at x [n] have; those at 0 are left out."""
    forward = network(tiny).graph
    values = evaluate(forward, {forward.INPUT: x.reshape(1, *forward.input_shape)})
    found = []
    for name in dict.fromkeys(node.inputs[0] for node in forward.activations):
        for index, value in enumerate(values[name].flatten().tolist()):
            if value != 0:
                found.append((name, index, 1 if value > 0 else -1))
    return found


@pytest.mark.parametrize("tiny", PIECEWISE, ids=str)
def test_no_pattern_of_an_input_is_flat(tiny: Tiny) -> None:
    box = centered(tiny.inputs, 1.0)
    setting = cases.setting_of(tiny, "centered")
    exact = ExactForward(network(tiny).graph, box)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        x = 2 * torch.rand(tiny.inputs, generator=generator, dtype=torch.float64) - 1
        assert not exact.is_flat(pattern(tiny, x), setting.interval_preactivations)


@pytest.mark.parametrize(
    ("first", "second", "flat"), [(1, 1, True), (-1, -1, True), (1, -1, False), (-1, 1, False)]
)
def test_opposite_kinks(first: int, second: int, flat: bool) -> None:
    """relu(x) and relu(-x) are both active, or both inactive, at 0 alone."""
    tiny = networks.kink_pair()
    setting = cases.setting_of(tiny, "centered")
    exact = ExactForward(network(tiny).graph, centered(1, 1.0))
    names = list(dict.fromkeys(node.inputs[0] for node in network(tiny).graph.activations))
    splits = [(names[0], 0, first), (names[-1], 0, second)]
    assert exact.is_flat(splits, setting.interval_preactivations) is flat


def test_a_face_of_the_region_is_flat_and_a_sliver_is_not() -> None:
    tiny = networks.kink_pair()
    setting = cases.setting_of(tiny, "centered")
    names = list(dict.fromkeys(node.inputs[0] for node in network(tiny).graph.activations))
    for lower, flat in ((0.0, True), (-(2.0**-60), False)):
        box = Box(torch.tensor([lower]).double(), torch.ones(1).double())
        exact = ExactForward(network(tiny).graph, box)
        assert exact.is_flat([(names[0], 0, -1)], setting.interval_preactivations) is flat


def test_regions_without_inner_points_are_left_alone() -> None:
    tiny = networks.kink_pair()
    setting = cases.setting_of(tiny, "centered")
    names = list(dict.fromkeys(node.inputs[0] for node in network(tiny).graph.activations))
    for region in (centered(1, 0.0), cases.stretched_ball(2, "2")):
        exact = ExactForward(network(tiny).graph, region)
        assert not exact.applicable
        splits = [(names[0], 0, 1), (names[-1], 0, 1)]
        assert not exact.is_flat(splits, setting.interval_preactivations)
