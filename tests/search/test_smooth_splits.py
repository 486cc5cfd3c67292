"""Splits of gates at any position: halves cover, what they claim holds at every point in them."""

import json
from collections.abc import Iterator
from math import inf, nextafter
from typing import Any

import pytest
import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.operators import ACTIVATIONS, Activation, Elu, ReLU, Sin, Tanh
from lipverify.search.branching import BRANCHINGS, branching_named
from lipverify.search.budget import Clock
from lipverify.search.checkpoint.codec import Packed, pack, unpack
from lipverify.search.gate_loop import GateLoop, GateState, Waiting
from lipverify.search.gate_split import GateSearch, Objective, Subproblem
from lipverify.search.positions import Places, one_sided
from lipverify.search.split import Split, sides, tightest
from lipverify.spec.property import Monotonicity
from lipverify.verdict import Falsified, Verified
from tests.bounds import cases
from tests.oracles import autodiff, boxes, networks
from tests.oracles.budget import quickly
from tests.oracles.networks import Tiny
from tests.oracles.operator_norm import operator_norm
from tests.search.questions import ask, lipschitz

KINDS = ("tanh", "sigmoid", "gelu", "softplus", "elu", "bent elu", "sin")
SMOOTH = [networks.dense((2, 4, 3, 2), seed, kind) for seed, kind in enumerate(KINDS)]
MIXED = [
    networks.in_turn(("relu", "tanh"), (2, 4, 4, 2), 1),
    networks.in_turn(("gelu", "relu"), (2, 4, 4, 2), 2),
    networks.mixed(0),
    networks.fan_out(1, "sigmoid"),
]
EVERY = [*SMOOTH, *MIXED]
ROUNDING = 1e-9
CHOSEN = [
    (4, "tanh", ["gates", "inputs"]),
    (9, "tanh", ["gates", "gate splits", "inputs"]),
]
"""Moving inputs, activation, what works one after the other."""


def search_on(tiny: Tiny, row: int = 0) -> GateSearch:
    """On `boxes.offset`."""
    setting = cases.setting_of(tiny, "offset")
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    return GateSearch(setting, rows, (Objective(row),), norm_named("inf"))


def root_of(task: GateSearch) -> Subproblem:
    return task.root(0, task.setting.alpha_preactivations, inf)


def values_at(tiny: Tiny, names: list[str], x: Tensor) -> dict[str, Tensor]:
    """Preactivations at the points: the graph's and the judge's nodes have the same names."""
    values = tiny.values(x)
    return {name: values[name].flatten(1) for name in names}


def inside(problem: Subproblem, values: dict[str, Tensor], only_splits: bool) -> Tensor:
    """Which points a subproblem is about: by its splits, or by all its intervals."""
    there = torch.ones(len(next(iter(values.values()))), dtype=torch.bool)
    if only_splits:
        for split in problem.splits:
            z = values[split.node][:, split.index]
            there &= split.side * z >= split.side * split.position
        return there
    for name, interval in problem.preactivations.items():
        slack = ROUNDING * (1 + interval.magnitude.flatten(1))
        z = values[name]
        there &= (z >= interval.lower.flatten(1) - slack).all(1)
        there &= (z <= interval.upper.flatten(1) + slack).all(1)
    return there


def positions(random: torch.Generator, low: float, high: float, seen: Tensor) -> Iterator[float]:
    """Inside, next to the ends, at a value that a sampled point has exactly, at 0."""
    share = float(torch.rand((), generator=random, dtype=DTYPE))
    yield low + share * (high - low)
    yield float(seen[int(torch.randint(len(seen), (), generator=random))])
    yield nextafter(low, inf)
    if low < 0 < high:
        yield 0.0


@pytest.mark.parametrize("tiny", quickly(EVERY, 4), ids=repr)
def test_halves_cover_and_their_bounds_hold(tiny: Tiny) -> None:
    """At random positions, three splits deep: every point of a parent lies in one of its halves,
    within all their intervals, and its row's norm is at most the half's bound."""
    box = boxes.offset(tiny.inputs)
    x = boxes.points(box, 600)
    task = search_on(tiny)
    random = torch.Generator().manual_seed(5)
    problem = root_of(task)
    norms = autodiff.jacobians(tiny, x)[:, 0].abs().sum(1)
    values = values_at(tiny, list(problem.preactivations), x)
    checked = 0
    for depth in range(3):
        found = task.evaluate(problem, -inf)
        here = inside(problem, values, only_splits=True)
        if not found.candidates or not bool(here.any()):
            break
        chosen = int(torch.randint(len(found.candidates), (), generator=random))
        node, index = found.candidates[chosen].gate
        interval = problem.preactivations[node]
        low, high = (float(end.flatten()[index]) for end in (interval.lower, interval.upper))
        tried = [found.candidates[chosen].position]
        if node not in {gate.inputs[0] for gate in relus(tiny)}:
            tried += list(positions(random, low, high, values[node][here, index]))
        for position in tried if depth == 0 else tried[:2]:
            halves = task.children(problem, found, (node, index), position)
            covered = torch.zeros_like(here)
            for half in halves:
                there = here & inside(half, values, only_splits=True)
                assert bool(inside(half, values, only_splits=False)[there].all()), "too narrow"
                covered |= there
                upper = task.evaluate(half, -inf).upper
                assert upper <= found.upper
                if bool(there.any()):
                    assert float(norms[there].max()) <= upper * (1 + ROUNDING), "unsound"
                checked += int(there.sum())
            assert torch.equal(covered, here), "the halves leave a hole"
        assert halves
        problem = halves[int(torch.randint(len(halves), (), generator=random))]
    assert checked > 300


