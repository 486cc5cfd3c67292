"""What every activation claims. Each function raises AssertionError, or counts its checks."""

import torch
from mpmath import mpf
from torch import Tensor

from lipverify.errors import InvertedInterval, OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import DTYPE, ELEMENTARY_ULPS, SMALLEST, UNIT_ROUNDOFF
from tests.rules import exact
from tests.rules.cases import part_of, points_of
from tests.rules.instances import ActivationInstance

DECLARED = 4 * ELEMENTARY_ULPS * UNIT_ROUNDOFF
"""The relative width that outward rounding may give to the value at a point."""

TOUCH = 1e-9
"""Relative gap, to the function's own scale, that counts as touching."""

TOUCH_LIMIT = 1e6
"""Largest |x| at which a gap of that size is still meaningful."""


def interval_is_sound(instance: ActivationInstance, x: Interval, random: torch.Generator) -> int:
    """f(p) lies in interval(x) for points p of x, its ends and kinks among them."""
    operator, judge = instance.operator, instance.judge
    result = operator.interval(x)
    lower, upper = result.lower.tolist(), result.upper.tolist()
    points = points_of(x, operator.kinks, random)
    for row in points.tolist():
        for p, low, high in zip(row, lower, upper, strict=True):
            value = judge.value(p)
            assert mpf(low) <= value.high, f"{instance}: f({p!r}) < {low!r}"
            assert value.low <= mpf(high), f"{instance}: f({p!r}) > {high!r}"
    return points.numel()


def interval_is_exact_at_points(instance: ActivationInstance, x: Tensor) -> int:
    """interval([p, p]) is f(p) up to the declared rounding (a few ulps, or underflow)."""
    result = instance.operator.interval(Interval(x, x))
    value = instance.operator.evaluate(x)
    assert bool(result.contains(value).all()), f"{instance}: the computed value is not in it"
    allowed = DECLARED * value.abs() + 4 * SMALLEST
    assert bool((result.width <= allowed).all()), f"{instance}: too wide at a point"
    return x.numel()


def interval_is_isotone(instance: ActivationInstance, x: Interval, random: torch.Generator) -> int:
    """A part of x has a part of the range, up to the rounding of the function."""
    part = part_of(x, random)
    inner, outer = instance.operator.interval(part), instance.operator.interval(x)
    slack = torch.zeros_like(x.lower)
    if instance.rounded:
        slack = DECLARED * outer.magnitude + SMALLEST
    assert bool((outer.lower - slack <= inner.lower).all()), f"{instance}: not isotone below"
    assert bool((inner.upper <= outer.upper + slack).all()), f"{instance}: not isotone above"
    return 2 * x.lower.numel()


def gate_holds_derivatives(
    instance: ActivationInstance, x: Interval, random: torch.Generator
) -> int:
    """Every one-sided derivative at points of x, and every difference quotient, is in the gate."""
    operator, judge = instance.operator, instance.judge
    gate = operator.gate(x)
    lower, upper = gate.lower.tolist(), gate.upper.tolist()
    points = points_of(x, operator.kinks, random)
    count = 0
    for row in points.tolist():
        for p, low, high in zip(row, lower, upper, strict=True):
            for slope in judge.one_sided(p):
                assert mpf(low) <= slope.high, f"{instance}: f'({p!r}) < {low!r}"
                assert slope.low <= mpf(high), f"{instance}: f'({p!r}) > {high!r}"
                count += 1
    ends = zip(x.lower.tolist(), x.upper.tolist(), lower, upper, strict=True)
    for p, q, low, high in ends:
        if q - p > exact.CHORD_WIDTH * max(abs(p), abs(q)):
            slope = judge.quotient(p, q)
            assert mpf(low) <= slope.high, f"{instance}: quotient on [{p!r}, {q!r}] < {low!r}"
            assert slope.low <= mpf(high), f"{instance}: quotient on [{p!r}, {q!r}] > {high!r}"
            count += 1
    return count


def gate_lines_hold_derivatives(
    instance: ActivationInstance, x: Interval, random: torch.Generator
) -> int:
    """lower line <= every one-sided derivative <= upper line at points of x, exactly."""
    operator, judge = instance.operator, instance.judge
    lines = operator.gate_lines(x)
    ends = [
        values.tolist()
        for values in (
            lines.lower_slope,
            lines.lower_intercept,
            lines.upper_slope,
            lines.upper_intercept,
        )
    ]
    points = points_of(x, operator.kinks, random)
    count = 0
    for row in points.tolist():
        for p, below, under, above, over in zip(row, *ends, strict=True):
            for slope in judge.one_sided(p):
                assert exact.line(below, under, p) <= slope.high, f"{instance}: below f'({p!r})"
                assert slope.low <= exact.line(above, over, p), f"{instance}: above f'({p!r})"
                count += 2
    return count


