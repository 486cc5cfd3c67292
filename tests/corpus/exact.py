"""All linear pieces of a tiny network on a region, enumerated in rational arithmetic.

What a piece is: a part of the region with an interior (relative to the region). Where inputs are
fixed (zero width) at a kink, both sides' derivatives are kept and the leaf is `ambiguous`: no
derivative by that input exists, and the constant is only known to lie in an interval.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import product
from math import isqrt

from tests.corpus.net import INPUT, Net, Step
from tests.corpus.pieces import AFFINE, ENTRYWISE, LARGEST, Forms, scaled
from tests.corpus.polytope import Cell, Form, Point, value
from tests.corpus.regions import Region, box_cell

DIGITS = 10**60
BESIDE = Fraction(1, 2**20)
"""How far around a point its pieces are looked for: few others are met there."""
Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True)
class Exact:
    """A real number, enclosed by rationals; low == high where it is rational."""

    low: Fraction
    high: Fraction

    @staticmethod
    def of(number: Fraction) -> "Exact":
        return Exact(number, number)

    def join(self, other: "Exact") -> "Exact":
        """The larger of both numbers."""
        return Exact(max(self.low, other.low), max(self.high, other.high))

    def hull(self, other: "Exact") -> "Exact":
        return Exact(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Leaf:
    """outputs = forms of x on `cell`."""

    cell: Cell
    outputs: Forms
    ambiguous: bool

    def jacobian(self, rows: Matrix | None = None) -> Matrix:
        """[r, n] of rows . f (default: of the outputs)."""
        if rows is None:
            return tuple(form[1:] for form in self.outputs)
        slopes = tuple(zip(*(form[1:] for form in self.outputs), strict=True))
        return tuple(tuple(_dot(row, column) for column in slopes) for row in rows)


@dataclass(frozen=True, eq=False)
class Judge:
    """The exact answers about a piecewise linear `net` on `region`."""

    net: Net
    region: Region
    moving: tuple[bool, ...] = field(init=False)

    def __post_init__(self) -> None:
        points = self.region.cell().points
        moves = tuple(len({p[i] for p in points}) > 1 for i in range(self.net.inputs))
        object.__setattr__(self, "moving", moves)

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        found = tuple(_explore(self.net, self.region.cell()))
        assert found, "the pieces cover the region"
        return found

    def norm(self, input_norm: str, output_norm: str, rows: Matrix | None = None) -> Exact:
        """The largest operator norm of the Jacobian over the pieces.

        On an ambiguous leaf, between that by the moving inputs alone, and that of the derivatives
        of all pieces of R^n around it.
        """
        total = Exact.of(Fraction(0))
        for leaf in self.leaves:
            jacobian = leaf.jacobian(rows)
            if leaf.ambiguous:
                least = operator_norm(self._moving_part(jacobian), input_norm, output_norm)
                most = self.norm_at(leaf.cell.middle, input_norm, output_norm, rows)
                total = total.join(Exact(least.low, most.high))
            else:
                total = total.join(operator_norm(jacobian, input_norm, output_norm))
        return total

    def _moving_part(self, jacobian: Matrix) -> Matrix:
        return tuple(
            tuple(a if m else Fraction(0) for a, m in zip(row, self.moving, strict=True))
            for row in jacobian
        )

    def slopes(self, output: int, index: int) -> tuple[Exact, Exact]:
        """The least and the largest derivative of an output by an input that moves."""
        assert self.moving[index]
        found = [leaf.outputs[output][1 + index] for leaf in self.leaves]
        return Exact.of(min(found)), Exact.of(max(found))

    def least_margin(self, label: int) -> Exact:
        """min over the region of f_label - f_j, j another output; not for l2 balls."""
        assert self.region.cell().ball is None
        return Exact.of(
            min(
                value(leaf.outputs[label], point) - value(form, point)
                for leaf in self.leaves
                for point in leaf.cell.points
                for j, form in enumerate(leaf.outputs)
                if j != label
            )
        )

    def norm_at(
        self, x: Point, input_norm: str, output_norm: str, rows: Matrix | None = None
    ) -> Exact:
        """The largest norm of the derivatives of all pieces of R^n that hold the point."""
        found = Exact.of(Fraction(0))
        for leaf in _around(self.net, x):
            found = found.join(operator_norm(leaf.jacobian(rows), input_norm, output_norm))
        return found

    def outputs_at(self, x: Point) -> list[Exact]:
        return [Exact.of(number) for number in evaluate(self.net, x)]


def operator_norm(jacobian: Matrix, input_norm: str, output_norm: str) -> Exact:
    """max |J v| in the output norm over |v| <= 1 in the input norm."""
    if input_norm == "1":
        return _largest(zip(*jacobian, strict=True), output_norm)
    if output_norm == "inf":
        return _largest(jacobian, {"inf": "1", "2": "2"}[input_norm])
    if input_norm == "inf":
        signs = product((-1, 1), repeat=len(jacobian[0]))
        images = ([_dot(row, sign) for row in jacobian] for sign in signs)
        return _largest(images, output_norm)
    if output_norm == "1":  # l2 -> l1 is the transpose's linf -> l2
        return operator_norm(tuple(zip(*jacobian, strict=True)), "inf", "2")
    assert len(jacobian) <= 2, "l2 -> l2 is worked out for two rows"
    if len(jacobian) == 1:
        return _largest(jacobian, "2")
    (a, b), (_, d) = [[_dot(p, q) for q in jacobian] for p in jacobian]
    root = square_root((a - d) ** 2 + 4 * b * b)
    return Exact(square_root((a + d + root.low) / 2).low, square_root((a + d + root.high) / 2).high)


def square_root(number: Fraction) -> Exact:
    """Rationals around the root, and the root itself if it is rational."""
    top, bottom = isqrt(number.numerator), isqrt(number.denominator)
    if top * top == number.numerator and bottom * bottom == number.denominator:
        return Exact.of(Fraction(top, bottom))
    # Scaled so that the integer root has about as many digits as `DIGITS`.
    shift = max(0, number.denominator.bit_length() - number.numerator.bit_length())
    unit = DIGITS << (shift // 2 + 1)
    low = isqrt(number.numerator * unit * unit // number.denominator)
    return Exact(Fraction(low, unit), Fraction(low + 1, unit))


def _largest(vectors: object, norm: str) -> Exact:
    found = Exact.of(Fraction(0))
    for vector in vectors:  # type: ignore[attr-defined]
        sizes = [abs(v) for v in vector]
        match norm:
            case "inf":
                found = found.join(Exact.of(max(sizes)))
            case "1":
                found = found.join(Exact.of(sum(sizes, Fraction(0))))
            case "2":
                found = found.join(square_root(sum((s * s for s in sizes), Fraction(0))))
    return found


def _dot(a: Sequence[Fraction], b: Sequence[Fraction | int]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def evaluate(net: Net, x: Point) -> list[Fraction]:
    """f(x): constant forms have one piece each."""
    values: dict[str, Forms] = {INPUT: tuple((v,) for v in x)}
    for step in net.steps:
        operands = [values[name] for name in step.inputs]
        if step.op in AFFINE:
            values[step.name] = AFFINE[step.op](step, *operands)
        elif step.op in ENTRYWISE:
            values[step.name] = tuple((_apply(step, form[0]),) for form in operands[0])
        else:
            groups, sign = LARGEST[step.op]
            found = groups(step, *operands)
            values[step.name] = tuple((sign * max(sign * f[0] for f in g),) for g in found)
    return [form[0] for form in values[net.steps[-1].name]]


def _apply(step: Step, z: Fraction) -> Fraction:
    kinks, pieces = ENTRYWISE[step.op](step)
    slope, intercept = pieces[sum(z > kink for kink in kinks)]
    return slope * z + intercept


def _explore(net: Net, region: Cell) -> Iterator[Leaf]:
    unit = tuple(
        tuple(Fraction(int(k == i)) for k in range(-1, net.inputs)) for i in range(net.inputs)
    )
    yield from _steps(net, 0, {INPUT: unit}, region, False)


def _steps(
    net: Net, place: int, values: dict[str, Forms], cell: Cell, ambiguous: bool
) -> Iterator[Leaf]:
    if place == len(net.steps):
        yield Leaf(cell, values[net.steps[-1].name], ambiguous)
        return
    step = net.steps[place]
    operands = [values[name] for name in step.inputs]
    if step.op in AFFINE:
        value_ = AFFINE[step.op](step, *operands)
        yield from _steps(net, place + 1, {**values, step.name: value_}, cell, ambiguous)
        return
    if step.op in ENTRYWISE:
        choices = [_pieces(step, form) for form in operands[0]]
    else:
        groups, sign = LARGEST[step.op]
        choices = [_candidates(group, sign) for group in groups(step, *operands)]
    for forms, part, unclear in _choose(choices, 0, cell):
        known = {**values, step.name: forms}
        yield from _steps(net, place + 1, known, part, ambiguous or unclear)


Choice = tuple[Form, list[Form]]
"""What an entry is, where these forms are >= 0."""


def _pieces(step: Step, form: Form) -> list[Choice]:
    kinks, lines = ENTRYWISE[step.op](step)
    found = []
    for k, (slope, intercept) in enumerate(lines):
        above = [scaled(form, Fraction(1), -kinks[k - 1])] if k > 0 else []
        below = [scaled(form, Fraction(-1), kinks[k])] if k < len(kinks) else []
        found.append((scaled(form, slope, intercept), above + below))
    return found


def _candidates(group: Forms, sign: int) -> list[Choice]:
    different = list(dict.fromkeys(group))
    return [
        (best, [_difference(best, other, sign) for other in different if other is not best])
        for best in different
    ]


def _difference(a: Form, b: Form, sign: int) -> Form:
    return tuple(sign * (p - q) for p, q in zip(a, b, strict=True))


def _choose(
    choices: list[list[Choice]], entry: int, cell: Cell
) -> Iterator[tuple[Forms, Cell, bool]]:
    if entry == len(choices):
        yield (), cell, False
        return
    seen = set()
    for form, walls in choices[entry]:
        part: Cell | None = cell
        unclear = False
        for wall in walls:
            if part is None:
                break
            if part.is_constant(wall):
                level = value(wall, part.points[0])
                part = None if level < 0 else part
                unclear = unclear or (level == 0 and any(wall[1:]))
            else:
                part = part.cut(wall)
        # At a kink on the whole cell both sides may be one function: then nothing is unclear.
        if part is None or (form in seen and part is cell):
            continue
        seen.add(form)
        for rest, smaller, also in _choose(choices, entry + 1, part):
            yield (form, *rest), smaller, unclear or also


def _around(net: Net, x: Point) -> Iterator[Leaf]:
    """The pieces that a box around the point meets and that hold the point."""
    around = box_cell(tuple(v - BESIDE for v in x), tuple(v + BESIDE for v in x))
    for leaf in _explore(net, around):
        if leaf.cell.holds(x):
            yield leaf
