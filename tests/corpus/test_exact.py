"""The corpus' own judge: against hand-worked answers, samples, the other oracle; and its files."""

import json
from fractions import Fraction
from math import isqrt, nextafter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.corpus import CASES, Case
from tests.corpus.cases_kinks import IDENTITY, UNIT
from tests.corpus.exact import Judge, evaluate, operator_norm, square_root
from tests.corpus.net import chain
from tests.corpus.polytope import dimension
from tests.corpus.regions import BallRegion, BoxRegion
from tests.corpus.smooth import SmoothJudge
from tests.oracles.operator_norm import operator_norm as float_norm

F = Fraction
BY_HAND = {
    "identity-of-two-relus": 1,
    "zero-with-open-gates": 0,
    "corner-touches-kink": 0,
    "absolute-value": 1,
    "sawtooth": 16,
    "leaky-steep-below": 2,
    "dead-by-composition": 0,
    "l1-ball-inside-a-kink": 0,
    "l2-ball-tangent-to-a-kink": 0,
    "float64-loses-one": 1,
    "ten-tenths": 10 * F(0.1),
    "one-minus-ten-tenths": 10 * F(0.1) - 1,
    "product-underflows": F(2) ** -1200,
    "a-third": F(1, 3),
    "huge-region": 10**10,
    "ball-s-real-end": 0,
    "tanh-around-zero": 1,
    "tanh-steep": 600,
}


def test_there_are_many_cases_with_a_name_and_a_story_each() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({case.attacks for case in CASES if "integers" not in case.name}) >= 60
    assert all(case.claims for case in CASES if not case.smooth)


@pytest.mark.parametrize("name", BY_HAND)
def test_answers_worked_out_by_hand(name: str) -> None:
    (case,) = [case for case in CASES if case.name == name]
    exact = case.exact["inf", "inf"]
    assert exact.low <= BY_HAND[name] <= exact.high
    assert exact.high - exact.low <= F(1, 10**6) * exact.high


@pytest.mark.parametrize("case", [case for case in CASES if not case.smooth], ids=str)
def test_float_samples_stay_within_the_answers(case: Case) -> None:
    """Values and slopes at random points of the region, in rational arithmetic."""
    random = np.random.default_rng(0)
    cell = case.region.cell()
    for _ in range(3):
        shares = [F(int(s)) for s in random.integers(1, 9, len(cell.points))]
        point = tuple(
            sum((s * p[i] for s, p in zip(shares, cell.points, strict=True)), F(0)) / sum(shares)
            for i in range(case.net.inputs)
        )
        if not case.region.holds(point):
            continue
        for norms, exact in list(case.exact.items())[:2]:
            assert case.judge.norm_at(point, *norms).low <= exact.high
        if case.label is not None:
            values = evaluate(case.net, point)
            least = case.judge.least_margin(case.label)
            others = [v for j, v in enumerate(values) if j != case.label]
            assert values[case.label] - max(others) >= least.low


@pytest.mark.parametrize("case", CASES, ids=str)
def test_onnxruntime_computes_the_same_function(case: Case) -> None:
    """Where floats do not lose digits: near the region's middle, to a few of its own roundings."""
    session = onnxruntime.InferenceSession(case.net.onnx().SerializeToString())
    point = np.array([[float(v) for v in case.region.cell().middle]], dtype=case.net.dtype)
    (found,) = session.run(None, {"x": point})
    exact = case.judge.outputs_at(tuple(F(float(v)) for v in point[0]))
    assert found.shape == (1, len(exact))
    reach = _reach(case)
    if reach < 1e30:
        unit = np.finfo(case.net.dtype).eps
        for value, number in zip(found[0], exact, strict=True):
            assert abs(F(float(value)) - number.low) <= 100 * F(float(unit)) * F(reach)


def _reach(case: Case) -> float:
    """An upper bound of what is added up in the network: products of sums of magnitudes."""
    size = max(1.0, *(abs(float(v)) for p in case.region.cell().points for v in p))
    for step in case.net.steps:
        if step.op == "Gemm":
            weight, bias = (np.abs(np.asarray(w, dtype=np.float64)) for w in step.weights)
            with np.errstate(over="ignore"):
                size = max(1.0, float((weight.sum(1) * size + bias).max()))
        elif step.op == "Div":
            size /= float(np.abs(step.weights[0]).min())
    return size