def relus(tiny: Tiny) -> list:
    return [node for node in tiny.graph.activations if isinstance(node.operator, ReLU)]


@pytest.mark.parametrize("branching", BRANCHINGS)
@pytest.mark.parametrize("tiny", MIXED[:1], ids=repr)
def test_every_heuristic_ends_and_stays_above_samples(tiny: Tiny, branching: str) -> None:
    check_search(tiny, branching)


@pytest.mark.parametrize("tiny", quickly(EVERY, 6), ids=repr)
def test_the_interval_shrinks_and_holds_what_is_sampled(tiny: Tiny) -> None:
    check_search(tiny, "area")


def check_search(tiny: Tiny, branching: str) -> None:
    x = boxes.points(boxes.offset(tiny.inputs), 2000)
    sampled = float(autodiff.jacobians(tiny, x)[:, 0].abs().sum(1).max())
    loop = loop_of(tiny, branching)
    state, uppers = loop.start(), []
    for _ in range(8):
        if loop.done(state):
            break
        state = loop.step(state)
        uppers.append(state.upper)
    assert uppers == sorted(uppers, reverse=True), "the bound rises"
    assert uppers[-1] >= sampled * (1 - ROUNDING)
    if branching == "area":
        assert uppers[-1] < uppers[0] or uppers[0] <= sampled * (1 + 1e-6), "nothing is gained"


def loop_of(tiny: Tiny, branching: str = "area") -> GateLoop:
    task = search_on(tiny)
    roots = (Waiting(0, task.setting.alpha_preactivations, 1e6),)
    return GateLoop(
        task,
        roots,
        branching_named(branching),
        lambda: 0.0,
        lambda point: False,
        lambda upper, count: None,
        Clock(None),
        None,
    )


@pytest.mark.parametrize("input_norm", quickly(["inf", "2", "1"], 2))
def test_small_networks_are_bounded_closely(input_norm: str) -> None:
    """Where the linear root is far off, splits of tanh gates alone close most of the gap."""
    tiny, box = networks.dense((2, 4, 2), 3, "tanh"), boxes.offset(2)
    asked = lipschitz(tiny, input_norm)
    root = ask(tiny, box, asked, method="quadratic", max_subproblems=1).bound
    more = ask(tiny, box, asked, method="quadratic", max_subproblems=60).bound
    assert root is not None and more is not None
    matrices = autodiff.jacobians(tiny, boxes.points(box, 20_000)).numpy()
    sampled = max(operator_norm(matrix, input_norm, "inf") for matrix in matrices)
    assert more.upper >= sampled * (1 - ROUNDING)
    assert more.upper - sampled < 0.5 * (root.upper - sampled)


@pytest.mark.parametrize("kind", ["tanh", "softplus"])
def test_signs_are_decided_where_the_root_fails(kind: str) -> None:
    tiny, box = networks.dense((2, 5, 4, 1), 1, kind), boxes.offset(2)
    x = boxes.points(box, 4000)
    least = float(autodiff.jacobians(tiny, x)[:, 0, 0].min())
    for margin, verdict in ((least - 0.1, Verified), (least + 0.05, Falsified)):
        prop = Monotonicity((1.0,), (0,), (), margin)
        found = ask(tiny, box, prop, method="quadratic", max_subproblems=120)
        assert isinstance(found.verdict, verdict), (margin, found.bound)


def test_a_state_goes_through_a_file_bit_by_bit() -> None:
    """Positions included; what is gone on from gives the very same intervals and splits."""
    for tiny in (SMOOTH[0], MIXED[1]):
        whole = loop_of(tiny)
        state = whole.start()
        for _ in range(4):
            state = whole.step(state)
        packed = pack(whole.stored(state))
        text = json.loads(json.dumps(packed.tree))
        resumed = loop_of(tiny)
        again = resumed.restored(unpack(Packed(text, packed.numbers)))
        assert isinstance(again, GateState)
        split_at = [split.position for item in again.open for split in item.splits]
        assert any(position != 0 and position != round(position, 6) for position in split_at)
        for _ in range(3):
            state, again = whole.step(state), resumed.step(again)
        assert state.upper.hex() == again.upper.hex()
        assert [item.splits for item in state.open] == [item.splits for item in again.open]


