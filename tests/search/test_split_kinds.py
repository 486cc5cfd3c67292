"""Splits at any value of networks as people bring them: several activations on one preactivation,
products of branches, activations with kinks and curves.

Beside test_smooth_splits: read from torch modules, and judged by these; split at ends of intervals,
next to them, outside of them, and at kinks, in gates that a candidate would be cut elsewhere.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from lipverify.api import load_network
from lipverify.bounds.methods import Setting
from lipverify.config import PreactivationConfig
from lipverify.graph import ForwardGraph, evaluate
from lipverify.interval import Interval
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.search.gate_split import Evaluation, GateSearch, Objective, Subproblem
from lipverify.search.split import Split
from tests.oracles import boxes
from tests.oracles.budget import quickly

NOISE = 1e-11
"""What torch's own float64 results may be off by."""


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class Both(nn.Module):
    """Two activations of one preactivation: its kink, and a curve."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) + torch.tanh(2 * x)


class Gated(nn.Module):
    """A product of branches; its gates are the branches themselves."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * torch.sigmoid(x)


KINDS: dict[str, Callable[[], list[nn.Module]]] = {
    "gelu": lambda: [nn.GELU(), nn.GELU()],
    "elu": lambda: [nn.ELU(2.0), nn.ELU()],
    "sine": lambda: [Sine(), Sine()],
    "hard swish": lambda: [nn.Hardswish(), nn.Hardswish()],
    "silu, relu": lambda: [nn.SiLU(), nn.ReLU()],
    "relu, tanh": lambda: [nn.ReLU(), nn.Tanh()],
    "leaky relu, gelu": lambda: [nn.LeakyReLU(0.25), nn.GELU()],
    "both": lambda: [Both(), Both()],
    "product": lambda: [nn.Tanh(), Gated(4)],
}


@cache
def module(kind: str, seed: int = 0, sizes: tuple[int, ...] = (3, 4, 4, 2)) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        activations = KINDS[kind]()[: len(sizes) - 2]
        for place, (before, after) in enumerate(pairwise(sizes)):
            layer = nn.Linear(before, after)
            nn.init.normal_(layer.weight, std=1.5 / before**0.5)
            layers.append(layer)
            layers.extend(activations[place : place + 1])
        return nn.Sequential(*layers).to(DTYPE).eval()


@cache
def search_on(kind: str, seed: int, norm: str) -> GateSearch:
    """For both rows, under one norm."""
    box = boxes.offset(3, 0.75, seed)
    network = load_network(module(kind, seed), box.center.unsqueeze(0))
    setting = Setting(network, box, PreactivationConfig(alpha_iterations=2))
    objectives = tuple(Objective(row) for row in range(2))
    return GateSearch(setting, torch.eye(2, dtype=DTYPE), objectives, norm_named(norm))


@cache
def truth(kind: str, seed: int) -> tuple[Tensor, Tensor]:
    """Points [k, 3] and torch's Jacobians [k, 2, 3] there."""
    points = boxes.points(boxes.offset(3, 0.75, seed), 600, seed).requires_grad_(True)
    y = module(kind, seed)(points)
    rows = [torch.autograd.grad(y[:, k].sum(), points, retain_graph=True)[0] for k in range(2)]
    return points.detach(), torch.stack(rows, 1)


def values_at(search: GateSearch, points: Tensor) -> dict[str, Tensor]:
    """Every node's value, flat: [k, size]."""
    found = evaluate(search.setting.network.graph, {ForwardGraph.INPUT: points})
    return {name: value.flatten(1) for name, value in found.items()}


def inside(values: dict[str, Tensor], splits: tuple[Split, ...], slack: float) -> Tensor:
    """Which points satisfy all splits, with room to spare."""
    found = torch.ones(len(next(iter(values.values()))), dtype=torch.bool)
    for split in splits:
        z = values[split.node][:, split.index]
        found &= split.side * z >= split.side * split.position + slack
    return found


