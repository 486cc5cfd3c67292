"""Asking the public functions about tiny networks, and judging the answers."""

from collections.abc import Callable

import torch
from torch import Tensor

from lipverify.api import verify_spec
from lipverify.config import PreactivationConfig, VerifyConfig, WitnessConfig
from lipverify.evidence import PropertyResult
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.region import AbstractRegion
from lipverify.spec import Spec
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Robustness
from lipverify.verdict import Falsified, Reason, Unknown, Verified
from tests.oracles import originals
from tests.oracles.networks import Tiny

LIGHT = {
    "preactivation": PreactivationConfig(alpha_iterations=3),
    "witness": WitnessConfig(samples=256, ascents=4, climbers=4, steps=6, programs=20),
    "max_subproblems": 8,
    "timeout": None,
}
"""Budgets in steps: seconds would make the answers depend on the machine."""

CLEAR = 1e-6
"""A threshold that is this far off, relatively, is on its side beyond rounding."""
INSIDE = 1e-9


def ask(
    tiny: Tiny,
    region: AbstractRegion,
    prop: Property,
    original: Callable[[Tensor], Tensor] | None = None,
    **settings: object,
) -> PropertyResult:
    """One property of one network."""
    config = VerifyConfig(**{**LIGHT, **settings})  # type: ignore[arg-type]
    names = tuple(f"x{index}" for index in range(tiny.inputs))
    spec = Spec("question", region, (prop,), names)
    (result,) = verify_spec(originals.network(tiny, original), spec, config)
    return result


def refuses(tiny: Tiny, method: str, prop: Property) -> bool:
    """Whether the method says before any work that it has no answer to this."""
    if method != "milp":
        return False
    norms: set[str] = set()
    if isinstance(prop, Lipschitz):
        norms = {prop.input_norm.name} | ({prop.output_norm.name} if len(prop.rows) > 1 else set())
    return not tiny.piecewise or "2" in norms


def check_refusal(result: PropertyResult) -> None:
    """Unknown, with a reason that says what to do."""
    assert isinstance(result.verdict, Unknown)
    assert result.verdict.reason is Reason.UNSUPPORTED
    assert "Use another method" in result.verdict.detail
    assert result.bound is None and result.subproblems == 0


def lipschitz(
    tiny: Tiny,
    input_norm: str = "inf",
    output_norm: str = "inf",
    at_most: float | None = None,
    rows: Tensor | None = None,
    gap: float | None = None,
) -> Lipschitz:
    chosen = torch.eye(tiny.outputs, dtype=DTYPE) if rows is None else rows
    return Lipschitz(
        norm_named(input_norm),
        norm_named(output_norm),
        tuple(tuple(row) for row in chosen.tolist()),
        at_most,
        gap,
    )


def monotonicity(
    tiny: Tiny,
    increasing: tuple[int, ...] = (),
    decreasing: tuple[int, ...] = (),
    margin: float = 0.0,
    output: int = 0,
) -> Monotonicity:
    weights = [0.0] * tiny.outputs
    weights[output] = 1.0
    return Monotonicity(tuple(weights), increasing, decreasing, margin)


def robustness(label: int | None, margin: float = 0.0) -> Robustness:
    return Robustness(label, margin)


def check_norm(result: PropertyResult, exact: float, at_most: float | None) -> None:
    """The interval holds the exact constant; the verdict agrees with it beyond rounding."""
    assert result.bound is not None
    assert result.bound.lower <= exact * (1 + INSIDE) + INSIDE, "attained more than there is"
    assert result.bound.upper >= exact * (1 - INSIDE) - INSIDE, "the proved upper end is too low"
    if at_most is None:
        return
    if at_most < exact * (1 - CLEAR):
        assert not isinstance(result.verdict, Verified), "a false property is verified"
    if at_most > exact * (1 + CLEAR):
        assert not isinstance(result.verdict, Falsified), "a true property is falsified"


def check_counterexample(
    result: PropertyResult, region: AbstractRegion, original: Callable[[Tensor], Tensor]
) -> Tensor:
    """Its inputs [k, n] lie in the region, its outputs are the original's at them."""
    assert isinstance(result.verdict, Falsified)
    found = result.verdict.counterexample
    inputs = torch.stack(found.inputs)
    assert bool(region.contains(inputs).all()), "a counterexample outside of the region"
    again = original(inputs)
    for given, expected in zip(found.outputs, again, strict=True):
        torch.testing.assert_close(given, expected, rtol=0, atol=1e-9)
    return inputs
