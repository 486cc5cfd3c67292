"""What every affine operator claims. Each function raises AssertionError, or counts its checks."""

from fractions import Fraction

import torch
from torch import Tensor

from lipverify.errors import NumericalFailure, OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import DTYPE, SMALLEST, UNIT_ROUNDOFF, gamma
from lipverify.operators import AffineOperator
from tests.rules import exact
from tests.rules.cases import LARGEST, numbers, part_of
from tests.rules.instances import AffineInstance, Matrix

BATCH = 2
TOLERANCE = 1e-12
"""For comparing two float results of the same sums of products, relative to their magnitude."""


def operands(instance: AffineInstance, random: torch.Generator) -> list[Interval]:
    """One interval [batch, *shape] per operand: wide, thin, points, awkward numbers, huge ones."""
    found = []
    for shape in instance.shapes:
        full = (BATCH, *shape)
        size = BATCH * int(torch.tensor(shape).prod())
        exponent = float(torch.randint(-6, 7, (), generator=random))
        if float(torch.rand((), generator=random)) < 0.15:
            exponent = float(torch.randint(-330, 250, (), generator=random))
        center = torch.randn(full, generator=random, dtype=DTYPE) * 10.0**exponent
        radius = torch.rand(full, generator=random, dtype=DTYPE) * 10.0**exponent
        share = 10.0 ** (-18 * torch.rand(full, generator=random, dtype=DTYPE))
        kind = torch.randint(0, 4, full, generator=random)
        radius = torch.where(kind == 0, 0.0, torch.where(kind == 1, share * radius, radius))
        lower, upper = center - radius, center + radius
        wild = numbers(size, random).reshape(full).clamp(-1e150, 1e150)
        use_wild = torch.rand(full, generator=random) < 0.1
        lower, upper = torch.where(use_wild, wild, lower), torch.where(use_wild, wild, upper)
        found.append(Interval(lower, upper))
    return found


def exact_range(
    instance: AffineInstance, x: list[Interval], entry: int
) -> tuple[list[Fraction], list[Fraction], list[Fraction]]:
    """The exact least and largest values of batch entry `entry`, and the sum of magnitudes."""
    size = len(instance.matrices[0])
    constant = instance.constant or [Fraction(0)] * size
    low, high, reach = list(constant), list(constant), [abs(value) for value in constant]
    for matrix, operand in zip(instance.matrices, x, strict=True):
        lower = exact.fractions(operand.lower[entry])
        upper = exact.fractions(operand.upper[entry])
        for i, row in enumerate(matrix):
            for a, p, q in zip(row, lower, upper, strict=True):
                if a:
                    low[i] += a * (p if a > 0 else q)
                    high[i] += a * (q if a > 0 else p)
                    reach[i] += abs(a) * max(abs(p), abs(q))
    return low, high, reach


def interval_is_exact(instance: AffineInstance, random: torch.Generator) -> int:
    """interval(x) holds the exact range of the real operator, and exceeds it by rounding only."""
    x = operands(instance, random)
    result = instance.operator.interval(*x)
    assert result.shape == (BATCH, *instance.output_shape), f"{instance}: shape of the result"
    terms = instance.operator.terms + instance.operator.arity + 8
    slack = Fraction(8 * gamma(terms))
    # A subnormal centre is off by a unit of its own, which a large weight magnifies.
    weights = [
        sum(abs(a) for matrix in instance.matrices for a in matrix[i])
        for i in range(len(instance.matrices[0]))
    ]
    units = [8 * Fraction(SMALLEST) * (1 + weight) for weight in weights]
    count = 0
    for entry in range(BATCH):
        low, high, reach = exact_range(instance, x, entry)
        lower = exact.fractions(result.lower[entry])
        upper = exact.fractions(result.upper[entry])
        for a, b, p, q, size, unit in zip(low, high, lower, upper, reach, units, strict=True):
            assert p <= a and b <= q, f"{instance}: [{float(p)}, {float(q)}] misses the range"
            allowed = slack * size + unit
            assert a - p <= allowed and q - b <= allowed, f"{instance}: wider than rounding"
            count += 4
    return count


def interval_is_isotone(instance: AffineInstance, random: torch.Generator) -> int:
    """Parts of the operands give a part of the result, up to its rounding."""
    x = operands(instance, random)
    inner = instance.operator.interval(*(part_of(operand, random) for operand in x))
    outer = instance.operator.interval(*x)
    reach = instance.operator.absolute.evaluate(*(operand.magnitude for operand in x))
    terms = instance.operator.terms + instance.operator.arity + 8
    slack = 8 * gamma(terms) * reach + 8 * SMALLEST
    assert bool((outer.lower - slack <= inner.lower).all()), f"{instance}: not isotone below"
    assert bool((inner.upper <= outer.upper + slack).all()), f"{instance}: not isotone above"
    return 2 * inner.lower.numel()


def matrix_of(instance: AffineInstance, operator: AffineOperator, operand: int) -> Tensor:
    """The float matrix of one operand's linear part, through unit vectors: [outputs, inputs]."""
    shape = instance.shapes[operand]
    size = int(torch.tensor(shape).prod())
    units = torch.eye(size, dtype=DTYPE).reshape(size, *shape)
    return operator.linear(units, operand).reshape(size, -1).T


