"""Planted bugs in graphs, bounds and the search: the tests' own checks catch each.

Each mutant patches our code. Its check passes without the patch, and fails with it.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pytest import MonkeyPatch
from torch import Tensor

from lipverify import confirm
from lipverify.bounds import jacobian, linear, mean_split, methods, preactivation, propagation
from lipverify.bounds.jacobian import JacobianBounds
from lipverify.config import PreactivationConfig, WitnessConfig
from lipverify.graph import BackwardGraph, Node, backward, backward_graph, evaluate
from lipverify.interval import Interval
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.operators import Relaxation
from lipverify.search import ladder, lipschitz, monotonicity, objectives, robustness
from lipverify.search.ladder import NormBound
from lipverify.search.slope_searches import Slope
from lipverify.verdict import Counterexample, Reason, Unknown, Verified
from tests.bounds import cases
from tests.graph.test_backward import check_adjoints
from tests.metamorphic import changes
from tests.mutants.planted import Claim, Mutant, assert_caught, replaced
from tests.oracles import boxes, networks, originals
from tests.oracles.networks import PIECEWISE, Tiny
from tests.oracles.regions import Regions
from tests.search import questions
from tests.search.questions import ask, check_norm

TINY = networks.dense((2, 4, 3, 2), 0)
REGIONS = Regions(TINY, boxes.offset(2))


# What the checks look at.


def adjoints_of_merging_graphs() -> None:
    for tiny in (networks.residual(0), networks.fan_out(0), networks.conv_net(0)):
        check_adjoints(tiny, backward_graph(tiny.graph))


def intervals_of_true_claims() -> None:
    """Lipschitz intervals hold the exact constant; false thresholds are not verified."""
    for tiny in (TINY, networks.residual(0)):
        regions = Regions(tiny, boxes.offset(tiny.inputs))
        exact = regions.norm("inf", "inf")
        for method in ("interval", "linear", "auto"):
            check_norm(
                ask(tiny, regions.box, questions.lipschitz(tiny), method=method), exact, None
            )
            at_most = 0.95 * exact
            claim = questions.lipschitz(tiny, at_most=at_most)
            check_norm(ask(tiny, regions.box, claim, method=method), exact, at_most)


def forced_stops() -> None:
    """No time at all, a breakdown at once, too loose a bound: Unknown, whatever was asked."""
    exact = REGIONS.norm("inf", "inf")
    for claim in (
        questions.lipschitz(TINY, at_most=0.9 * exact),
        questions.monotonicity(TINY, (0, 1)),
        questions.robustness(0, 1e3),
    ):
        verdict = ask(TINY, REGIONS.box, claim, timeout=0.0).verdict
        assert isinstance(verdict, Unknown)
        loose = ask(TINY, REGIONS.box, claim, method="interval").verdict
        assert not isinstance(loose, Verified)


def breakdowns_are_unknown() -> None:
    make = networks.Weights(0)
    bias = make(3)
    bias[0] = float("nan")
    tiny = networks.from_weights([(make(3, 2), bias), (make(2, 3), make(2))], "nan")
    for claim in (questions.robustness(0, -1e9), questions.lipschitz(tiny, at_most=1e9)):
        verdict = ask(tiny, REGIONS.box, claim).verdict
        assert isinstance(verdict, Unknown) and verdict.reason is Reason.NUMERICS


def intervals_beside_a_poor_witness() -> None:
    """Where the best point has not been found, the upper end has to be above what there is."""
    poor = WitnessConfig(samples=1, ascents=1, climbers=1, steps=0, programs=0)
    for tiny in (PIECEWISE[1], networks.residual(0)):
        regions = Regions(tiny, boxes.centered(tiny.inputs, 8.0))
        exact = regions.norm("inf", "inf")
        result = ask(tiny, regions.box, questions.lipschitz(tiny), method="linear", witness=poor)
        check_norm(result, exact, None)
        assert result.bound is not None and result.bound.lower < 0.99 * exact


def candidates_are_confirmed() -> None:
    """On an original that stands still, or that has another first class, nothing is falsified."""

    def still(x: Tensor) -> Tensor:
        return torch.tensor([1e3, 0.0], dtype=DTYPE).expand(len(x), -1)

    least, _ = REGIONS.entries()
    falls = int(least[0].argmin())
    assert float(least[0, falls]) < -0.1
    for claim in (
        questions.lipschitz(TINY, at_most=0.1),
        questions.monotonicity(TINY, (falls,)),
        questions.robustness(0, 100.0),
    ):
        verdict = ask(TINY, REGIONS.box, claim, still).verdict
        assert isinstance(verdict, Unknown), "an unconfirmed candidate is reported as a violation"
        assert verdict.reason is Reason.CANDIDATE


def elements_of(stage: str, *tinies: Tiny) -> Claim:
    """One stage's elements and preactivations on a few networks, from scratch."""

    def check() -> None:
        for tiny in tinies:
            for kind in ("offset", "l2 ball"):
                setting = methods.Setting(
                    originals.network(tiny),
                    cases.region_of(tiny, kind),
                    PreactivationConfig(alpha_iterations=3),
                )
                rows = torch.eye(tiny.outputs, dtype=DTYPE)
                norm = norm_named("inf")
                truth = cases.jacobians_of(tiny, kind)
                bounds = methods.STAGES[stage](setting, rows, norm, None)
                cases.check_contains(bounds.elements, truth, stage)
                cases.check_above(bounds.row_norm(norm.dual), truth.abs().sum(-1).amax(0), stage)
                values = tiny.values(cases.points_of(tiny, kind))
                for name, interval in setting.crown_preactivations.items():
                    inside = Interval(interval.lower[0], interval.upper[0])
                    cases.check_contains(inside, values[name], name)

    return check


