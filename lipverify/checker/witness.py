"""Counterexamples and attained values on the stored weights (README 5): a point is a box of zero
width, on whose grid a piecewise linear network is evaluated without rounding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lipverify.checker.activations import SLOPE, TwoSlopes
from lipverify.checker.errors import Rejected
from lipverify.checker.exact import at, common, counted, down, scalar, up
from lipverify.checker.forward import Known, Problem
from lipverify.checker.jacobian import Backward
from lipverify.checker.objectives import Clause, Property, Slope
from lipverify.checker.region import Region

Range = tuple[Fraction, Fraction]
"""An enclosure."""
Ends = tuple[list[int], list[int]]
"""Enclosures, at a power of two."""


@dataclass
class Point:
    """The problem on `x` alone; preactivations by layer and outputs, at its 2^-bits."""

    x: list[Fraction]
    problem: Problem
    layers: list[Ends]
    outputs: Ends


def evaluate(problem: Problem, x: list[Fraction], rows: Sequence[Sequence[Fraction]]) -> Point:
    network, bits = problem.network, problem.bits
    linear = [f for f in network.activations if isinstance(f, TwoSlopes)]
    if len(linear) == len(network.activations):  # enough bits for no rounding at all
        slopes = [Fraction(s, 1 << SLOPE) for f in linear for s in (f.below, f.above)]
        parts = [common([x]), common(rows), (common([slopes]) + 1) * len(network.forms)]
        for form in network.forms:
            parts.append(max([common([form.bias]), *(m.bits for m in form.parts.values())]))
        bits = max(bits, sum(parts))
    region = Region([down(a, bits) for a in x], [up(a, bits) for a in x], None, None)
    there = Problem(network, region, bits, problem.clock)
    values, layers = {-1: (region.lower, region.upper)}, []
    for layer in range(len(network.layers)):
        layers.append(there.interval(layer, values))
        values[layer] = there.values(layer, *layers[layer])
    return Point(x, there, layers, there.interval(len(layers), values))


def apply(row: Sequence[Fraction], ends: Ends, bits: int) -> Range:
    """A row times enclosures."""
    grid = common([row])
    entries = list(zip(at(row, grid), *ends, strict=True))
    low = sum(w * (a if w > 0 else b) for w, a, b in entries)
    high = sum(w * (b if w > 0 else a) for w, a, b in entries)
    return Fraction(low, 1 << (grid + bits)), Fraction(high, 1 << (grid + bits))


def derivative(point: Point, asked: Property, step: Sequence[Fraction]) -> list[Range]:
    """Of the rows along `step`; no preactivation may be at a kink."""
    problem = point.problem
    for layer, function in enumerate(problem.network.activations):
        for kink in (kink << problem.bits for kink in function.kinks):
            if any(low <= kink <= high for low, high in zip(*point.layers[layer], strict=True)):
                raise Rejected(f"witness: a preactivation of layer {layer} is at a kink")
    backward = Backward(Known(problem), asked.rows, True)
    rows = (backward.row(number, False).ends(-1) for number in range(len(asked.rows)))
    return [apply(step, ends, problem.bits) for ends in rows]


def confirm(
    problem: Problem,
    asked: Property,
    kind: str,
    entry: Mapping[str, Any],
    witness: Mapping[str, Any],
) -> tuple[str, list[list[float]]]:
    """What the points show, in words, and the outputs there; `Rejected` if they do not show it."""
    points: list[Point] = []
    for number, text in enumerate(witness["points"]):
        x = [Fraction(a) for a in counted(text, problem.network.inputs, "witness point")]
        if not problem.region.contains(x):
            raise Rejected(f"witness point {number} is not in the region")
        points.append(evaluate(problem, x, asked.rows))
    outputs = [
        [
            float(Fraction(a + b, 2 << point.problem.bits))
            for a, b in zip(*point.outputs, strict=True)
        ]
        for point in points
    ]
    if asked.kind == "lipschitz":
        return _steep(problem, asked, kind, entry, witness, points), outputs
    number = witness.get("objective", 0)
    if kind != "falsified" or number >= len(asked.objectives):
        raise Rejected(f"witness: {kind}, objective {number} of {len(asked.objectives)}")
    goal = asked.objectives[number]
    expected = 1 if isinstance(goal, Clause) else 2
    if len(points) != expected:
        raise Rejected(f"witness: {len(points)} points, expected {expected}")
    if isinstance(goal, Clause):
        rows = zip(goal.coefficients, goal.offsets, goal.strict, strict=True)
        for place, (row, offset, strict) in enumerate(rows):
            value = apply(row, points[0].outputs, points[0].problem.bits)[1] + offset
            if value > 0 or (strict and value == 0):
                raise Rejected(f"witness: row {place} is {float(value):.9g}, which is not unsafe")
        return f"the point is unsafe: clause {number} holds there", outputs
    assert isinstance(goal, Slope)
    step = [b - a for a, b in zip(points[0].x, points[1].x, strict=True)]
    if any(x for j, x in enumerate(step) if j != goal.input) or step[goal.input] <= 0:
        raise Rejected(
            f"witness: the second point has to lie above the first in input {goal.input} alone"
        )
    first, second = (apply(asked.rows[0], point.outputs, point.problem.bits) for point in points)
    rise = second[0] - first[1], second[1] - first[0]
    if not (rise[0] if goal.sign > 0 else -rise[1]) > asked.exact_threshold * step[goal.input]:
        raise Rejected("witness: the two points do not break the inequality")
    by = f"{float(rise[0]):.9g} where input {goal.input} rises by {float(step[goal.input]):.9g}"
    return f"the output changes by {by}", outputs


def _steep(
    problem: Problem,
    asked: Property,
    kind: str,
    entry: Mapping[str, Any],
    witness: Mapping[str, Any],
    points: list[Point],
) -> str:
    """||R f(x) - R f(x')|| or ||R J d|| against a multiple of the input's norm."""
    factor = asked.exact_threshold
    if kind == "attained":
        factor = Fraction(scalar(witness.get("at_least", ""), "at_least"))
    if len(points) == 2:
        low, high = (
            [apply(row, point.outputs, point.problem.bits) for row in asked.rows]
            for point in points
        )
        change = [(b[0] - a[1], b[1] - a[0]) for a, b in zip(low, high, strict=True)]
        step = [b - a for a, b in zip(points[0].x, points[1].x, strict=True)]
    else:
        numbers = counted(witness.get("direction", ""), problem.network.inputs, "direction")
        step = [Fraction(number) for number in numbers]
        if not any(feasible(problem.region, points[0].x, [s * x for x in step]) for s in (1, -1)):
            raise Rejected("witness: the direction leads out of the region both ways")
        change = derivative(points[0], asked, step)
    if not any(step):
        raise Rejected("witness: the points are one")
    # Squares of norms: no root is needed to compare.
    top = square([max(a, -b, Fraction(0)) for a, b in change], entry["output_norm"])
    bottom = factor * abs(factor) * square(step, entry["input_norm"])
    if not (top > bottom or (kind == "attained" and top == bottom)):
        raise Rejected(f"witness: the quotient there does not reach {float(factor):.9g}")
    least = "of at least" if kind == "attained" else "above"
    return f"a Lipschitz constant {least} {float(factor):.9g} is attained"


def square(vector: Sequence[Fraction], norm: str) -> Fraction:
    """The square of the norm."""
    sizes = [abs(x) for x in vector]
    if norm == "2":
        return sum((x * x for x in sizes), Fraction(0))
    return (max(sizes) if norm == "inf" else sum(sizes, Fraction(0))) ** 2


def feasible(region: Region, point: Sequence[Fraction], step: Sequence[Fraction]) -> bool:
    """Whether point + t step is in the region for small t > 0."""
    if region.ball and (
        region.depth(point) <= 0
        or any(x and not r for x, r in zip(step, region.ball.radius, strict=True))
    ):
        return False
    sides = zip(point, step, *region.exact, strict=True) if region.exact else ()
    return all((d <= 0 or x < high) and (d >= 0 or x > low) for x, d, low, high in sides)
