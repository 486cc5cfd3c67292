"""Scalar functions that networks spell out: x (1 + erf(x / sqrt(2))) / 2 is Gelu, and so on.

Both factors of a product are traced back, through operators that act on each entry alone, to a
node that they share. What lies between is compared with known functions in exact fractions, so
that a function is recognised for what it is with the constants as they are stored: 0.70710677 for
1 / sqrt(2) makes a Gelu of a slightly scaled argument, not a Gelu.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

from lipverify.network.builder import GraphBuilder, Value
from lipverify.operators import (
    Abs,
    Activation,
    Add,
    Erf,
    Exp,
    Gelu,
    GeluTanh,
    HardSwish,
    Mish,
    Pow,
    ReLU,
    Reshape,
    Scale,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Tanh,
)
from lipverify.operators.gelu import CUBICS, ROOT

CONSTANT_ROUNDINGS = 4
"""Roundings of sqrt(2), sqrt(2 / pi) and the few operations that join them to a factor."""


@dataclass(frozen=True)
class Fused:
    """outer f(inner x) for x the entries of `node`; roundings behind both factors."""

    node: str
    inner: float
    inner_rounding: int
    operator: Activation
    outer: float
    outer_rounding: int


@dataclass(frozen=True)
class Affine:
    """factor x + shift; both have a common relative error of `rounding` roundings."""

    factor: Fraction
    shift: Fraction
    rounding: int = 0

    def then(self, other: "Affine") -> "Affine | None":
        """other(self(x)); None where a shift would be added to rounded numbers."""
        rounding = self.rounding + other.rounding
        if rounding and other.shift:
            return None
        shift = self.shift * other.factor + other.shift
        return Affine(self.factor * other.factor, shift, rounding)

    @property
    def is_linear(self) -> bool:
        return self.shift == 0 and self.factor != 0


@dataclass(frozen=True)
class Cubic:
    """first x + third x^3."""

    first: Affine
    third: Affine


IDENTITY = Affine(Fraction(1), Fraction(0))

Step = Affine | Cubic | Activation


@dataclass(frozen=True)
class Trace:
    """A function of the entries of `node`: affine, other, affine, ..., affine."""

    node: str
    steps: tuple[Step, ...]


def fused_product(build: GraphBuilder, x: Value, y: Value) -> Fused | None:
    """x y as a scalar function of entries that both are functions of; None if it is not known."""
    if x.shape != y.shape:
        return None
    others = {trace.node: trace for trace in _traces(build, y.node)}
    for mine in _traces(build, x.node):
        other = others.get(mine.node)
        if other is None:
            continue
        for plain, bent in ((mine, other), (other, mine)):
            (first, *rest) = plain.steps
            if not rest and isinstance(first, Affine) and first.is_linear:
                found = _recognised(bent.steps)
                if found is not None:
                    inner, rounding, operator, outer, more = found
                    return Fused(
                        mine.node,
                        inner,
                        rounding,
                        operator,
                        float(outer * first.factor),
                        more + first.rounding + 1,
                    )
    return None


def _traces(build: GraphBuilder, name: str) -> Iterator[Trace]:
    """The node itself, and its ancestors as long as it is a function of each entry of them."""
    steps: tuple[Step, ...] = (IDENTITY,)
    while True:
        yield Trace(name, steps)
        node = build.node(name)
        operator = node.operator
        if isinstance(operator, Reshape):
            name = node.inputs[0]
        elif isinstance(operator, Scale):
            affine = _uniform(operator)
            head = steps[0]
            assert isinstance(head, Affine)
            joined = None if affine is None else affine.then(head)
            if joined is None:
                return
            name, steps = node.inputs[0], (joined, *steps[1:])
        elif isinstance(operator, Activation):
            name, steps = node.inputs[0], (IDENTITY, operator, *steps)
        elif isinstance(operator, Add):
            found = _cubic(build, operator, node.inputs)
            if found is None:
                return
            name, steps = found[0], (IDENTITY, found[1], *steps)
        else:
            return


def _uniform(operator: Scale) -> Affine | None:
    """A Scale with one factor and one shift for all entries."""
    numbers = []
    for values, neutral in ((operator.factor, 1.0), (operator.shift, 0.0)):
        if values is None:
            numbers.append(Fraction(neutral))
            continue
        first = values.reshape(-1)[0]
        if not bool((values == first).all()):
            return None
        numbers.append(Fraction(float(first)))
    factor, shift = numbers
    if operator.rounding and shift:
        return None
    return Affine(factor, shift, operator.rounding)


def _cubic(build: GraphBuilder, operator: Add, inputs: Sequence[str]) -> tuple[str, Cubic] | None:
    """The sum of a linear function and a cube of the same entries."""
    if operator.signs != (1, 1):
        return None
    lines: dict[str, Affine] = {}
    cubes: dict[str, Affine] = {}
    for name in inputs:
        for trace in _traces_up(build, name):
            match trace.steps:
                case (Affine(is_linear=True) as line,):
                    lines.setdefault(trace.node, line)
                case (Affine() as head, Pow(exponent=3.0), Affine(is_linear=True) as line):
                    if head == IDENTITY:
                        cubes.setdefault(trace.node, line)
    for node, line in lines.items():
        if node in cubes:
            return node, Cubic(line, cubes[node])
    return None


def _traces_up(build: GraphBuilder, name: str) -> Iterator[Trace]:
    """As `_traces`, but not through sums: these are what is being looked at."""
    for trace in _traces(build, name):
        yield trace
        if isinstance(build.node(trace.node).operator, Add):
            return


Recognised = tuple[float, int, Activation, Fraction, int]
"""Inner factor, its roundings, the operator, outer factor, its roundings."""


def _recognised(steps: tuple[Step, ...]) -> Recognised | None:
    """x times this function of x, as outer f(inner x)."""
    match steps:
        case (Affine(is_linear=True) as line,):
            return 1.0, 0, Pow(2.0), line.factor, line.rounding
        case (head, Pow(exponent=p), Affine(is_linear=True) as tail) if head == IDENTITY:
            # An integer power: x x^p is x^(p + 1) on the whole domain of x^p.
            if p > 0 and p.is_integer():
                return 1.0, 0, Pow(p + 1.0), tail.factor, tail.rounding
        case (Affine(is_linear=True) as head, Sigmoid(), Affine(is_linear=True) as tail):
            return _scaled(head, Silu(), tail, Fraction(1))
        case (Affine(is_linear=True) as head, Exp(), one, Pow(exponent=-1.0), tail):
            if one == Affine(Fraction(1), Fraction(1)) and tail.is_linear:  # type: ignore[union-attr]
                turned = Affine(-head.factor, Fraction(0), head.rounding)
                return _scaled(turned, Silu(), tail, Fraction(1))  # type: ignore[arg-type]
        case (Affine(is_linear=True) as head, Tanh(), Affine() as tail) if _doubles(tail):
            twice = Affine(2 * head.factor, Fraction(0), head.rounding)
            return _scaled(twice, Silu(), tail, Fraction(2))
        case (Affine(is_linear=True) as head, Erf(), Affine() as tail) if _doubles(tail):
            return _scaled(head, Gelu(), tail, Fraction(2), sqrt(2.0))
        case (Affine(is_linear=True) as head, Softplus(), middle, Tanh(), tail):
            if middle == IDENTITY and isinstance(tail, Affine) and tail.is_linear:
                return _scaled(head, Mish(), tail, Fraction(1))
        case (Affine() as head, ReLU(), Affine() as middle, ReLU(), Affine() as tail):
            return _hard_swish(head, middle, tail)
        case (head, Cubic() as cubic, Affine(is_linear=True) as middle, Tanh(), tail):
            if head == IDENTITY and isinstance(tail, Affine) and _doubles(tail):
                return _gelu_tanh(cubic, middle, tail)
        case (head, Abs(), Affine() as middle, Pow(exponent=-1.0), tail):
            if head == IDENTITY and middle.shift == 1 and middle.factor > 0:
                if isinstance(tail, Affine) and tail.is_linear:
                    slope = Affine(middle.factor, Fraction(0), middle.rounding)
                    return _scaled(slope, Softsign(), tail, Fraction(1))
    return None


def _doubles(tail: Affine) -> bool:
    """q (1 + y)."""
    return tail.factor == tail.shift != 0


def _scaled(
    head: Affine, operator: Activation, tail: Affine, times: Fraction, constant: float = 1.0
) -> Recognised:
    """times tail.factor f(k x) / k for k = constant head.factor."""
    extra = 0 if constant == 1.0 else CONSTANT_ROUNDINGS
    inner = float(head.factor) * constant
    if head.rounding == 0 and constant == 1.0 and Fraction(inner) == head.factor:
        roundings = 0
    else:
        roundings = head.rounding + 2 + extra
    outer = times * tail.factor / (head.factor * Fraction(constant))
    return inner, roundings, operator, outer, tail.rounding + head.rounding + 2 + extra


def _hard_swish(head: Affine, middle: Affine, tail: Affine) -> Recognised | None:
    """x times s clip(a x + h / 2, 0, h), as s h hardswish(k x) / k for k = 6 a / h."""
    height, slope = middle.shift, head.factor
    clipped = middle.factor == -1 and height > 0 and tail.shift == -tail.factor * height
    if not clipped or slope <= 0 or head.shift != height / 2 or head.rounding or middle.rounding:
        return None
    k = 6 * slope / height
    roundings = 0 if Fraction(float(k)) == k else 1
    return float(k), roundings, HardSwish(), -tail.factor * height / k, tail.rounding + 1


def _gelu_tanh(cubic: Cubic, middle: Affine, tail: Affine) -> Recognised | None:
    """x q (1 + tanh(r (a x + b x^3))), as 2 q gelu(k x) / k for k = r a / sqrt(2 / pi)."""
    first = cubic.first.factor * middle.factor
    third = cubic.third.factor * middle.factor
    inner = float(first) / ROOT
    if inner <= 0:
        return None
    factor = float(third) / (ROOT * inner**3)
    if not CUBICS[0] <= factor <= CUBICS[1]:
        return None
    rounding = cubic.first.rounding + middle.rounding + CONSTANT_ROUNDINGS
    return (
        inner,
        rounding,
        GeluTanh(factor),
        2 * tail.factor / Fraction(inner),
        tail.rounding + rounding + 1,
    )
