"""The whole search on tiny networks: equal to the enumeration of all linear regions."""

import pytest
import torch

from lipverify.api import verify_spec
from lipverify.config import VerifyConfig
from lipverify.evidence import PropertyResult
from lipverify.norms import norm_named
from lipverify.spec import Spec
from lipverify.spec.property import Lipschitz, Monotonicity
from lipverify.verdict import Falsified, Verified
from tests.oracles import networks
from tests.oracles.boxes import centered, offset
from tests.oracles.networks import Tiny
from tests.oracles.originals import network
from tests.oracles.regions import Regions

TIGHT = 1e-6

RANDOM = [
    networks.dense(sizes, seed, kind, bias)
    for seed in range(5)
    for sizes, kind, bias in [
        ((2, 4, 3, 2), "relu", True),
        ((3, 6, 2), "relu", True),
        ((2, 3, 3, 3, 1), "relu", True),
        ((3, 5, 4, 2), "leaky", True),
        ((2, 5, 2), "relu", False),
    ]
]
SPECIAL = [
    networks.zero_rows(),
    networks.duplicated(),
    networks.kink_pair(),
    networks.absolute(),
    networks.residual(),
    networks.fan_out(),
]


def answer(tiny: Tiny, box: object, prop: object, **settings: object) -> PropertyResult:
    names = tuple(f"x{index}" for index in range(tiny.inputs))
    spec = Spec("tiny", box, (prop,), names)  # type: ignore[arg-type]
    return next(verify_spec(network(tiny), spec, VerifyConfig(**settings)))  # type: ignore[arg-type]


def lipschitz(tiny: Tiny, input_norm: str, output_norm: str = "inf", **limits: float) -> Lipschitz:
    rows = tuple(tuple(row) for row in torch.eye(tiny.outputs).tolist())
    return Lipschitz(norm_named(input_norm), norm_named(output_norm), rows, **limits)


def check_interval(
    tiny: Tiny, box: object, input_norm: str, output_norm: str = "inf", **settings: object
) -> PropertyResult:
    """Both ends within 1e-6 of the enumeration, and on the right sides of it."""
    truth = Regions(tiny, box).norm(input_norm, output_norm)  # type: ignore[arg-type]
    result = answer(tiny, box, lipschitz(tiny, input_norm, output_norm), **settings)
    assert isinstance(result.verdict, Verified) and result.bound is not None
    assert result.bound.lower <= truth * (1 + 1e-12) + 1e-300, "an unattained lower end"
    assert result.bound.upper >= truth * (1 - 1e-12), f"unsound: {result.bound.upper} < {truth}"
    scale = max(1.0, truth)
    assert result.bound.upper - truth <= TIGHT * scale, f"{result.bound} loose, truth {truth}"
    assert truth - result.bound.lower <= TIGHT * scale, f"{result.bound} unattained, truth {truth}"
    return result


@pytest.mark.parametrize("input_norm", ["inf", "2", "1"])
@pytest.mark.parametrize("tiny", RANDOM, ids=repr)
def test_random_networks(tiny: Tiny, input_norm: str) -> None:
    check_interval(tiny, offset(tiny.inputs, 0.75), input_norm)


@pytest.mark.parametrize("input_norm", ["inf", "2", "1"])
@pytest.mark.parametrize("tiny", SPECIAL, ids=repr)
def test_special_networks(tiny: Tiny, input_norm: str) -> None:
    """On the second box, kinks coincide: patterns that only a flat set of inputs has."""
    check_interval(tiny, offset(tiny.inputs, 0.75), input_norm)
    check_interval(tiny, centered(tiny.inputs, 1.0), input_norm)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_two_hundred_networks(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    widths = torch.randint(1, 5, (3,), generator=generator).tolist()
    depth = seed % 3 + 1
    sizes = (2 + seed % 2, *widths[:depth], 2)
    tiny = networks.dense(sizes, seed, "relu" if seed % 4 else "leaky", bias=seed % 5 != 0)
    box = centered(tiny.inputs, 1.0) if seed % 2 else offset(tiny.inputs, 0.75, seed)
    for input_norm in ("inf", "2", "1"):
        check_interval(tiny, box, input_norm)


@pytest.mark.parametrize("tiny", RANDOM[:10], ids=repr)
def test_thresholds_are_decided(tiny: Tiny) -> None:
    """Just above the truth is verified, just below is falsified."""
    box = offset(tiny.inputs, 0.75)
    truth = Regions(tiny, box).norm("inf", "inf")
    above = answer(tiny, box, lipschitz(tiny, "inf", at_most=truth * 1.001))
    assert isinstance(above.verdict, Verified)
    below = answer(tiny, box, lipschitz(tiny, "inf", at_most=truth * 0.999))
    assert isinstance(below.verdict, Falsified)


@pytest.mark.parametrize("tiny", RANDOM[:10], ids=repr)
def test_monotonicity_is_decided(tiny: Tiny) -> None:
    """Every sign query: verified exactly if the enumeration says so."""
    box = offset(tiny.inputs, 0.75)
    weights = torch.eye(tiny.outputs, dtype=torch.float64)[:1]
    lower, upper = Regions(tiny, box).entries(weights)
    for index in range(tiny.inputs):
        for rising, worst in ((True, lower[0, index]), (False, -upper[0, index])):
            prop = Monotonicity(
                tuple(weights[0].tolist()),
                (index,) if rising else (),
                () if rising else (index,),
            )
            verdict = answer(tiny, box, prop).verdict
            assert isinstance(verdict, Verified if worst >= 0 else Falsified), (index, rising)


@pytest.mark.parametrize("output_norm", ["1", "2", "inf"])
@pytest.mark.parametrize("input_norm", ["1", "2", "inf"])
@pytest.mark.parametrize("tiny", [RANDOM[0], RANDOM[3], networks.residual()], ids=repr)
def test_every_pair_of_norms(tiny: Tiny, input_norm: str, output_norm: str) -> None:
    check_interval(tiny, offset(tiny.inputs, 0.75), input_norm, output_norm)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_more_subproblems_never_loosen(limit: int) -> None:
    tiny = networks.dense((3, 8, 8, 2), 1)
    box = offset(tiny.inputs, 1.5)
    prop = lipschitz(tiny, "inf")
    few = answer(tiny, box, prop, max_subproblems=limit)
    more = answer(tiny, box, prop, max_subproblems=4 * limit)
    assert few.bound is not None and more.bound is not None
    assert more.bound.upper <= few.bound.upper * (1 + 1e-9)
    assert few.subproblems <= limit + 1


@pytest.mark.parametrize("tiny", SPECIAL, ids=repr)
def test_no_time_is_unknown(tiny: Tiny) -> None:
    result = answer(tiny, offset(tiny.inputs, 0.75), lipschitz(tiny, "inf"), timeout=0.0)
    assert result.verdict.word == "unknown" and result.bound is None