def entries_that_are_not_searched() -> None:
    tiny = networks.dense((2, 5, 4, 1), 31)
    regions = Regions(tiny, boxes.offset(2, 1.0, 31))
    claim = questions.lipschitz(tiny, "1", gap=0.02)
    result = ask(tiny, regions.box, claim, method="quadratic", max_subproblems=40)
    check_norm(result, regions.norm("1", "inf"), None)


# Mutants.


def first_parent_only(node: Node, pieces: list[str], nodes: list[Node]) -> str:
    return pieces[0]


def no_reason_is_verified(job: object, query: object, found: NormBound, witness: object) -> object:
    return Unknown(found.stop.reason, "") if found.stop is not None else Verified()


def always_verified(*_: object) -> Verified:
    return Verified()


def incumbent_as_bound(
    setting: object,
    query: object,
    stages: object,
    lower: float,
    clock: object,
    note: object,
) -> NormBound:
    return NormBound(lower, "incumbent", None)


def unconfirmed_norm(
    network: object, region: object, query: object, witness: confirm.NormWitness
) -> Counterexample:
    return Counterexample((witness.point,), (witness.point,), "unconfirmed")


def unconfirmed_pair(
    network: object, region: object, query: object, which: int, candidates: Tensor, feature: str
) -> Counterexample:
    return Counterexample((candidates[0], candidates[0]), (), "unconfirmed")


def unconfirmed_point(
    network: object, region: object, query: object, candidates: Tensor
) -> Counterexample:
    return Counterexample((candidates[0],), (), "unconfirmed")


def half_the_remainder(problem: jacobian.JacobianProblem) -> JacobianBounds:
    bounds = REAL_MEAN_SPLIT(problem)
    shrunk = Interval(
        bounds.elements.center - bounds.elements.radius / 4,
        bounds.elements.center + bounds.elements.radius / 4,
    )
    return replace(bounds, elements=shrunk)


def without_intercepts(slope: Interval, g: Interval) -> Relaxation:
    relaxation = REAL_CHORDS(slope, g)
    zero = torch.zeros_like(relaxation.lower_intercept)
    return replace(relaxation, lower_intercept=zero, upper_intercept=zero)


