"""Unsafe outputs: verdicts against enumerated linear regions, counterexamples, forced stops."""

from pathlib import Path

import pytest
import torch

from lipverify import load_network
from lipverify.bounds.batched import ClauseDepths
from lipverify.bounds.methods import Setting
from lipverify.config import VerifyConfig
from lipverify.errors import InputError
from lipverify.numerics import DTYPE, FALSIFY_MARGIN
from lipverify.operators import Dense
from lipverify.query_output import Clause, OutputQuery, clause
from lipverify.region import Box
from lipverify.search.budget import Clock
from lipverify.search.input_split import depth_search
from lipverify.search.neuron_split import neuron_search
from lipverify.search.output_search import decide, silent
from lipverify.search.unsafe_goal import UnsafeGoal
from lipverify.verdict import Falsified, Reason, Unknown, Verified
from tests.network import onnx_models
from tests.oracles import boxes, networks, originals
from tests.oracles.budget import quickly
from tests.oracles.networks import Tiny
from tests.search.unsafe import STEP, Question, question

CONFIG = VerifyConfig(timeout=None)
STEPS = 3000
"""Subproblems that any of the small questions may take."""
OFF = (0.2, 1e-3, 1e-6)
"""How far from the edge of an unsafe set the outputs of a question come."""
FLOAT64_NOISE = 1e-12
"""More than what rounding in float64 makes of outputs, relative to their terms."""


def check_falsified(tiny: Tiny, query: OutputQuery, verdict: Falsified) -> None:
    x = verdict.counterexample.inputs[0].unsqueeze(0)
    assert bool(query.region.contains(x).all())
    assert bool(query.is_unsafe(tiny(x)).all())


