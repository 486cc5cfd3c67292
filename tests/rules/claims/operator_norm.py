"""What bounds of operator norms claim, judged by enumeration in exact arithmetic.

max ||J x||_q over ||x||_p <= 1 is attained at an extreme point of the ball of p (p = 1, inf) or,
for the transpose, at one of the dual ball of q (q = inf, 1). Only 2 -> 2 needs another judge:
t >= ||J|| if and only if t^2 - J^T J has no negative eigenvalue.
"""

from fractions import Fraction
from itertools import product

import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.norms import NORMS, AbstractNorm, operator_norm
from lipverify.numerics import DTYPE
from tests.rules import exact
from tests.rules.cases import part_of
from tests.rules.instances import Matrix

PAIRS = [(p, q) for p in NORMS.values() for q in NORMS.values()]
EXACT_UPPER = {pair for pair in product(("1", "2", "inf"), repeat=2)} - {
    ("2", "2"),
    ("inf", "1"),
    ("inf", "2"),
    ("2", "1"),
}
"""Where the upper bound of a point matrix is its norm: p = 1, or q = inf."""

TIGHT = 1e-12


def matrices(rows: int, columns: int, random: torch.Generator, *, spread: float = 0.3) -> Interval:
    """An uncertain matrix: wide, thin or a point; some entries 0; sometimes of extreme size."""
    center = torch.randn(rows, columns, generator=random, dtype=DTYPE)
    kind = int(torch.randint(0, 6, (), generator=random))
    if kind == 0:
        center = center.round()
    if kind == 1:
        center = center * 10.0 ** float(torch.randint(-300, 300, (), generator=random))
    if kind == 2:
        center = center * (torch.rand(rows, columns, generator=random) < 0.5)
    share = spread * torch.rand(rows, columns, generator=random, dtype=DTYPE)
    share = share * (torch.rand(rows, columns, generator=random) < 0.7)
    return Interval(center - share * center.abs(), center + share * center.abs())


def powers(values: list[Fraction], name: str) -> Fraction:
    """The norm of a vector; its square for the euclidean one."""
    if name == "2":
        return sum((value * value for value in values), Fraction(0))
    magnitudes = [abs(value) for value in values]
    return sum(magnitudes, Fraction(0)) if name == "1" else max(magnitudes)


DUAL = {"1": "inf", "inf": "1", "2": "2"}


def _candidates(matrix: Matrix, p: str, q: str) -> tuple[list[list[Fraction]], str]:
    """Images whose norms of that name hold the operator norm among them."""
    columns = exact.transposed(matrix)
    if p == "1":
        return columns, q
    if q == "inf":
        return matrix, DUAL[p]
    if p == "inf":
        signs = product((-1, 1), repeat=len(columns))
        return [exact.apply(matrix, [Fraction(s) for s in sign]) for sign in signs], q
    signs = product((-1, 1), repeat=len(matrix))
    return [exact.apply(columns, [Fraction(s) for s in sign]) for sign in signs], DUAL[p]


def is_above(bound: float, matrix: Matrix, p: str, q: str, *, strictly: bool = False) -> bool:
    """Whether bound >= the norm of the matrix (or >), exactly."""
    if bound == torch.inf:
        return True
    t = Fraction(bound)
    if (p, q) == ("2", "2"):
        columns = exact.transposed(matrix)
        gram = [[exact.dot(a, b) for b in columns] for a in columns]
        for i, row in enumerate(gram):
            gram[i] = [(t * t if i == j else 0) - entry for j, entry in enumerate(row)]
        return t >= 0 and exact.is_positive_definite(gram)
    images, name = _candidates(matrix, p, q)
    power = max(powers(image, name) for image in images)
    target = t * t if name == "2" else t
    return target > power if strictly else t >= 0 and target >= power


def bounds_hold(
    jacobian: Interval, p: AbstractNorm, q: AbstractNorm, random: torch.Generator
) -> int:
    """Every matrix of the interval (corners, ends, random ones) has its norm within the bounds."""
    low, high = operator_norm.lower(jacobian, p, q), operator_norm.upper(jacobian, p, q)
    assert 0.0 <= low <= high, f"{p.name}->{q.name}: [{low}, {high}]"
    corner = torch.rand(jacobian.shape, generator=random) < 0.5
    samples = [
        jacobian.lower,
        jacobian.upper,
        torch.where(corner, jacobian.lower, jacobian.upper),
        torch.where(jacobian.lower.abs() > jacobian.upper.abs(), jacobian.lower, jacobian.upper),
        torch.zeros_like(jacobian.lower).clamp(jacobian.lower, jacobian.upper),
        part_of(jacobian, random).lower,
    ]
    for sample in samples:
        matrix = exact.rows(sample)
        assert is_above(high, matrix, p.name, q.name), f"{p.name}->{q.name}: above {high}: {sample}"
        if low > 0:
            assert not is_above(low, matrix, p.name, q.name, strictly=True), (
                f"{p.name}->{q.name}: the norm is below {low}: {sample}"
            )
    return 2 * len(samples)