def test_files_are_json_and_state_every_claim(tmp_path: Path) -> None:
    for case in CASES[:5]:
        written = case.write(tmp_path)
        content = json.loads(written.spec.read_text())
        assert content["properties"] == [claim.entry for claim in case.claims]
        assert (tmp_path / content["network"]).is_file()


def test_thresholds_are_next_to_the_exact_value() -> None:
    (case,) = [case for case in CASES if case.name == "ten-tenths"]
    asked = {c.entry["at_most"]: c.truth for c in case.claims if "at_most" in c.entry}
    assert asked[1.0] is False
    assert asked[nextafter(1.0, 2.0)] is True


@pytest.mark.parametrize("seed", range(4))
def test_norms_agree_with_the_float_oracle(seed: int) -> None:
    matrix = np.random.default_rng(seed).integers(-5, 6, (2, 3)).astype(float)
    exact = tuple(tuple(F(v) for v in row) for row in matrix)
    for p in ("1", "2", "inf"):
        for q in ("1", "2", "inf"):
            found = operator_norm(exact, p, q)
            assert float(found.low) == pytest.approx(float_norm(matrix, p, q), rel=1e-12, abs=1e-12)
            assert found.high - found.low < F(1, 10**50)


@pytest.mark.parametrize("number", [F(2), F(9, 4), F(0), F(1, 3), F(10) ** 400, F(10) ** -401])
def test_roots_are_enclosed(number: Fraction) -> None:
    root = square_root(number)
    assert root.low**2 <= number <= root.high**2
    assert root.high - root.low <= root.high / 10**50
    exact = isqrt(number.numerator) ** 2 == number.numerator and number.denominator == 1
    assert not exact or root.low == root.high


def test_a_piece_without_an_interior_does_not_count() -> None:
    touches = chain(1, ([[1.0]], [-1.0]), ("Relu",), ([[1.0]], [0.0]))
    assert Judge(touches, UNIT).norm("inf", "inf").high == 0
    passes = BoxRegion((-1.0,), (nextafter(1.0, 2.0),))
    assert Judge(touches, passes).norm("inf", "inf").low == 1


def test_fixed_inputs_at_a_kink_leave_an_interval() -> None:
    found = Judge(IDENTITY, BoxRegion((0.0,), (0.0,))).norm("inf", "inf")
    assert (found.low, found.high) == (0, 1)


def test_balls_hold_what_their_names_say() -> None:
    x = (F(3, 5), F(4, 5))
    assert BallRegion((0.0, 0.0), 1.0, "2").holds(x)
    assert not BallRegion((0.0, 0.0), 1.0, "1").holds(x)
    assert BallRegion((0.0, 0.0), 1.0, "inf").holds(x)
    assert not BallRegion((0.0, 0.0), 1.0, "inf", clip=(0.0, 0.5)).holds(x)
    assert len(BallRegion((0.0, 0.0), 1.0, "1").cell().points) == 4


def test_cuts_of_a_ball_have_to_reach_its_inside() -> None:
    cell = BallRegion((0.0, 0.0), 1.0, "2").cell()
    assert cell.cut((F(-5), F(3), F(4))) is None
    assert cell.cut((F(-49999, 10000), F(3), F(4))) is not None
    corner = cell.cut((F(-1, 2), F(1), F(0)))
    assert corner is not None and corner.cut((F(-9, 10), F(0), F(1))) is None


def test_dimensions() -> None:
    square = [(F(a), F(b), F(1)) for a in (0, 1) for b in (0, 1)]
    assert [dimension(square[:k]) for k in range(5)] == [-1, 0, 1, 2, 2]


def test_smooth_answers_of_an_affine_network_are_the_rational_ones() -> None:
    net = chain(2, ([[0.1, -2.0], [3.0, 0.5]], [1.0, -1.0]), double=True)
    box = BoxRegion((-1.0, 0.0), (1.0, 2.0))
    smooth, judge = SmoothJudge(net, box), Judge(net, box)
    for norms in (("inf", "inf"), ("1", "inf"), ("2", "inf"), ("1", "1")):
        found, exact = smooth.norm(*norms), judge.norm(*norms)
        assert found.low <= exact.high and found.high >= exact.low
        assert found.high - found.low <= F(1, 10**6) * exact.high
    found, exact = smooth.least_margin(0), judge.least_margin(0)
    assert found.low <= exact.low <= found.high