def test_states_with_positions_that_cannot_be_are_refused() -> None:
    loop = loop_of(SMOOTH[0])
    state = loop.step(loop.step(loop.start()))
    stored = pack(loop.stored(state))
    text = json.dumps(stored.tree)
    item = state.open[0]
    outside = float(item.preactivations[item.splits[0].node].upper.max()) + 100.0
    for old in (item.splits[0].position, item.found.candidates[0].position):
        damaged = text.replace(json.dumps(old), json.dumps(-outside if old < 0 else outside))
        assert damaged != text
        broken = unpack(Packed(json.loads(damaged), stored.numbers))
        with pytest.raises(ValueError, match="split|both sides"):
            loop.restored(broken)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_can_be_split(name: str) -> None:
    """As `supports` says: somewhere on an ordinary interval a position is found, inside of it."""
    default = {"LeakyRelu": (0.25,), "Pow": (3.0,)}
    operator = ACTIVATIONS[name](*default.get(name, ()))
    low, high = (0.5, 2.0) if name in ("Log", "Pow", "Sqrt") else (-1.0, 1.25)
    place = place_of(operator, low, high)
    assert place is not None and low < place.position < high and 0 < place.gain <= 1


def place_of(operator: Activation, low: float, high: float) -> Any:
    """On a network of this operator alone: a `Place`, or None."""
    from lipverify.graph import ForwardGraph, Node, backward_graph

    source = ForwardGraph.INPUT
    nodes = [Node(source, None, (), (1,)), Node("a", operator, (source,), (1,))]
    backward = backward_graph(ForwardGraph(nodes, "a"))
    x = Interval(torch.tensor([[low]], dtype=DTYPE), torch.tensor([[high]], dtype=DTYPE))
    (gate,) = backward.gates
    return Places(backward, {source: x}, [(gate.name, 0)]).of((source, 0))


def test_positions() -> None:
    assert place_of(ReLU(), -3.0, 1.0).position == 0.0
    assert place_of(ReLU(), 0.0, 1.0).position == 0.0, "both slopes belong to a kink at an end"
    assert place_of(Elu(alpha=2.0), -0.2, 1.0).position == 0.0, "the derivative jumps there"
    assert place_of(Sin(), 0.0, 100.0).position == 50.0, "as good as any other"
    assert place_of(Tanh(), 1.0, 1.0) is None, "one point"
    assert place_of(Tanh(), 1.0, nextafter(1.0, 2.0)) is None, "no float inside"
    assert place_of(Tanh(), 400.0, 900.0) is None, "nothing but rounding to narrow"
    middle = place_of(Tanh(), 0.0, 10.0)
    assert 0.5 < middle.position < 2.5 and middle.gain > 0.5, "where the derivative falls"


def test_slopes_at_kinks_are_one_sided_only_where_they_were_split() -> None:
    """The derivative of `bent elu` jumps from 2 to 1 at 0."""
    operator = Elu(alpha=2.0)
    above = Interval(torch.tensor([0.0], dtype=DTYPE), torch.tensor([3.0], dtype=DTYPE))
    here, elsewhere = Split("z", 0, 1, 0.0), Split("z", 0, 1, -0.5)
    assert float(one_sided(operator, above, (here,), here).upper) < 1.0 + 1e-12
    assert float(one_sided(operator, above, (elsewhere,), elsewhere).upper) >= 2.0
    below = Interval(-above.upper, -above.lower)
    half = Split("z", 0, -1, 0.0)
    assert float(one_sided(operator, below, (half,), half).upper) >= 2.0


def test_halves() -> None:
    for side, position in ((0, 0.0), (2, 0.0), (1, inf), (1, -inf), (-1, float("nan"))):
        with pytest.raises(ValueError):
            Split("z", 0, side, position)
    up, down = Split("z", 0, 1, 0.5), Split("z", 0, -1, 0.5)
    assert sides((up, down)) == [("z", 0, 1)], "z <= 0.5 does not imply z <= 0"
    assert sides((Split("z", 0, -1, -0.5), Split("z", 1, 1))) == [("z", 0, -1), ("z", 1, 1)]
    more = Split("z", 0, 1, 0.75)
    assert tightest((up, down, more)) == (more, down) == tightest((more, down, up))


def test_a_root_alone_stays_alone() -> None:
    """Of several objectives, only roots are bounded where that is all that is allowed."""
    tiny, box = networks.dense((2, 6, 6, 2), 4, "tanh"), boxes.offset(2, 1.0)
    result = ask(tiny, box, lipschitz(tiny), method="quadratic", max_subproblems=1)
    assert result.subproblems == 1


@pytest.mark.parametrize(("inputs", "kind", "searches"), CHOSEN)
def test_auto_splits_smooth_gates_where_many_inputs_move(
    inputs: int, kind: str, searches: list[str]
) -> None:
    """By what `explain` shows: the stages that worked, in their order, with the reason."""
    tiny = networks.dense((inputs, 6, 6, 2), 1, kind)
    result = ask(tiny, boxes.centered(inputs, 0.5), lipschitz(tiny), max_subproblems=4)
    names = {"quadratic": "gates", "branch and bound": "gate splits", "input splits": "inputs"}
    found = [names[stage.stage] for stage in result.stages if stage.stage in names]
    assert list(dict.fromkeys(found)) == searches
    reasons = {stage.stage: stage.detail for stage in result.stages}
    assert ("inputs are split instead" in reasons["quadratic"]) == ("gate splits" not in searches)