def one_sign_only(
    dag: object, target: str, objective: Tensor, relaxations: dict[str, Relaxation]
) -> object:
    """The relaxation from above for negative coefficients as well."""
    wrong = {
        name: replace(
            relaxation,
            lower_slope=relaxation.upper_slope,
            lower_intercept=relaxation.upper_intercept,
        )
        for name, relaxation in relaxations.items()
    }
    return REAL_SUBSTITUTE(dag, target, objective, wrong)  # type: ignore[arg-type]


def center_gates(
    backward_: BackwardGraph, preactivations: dict[str, Interval]
) -> dict[str, Interval]:
    """Every gate at its middle: the gates' intervals are lost."""
    slopes = REAL_SLOPES(backward_, preactivations)
    return {name: Interval(slope.center, slope.center) for name, slope in slopes.items()}


def sampled_preactivations(problem: preactivation.ForwardProblem, *_: object) -> object:
    """Values at the centre instead of bounds."""
    start = problem.region.center.reshape(1, *problem.forward.input_shape)
    values = evaluate(problem.forward, {"input": start})
    return {
        node.inputs[0]: Interval(values[node.inputs[0]], values[node.inputs[0]])
        for node in problem.forward.activations
    }


def row_norm_without_intercepts(stage: object, slope: Tensor, adjoints: object) -> Tensor:
    return REAL_ROW_OBJECTIVE(stage, slope, adjoints) - 1.0  # type: ignore[arg-type]


def worst_of_the_first(job: object, query: object, root: object) -> list[Slope]:
    slopes = REAL_SLOPES_OF(job, query, root)  # type: ignore[arg-type]
    return [replace(slope, lower=slopes[0].lower, upper=slopes[0].upper) for slope in slopes]


def satisfied_by_any(upper: Tensor, query: object) -> bool:
    return bool((upper <= query.threshold).any())  # type: ignore[attr-defined]


def rest_forgotten(rows: Tensor, known: JacobianBounds, target: float) -> object:
    return replace(REAL_ENTRIES(rows, known, target), rest=0.0)


REAL_MEAN_SPLIT = mean_split.mean_split
REAL_CHORDS = methods.relax_chords
REAL_SUBSTITUTE = propagation.substitute
REAL_SLOPES = propagation.gate_slopes
REAL_ROW_OBJECTIVE = linear._row_objective
REAL_SLOPES_OF = monotonicity._slopes
REAL_ENTRIES = objectives._entries


def worst_derivatives_count() -> None:
    """Two features: one that rises, one that does not."""
    layers = [(torch.tensor([[1.0, -1.0]], dtype=DTYPE), torch.zeros(1, dtype=DTYPE))]
    tiny = changes.built(layers, "one up, one down")
    result = ask(tiny, boxes.centered(2, 1.0), questions.monotonicity(tiny, (0, 1)))
    assert [feature.verdict.word for feature in result.features] == ["verified", "falsified"]


def every_margin_counts() -> None:
    """Three classes, of which one is overtaken."""
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]], dtype=DTYPE)
    bias = torch.tensor([5.0, 4.0, -5.0], dtype=DTYPE)
    tiny = changes.built([(weight, bias)], "one rival")

    def first(x: Tensor) -> Tensor:  # so that no counterexample is confirmed
        return torch.tensor([1e3, 0.0, 0.0], dtype=DTYPE).expand(len(x), -1)

    for method in ("interval", "linear", "auto"):
        result = ask(tiny, boxes.centered(2, 1.0), questions.robustness(0), first, method=method)
        assert not isinstance(result.verdict, Verified)