def choices_are_declared(instance: ActivationInstance, x: Interval) -> int:
    """`has_choice` says whether another choice can give another relaxation."""
    operator = instance.operator
    ends = [operator.relax(x, torch.full_like(x.lower, share)) for share in (0.0, 1.0)]
    differ = [
        not torch.equal(getattr(ends[0], side), getattr(ends[1], side))
        for side in ("lower_slope", "upper_slope")
    ]
    gate = operator.gate(x)
    inside = (x.lower < 0) & (x.upper > 0) & (gate.lower < gate.upper)
    if bool(inside.any()):
        assert any(differ) == operator.has_choice, f"{instance}: has_choice is wrong"
    return 1


def gate_is_whole_at_kinks(instance: ActivationInstance, x: Interval) -> int:
    """Where a kink is in reach, the gate is the hull of both one-sided derivatives, no more."""
    gate = instance.operator.gate(x)
    count = 0
    for kink in instance.operator.kinks:
        slopes = [float(slope.low) for slope in instance.judge.one_sided(kink)]
        there = (x.lower <= kink) & (kink <= x.upper)
        assert bool((gate.lower[there] == min(slopes)).all()), f"{instance}: gate at {kink}"
        assert bool((gate.upper[there] == max(slopes)).all()), f"{instance}: gate at {kink}"
        count += 2 * int(there.sum())
    return count


def inner_gate_leaves_out_the_far_side(instance: ActivationInstance, x: Interval) -> int:
    """Inside of an interval that ends at a kink, there is the kink's slope from within alone."""
    operator = instance.operator
    gate, within = operator.gate(x), operator.gate_within(x)
    assert bool((gate.lower <= within.lower).all() and (within.upper <= gate.upper).all())
    away = torch.ones_like(x.lower, dtype=torch.bool)
    for kink in operator.kinks:
        at_end = (x.lower == kink) != (x.upper == kink)
        away &= ~at_end
        left, right = (float(slope.low) for slope in instance.judge.one_sided(kink))
        ends = torch.full_like(x.lower, left), torch.full_like(x.lower, right)
        slope = torch.where(x.upper == kink, *ends)[at_end]
        assert torch.equal(within.lower[at_end], slope), f"{instance}: inside of {kink}"
        assert torch.equal(within.upper[at_end], slope), f"{instance}: inside of {kink}"
    assert torch.equal(gate.lower[away], within.lower[away]), f"{instance}: no kink at an end"
    assert torch.equal(gate.upper[away], within.upper[away]), f"{instance}: no kink at an end"
    return 2 * x.lower.numel()


def one_side_fixes_the_gate(instance: ActivationInstance, x: Interval) -> int:
    """Between kinks, a piecewise linear activation is one line: one slope, and no gap."""
    away = torch.ones_like(x.lower, dtype=torch.bool)
    for kink in instance.operator.kinks:
        away &= (x.upper < kink) | (kink < x.lower)
    gate = instance.operator.gate(Interval(x.lower[away], x.upper[away]))
    fixed = gate.lower == gate.upper
    if not instance.operator.piecewise_linear:
        wide = (x.upper - x.lower)[away] >= 1.0
        near = x.magnitude[away] <= 10.0
        assert not bool(fixed[wide & near].any()), f"{instance}: the derivative is not constant"
        return len(fixed)
    assert bool(fixed.all()), f"{instance}: an open gate between kinks"
    relaxation = instance.operator.relax(Interval(x.lower[away], x.upper[away]))
    for slope in (relaxation.lower_slope, relaxation.upper_slope):
        assert torch.equal(slope, gate.lower), f"{instance}: another slope between kinks"
    for intercept in (relaxation.lower_intercept, relaxation.upper_intercept):
        assert not bool(intercept.any()), f"{instance}: a gap between kinks"
    return 5 * len(fixed)


def gate_is_tight_at_points(instance: ActivationInstance, x: Tensor) -> int:
    """Away from kinks, the gate of a point is its derivative, up to the declared rounding."""
    smooth = torch.ones_like(x, dtype=torch.bool)
    for kink in instance.operator.kinks:
        smooth &= x != kink
    x = x[smooth]
    gate, value = instance.operator.gate(Interval(x, x)), instance.operator.derivative(x)
    assert bool(gate.contains(value).all()), f"{instance}: the computed derivative is not in it"
    assert bool((gate.width <= DECLARED * value.abs() + 4 * SMALLEST).all()), f"{instance}: wide"
    return x.numel()