def linear_is_its_definition(instance: AffineInstance) -> int:
    """A, its transpose and its absolute value, entry by entry, and the constant; shapes too."""
    operator = instance.operator
    sign = [torch.ones(1, *shape, dtype=DTYPE) for shape in instance.shapes]
    assert operator.evaluate(*sign).shape[1:] == instance.output_shape, f"{instance}: shape"
    count = 0
    for operand, matrix in enumerate(instance.matrices):
        absolute = [[abs(entry) for entry in row] for row in matrix]
        count += _same(instance, "A", matrix_of(instance, operator, operand), matrix)
        count += _same(instance, "|A|", matrix_of(instance, operator.absolute, operand), absolute)
        outputs = len(matrix)
        units = torch.eye(outputs, dtype=DTYPE).reshape(outputs, *instance.output_shape)
        pulled = operator.transpose(units, operand)
        assert pulled.shape[1:] == instance.shapes[operand], f"{instance}: shape of the transpose"
        count += _same(instance, "A^T", pulled.reshape(outputs, -1), matrix)
    zeros = [torch.zeros(1, *shape, dtype=DTYPE) for shape in instance.shapes]
    constant = instance.constant or [Fraction(0)] * len(instance.matrices[0])
    assert exact.fractions(operator.evaluate(*zeros)) == constant, f"{instance}: constant"
    magnitudes = [abs(value) for value in constant]
    assert exact.fractions(operator.absolute.evaluate(*zeros)) == magnitudes, f"{instance}: |b|"
    return count + 2 * len(constant)


def _same(instance: AffineInstance, what: str, matrix: Tensor, expected: Matrix) -> int:
    for i, (row, wanted) in enumerate(zip(exact.rows(matrix), expected, strict=True)):
        for j, (entry, value) in enumerate(zip(row, wanted, strict=True)):
            # One division (of a pool's sum by its count) may be rounded.
            allowed = Fraction(UNIT_ROUNDOFF) * abs(value)
            assert abs(entry - value) <= allowed, f"{instance}: {what}[{i}, {j}] = {float(entry)}"
    return matrix.numel()


def transpose_is_adjoint(instance: AffineInstance, random: torch.Generator) -> int:
    """<A x, g> = <x, A^T g>, and A^T g is what torch.autograd pulls back."""
    count = 0
    for operand, shape in enumerate(instance.shapes):
        x = torch.randn(BATCH, *shape, generator=random, dtype=DTYPE)
        g = torch.randn(BATCH, *instance.output_shape, generator=random, dtype=DTYPE)
        image = instance.operator.linear(x, operand)
        pulled = instance.operator.transpose(g, operand)
        absolute = instance.operator.absolute
        scale = (absolute.linear(x.abs(), operand) * g.abs()).flatten(1).sum(1)
        difference = (image * g).flatten(1).sum(1) - (x * pulled).flatten(1).sum(1)
        assert bool((difference.abs() <= TOLERANCE * scale).all()), f"{instance}: no adjoint"

        def forward(value: Tensor, operand: int = operand) -> Tensor:
            return instance.operator.linear(value, operand)

        _, expected = torch.autograd.functional.vjp(forward, x, g)
        reach = absolute.transpose(g.abs(), operand)
        assert bool(((pulled - expected).abs() <= TOLERANCE * reach).all()), f"{instance}: vjp"
        count += BATCH + pulled.numel()
    return count


def terms_cover_every_sum(instance: AffineInstance) -> int:
    """`terms` is at least the number of products in any entry of A x and of A^T g."""
    terms = instance.operator.terms
    in_rows = [
        sum(1 for matrix in instance.matrices for entry in matrix[i] if entry)
        for i in range(len(instance.matrices[0]))
    ]
    in_columns = [
        sum(1 for entry in column if entry)
        for matrix in instance.matrices
        for column in exact.transposed(matrix)
    ]
    assert terms >= max(in_rows + in_columns), f"{instance}: terms = {terms}"
    return len(in_rows) + len(in_columns)


def refuses_infinite_operands(instance: AffineInstance) -> int:
    """An infinite end of any operand is OutOfDomain: centre and radius have no meaning there."""
    count = 0
    for which in range(len(instance.shapes)):
        for end in (-torch.inf, torch.inf):
            x = [_constant(shape, -1.0, 1.0) for shape in instance.shapes]
            lower, upper = x[which].lower.clone(), x[which].upper.clone()
            (lower if end < 0 else upper).view(-1)[-1] = end
            x[which] = Interval(lower, upper)
            try:
                instance.operator.interval(*x)
            except OutOfDomain:
                count += 1
                continue
            raise AssertionError(f"{instance}: bounds from an infinite operand")
    return count


def overflow_is_no_bound(instance: AffineInstance) -> int:
    """At the ends of float64: the exact range is inside, or NumericalFailure; never a NaN."""
    count = 0
    for low, high in ((-LARGEST, LARGEST), (LARGEST, LARGEST), (LARGEST / 2, LARGEST)):
        x = [_constant(shape, low, high) for shape in instance.shapes]
        try:
            result = instance.operator.interval(*x)
        except NumericalFailure:
            count += 1
            continue
        least, most, _ = exact_range(instance, x, 0)
        ends = zip(result.lower.flatten().tolist(), result.upper.flatten().tolist(), strict=True)
        for (lower, upper), a, b in zip(ends, least, most, strict=True):
            assert lower == -torch.inf or Fraction(lower) <= a, f"{instance}: overflow below"
            assert upper == torch.inf or b <= Fraction(upper), f"{instance}: overflow above"
            count += 2
    return count


def overflows(instance: AffineInstance) -> bool:
    """Whether the exact value at the largest float64 is beyond float64."""
    x = [_constant(shape, LARGEST, LARGEST) for shape in instance.shapes]
    least, most, _ = exact_range(instance, x, 0)
    return max(max(most), -min(least)) > 2 * Fraction(LARGEST)


def _constant(shape: tuple[int, ...], low: float, high: float) -> Interval:
    return Interval(
        torch.full((1, *shape), low, dtype=DTYPE), torch.full((1, *shape), high, dtype=DTYPE)
    )
