"""Files of version 2 read by the standard's own package as well: the same variables and sums."""

import random
from pathlib import Path

import pytest

from lipverify.spec.vnnlib import read_vnnlib
from lipverify.spec.vnnlib.tree import constraints
from tests.spec.vnnlib.writing import GRID, bounds, number, version_2

vnnlib = pytest.importorskip("vnnlib", reason="the package vnnlib is not installed")


@pytest.mark.parametrize("seed", range(10))
def test_linear_constraints_agree(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    head, names = version_2(4, 3, draw.choice(["real", "float32"]))
    sums = []
    for _ in range(5):
        terms = [f"(* {number(draw.choice(GRID))} {name})" for name in names.outputs]
        sums.append(f"(<= (+ {' '.join(terms)}) {number(draw.choice(GRID))})")
    # The package wants two parts or more, numbers with a point, and == for equality.
    text = head + f"(assert {bounds(draw, names).text})\n(assert (or {' '.join(sums)}))\n"
    path = tmp_path / "p.vnnlib"
    path.write_text(text)
    found = read_vnnlib(path)
    theirs = vnnlib.parse_query_string(text)
    (network,) = theirs.networks
    mine = found.declared.networks[0]
    assert (network.inputs[0].name, list(network.inputs[0].shape)) == ("in", [2, 2])
    assert (mine.input.name, mine.input.shape) == ("in", (2, 2))
    expected = []
    for clause in theirs.assertions[1].expr.to_dnf():
        for compared in clause:
            left, right = compared.lhs.to_linear_expr(), compared.rhs.to_linear_expr()
            weights = [0.0] * 3
            for term in left.terms:
                weights[list(term.var.indices)[0]] += term.coeff
            expected.append((weights, left.constant - right.constant))
    ours = []
    for constraint in constraints(found.tree.parts[1]):
        weights = [0.0] * 3
        for variable, weight in zip(constraint.variables, constraint.coefficients, strict=True):
            weights[variable - 4] = float(weight)
        ours.append((weights, float(constraint.constant)))
    assert ours == expected