MUTANTS = (
    Mutant(
        "second parent's contribution dropped at a merge",
        replaced(backward, "_sum", first_parent_only),
        adjoints_of_merging_graphs,
    ),
    Mutant(
        "an empty stop reason is Verified",
        replaced(lipschitz, "_verdict", always_verified),
        intervals_of_true_claims,
    ),
    Mutant(
        "an empty stop reason is Verified: thresholds ignored",
        replaced(lipschitz, "_verdict", no_reason_is_verified),
        intervals_of_true_claims,
    ),
    Mutant(
        "an empty stop reason is Verified: robustness",
        replaced(robustness, "satisfied", lambda upper, query: True),
        breakdowns_are_unknown,
    ),
    Mutant(
        "an empty stop reason is Verified: monotonicity",
        replaced(monotonicity, "_together", always_verified),
        forced_stops,
    ),
    Mutant(
        "the incumbent is used as the bound",
        replaced(lipschitz, "norm_upper", incumbent_as_bound),
        intervals_beside_a_poor_witness,
    ),
    Mutant(
        "an unconfirmed candidate is Falsified: lipschitz",
        replaced(confirm, "confirm_norm", unconfirmed_norm),
        candidates_are_confirmed,
    ),
    Mutant(
        "an unconfirmed candidate is Falsified: monotonicity",
        replaced(confirm, "confirm_slope", unconfirmed_pair),
        candidates_are_confirmed,
    ),
    Mutant(
        "an unconfirmed candidate is Falsified: robustness",
        replaced(confirm, "confirm_output", unconfirmed_point),
        candidates_are_confirmed,
    ),
    Mutant(
        "the remainder of the mean-split enclosure halved",
        replaced(methods, "mean_split", half_the_remainder),
        elements_of("mean-split", TINY, networks.residual(0)),
    ),
    Mutant(
        "chords without their intercepts",
        lambda patch: (
            patch.setattr(methods, "relax_chords", without_intercepts),
            patch.setattr(propagation, "gate_relaxations", _relaxed_with(without_intercepts)),
        )[0],
        elements_of("linear (CROWN)", PIECEWISE[1], networks.residual(0)),
    ),
    Mutant(
        "the relaxation above used for coefficients of both signs",
        replaced(propagation, "substitute", one_sign_only),
        elements_of("linear (CROWN)", PIECEWISE[1], networks.residual(0)),
    ),
    Mutant(
        "gates replaced by their middles",
        replaced(jacobian, "gate_slopes", center_gates),
        elements_of("mean-split", TINY, networks.residual(0)),
    ),
    Mutant(
        "preactivations at the centre taken for bounds",
        replaced(methods, "crown", sampled_preactivations),
        elements_of("mean-split", TINY, networks.residual(0)),
    ),
    Mutant(
        "the rows' norms lowered by one",
        replaced(linear, "_row_objective", row_norm_without_intercepts),
        elements_of("linear (CROWN)", TINY, PIECEWISE[1]),
    ),
    Mutant(
        "one feature's bound used for all",
        replaced(monotonicity, "_slopes", worst_of_the_first),
        worst_derivatives_count,
    ),
    Mutant(
        "one margin is enough",
        lambda patch: (
            patch.setattr(ladder, "satisfied", satisfied_by_any),
            patch.setattr(robustness, "satisfied", satisfied_by_any),
        )[0],
        every_margin_counts,
    ),
    Mutant(
        "what is not searched does not count",
        replaced(objectives, "_entries", rest_forgotten),
        entries_that_are_not_searched,
    ),
)


def _relaxed_with(relax: Callable[[Interval, Interval], Relaxation]) -> Callable:
    """`gate_relaxations` with another rule, whatever the caller asks for."""
    real = propagation.gate_relaxations

    def relaxations(
        backward_: BackwardGraph,
        target: str,
        slopes: dict[str, Interval],
        adjoints: dict[str, Interval],
        _: object,
    ) -> object:
        return real(backward_, target, slopes, adjoints, relax)

    return relaxations


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.story)
def test_every_mutant_is_caught(mutant: Mutant, monkeypatch: MonkeyPatch) -> None:
    assert_caught(mutant, monkeypatch)
