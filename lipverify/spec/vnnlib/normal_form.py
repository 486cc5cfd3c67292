"""A tree of assertions as a disjunction of boxes with unsafe sets of outputs, made one by one.

Only disjunctions that mention inputs multiply the boxes; those over outputs alone stay with their
box, as clauses. Nothing is written out before it is asked for, and branches without a point are
dropped as soon as that is seen.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from lipverify.numerics import rounded
from lipverify.query_output import Clause, OutputQuery
from lipverify.region import Box
from lipverify.spec.vnnlib.tree import And, Constraint, Layout, Or, Tree

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_CLAUSES = 256
"""So many clauses go into one query; more become several queries about the same box."""


@dataclass(frozen=True, eq=False)
class Ends:
    """lower <= x <= upper over all inputs [n]; < where `open_...` marks it."""

    lower: Vector
    upper: Vector
    open_lower: Mask
    open_upper: Mask

    @staticmethod
    def everything(size: int) -> "Ends":
        no = np.zeros(size, dtype=bool)
        return Ends(np.full(size, -np.inf), np.full(size, np.inf), no, no)

    def meet(self, other: "Ends") -> "Ends":
        lower, upper = np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper)
        open_lower = (self.open_lower & (self.lower == lower)) | (
            other.open_lower & (other.lower == lower)
        )
        open_upper = (self.open_upper & (self.upper == upper)) | (
            other.open_upper & (other.upper == upper)
        )
        return Ends(lower, upper, open_lower, open_upper)

    @property
    def empty(self) -> bool:
        touching = (self.lower == self.upper) & (self.open_lower | self.open_upper)
        return bool(((self.lower > self.upper) | touching).any())

    def same(self, other: "Ends") -> bool:
        return bool((self.lower == other.lower).all() and (self.upper == other.upper).all())


@dataclass(frozen=True, eq=False)
class _Part:
    """A conjunction, sorted: ends of inputs, trees over outputs, disjunctions with inputs.

    None in the place of a part: it cannot be satisfied.
    """

    ends: Ends | None
    outputs: tuple[Tree, ...]
    choices: "tuple[tuple[_Part, ...], ...]"


def queries(tree: Tree, layout: Layout, joined: bool = False) -> Iterator[OutputQuery]:
    """The boxes, each with its unsafe sets of outputs; none if no input satisfies the tree.

    Constraints on one input make the boxes, all others the clauses: where one of these mentions
    inputs (`joined` says so), clauses are over the outputs and the inputs behind them. Constraints
    that are strict are so in the clauses; of boxes, the closed ones are meant.
    """
    root = _part(tree, layout)
    if root is None:
        return
    for ends, outputs in _merged(_expand(root, layout)):
        region = Box(torch.from_numpy(ends.lower + 0.0), torch.from_numpy(ends.upper + 0.0))
        clauses = _clauses(outputs, layout, joined)
        while chunk := tuple(islice(clauses, MOST_CLAUSES)):
            yield OutputQuery(region, chunk)


def _part(tree: Tree, layout: Layout) -> _Part | None:
    """The tree, sorted; None where that alone shows that nothing satisfies it."""
    ends: list[Constraint] = []
    outputs: list[Tree] = []
    choices: list[tuple[_Part, ...]] = []
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        match found:
            case And(parts):
                waiting.extend(reversed(parts))
            case Or(parts):
                if len(parts) == 1:
                    waiting.append(parts[0])
                elif parts and all(_of_outputs(part, layout) for part in parts):
                    outputs.append(found)
                else:
                    branches = (_part(part, layout) for part in parts)
                    open_branches = tuple(branch for branch in branches if branch is not None)
                    if not open_branches:
                        return None
                    choices.append(open_branches)
            case Constraint():
                if found.constant_only:
                    if not found.holds(()):
                        return None
                elif bounds_input(found, layout):
                    ends.append(found)
                else:
                    outputs.append(found)
    met = _ends(ends, layout.all_inputs) if ends else None
    if met is not None and met.empty:
        return None
    return _Part(met, tuple(outputs), tuple(choices))


def _of_outputs(tree: Tree, layout: Layout) -> bool:
    """Whether no constraint in the tree bounds a box, or is a mere constant."""
    if isinstance(tree, Constraint):
        return bool(tree.variables) and not bounds_input(tree, layout)
    return bool(tree.parts) and all(_of_outputs(part, layout) for part in tree.parts)


def bounds_input(constraint: Constraint, layout: Layout) -> bool:
    """Whether it is a bound of a single input."""
    return len(constraint.variables) == 1 and layout.is_input(constraint.variables[0])


def _ends(constraints: Iterable[Constraint], size: int) -> Ends:
    """The closed ends are rounded outward where they are no float64."""
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
    open_lower, open_upper = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    for found in constraints:
        (index,), (coefficient,) = found.variables, found.coefficients
        if coefficient == 1:
            end, exact = rounded(-found.constant, up=True)
        else:
            end, exact = rounded(
                Fraction(found.constant) / -Fraction(coefficient), up=coefficient > 0
            )
        strict = found.strict and exact
        if coefficient > 0:
            if end < upper[index] or (end == upper[index] and strict):
                upper[index], open_upper[index] = end, strict
        elif end > lower[index] or (end == lower[index] and strict):
            lower[index], open_lower[index] = end, strict
    return Ends(lower, upper, open_lower, open_upper)


_State = tuple[Ends, tuple[Tree, ...], "tuple[tuple[_Part, ...], ...]"]
"""A box, what holds of outputs there, and the choices that are still to be made."""


def _expand(root: _Part, layout: Layout) -> Iterator[tuple[Ends, tuple[Tree, ...]]]:
    """Depth first through the choices, one branch at a time."""
    start = Ends.everything(layout.all_inputs)
    if root.ends is not None:
        start = start.meet(root.ends)
    stack: list[Iterator[_State]] = [iter([(start, root.outputs, root.choices)])]
    while stack:
        state = next(stack[-1], None)
        if state is None:
            stack.pop()
        elif state[2]:
            stack.append(_branches(state))
        else:
            yield state[0], state[1]


def _branches(state: _State) -> Iterator[_State]:
    """What the first choice leaves, branch by branch."""
    ends, outputs, (first, *rest) = state
    for branch in first:
        smaller = ends if branch.ends is None else ends.meet(branch.ends)
        if not smaller.empty:
            yield smaller, (*outputs, *branch.outputs), (*branch.choices, *rest)


def _merged(
    parts: Iterable[tuple[Ends, tuple[Tree, ...]]],
) -> Iterator[tuple[Ends, list[tuple[Tree, ...]]]]:
    """Neighbours with the same box put together: they are one query with more clauses."""
    current: tuple[Ends, list[tuple[Tree, ...]]] | None = None
    for ends, outputs in parts:
        if current is not None and len(current[1]) < MOST_CLAUSES and current[0].same(ends):
            current[1].append(outputs)
            continue
        if current is not None:
            yield current
        current = (ends, [outputs])
    if current is not None:
        yield current


def _clauses(parts: Iterable[tuple[Tree, ...]], layout: Layout, joined: bool) -> Iterator[Clause]:
    for trees in parts:
        for rows in products(trees):
            yield _clause(rows, layout, joined)


def products(trees: Sequence[Tree]) -> Iterator[tuple[Constraint, ...]]:
    """The conjunctions of constraints whose disjunction is the conjunction of the trees."""
    stack: list[tuple[tuple[Constraint, ...], tuple[Tree, ...]]] = [((), tuple(trees))]
    while stack:
        done, rest = stack.pop()
        if not rest:
            yield done
            continue
        first, rest = rest[0], rest[1:]
        match first:
            case And(parts):
                stack.append((done, (*parts, *rest)))
            case Or(parts):
                stack.extend((done, (part, *rest)) for part in reversed(parts))
            case Constraint():
                stack.append(((*done, first), rest))


def _clause(rows: Sequence[Constraint], layout: Layout, joined: bool) -> Clause:
    outputs = layout.outputs * layout.copies
    coefficients = np.zeros((len(rows), outputs + (layout.all_inputs if joined else 0)))
    offsets = np.zeros(len(rows))
    strict = np.zeros(len(rows), dtype=bool)
    for which, row in enumerate(rows):
        for variable, coefficient in zip(row.variables, row.coefficients, strict=True):
            shift = outputs if layout.is_input(variable) else -layout.all_inputs
            coefficients[which, variable + shift] = float(coefficient)
        # Rounded down, more outputs are unsafe; a strict row is then one of a little more as well.
        offset, exact = rounded(row.constant, up=False)
        offsets[which], strict[which] = offset, row.strict and exact
    return Clause(
        torch.from_numpy(coefficients), torch.from_numpy(offsets), torch.from_numpy(strict)
    )
