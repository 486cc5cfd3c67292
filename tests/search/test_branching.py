"""Branching heuristics: whatever they choose, the search covers everything and ends."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipverify.bounds.quadratic import OpenGates
from lipverify.errors import UnknownBranching
from lipverify.interval import Interval
from lipverify.network import Network
from lipverify.numerics import DTYPE
from lipverify.search.branching import (
    BRANCHINGS,
    Candidate,
    Crossing,
    GateName,
    PseudoCosts,
    Trial,
    branching_named,
    weighted_areas,
)
from lipverify.search.branching.look_ahead import LookAheadBranching
from lipverify.spec.property import Monotonicity
from lipverify.verdict import Falsified, Verified
from tests.oracles import networks
from tests.oracles.boxes import centered, offset
from tests.oracles.budget import quickly
from tests.oracles.networks import Tiny
from tests.oracles.regions import Regions
from tests.search.questions import ask, lipschitz
from tests.search.test_complete import SPECIAL, check_interval

NETWORKS = [
    networks.dense((2, 4, 3, 2), 0),
    networks.dense((3, 6, 2), 1),
    networks.dense((2, 3, 3, 3, 1), 2),
    networks.dense((3, 5, 4, 2), 3, "leaky"),
    networks.dense((2, 5, 2), 4, bias=False),
    *SPECIAL,
]


@pytest.mark.parametrize("name", BRANCHINGS)
@pytest.mark.parametrize("tiny", quickly(NETWORKS, 3), ids=repr)
def test_the_interval_is_the_enumerations(tiny: Tiny, name: str) -> None:
    for input_norm in ("inf", "2", "1"):
        check_interval(tiny, offset(tiny.inputs, 0.75), input_norm, branching=name)


@pytest.mark.parametrize("name", BRANCHINGS)
def test_many_splits_in_a_row(name: str) -> None:
    """Deep enough that a half left out, or a gate split twice, would show."""
    tiny, box = networks.dense((3, 6, 6, 2), 0), centered(3, 1.5)
    result = check_interval(tiny, box, "inf", branching=name)
    assert result.subproblems > 10


@pytest.mark.parametrize("name", BRANCHINGS)
def test_signs_are_decided(name: str) -> None:
    tiny = NETWORKS[0]
    box = offset(tiny.inputs, 0.75)
    weights = torch.eye(tiny.outputs, dtype=DTYPE)[:1]
    lower, upper = Regions(tiny, box).entries(weights)
    for index in range(tiny.inputs):
        for rising, worst in ((True, lower[0, index]), (False, -upper[0, index])):
            asked = ((index,), ()) if rising else ((), (index,))
            prop = Monotonicity(tuple(weights[0].tolist()), *asked)
            verdict = ask(tiny, box, prop, branching=name, max_subproblems=None).verdict
            assert isinstance(verdict, Verified if worst >= 0 else Falsified), (index, rising)


def crossing(seed: int, target: float = 1.0, **changes: object) -> Crossing:
    """A random one, with halves of random bounds."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 9))
    lower = -torch.tensor(random.random(count))
    upper = torch.tensor(random.random(count))
    candidates = tuple(
        Candidate(("z", index), *(float(value) for value in random.random(3)))
        for index in range(count)
    )
    ends = {candidate.gate: Trial(*(3 * random.random(2))) for candidate in candidates}
    costs = PseudoCosts()
    for _ in range(int(random.integers(0, 20))):
        side = int(random.choice([-1, 1]))
        costs = costs.learn(
            ("z", int(random.integers(count))), side, 3.0, 3 * random.random(), random.random()
        )
    made = Crossing(
        candidates, 3.0, target, {"z": Interval(lower, upper)}, costs, lambda gate: ends[gate]
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BRANCHINGS)
def test_the_choice_is_one_of_the_candidates_and_always_the_same(name: str) -> None:
    for seed in range(50):
        first, second = crossing(seed), crossing(seed)
        chosen = BRANCHINGS[name].choose(first)
        assert any(chosen is candidate for candidate in first.candidates)
        assert BRANCHINGS[name].choose(second).gate == chosen.gate


@pytest.mark.parametrize("name", BRANCHINGS)
def test_numbers_that_break_down_are_no_obstacle(name: str) -> None:
    """Infinite ends, nothing known, all scores zero: still a choice."""
    nothing = tuple(Candidate(("z", index), 0.0, 0.0, 0.0) for index in range(3))
    point = Interval(torch.zeros(3, dtype=DTYPE), torch.zeros(3, dtype=DTYPE))
    for end in (float("inf"), float("-inf"), 3.0):
        scene = crossing(
            0,
            candidates=nothing,
            upper=float("inf"),
            preactivations={"z": point},
            attempt=lambda gate, end=end: Trial(end, end),
        )
        assert BRANCHINGS[name].choose(scene) in nothing


def test_width_takes_the_widest_and_multiplier_the_largest_estimate() -> None:
    bounds = Interval(
        torch.tensor([[-1.0, -3.0]], dtype=DTYPE), torch.tensor([[4.0, 1.0]]).to(DTYPE)
    )
    first, second = Candidate(("z", 0), 1.0, 1.0, 1.0), Candidate(("z", 1), 2.0, 0.0, 0.0)
    scene = crossing(0, candidates=(first, second), preactivations={"z": bounds})
    assert branching_named("width").choose(scene) is first
    assert branching_named("multiplier").choose(scene) is second
    assert branching_named("area").choose(scene) is first