def bounds_are_tight(matrix: Tensor, p: AbstractNorm, q: AbstractNorm) -> int:
    """For a point matrix, the pairs with p = 1 or q = inf, and 2 -> 2, meet their exact norm."""
    point = Interval(matrix, matrix)
    low, high = operator_norm.lower(point, p, q), operator_norm.upper(point, p, q)
    if (p.name, q.name) in EXACT_UPPER:
        assert high - low <= TIGHT * high + 1e-300, f"{p.name}->{q.name}: [{low}, {high}]"
        return 1
    if p.name == q.name == "2":
        largest = float(torch.linalg.svdvals(matrix)[0])
        assert abs(high - largest) <= 1e-11 * largest + 1e-300, f"2->2: {high} for {largest}"
        assert abs(largest - low) <= 1e-11 * largest + 1e-300, f"2->2: {low} for {largest}"
        return 2
    magnitude = matrix.abs()
    absolute = Interval(magnitude, magnitude)
    high = operator_norm.upper(absolute, p, q)
    assert not is_above(high * (1 - TIGHT) - 1e-300, exact.rows(magnitude), p.name, q.name), (
        f"{p.name}->{q.name}: the bound is not the norm of |J|"
    )
    return 1


def batch_is_as_one(jacobians: list[Interval], p: AbstractNorm, q: AbstractNorm) -> int:
    """uppers of several intervals of matrices are the upper bounds of each."""
    together = Interval(
        torch.stack([jacobian.lower for jacobian in jacobians]),
        torch.stack([jacobian.upper for jacobian in jacobians]),
    )
    highs = operator_norm.uppers(together, p, q).tolist()
    for jacobian, high in zip(jacobians, highs, strict=True):
        alone = operator_norm.upper(jacobian, p, q)
        # The spectral norms of a batch may be summed in another order.
        assert high == alone or abs(high - alone) <= TIGHT * alone, f"{p.name}->{q.name}: {high}"
        if high < torch.inf:
            corner = exact.rows(jacobian.upper)
            assert is_above(high, corner, p.name, q.name), f"{p.name}->{q.name}: {high}"
    return 2 * len(jacobians)


def rows_bound_the_norm(matrix: Tensor, p: AbstractNorm, q: AbstractNorm) -> int:
    """from_rows of the rows' dual norms is above the operator norm."""
    rows = torch.nextafter(p.dual.of(matrix), torch.tensor(torch.inf, dtype=DTYPE))
    high = operator_norm.from_rows(rows * (1 + 1e-14), q)
    assert is_above(high, exact.rows(matrix), p.name, q.name), f"{p.name}->{q.name}: from rows"
    return 1


def attained_is_attained(jacobians: Tensor, p: AbstractNorm, q: AbstractNorm) -> int:
    """The reported value is c.J v of unit c and v, is below the upper bound, and is often exact."""
    values, c, v = operator_norm.attained(jacobians, p, q)
    assert bool(((p.of(v) - 1).abs() <= 1e-12).all()), f"{p.name}->{q.name}: v is not unit"
    assert bool(((q.dual.of(c) - 1).abs() <= 1e-12).all()), f"{p.name}->{q.name}: c is not unit"
    product = torch.einsum("bm,bmn,bn->b", c, jacobians, v)
    scale = 1e-12 * jacobians.abs().sum((1, 2)) + 1e-300
    assert bool(((values - product).abs() <= scale).all()), f"{p.name}->{q.name}: not c.J v"
    for value, jacobian, slack in zip(values.tolist(), jacobians, scale.tolist(), strict=True):
        high = operator_norm.upper(Interval(jacobian, jacobian), p, q)
        assert value <= high + slack, f"{p.name}->{q.name}: {value} above {high}"
        if (p.name, q.name) in EXACT_UPPER:
            assert value >= high - slack - 1e-12 * high, f"{p.name}->{q.name}: not exact"
    return 4 * len(values)
