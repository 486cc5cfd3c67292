"""Counterexamples and attained values, evaluated exactly on the stored weights (README 5)."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from lipverify.checker.activations import SLOPE, Pieces, Span, TwoSlopes
from lipverify.checker.errors import Rejected
from lipverify.checker.exact import at, common, counted, down, scalar, up
from lipverify.checker.forward import Problem
from lipverify.checker.network import Affine
from lipverify.checker.objectives import Clause, Property, Slope

Range = tuple[list[Fraction], list[Fraction]]
"""Ends of enclosures; equal where the value is exact."""


def confirm(
    problem: Problem,
    asked: Property,
    kind: str,
    entry: Mapping[str, Any],
    witness: Mapping[str, Any],
) -> str:
    """What the points show, in words; `Rejected` if they do not show it."""
    inputs = problem.network.inputs
    points = [
        [Fraction(x) for x in counted(text, inputs, "witness point")] for text in witness["points"]
    ]
    for number, point in enumerate(points):
        if not problem.region.contains(point):
            raise Rejected(f"witness point {number} is not in the region")
    if asked.kind == "lipschitz":
        return _steep(problem, asked, kind, entry, witness, points)
    if kind != "falsified":
        raise Rejected("only Lipschitz constants have attained values")
    number = witness.get("objective", 0)
    if number >= len(asked.objectives):
        raise Rejected(f"witness: there are {len(asked.objectives)} objectives")
    goal = asked.objectives[number]
    if isinstance(goal, Clause):
        if len(points) != 1:
            raise Rejected("witness: expected one point")
        rows = _apply(goal.coefficients, _outputs(problem, points[0]))
        for place, (value, offset, strict) in enumerate(
            zip(rows[1], goal.offsets, goal.strict, strict=True)
        ):
            if value + offset > 0 or (strict and value + offset == 0):
                raise Rejected(
                    f"witness: row {place} is {float(value + offset):.9g}, which is not unsafe"
                )
        return f"the point is unsafe: clause {number} holds there"
    assert isinstance(goal, Slope)
    if len(points) != 2:
        raise Rejected("witness: expected two points")
    step = [b - a for a, b in zip(*points, strict=True)]
    if any(x for j, x in enumerate(step) if j != goal.input) or step[goal.input] <= 0:
        raise Rejected(
            f"witness: the second point has to lie above the first in input {goal.input} alone"
        )
    first, second = (_apply(asked.rows, _outputs(problem, point)) for point in points)
    rise = (second[0][0] - first[1][0], second[1][0] - first[0][0])
    least = rise[0] if goal.sign > 0 else -rise[1]
    if not least > asked.exact_threshold * step[goal.input]:
        raise Rejected("witness: the two points do not break the inequality")
    by = float(step[goal.input])
    return f"the output changes by {float(rise[0]):.9g} where input {goal.input} rises by {by:.9g}"


def _steep(
    problem: Problem,
    asked: Property,
    kind: str,
    entry: Mapping[str, Any],
    witness: Mapping[str, Any],
    points: list[list[Fraction]],
) -> str:
    """||R f(x) - R f(x')|| or ||R J d|| against a multiple of the input's norm."""
    norm, output_norm = entry["input_norm"], entry["output_norm"]
    if kind == "attained":
        if "at_least" not in witness:
            raise Rejected("witness: lacks at_least")
        factor = Fraction(scalar(witness["at_least"], "at_least"))
    else:
        factor = asked.exact_threshold
    if len(points) == 2:
        low, high = (_apply(asked.rows, _outputs(problem, point)) for point in points)
        change = (
            [b - a for a, b in zip(low[1], high[0], strict=True)],
            [b - a for a, b in zip(low[0], high[1], strict=True)],
        )
        step = [b - a for a, b in zip(*points, strict=True)]
    else:
        if "direction" not in witness:
            raise Rejected("witness: one point needs a direction")
        step = [Fraction(x) for x in counted(witness["direction"], len(points[0]), "direction")]
        if not any(_feasible(problem, points[0], [sign * x for x in step]) for sign in (1, -1)):
            raise Rejected("witness: the direction leads out of the region both ways")
        change = _apply(asked.rows, _derivative(problem, points[0], step))
    if not any(step):
        raise Rejected("witness: the points are one")
    least = [max(a, -b, Fraction(0)) for a, b in zip(*change, strict=True)]
    # Powers of norms: no root is needed to compare.
    top, bottom = _power(least, output_norm), _power(step, norm)
    if output_norm == "2" and norm != "2":
        bottom **= 2
    if norm == "2" and output_norm != "2":
        top **= 2
    scale = factor**2 if "2" in (norm, output_norm) else factor
    if factor >= 0 and not (top > scale * bottom or (kind == "attained" and top == scale * bottom)):
        raise Rejected(f"witness: the quotient there does not reach {float(factor):.9g}")
    least = "of at least" if kind == "attained" else "above"
    return f"a Lipschitz constant {least} {float(factor):.9g} is attained"


def _power(vector: Sequence[Fraction], norm: str) -> Fraction:
    """The norm; squared for norm 2."""
    sizes = [abs(x) for x in vector]
    if norm == "inf":
        return max(sizes)
    return sum((x * x for x in sizes) if norm == "2" else sizes, Fraction(0))


def _feasible(problem: Problem, point: Sequence[Fraction], step: Sequence[Fraction]) -> bool:
    """Whether point + t step is in the region for small t > 0."""
    region = problem.region
    if region.ball is not None:
        if region.depth(list(point)) <= 0 or any(
            x and not r for x, r in zip(step, region.ball.radius, strict=True)
        ):
            return False
    if region.exact is None:
        return True
    return all(
        (d <= 0 or x < high) and (d >= 0 or x > low)
        for x, d, low, high in zip(point, step, *region.exact, strict=True)
    )


def _apply(rows: Sequence[Sequence[Fraction]], values: Range) -> Range:
    """Rows times a vector of enclosures."""
    lower, upper = values
    ends = [
        (
            sum(
                (w * (a if w > 0 else b) for w, a, b in zip(row, lower, upper, strict=True)),
                Fraction(0),
            ),
            sum(
                (w * (b if w > 0 else a) for w, a, b in zip(row, lower, upper, strict=True)),
                Fraction(0),
            ),
        )
        for row in rows
    ]
    return [a for a, _ in ends], [b for _, b in ends]


def _map(form: Affine, values: Mapping[int, Range], constants: bool) -> Range:
    """The affine map, exactly, on enclosures of its sources."""
    bias = form.bias if constants else [Fraction(0)] * form.size
    spread = form.bias_blur if constants else [Fraction(0)] * form.size
    lower = [b - s for b, s in zip(bias, spread, strict=True)]
    upper = [b + s for b, s in zip(bias, spread, strict=True)]
    for source, matrix in form.parts.items():
        low, high = values[source]
        bits = common([low, high])
        twice = [a + b for a, b in zip(at(low, bits), at(high, bits), strict=True)]
        width = [b - a for a, b in zip(at(low, bits), at(high, bits), strict=True)]
        middle = matrix.transposed.after([twice])[0]
        radius = matrix.magnitude.transposed.after([width])[0] if any(width) else [0] * form.size
        one = 1 << (bits + matrix.bits + 1)
        extra = [0] * form.size
        if source in form.blur:
            reach = at([max(abs(a), abs(b)) for a, b in zip(low, high, strict=True)], bits)
            blur = form.blur[source]
            extra = [
                Fraction(x, 1 << (bits + blur.bits)) for x in blur.transposed.after([reach])[0]
            ]
        for i, (m, r) in enumerate(zip(middle, radius, strict=True)):
            lower[i] += Fraction(m - r, one) - extra[i]
            upper[i] += Fraction(m + r, one) + extra[i]
    return lower, upper


def _forward(problem: Problem, point: list[Fraction]) -> tuple[list[Range], Range]:
    """Enclosures of all preactivations, and of the outputs."""
    network, bits = problem.network, problem.bits
    values: dict[int, Range] = {-1: (point, point)}
    found = []
    for layer, (form, function) in enumerate(zip(network.layers, network.activations, strict=True)):
        lower, upper = _map(form, values, True)
        found.append((lower, upper))
        if isinstance(function, TwoSlopes | Pieces) and lower == upper:
            exact = [function.exact(z) for z in lower]
            values[layer] = exact, exact
        else:
            spans = [
                function.range(Span(down(a, bits), up(b, bits)), bits)
                for a, b in zip(lower, upper, strict=True)
            ]
            values[layer] = (
                [Fraction(s.lower, 1 << bits) for s in spans],
                [Fraction(s.upper, 1 << bits) for s in spans],
            )
    return found, _map(network.output, values, True)


def _outputs(problem: Problem, point: list[Fraction]) -> Range:
    return _forward(problem, point)[1]


def _derivative(problem: Problem, point: list[Fraction], step: list[Fraction]) -> Range:
    """The outputs' derivative along `step`; no preactivation may be at a kink."""
    network, bits = problem.network, problem.bits
    preactivations, _ = _forward(problem, point)
    values: dict[int, Range] = {-1: (step, step)}
    for layer, (form, function) in enumerate(zip(network.layers, network.activations, strict=True)):
        lower, upper = _map(form, values, False)
        made: list[tuple[Fraction, Fraction]] = []
        for a, b, low, high in zip(*preactivations[layer], lower, upper, strict=True):
            if isinstance(function, TwoSlopes | Pieces):
                slope = function.slope_at(a)
                if (
                    slope is None
                    or slope != function.slope_at(b)
                    or any(a <= kink <= b for kink in _kinks(function))
                ):
                    raise Rejected(f"witness: a preactivation of layer {layer} is at a kink")
                slopes = slope, slope
            else:
                gate = function.gate(Span(down(a, bits), up(b, bits)), bits)
                slopes = Fraction(gate.lower, 1 << SLOPE), Fraction(gate.upper, 1 << SLOPE)
            corners = [s * end for s in slopes for end in (low, high)]
            made.append((min(corners), max(corners)))
        values[layer] = [low for low, _ in made], [high for _, high in made]
    return _map(network.output, values, False)


def _kinks(function: TwoSlopes | Pieces) -> Sequence[Fraction]:
    return (
        function.kinks
        if isinstance(function, Pieces)
        else (Fraction(0),)
        if function.below != function.above
        else ()
    )