def check_holds(search: GateSearch, problem: Subproblem, points: Tensor, jacobians: Tensor) -> int:
    """Preactivations, region and bound of a subproblem hold at its points; how many there are."""
    values = values_at(search, points)
    mine = inside(values, problem.splits, 0.0)
    if not bool(mine.any()):
        return 0
    for name, known in problem.preactivations.items():
        here = values[name][mine]
        assert bool((here >= known.lower.flatten() - NOISE).all()), f"{name}: lower end too high"
        assert bool((here <= known.upper.flatten() + NOISE).all()), f"{name}: upper end too low"
    slopes = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
    reached = (slopes @ points[mine].T).amax(1)
    assert bool((problem.region.support(slopes) >= reached - NOISE).all()), "points were cut off"
    found = search.evaluate(problem, float("-inf"))
    attained = float(search.input_norm.dual.of(jacobians[mine][:, problem.objective]).max())
    assert found.upper >= attained - NOISE, f"unsound: {found.upper} < {attained}"
    return int(mine.sum())


def places(known: Interval, index: int, share: float) -> tuple[list[float], list[float]]:
    """Values to split at: a share of the width, both ends, next to an end, outside; and kinks."""
    lower = float(known.lower.flatten()[index])
    upper = float(known.upper.flatten()[index])
    next_to = float(torch.nextafter(torch.tensor(lower), torch.tensor(upper)))
    kinks = [value for value in (0.0, -3.0, 3.0) if lower <= value <= upper]
    return [lower + share * (upper - lower), lower, upper, next_to, upper + 1.0], kinks


def drawn(count: int, random: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=random))


@pytest.mark.parametrize("norm", ["inf", *(pytest.param(n, marks=pytest.mark.slow) for n in "21")])
@pytest.mark.parametrize("seed", quickly(range(6), 1))
@pytest.mark.parametrize("kind", quickly([*KINDS], 5))
def test_bounds_of_halves_hold(kind: str, seed: int, norm: str) -> None:
    """Along random paths of splits at all kinds of values; what is said to be empty is."""
    search, (points, jacobians) = search_on(kind, seed, norm), truth(kind, seed)
    values = values_at(search, points)
    random = torch.Generator().manual_seed(seed + 1)
    names = [name for name, _ in search.setting.network.graph.gated]
    nothing = Evaluation(float("inf"))
    problem = search.root(seed % 2, search.setting.alpha_preactivations, float("inf"))
    assert check_holds(search, problem, points, jacobians) == len(points)
    for depth in range(6):
        node = names[drawn(len(names), random)]
        known = problem.preactivations[node]
        index = drawn(known.lower.numel(), random)
        anywhere, kinks = places(known, index, float(torch.rand((), generator=random)))
        if kinks and depth % 2 == 0:
            at = kinks[drawn(len(kinks), random)]
        else:
            at = anywhere[0 if depth % 3 else drawn(len(anywhere), random)]
        halves = search.children(problem, nothing, (node, index), at)
        kept = {half.splits[len(problem.splits)].side for half in halves}
        for side in {-1, 1} - kept:
            chosen = (*problem.splits, Split(node, index, side, at))
            assert not bool(inside(values, chosen, NOISE).any()), "not empty"
        occupied = [half for half in halves if check_holds(search, half, points, jacobians)]
        assert occupied, "the halves do not cover what they are of"
        problem = occupied[drawn(len(occupied), random)]


@pytest.mark.parametrize("kind", quickly([*KINDS], 3))
def test_candidates_are_cut_inside_and_lose_nothing_at_the_cut(kind: str) -> None:
    search = search_on(kind, 0, "inf")
    root = search.root(0, search.setting.alpha_preactivations, float("inf"))
    found = search.evaluate(root, float("-inf"))
    assert found.candidates
    for candidate in found.candidates:
        node, index = candidate.gate
        whole = root.preactivations[node]
        lower, upper = float(whole.lower.flatten()[index]), float(whole.upper.flatten()[index])
        at = candidate.position
        assert lower <= at <= upper
        halves = search.children(root, found, candidate.gate, at)
        assert halves
        for half in halves:
            split = half.splits[0]
            assert (split.node, split.index, split.position) == (node, index, at)
            mine = half.preactivations[node]
            ends = float(mine.lower.flatten()[index]), float(mine.upper.flatten()[index])
            assert lower <= ends[0] and ends[1] <= upper
            assert ends[1] <= at if split.side < 0 else ends[0] >= at