def relaxation_is_sound(
    instance: ActivationInstance,
    x: Interval,
    random: torch.Generator,
    lower_choice: Tensor | None = None,
) -> int:
    """lower line <= f <= upper line at points of x, compared exactly: no tolerance at all."""
    operator, judge = instance.operator, instance.judge
    relaxation = operator.relax(x, lower_choice)
    lines = [
        values.expand(x.shape).tolist()
        for values in (
            relaxation.lower_slope,
            relaxation.lower_intercept,
            relaxation.upper_slope,
            relaxation.upper_intercept,
        )
    ]
    points = points_of(x, operator.kinks, random)
    for row in points.tolist():
        for p, below, under, above, over in zip(row, *lines, strict=True):
            value = judge.value(p)
            assert exact.line(below, under, p) <= value.high, f"{instance}: lower line at {p!r}"
            assert value.low <= exact.line(above, over, p), f"{instance}: upper line at {p!r}"
    return 2 * points.numel()


def relaxation_touches(instance: ActivationInstance, x: Interval) -> int:
    """Each line meets the function at an end, at 0 or in the middle (tangents and chords)."""
    usable = x.magnitude <= TOUCH_LIMIT
    x = Interval(x.lower[usable], x.upper[usable])
    relaxation = instance.operator.relax(x)
    zero = torch.zeros_like(x.lower).clamp(x.lower, x.upper)
    points = torch.stack([x.lower, x.upper, x.center, zero])
    values = instance.operator.evaluate(points)
    scale = TOUCH * (1.0 + x.magnitude)
    above = relaxation.upper_slope * points + relaxation.upper_intercept - values
    below = values - relaxation.lower_slope * points - relaxation.lower_intercept
    assert bool((above.amin(0) <= scale).all()), f"{instance}: the upper line touches nowhere"
    assert bool((below.amin(0) <= scale).all()), f"{instance}: the lower line touches nowhere"
    return 2 * x.lower.numel()


def slopes_are_in_the_gate(instance: ActivationInstance, x: Interval) -> int:
    """Relaxations use slopes of the gate only: rounding slacks are computed from its range."""
    gate, relaxation = instance.operator.gate(x), instance.operator.relax(x)
    for slope in (relaxation.lower_slope, relaxation.upper_slope):
        assert bool(gate.contains(slope.expand(x.shape)).all()), f"{instance}: slope not in gate"
    return 2 * x.lower.numel()


def derivative_is_autograd(instance: ActivationInstance, x: Tensor) -> int:
    """The derivative is torch's own, away from kinks; the search's smooth one is in the gate."""
    operator = instance.operator
    for kink in operator.kinks:
        x = x[x != kink]
    operand = x.clone().requires_grad_()
    operator.evaluate(operand).sum().backward()
    derivative = operator.derivative(x)
    assert derivative.dtype == x.dtype
    torch.testing.assert_close(derivative, operand.grad, rtol=1e-12, atol=1e-15)
    everywhere = operator.gate(Interval(torch.full_like(x, -1e9), torch.full_like(x, 1e9)))
    for width in (1.0, 1e-3):
        smooth = operator.smooth_derivative(x, width)
        assert bool((everywhere.lower - 1e-15 <= smooth).all()), f"{instance}: smooth, below"
        assert bool((smooth <= everywhere.upper + 1e-15).all()), f"{instance}: smooth, above"
    return 5 * x.numel()


def refuses_bad_ends(instance: ActivationInstance) -> int:
    """NaN is no interval; infinite ends have a sound range and gate, but no relaxation."""
    for ends in ((torch.nan, 1.0), (0.0, torch.nan), (torch.nan, torch.nan)):
        try:
            Interval(*(torch.tensor([end], dtype=DTYPE) for end in ends))
        except InvertedInterval:
            continue
        raise AssertionError("NaN passes as an interval")
    ends = torch.tensor([[-torch.inf, -1.0, -torch.inf], [torch.inf, torch.inf, 2.0]], dtype=DTYPE)
    x = Interval(ends[0], ends[1])
    result, gate = instance.operator.interval(x), instance.operator.gate(x)
    for p in (-1e300, -40.0, -1.0, -0.5, 0.0, 0.5, 2.0, 40.0, 1e300):
        inside = x.contains(torch.tensor(p, dtype=DTYPE))
        value = instance.operator.evaluate(torch.tensor([p], dtype=DTYPE))
        slope = instance.operator.derivative(torch.tensor([p], dtype=DTYPE))
        assert bool((result.contains(value) | ~inside).all()), f"{instance}: range to infinity"
        assert bool((gate.contains(slope) | ~inside).all()), f"{instance}: gate to infinity"
    try:
        instance.operator.relax(x)
    except OutOfDomain:
        return 22
    raise AssertionError(f"{instance}: a relaxation on an infinite interval")