@pytest.mark.parametrize("seed", quickly(range(500), 8))
def test_verdicts_agree_with_enumeration(seed: int) -> None:
    asked = question(seed)
    network = originals.network(asked.tiny)
    config = VerifyConfig(timeout=None, max_subproblems=STEPS)
    off = OFF[seed // 7 % len(OFF)]
    query = asked.at(-off)
    answer = decide(network, query, config)
    assert isinstance(answer.verdict, Verified), (off, answer)
    assert bool((answer.bound < 0).all())
    sample = boxes.points(asked.box, 2000, seed)
    assert not bool(query.is_unsafe(asked.tiny(sample)).any())
    # The original computes in float64, so the margin of a counterexample is all that is in the way.
    tolerance = (FALSIFY_MARGIN + FLOAT64_NOISE) * asked.scale()
    for deep in (off, 1.01 * tolerance):
        query = asked.at(deep)
        answer = decide(network, query, config)
        assert isinstance(answer.verdict, Falsified), (deep, answer)
        check_falsified(asked.tiny, query, answer.verdict)


@pytest.mark.parametrize("seed", quickly(range(500), 8))
def test_thresholds_next_to_the_exact_value(seed: int) -> None:
    """The largest depth is known in rational numbers; thresholds are 6e-14 apart."""
    asked = question(seed)
    network = originals.network(asked.tiny)
    config = VerifyConfig(timeout=None, max_subproblems=STEPS)
    strict = seed % 2 == 0
    unsafe, safe = asked.limits(strict)
    answer = decide(network, safe, config)
    assert isinstance(answer.verdict, Verified), answer
    answer = decide(network, unsafe, config)
    if strict and asked.exact.depth % STEP == 0:
        assert isinstance(answer.verdict, Verified), answer
    else:
        # True, and too shallow for anybody's arithmetic to show.
        assert isinstance(answer.verdict, Unknown), answer
        assert answer.verdict.reason is Reason.CANDIDATE


def by_one_search(asked: Question, query: OutputQuery, search: str) -> tuple[UnsafeGoal, bool]:
    """What one search alone finds, and whether it proves that nothing is unsafe."""
    network = originals.network(asked.tiny)
    setting = Setting(network, query.region, CONFIG.preactivation)
    goal = UnsafeGoal(network, query)
    infinite = torch.full((len(query.unsafe),), torch.inf, dtype=DTYPE)
    clock = Clock(None)
    if search == "neurons":
        found = neuron_search(setting, query.unsafe, goal, infinite, clock, silent, STEPS)
    else:
        depths = ClauseDepths(network.graph, query.unsafe)
        found = depth_search(setting, depths, goal, infinite, clock, silent, STEPS)
    assert bool((found.upper >= -1e300).all())
    return found.goal, found.goal.proved(found.upper)


@pytest.mark.parametrize("search", ["neurons", "inputs"])
@pytest.mark.parametrize("seed", quickly(range(200), 8))
def test_every_search_decides_alone(seed: int, search: str) -> None:
    """Without the attack, which finds most counterexamples before any search."""
    asked = question(seed)
    for off in (0.2, 1e-3):
        goal, proved = by_one_search(asked, asked.at(-off), search)
        assert proved and goal.found is None
        goal, proved = by_one_search(asked, asked.at(off), search)
        assert not proved and goal.found is not None


def float32_tolerance(asked: Question) -> float:
    """How deep outputs have to lie at the deepest point so that float32 shows it somewhere.

    Inputs move to a float32 number next to them: outputs then change by the steepest slope of any
    piece. Outputs in float32 are off by a rounding per operation of the sums of magnitudes.
    """
    clauses = asked.clauses
    reach = torch.maximum(asked.box.lower.abs(), asked.box.upper.abs())
    spacing = torch.nextafter(reach.float(), torch.tensor(torch.inf)).double() - reach.float()
    slopes = torch.as_tensor(asked.regions.jacobians).double()
    moved = max(float(((c.coefficients @ slopes).abs() @ spacing).max()) for c in clauses)
    sizes, operations = reach, 0
    for node in asked.tiny.graph:
        if isinstance(node.operator, Dense):
            bias = node.operator.bias
            sizes = node.operator.weight.abs() @ sizes + (0.0 if bias is None else bias.abs())
            operations += node.operator.weight.shape[1] + 2
    noise = max(float((c.coefficients.abs() @ sizes).max()) for c in clauses)
    return moved + 2.0**-24 * operations * noise + FALSIFY_MARGIN * asked.scale()


@pytest.mark.parametrize("seed", quickly(range(60), 4))
def test_counterexamples_are_confirmed_with_onnxruntime(seed: int, tmp_path: Path) -> None:
    asked = question(5 * seed)  # ReLU
    network = load_network(str(onnx_of(asked.tiny, tmp_path)))
    query = asked.at(1.01 * float32_tolerance(asked))
    answer = decide(network, query, CONFIG)
    assert isinstance(answer.verdict, Falsified)
    x = answer.verdict.counterexample.inputs[0].unsqueeze(0)
    assert torch.equal(x, x.float().double())
    assert bool(query.is_unsafe(network.original(x)).all())
    assert isinstance(decide(network, asked.at(-1e-3), CONFIG).verdict, Verified)


def onnx_of(tiny: Tiny, folder: Path) -> Path:
    """A fully connected ReLU network as a file; its weights are float32 numbers."""
    nodes, weights, last = [], {}, "x"
    for node in tiny.graph:
        operator = node.operator
        if operator is None:
            continue
        if operator.name == "Gemm":
            weights[f"W{node.name}"] = operator.weight.float().numpy()  # type: ignore[attr-defined]
            bias = operator.bias  # type: ignore[attr-defined]
            bias = torch.zeros(node.shape) if bias is None else bias
            weights[f"b{node.name}"] = bias.float().numpy()
            inputs = f"{last} W{node.name} b{node.name}"
            nodes.append(onnx_models.node("Gemm", inputs, node.name, transB=1))
        else:
            nodes.append(onnx_models.node("Relu", last, node.name))
        last = node.name
    model = onnx_models.model(nodes, ["N", tiny.inputs], weights, outputs=(last,))
    return onnx_models.save(model, folder)


def hat() -> Tiny:
    """f(x) = relu(x) - 2 relu(x - 1): its largest value is 1, at 1 only."""
    one = torch.ones(2, 1, dtype=DTYPE)
    bias, last = torch.tensor([0.0, -1.0], dtype=DTYPE), torch.tensor([[1.0, -2.0]], dtype=DTYPE)
    return networks.from_weights([(one, bias), (last, None)], "hat")


def reaches(level: float, strict: bool = False) -> OutputQuery:
    """Outputs >= level are unsafe (strict: > level), on [-1, 3]."""
    rows, offset = torch.tensor([[-1.0]], dtype=DTYPE), torch.tensor([level], dtype=DTYPE)
    return OutputQuery(
        Box(torch.tensor([-1.0], dtype=DTYPE), torch.tensor([3.0], dtype=DTYPE)),
        (Clause(rows, offset, torch.tensor([strict])),),
    )


@pytest.mark.parametrize("strict", [False, True])
def test_at_and_next_to_the_exact_value(strict: bool) -> None:
    network = originals.network(hat())
    verdict = decide(network, reaches(1.0, strict), CONFIG).verdict
    if strict:
        assert isinstance(verdict, Verified)
    else:
        assert isinstance(verdict, Unknown) and verdict.reason is Reason.CANDIDATE
    just_above = 1.0 + 2.0**-52
    assert isinstance(decide(network, reaches(just_above, strict), CONFIG).verdict, Verified)
    just_below = decide(network, reaches(1.0 - 2.0**-53, strict), CONFIG).verdict
    assert isinstance(just_below, Unknown) and just_below.reason is Reason.CANDIDATE
    for off in (1e-9, 1e-6, 0.5):
        assert isinstance(decide(network, reaches(1.0 + off, strict), CONFIG).verdict, Verified)
    for off in (1e-8, 1e-6, 0.5):
        assert isinstance(decide(network, reaches(1.0 - off, strict), CONFIG).verdict, Falsified)


def test_a_violation_of_our_arithmetic_alone_is_no_counterexample() -> None:
    tiny = hat()
    lower = originals.network(tiny, lambda x: tiny(x) - 0.01)
    answer = decide(lower, reaches(0.995), CONFIG)
    assert isinstance(answer.verdict, Unknown)
    assert answer.verdict.reason is Reason.CANDIDATE
    # One that is deep enough for both is still found.
    assert isinstance(decide(lower, reaches(0.9), CONFIG).verdict, Falsified)


def test_constraints_that_no_point_meets_together() -> None:
    """y >= 0.4 and y <= 0.3: each holds somewhere, and both nowhere."""
    network = originals.network(hat())
    box = reaches(0.0).region
    both = OutputQuery(box, (clause([[-1.0], [1.0]], [0.4, -0.3], 1),))
    assert isinstance(decide(network, both, CONFIG).verdict, Verified)
    met = OutputQuery(box, (clause([[-1.0], [1.0]], [0.3, -0.4], 1),))
    assert isinstance(decide(network, met, CONFIG).verdict, Falsified)


def test_without_clauses_all_is_safe_and_without_rows_nothing_is() -> None:
    network = originals.network(hat())
    box = reaches(0.0).region
    assert isinstance(decide(network, OutputQuery(box, ()), CONFIG).verdict, Verified)
    everything = OutputQuery(box, (clause([], [], 1),))
    assert isinstance(decide(network, everything, CONFIG).verdict, Falsified)


def test_inputs_that_all_outputs_rise_with_are_fixed() -> None:
    """The search is left with a point: its bound is the value there."""
    tiny = networks.monotone((3, 12, 12, 1), 3)
    network, box = originals.network(tiny), boxes.centered(3, 2.0)
    highest = float(tiny(box.upper.unsqueeze(0)))
    for off, kind in ((1e-3, Verified), (-1e-3, Falsified)):
        answer = decide(network, OutputQuery(box, (clause([[-1.0]], [highest + off], 1),)), CONFIG)
        assert isinstance(answer.verdict, kind)
        assert answer.subproblems == 1


def test_a_forced_stop_is_unknown() -> None:
    asked = question(7)
    network, query = originals.network(asked.tiny), asked.at(-1e-6)
    answer = decide(network, query, VerifyConfig(timeout=0.0))
    assert isinstance(answer.verdict, Unknown) and answer.verdict.reason is Reason.TIMEOUT
    answer = decide(network, query, VerifyConfig(timeout=None, max_subproblems=1))
    assert isinstance(answer.verdict, Unknown) and answer.verdict.reason is Reason.SUBPROBLEMS


def test_a_query_of_another_network_is_refused() -> None:
    network = originals.network(hat())
    with pytest.raises(InputError, match="2 inputs"):
        decide(network, OutputQuery(boxes.centered(2, 1.0), reaches(0.0).unsafe), CONFIG)
    with pytest.raises(InputError, match="2 outputs"):
        decide(network, OutputQuery(reaches(0.0).region, (clause([[1.0, 0.0]], [0.0], 2),)), CONFIG)


def test_malformed_clauses_are_refused() -> None:
    for rows, offsets in (([[1.0]], [0.0, 1.0]), ([[float("nan")]], [0.0])):
        with pytest.raises(InputError):
            Clause(torch.tensor(rows, dtype=DTYPE), torch.tensor(offsets, dtype=DTYPE))
    with pytest.raises(InputError):
        Clause(torch.ones(1, 1), torch.ones(1))
