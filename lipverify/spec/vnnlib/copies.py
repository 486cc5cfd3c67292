"""Files over two copies of a network that say monotonicity, or a Lipschitz bound.

With inputs x, x' of the copies and D = x' - x, the outputs of a piecewise smooth network differ by
J D for some J in the convex hull of the Clarke Jacobians between x and x' (Lebourg's mean value
theorem). So a case that asks for w.(y' - y) + v.D + c <= 0 is without a point

- where the signs of D are known, if (w J)_i + v_i has the sign of D_i for every i (monotonicity);
- where it is asked for all v in {+-L e_i}, if the l1 norm of w J is at most L (a Lipschitz bound);
- where |D_i| <= d for all i, if that norm is less than c / d (the same).

Inputs beyond these are refused, with the line. Whether a pair of inputs satisfies a file is always
judged by the file itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lipverify.errors import SpecError
from lipverify.norms import L1, AbstractNorm, LInf
from lipverify.numerics import rounded
from lipverify.region import Box
from lipverify.spec.lipschitz import Lipschitz
from lipverify.spec.monotonicity import Monotonicity
from lipverify.spec.vnnlib.normal_form import products
from lipverify.spec.vnnlib.tree import Constraint, Layout, Number, Tree

Vector = NDArray[np.float64]

MOST_CASES = 4096
SIGN_INPUTS = 10
"""The l1 norm of D is a maximum over all sign vectors: written out for so few inputs at most."""

SUPPORTED = (
    "supported of two copies: monotonicity (inputs ordered or equal, one comparison of outputs), "
    "and Lipschitz bounds (a difference of outputs against every +-L difference of inputs, or "
    "against a number where all inputs differ by at most a number)"
)


@dataclass(frozen=True, eq=False)
class Question:
    """A property of one copy on a box; if it is verified, its cases of the file have no point.

    None: both copies at one and the same input of the box satisfy the file.
    """

    region: Box
    property: Monotonicity | Lipschitz | None
    moving: tuple[bool, ...] = ()
    """Of a Lipschitz bound: which inputs may differ, [n]."""


class _Drop(NamedTuple):
    """weights.(y' - y) + inputs.D + constant <= 0 (or < 0)."""

    weights: tuple[float, ...]
    inputs: tuple[float, ...]
    constant: float
    strict: bool
    line: int


@dataclass(frozen=True, eq=False)
class _Case:
    """One conjunction: ends of x and x' [2, n] and of D [n], and comparisons of outputs."""

    lower: Vector
    upper: Vector
    least: Vector
    most: Vector
    drops: tuple[_Drop, ...]
    line: int

    @property
    def box(self) -> tuple[Vector, Vector]:
        """Around x and x' both, [n]; ends may be infinite."""
        lower, upper = self.lower.copy(), self.upper.copy()
        for mine, other, sign in ((0, 1, -1), (1, 0, 1)):
            low, high = (self.least, self.most) if sign > 0 else (-self.most, -self.least)
            lower[mine] = np.maximum(lower[mine], _down(self.lower[other], low))
            upper[mine] = np.minimum(upper[mine], -_down(-self.upper[other], -high))
        return lower.min(0), upper.max(0)


def questions(tree: Tree, layout: Layout, path: Path) -> list[Question]:
    """What has to hold of one copy, so that no pair of inputs satisfies the tree.

    `SpecError` for what is not recognised, and for unbounded inputs.
    """
    found = list(islice(products((tree,)), MOST_CASES + 1))
    if len(found) > MOST_CASES:
        raise SpecError(f"has more than {MOST_CASES} cases over two copies", path)
    grouped: dict[tuple[bytes, ...], list[tuple[_Case, _Bound]]] = {}
    result: list[Question] = []
    for conjunction in found:
        case = _case(conjunction, layout, path)
        if case is None:
            continue
        touching = _touching(case)
        bound = None if touching else _lipschitz(case)
        if touching is not None:
            result.append(Question(touching, None))
        elif bound is None:
            result.extend(_monotone(case, path))
        else:
            key = (
                case.least.tobytes(),
                case.most.tobytes(),
                *(part.tobytes() for part in case.box),
                bound.norm.name.encode(),
                bound.key,
            )
            grouped.setdefault(key, []).append((case, bound))
    for cases in grouped.values():
        case, bound = cases[0]
        rows = {_one_sign(drop.weights): None for other, _ in cases for drop in other.drops}
        claim = Lipschitz(bound.norm, LInf(), tuple(rows), bound.at_most)
        moving = tuple(((case.least != 0) | (case.most != 0)).tolist())
        result.append(Question(_region(case, path), claim, moving))
    return result


class _Bound(NamedTuple):
    norm: AbstractNorm
    at_most: float

    @property
    def key(self) -> bytes:
        return repr(self.at_most).encode()


def _case(conjunction: Sequence[Constraint], layout: Layout, path: Path) -> _Case | None:
    """The conjunction, sorted; None if constants or ends show that nothing satisfies it."""
    size = layout.inputs
    lower, upper = np.full((2, size), -np.inf), np.full((2, size), np.inf)
    least, most = np.full(size, -np.inf), np.full(size, np.inf)
    drops: list[_Drop] = []
    line = conjunction[-1].line if conjunction else 0
    for found in conjunction:
        if found.constant_only:
            if not found.holds(()):
                return None
            continue
        on_inputs = [v for v in found.variables if layout.is_input(v)]
        if len(on_inputs) < len(found.variables):
            drops.append(_drop(found, layout, path))
            line = found.line
        elif len(on_inputs) == 1:
            copy, index = divmod(on_inputs[0], size)
            _narrow(lower[copy], upper[copy], index, found.coefficients[0], found.constant)
        else:
            index, coefficient = _difference(found, layout, path)
            _narrow(least, most, index, coefficient, found.constant)
    case = _Case(lower, upper, least, most, tuple(drops), line)
    low, high = case.box
    if bool((lower > upper).any() or (least > most).any() or (low > high).any()):
        return None
    if not drops:
        raise SpecError(f"has a case that compares no outputs; {SUPPORTED}", path, line)
    return case


def _narrow(
    lower: Vector, upper: Vector, index: int, coefficient: Number, constant: Number
) -> None:
    """coefficient z + constant <= 0, rounded outward."""
    up = coefficient > 0
    end, _ = rounded(-Fraction(constant) / Fraction(coefficient), up=up)
    if up:
        upper[index] = min(upper[index], end)
    else:
        lower[index] = max(lower[index], end)


def _difference(found: Constraint, layout: Layout, path: Path) -> tuple[int, Number]:
    """The input that differs, and the coefficient of D there."""
    if len(found.variables) == 2:
        pairs = sorted(zip(found.variables, found.coefficients, strict=True))
        (first, a), (second, b) = pairs
        if second - first == layout.inputs and first < layout.inputs and a == -b:
            return first, b
    raise SpecError(f"relates inputs of both copies otherwise; {SUPPORTED}", path, found.line)


def _drop(found: Constraint, layout: Layout, path: Path) -> _Drop:
    values = dict(zip(found.variables, found.coefficients, strict=True))
    n, m = layout.inputs, layout.outputs
    inputs = _halves([values.get(i, 0.0) for i in range(2 * n)])
    weights = _halves([values.get(2 * n + j, 0.0) for j in range(2 * m)])
    if inputs is None or weights is None or not isinstance(found.constant, float):
        raise SpecError(
            f"compares other than differences of the copies' outputs; {SUPPORTED}", path, found.line
        )
    return _Drop(weights, inputs, found.constant, found.strict, found.line)


def _halves(values: Sequence[object]) -> tuple[float, ...] | None:
    """The second half, if the first is its negative and all are float64."""
    half = len(values) // 2
    if not all(isinstance(value, float) for value in values):
        return None
    first, second = values[:half], values[half:]
    same = all(a == -b for a, b in zip(first, second, strict=True))  # type: ignore[operator]
    return tuple(second) if same else None  # type: ignore[arg-type]


def _touching(case: _Case) -> Box | None:
    """Inputs at which both copies satisfy the case; None if there is none."""
    lower, upper = case.lower.max(0), case.upper.min(0)
    if bool((lower > upper).any() or (case.least > 0).any() or (case.most < 0).any()):
        return None
    if not all(
        drop.constant < 0 or (drop.constant == 0 and not drop.strict) for drop in case.drops
    ):
        return None
    if not np.isfinite(lower).all() or not np.isfinite(upper).all():
        return None  # reported as unbounded
    return Box(torch.from_numpy(lower + 0.0), torch.from_numpy(upper + 0.0))


def _lipschitz(case: _Case) -> _Bound | None:
    """The bound whose proof shows that the case has no point, if it is of that form."""
    first = case.drops[0]
    if any(drop.weights != first.weights for drop in case.drops):
        return None
    if len(case.drops) == 1 and not any(first.inputs):
        reach = float(max(case.most.max(), -case.least.min()))
        if first.constant > 0 and 0 < reach < np.inf and not _signed(case):
            share = Fraction(first.constant) / Fraction(reach)
            level = np.nextafter(float(share), -np.inf)  # so the bound itself is no counterexample
            return _Bound(LInf(), float(level)) if level > 0 else None
        return None
    if any(drop.constant < 0 or (drop.constant == 0 and not drop.strict) for drop in case.drops):
        return None
    moving = (case.least != 0) | (case.most != 0)
    slopes = {tuple((np.array(drop.inputs) * moving + 0.0).tolist()) for drop in case.drops}
    level = max(max(map(abs, slope)) for slope in slopes)
    if slopes >= _axes(moving, level):
        return _Bound(LInf(), level)
    if moving.sum() <= SIGN_INPUTS and slopes >= _signs(moving, level):
        return _Bound(L1(), level)
    return None


def _signed(case: _Case) -> bool:
    """Whether the sign of some difference is known: then monotonicity says more."""
    return bool(((case.least >= 0) | (case.most <= 0)).all())


def _axes(moving: NDArray[np.bool_], level: float) -> set[tuple[float, ...]]:
    """+-level e_i for every input that moves."""
    unit = np.diag(moving * level)[moving]
    return {tuple((sign * row + 0.0).tolist()) for row in unit for sign in (1.0, -1.0)}


def _signs(moving: NDArray[np.bool_], level: float) -> set[tuple[float, ...]]:
    """level times every sign vector of the inputs that move."""
    count = int(moving.sum())
    rows = np.zeros((2**count, len(moving)))
    rows[:, moving] = level * (1.0 - 2.0 * np.indices((2,) * count).reshape(count, -1).T)
    return {tuple(row) for row in rows.tolist()}


def _monotone(case: _Case, path: Path) -> list[Question]:
    """One property for every margin that is asked for."""
    (drop, *more) = case.drops
    rising, falling = case.least >= 0, case.most <= 0
    provable = drop.constant > 0 or (drop.constant == 0 and drop.strict)
    if more or not provable or not bool((rising | falling).all()):
        raise SpecError(f"has a case that is not recognised; {SUPPORTED}", path, case.line)
    region = _region(case, path)
    margins: dict[float, tuple[list[int], list[int]]] = {}
    for index in np.flatnonzero(~(rising & falling)).tolist():
        margin = (-1.0 if rising[index] else 1.0) * drop.inputs[index] + 0.0
        margins.setdefault(margin, ([], []))[0 if rising[index] else 1].append(index)
    return [
        Question(region, Monotonicity(drop.weights, tuple(up), tuple(down), margin))
        for margin, (up, down) in margins.items()
    ]


def _one_sign(weights: tuple[float, ...]) -> tuple[float, ...]:
    """w and -w have the same norm: the one whose first weight is positive."""
    first = next((value for value in weights if value), 0.0)
    return tuple(-value + 0.0 for value in weights) if first < 0 else weights


def _region(case: _Case, path: Path) -> Box:
    lower, upper = case.box
    bad = np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper)))
    if len(bad):
        raise SpecError(
            f"input {int(bad[0])} (counted from 0, row by row) of a copy is unbounded; assert a "
            "lower and an upper bound",
            path,
            case.line,
        )
    return Box(torch.from_numpy(lower + 0.0), torch.from_numpy(upper + 0.0))


def _down(a: Vector, b: Vector) -> Vector:
    """a + b, not above the sum; minus infinity where either is."""
    with np.errstate(invalid="ignore"):
        total = np.nextafter(a + b, -np.inf)
    exact = (a == 0) | (b == 0)
    total = np.where(exact, np.where(a == 0, b, a), total)
    return np.where(np.isneginf(a) | np.isneginf(b), -np.inf, total)
