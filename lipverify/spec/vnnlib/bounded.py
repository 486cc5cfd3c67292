"""Which inputs a tree of assertions leaves without an end."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lipverify.spec.vnnlib.tree import And, Layout, Or, Tree

Mask = NDArray[np.bool_]


def unbounded(tree: Tree, layout: Layout) -> Iterator[tuple[int, str]]:
    """Inputs that some branch leaves without a "lower" or an "upper" bound of their own."""
    ends = _ends(tree, layout)
    for side, bounded in zip(("lower", "upper"), ends, strict=True):
        for variable in np.flatnonzero(~bounded):
            yield int(variable), side


def _ends(tree: Tree, layout: Layout) -> Mask:
    """Whether each input is bounded from below, and from above: [2, inputs]."""
    found = np.zeros((2, layout.all_inputs), dtype=bool)
    match tree:
        case And(parts):
            for part in parts:
                if isinstance(part, And | Or):
                    found |= _ends(part, layout)
                else:
                    _mark(part, found, layout)
        case Or(parts):
            found[:] = True
            for part in parts:
                found &= _ends(part, layout)
        case _:
            _mark(tree, found, layout)
    return found


def _mark(tree: Tree, found: Mask, layout: Layout) -> None:
    assert not isinstance(tree, And | Or)
    if len(tree.variables) == 1 and layout.is_input(tree.variables[0]):
        found[int(tree.coefficients[0] > 0), tree.variables[0]] = True
