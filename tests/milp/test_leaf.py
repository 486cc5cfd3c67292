"""Emptiness of leaves against the list of all patterns, and proofs that do not trust the solver."""

import numpy as np
import pytest
import torch

from lipverify.milp import SOLVERS, MilpStatus
from lipverify.milp.base import AbstractMilpBackend, Limits, Raw
from lipverify.milp.leaf import inner_point, is_empty
from lipverify.milp.prepare import Prepared
from lipverify.milp.problem import MilpProblem, Split
from lipverify.numerics import DTYPE
from tests.milp.patterns import Patterns
from tests.milp.problems import box_of, problem_of
from tests.oracles.networks import PIECEWISE, Tiny, dense, from_weights

HIGHS = SOLVERS["highs"]
NETWORKS = [tiny for tiny in PIECEWISE if tiny.name not in ("fan-out-relu-0", "absolute")]


def drawn_splits(tiny: Tiny, seed: int, share: float) -> tuple[Split, ...]:
    random = np.random.default_rng(seed)
    return tuple(
        (node.inputs[0], index, int(random.choice([-1, 1])))
        for node in tiny.graph.activations
        for index in range(node.size)
        if random.random() < share
    )


def holds(problem: MilpProblem, tiny: Tiny, x: torch.Tensor) -> bool:
    values = tiny.values(x.unsqueeze(0))
    return all(
        side * float(values[name].flatten()[index]) >= 0 for name, index, side in problem.splits
    )


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("tiny", NETWORKS, ids=str)
def test_leaves_are_empty_only_if_no_pattern_is_left(tiny: Tiny, share: float) -> None:
    proved = found = 0
    for seed in range(8):
        problem = problem_of(tiny, "offset", drawn_splits(tiny, seed, share))
        check = is_empty(problem, HIGHS)
        cells = Patterns(tiny, box_of(tiny, "offset"), problem.splits).cells
        if check.empty:
            assert not cells, "a leaf that has points was called empty"
            assert check.point is None
        if check.point is not None:
            assert cells and holds(problem, tiny, check.point)
            assert bool(problem.region.contains(check.point))
        if share == 1.0:
            # Nothing is relaxed then: only leaves without an interior may stay undecided.
            assert check.empty == (not cells)
        proved, found = proved + check.empty, found + (check.point is not None)
    assert proved + found, "nothing was decided"


def test_both_sides_of_one_neuron_leave_its_zeros() -> None:
    one = torch.ones(1, 1, dtype=DTYPE)
    tiny = from_weights([(one, None), (one, None)], "identity")
    node = tiny.graph.activations[0].inputs[0]
    assert not is_empty(problem_of(tiny, "centered", ((node, 0, -1), (node, 0, 1))), HIGHS).empty


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12])
def test_thin_leaves(gap: float) -> None:
    """x >= gap and x <= 0 has no point; x >= -gap and x <= 0 has some, however small the gap."""
    weight = torch.ones(2, 1, dtype=DTYPE)
    for shift, empty in ((-gap, True), (gap, False)):
        bias = torch.tensor([0.0, shift], dtype=DTYPE)
        tiny = from_weights([(weight, bias), (torch.ones(1, 2, dtype=DTYPE), None)], "pair")
        node = tiny.graph.activations[0].inputs[0]
        check = is_empty(problem_of(tiny, "centered", ((node, 0, -1), (node, 1, 1))), HIGHS)
        if not empty:
            assert not check.empty
        elif gap >= 1e-6:
            assert check.empty


def test_inner_points_are_behind_the_splits() -> None:
    tiny = dense((2, 4, 3, 2), 0)
    node = tiny.graph.activations[0].inputs[0]
    problem = problem_of(tiny, "offset", ((node, 0, 1), (node, 1, -1)))
    x = inner_point(problem, HIGHS)
    assert x is not None
    z = tiny.values(x.unsqueeze(0))[node][0]
    assert float(z[0]) > 1e-3 and float(z[1]) < -1e-3


class Liar(AbstractMilpBackend):
    """Calls everything infeasible, with whatever multipliers."""

    name = "liar"

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def require(self) -> None: ...

    def run(self, prepared: Prepared, limits: Limits) -> Raw:
        multipliers = 10 * self.random.normal(size=prepared.model.rows)
        return Raw(MilpStatus.INFEASIBLE, -np.inf, None, None, multipliers, 0)


@pytest.mark.parametrize("seed", range(20))
def test_the_solvers_word_is_no_proof(seed: int) -> None:
    tiny = dense((2, 4, 3, 2), 0)
    values = tiny.values(box_of(tiny, "offset").center.unsqueeze(0))
    splits = tuple(
        (node.inputs[0], index, 1 if float(values[node.inputs[0]][0, index]) >= 0 else -1)
        for node in tiny.graph.activations
        for index in range(node.size)
    )
    assert not is_empty(problem_of(tiny, "offset", splits), Liar(seed)).empty
    assert not is_empty(problem_of(tiny, "offset", splits), HIGHS, time_limit=0.0).empty