def test_pseudo_costs_learn_what_splits_bring() -> None:
    good, bad = ("z", 0), ("z", 1)
    costs = PseudoCosts()
    before = costs.product(good, 0.5)
    for side in (-1, 1):
        costs = costs.learn(good, side, 10.0, 5.0, 0.5).learn(bad, side, 10.0, 9.9, 0.5)
    assert costs.product(good, 0.5) == pytest.approx(0.25)
    assert costs.product(bad, 0.5) == pytest.approx(0.0001)
    assert costs.tried(good) == 1 and costs.tried(("z", 2)) == 0
    assert PseudoCosts().product(good, 0.5) == before, "learning writes on what it learned from"
    assert PseudoCosts().learn(good, 1, 0.0, -1.0, 1.0).drops == {}


def test_look_ahead_takes_the_best_of_few() -> None:
    asked: list[GateName] = []
    ends = {0: Trial(2.9, 2.9), 1: Trial(1.0, 2.0), 2: Trial(0.5, 2.99), 3: Trial(0.0, 0.0)}

    def attempt(gate: GateName) -> Trial:
        asked.append(gate)
        return ends[gate[1]]

    candidates = tuple(Candidate(("z", index), 4.0 - index, 1.0) for index in range(4))
    scene = crossing(0, candidates=candidates, costs=PseudoCosts(), attempt=attempt)
    assert LookAheadBranching(best=3).choose(scene).gate == ("z", 1)
    assert asked == [("z", 0), ("z", 1), ("z", 2)]


def test_look_ahead_goes_by_what_is_known() -> None:
    def attempt(gate: GateName) -> Trial:
        raise AssertionError("a gate that was split often is tried again")

    candidates = tuple(Candidate(("z", index), 1.0, 1.0) for index in range(2))
    costs = PseudoCosts()
    for _ in range(3):
        for side in (-1, 1):
            costs = costs.learn(("z", 0), side, 10.0, 9.0, 1.0)
            costs = costs.learn(("z", 1), side, 10.0, 2.0, 1.0)
    scene = crossing(0, candidates=candidates, costs=costs, attempt=attempt)
    assert LookAheadBranching(reliable=3).choose(scene).gate == ("z", 1)


def chain(coefficient: float) -> OpenGates:
    """Two gates in a row by hand: a_2 = 3 u_1 in [-1, 3], a_1 in [1, 2], row = coefficient u_2."""
    adjoint = np.array([[1.5, 0.0, 0.0], [0.0, 3.0, 0.0]])
    row = np.array([[0.0, 0.0, coefficient]])
    return OpenGates(
        alpha=np.zeros(2),
        beta=np.ones(2),
        adjoint=adjoint,
        adjoint_reach=np.abs(adjoint),
        adjoint_lower=np.array([1.0, -1.0]),
        adjoint_upper=np.array([2.0, 3.0]),
        jacobian=row,
        jacobian_reach=np.abs(row),
        element_lower=np.array([-10.0]),
        element_upper=np.array([10.0]),
        rounding=0.0,
        names=(("gate", 0), ("gate", 1)),
    )


def test_areas_by_hand() -> None:
    """{(g, t g)}: (2^2 - 1^2) / 2 over [1, 2], (1 + 3^2) / 2 over [-1, 3]; the upper chord of the
    second has slope 3/4, the lower one 1/4."""
    one = np.ones(1)
    assert weighted_areas(chain(2.0), one) == pytest.approx([1.5 * 2 * 0.75 * 3, 5 * 2])
    assert weighted_areas(chain(-2.0), one) == pytest.approx([1.5 * 2 * 0.25 * 3, 5 * 2])
    assert weighted_areas(chain(2.0), -one) == pytest.approx([1.5 * 2 * 0.25 * 3, 5 * 2])
    # The chord of |.| on [-10, 10] is level: the l1 norm gives the row no direction.
    assert weighted_areas(chain(2.0), None) == pytest.approx([0.0, 0.0])
    signed = replace(chain(2.0), element_lower=np.zeros(1))
    assert weighted_areas(signed, None) == pytest.approx(weighted_areas(chain(2.0), one))


def test_areas_of_other_slopes() -> None:
    """With slopes in [alpha, beta], both chords are moved and scaled."""
    leaky = replace(chain(2.0), alpha=np.full(2, 0.5))
    assert weighted_areas(leaky, np.ones(1)) == pytest.approx(
        [0.5 * 1.5 * 2 * (0.5 + 0.5 * 0.75) * 3, 0.5 * 5 * 2]
    )


def test_an_unknown_name_is_an_error_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(self: Network, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("work was done")

    monkeypatch.setattr(Network, "original", touched)
    monkeypatch.setattr("lipverify.api.decide_lipschitz", touched)
    tiny = NETWORKS[0]
    with pytest.raises(UnknownBranching, match="'widest'.*pseudo-costs"):
        ask(tiny, offset(tiny.inputs), lipschitz(tiny), branching="widest")
