"""Random VNN-LIB texts beside a judge of their own: what is drawn is evaluated, never parsed."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

GRID = [Fraction(k, 4) for k in range(-4, 5)]
"""Bounds and points are drawn from here, so that ties are common."""

Values = list[Fraction]
Judge = Callable[[Values, Values], bool]


@dataclass(frozen=True)
class Written:
    """A condition as text, and what it says of inputs x and outputs y."""

    text: str
    judge: Judge


@dataclass(frozen=True)
class Names:
    """How a version of the format writes elements."""

    inputs: list[str]
    outputs: list[str]


COMPARED: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "==": lambda a, b: a == b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def number(value: Fraction) -> str:
    return repr(float(value))


def input_condition(draw: random.Random, names: Names, operators: list[str]) -> Written:
    index, bound = draw.randrange(len(names.inputs)), draw.choice(GRID)
    operator = draw.choice(operators)
    compare = COMPARED[operator]
    scale = draw.choice([Fraction(1)] * 3 + [Fraction(-2), Fraction(1, 2)])
    name = names.inputs[index]
    side = name if scale == 1 else f"(* {number(scale)} {name})"
    if draw.random() < 0.5:
        return Written(
            f"({operator} {side} {number(bound)})",
            lambda x, y: compare(scale * x[index], bound),
        )
    return Written(
        f"({operator} {number(bound)} {side})", lambda x, y: compare(bound, scale * x[index])
    )


def joined_condition(draw: random.Random, names: Names, operators: list[str]) -> Written:
    """About several inputs, outputs, or both."""
    both = Names([], [*names.outputs, *names.inputs])
    found = output_condition(draw, both, operators)
    return Written(found.text, lambda x, y: found.judge(x, [*y, *x]))


def output_condition(draw: random.Random, names: Names, operators: list[str]) -> Written:
    operator = draw.choice(operators)
    compare = COMPARED[operator]
    left, right = _sum(draw, names), _sum(draw, names)
    return Written(
        f"({operator} {left.text} {right.text})",
        lambda x, y: compare(left.value(y), right.value(y)),
    )


@dataclass(frozen=True)
class _Sum:
    text: str
    value: Callable[[Values], Fraction]


def _sum(draw: random.Random, names: Names, depth: int = 2) -> _Sum:
    kind = draw.choice(["number", "output", "output", "+", "-", "*", "negation"])
    if depth == 0 or kind in ("number", "output"):
        if kind == "number":
            value = draw.choice(GRID)
            return _Sum(number(value), lambda y: value)
        index = draw.randrange(len(names.outputs))
        return _Sum(names.outputs[index], lambda y: y[index])
    if kind == "negation":
        inner = _sum(draw, names, depth - 1)
        return _Sum(f"(- {inner.text})", lambda y: -inner.value(y))
    first = _sum(draw, names, depth - 1)
    if kind == "*":
        scale = draw.choice(GRID)
        return _Sum(f"(* {number(scale)} {first.text})", lambda y: scale * first.value(y))
    others = [_sum(draw, names, depth - 1) for _ in range(draw.choice([1, 2]))]
    sign = 1 if kind == "+" else -1
    text = f"({kind} {first.text} {' '.join(other.text for other in others)})"
    return _Sum(text, lambda y: first.value(y) + sign * sum(other.value(y) for other in others))


def condition(
    draw: random.Random,
    names: Names,
    depth: int,
    input_operators: list[str],
    output_share: float,
    joined_share: float = 0.0,
) -> Written:
    """Of bounds of inputs, comparisons of outputs, and of inputs with one another and outputs."""
    if depth == 0 or draw.random() < 0.25:
        if joined_share and draw.random() < joined_share:
            return joined_condition(draw, names, input_operators)
        if draw.random() < output_share:
            return output_condition(draw, names, list(COMPARED))
        return input_condition(draw, names, input_operators)
    parts = [
        condition(draw, names, depth - 1, input_operators, output_share, joined_share)
        for _ in range(draw.choice([1, 2, 2, 3]))
    ]
    word = draw.choice(["and", "or"])
    gather = all if word == "and" else any
    text = f"({word} {' '.join(part.text for part in parts)})"
    return Written(text, lambda x, y: gather(part.judge(x, y) for part in parts))


def bounds(draw: random.Random, names: Names) -> Written:
    """Every input between two numbers of the grid."""
    ends = [sorted(draw.choices(GRID, k=2)) for _ in names.inputs]
    text = " ".join(
        f"(>= {name} {number(low)}) (<= {name} {number(high)})"
        for name, (low, high) in zip(names.inputs, ends, strict=True)
    )

    def inside(x: Values, y: Values) -> bool:
        return all(low <= value <= high for value, (low, high) in zip(x, ends, strict=True))

    return Written(f"(and {text})", inside)


def version_1(inputs: int, outputs: int) -> tuple[str, Names]:
    names = Names([f"X_{i}" for i in range(inputs)], [f"Y_{j}" for j in range(outputs)])
    lines = [f"(declare-const {name} Real)" for name in (*names.inputs, *names.outputs)]
    return "\n".join(lines) + "\n", names


def version_2(inputs: int, outputs: int, kind: str = "Real") -> tuple[str, Names]:
    """Inputs as a matrix with two columns where that fits."""
    rows = inputs // 2 if inputs % 2 == 0 else 0
    shape = f"[{rows},2]" if rows else f"[{inputs}]"
    places = [f"{i // 2},{i % 2}" if rows else f"{i}" for i in range(inputs)]
    names = Names([f"in[{place}]" for place in places], [f"out[{j}]" for j in range(outputs)])
    text = (
        "(vnnlib-version <2.0>)\n(declare-network net\n"
        f"  (declare-input in {kind} {shape})\n  (declare-output out {kind} [{outputs}]))\n"
    )
    return text, names
