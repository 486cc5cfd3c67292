"""A point satisfies the assertions if and only if it is in some box of the normal form with some
unsafe set of outputs; judged by what the texts were made from."""

import random
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from lipverify.errors import SpecError
from lipverify.spec.vnnlib import VnnLibFile, read_vnnlib
from tests.conftest import Checks
from tests.oracles.budget import quickly
from tests.spec.vnnlib.writing import (
    GRID,
    Names,
    Values,
    Written,
    bounds,
    condition,
    version_1,
    version_2,
)

POINTS = 60
CLOSED = ["<=", ">=", "==", "="]
EVERY = [*CLOSED, "<", ">", "!="]


def points(draw: random.Random, names: Names) -> list[tuple[Values, Values]]:
    """On the grid, where comparisons tie, and beside it."""

    def value() -> Fraction:
        return draw.choice(GRID) + draw.choice([0, 0, 0, Fraction(1, 16), -Fraction(1, 2**40)])

    return [
        ([value() for _ in names.inputs], [value() for _ in names.outputs]) for _ in range(POINTS)
    ]


def read(folder: Path, head: str, parts: list[Written]) -> VnnLibFile:
    path = folder / "property.vnnlib"
    path.write_text(head + "\n".join(f"(assert {part.text}) ; said" for part in parts) + "\n")
    return read_vnnlib(path)


def in_normal_form(found: VnnLibFile, x: Values, y: Values) -> bool:
    inputs = torch.tensor([float(value) for value in x], dtype=torch.float64)
    seen = [*y, *x] if found.joins_inputs else y
    outputs = torch.tensor([[float(value) for value in seen]], dtype=torch.float64)
    return any(
        bool(query.region.contains(inputs)) and bool(query.is_unsafe(outputs))
        for query in found.queries()
    )


def drawn(
    seed: int, folder: Path, operators: list[str], joined: float = 0.0
) -> tuple[VnnLibFile, list[Written], Names]:
    draw = random.Random(seed)
    sizes = draw.choice([1, 2, 3, 4]), draw.choice([1, 2, 3])
    head, names = draw.choice([version_1, version_2])(*sizes)
    share = draw.choice([0.3, 0.7, 1.0])
    count = draw.choice([1, 2, 3])
    parts = [condition(draw, names, 3, operators, share, joined) for _ in range(count)]
    parts.insert(draw.randrange(len(parts) + 1), bounds(draw, names))
    return read(folder, head, parts), parts, names


@pytest.mark.parametrize("seed", quickly(range(400), 60))
def test_closed_boxes_agree_exactly(seed: int, tmp_path: Path, checks: Checks) -> None:
    found, parts, names = drawn(seed, tmp_path, CLOSED)
    for x, y in points(random.Random(seed + 1), names):
        truth = all(part.judge(x, y) for part in parts)
        assert found.holds([*map(float, x)], [*map(float, y)]) == truth
        assert in_normal_form(found, x, y) == truth
        checks.count(2)


@pytest.mark.parametrize("seed", quickly(range(400), 40))
def test_inputs_in_clauses_agree_exactly(seed: int, tmp_path: Path, checks: Checks) -> None:
    """Constraints about several inputs, and about inputs and outputs."""
    found, parts, names = drawn(seed, tmp_path, CLOSED, joined=0.5)
    for x, y in points(random.Random(seed + 1), names):
        truth = all(part.judge(x, y) for part in parts)
        assert found.holds([*map(float, x)], [*map(float, y)]) == truth
        assert in_normal_form(found, x, y) == truth
        checks.count(2)


@pytest.mark.parametrize("seed", quickly(range(400), 40))
def test_strict_ends_are_closed_for_proofs_alone(seed: int, tmp_path: Path, checks: Checks) -> None:
    found, parts, names = drawn(seed, tmp_path, EVERY)
    for x, y in points(random.Random(seed + 1), names):
        truth = all(part.judge(x, y) for part in parts)
        assert found.holds([*map(float, x)], [*map(float, y)]) == truth
        assert in_normal_form(found, x, y) or not truth
        on_the_grid = any(value in GRID for value in x) or any(2 * value in GRID for value in x)
        assert truth or on_the_grid or not in_normal_form(found, x, y)
        checks.count(3)


def test_empty_boxes_are_dropped_and_neighbours_are_merged(tmp_path: Path) -> None:
    head, _ = version_1(1, 2)
    text = """
    (assert (or (and (>= X_0 2) (<= X_0 1))
                (and (>= X_0 0) (<= X_0 1) (<= Y_0 0))
                (and (>= X_0 0) (<= X_0 1) (<= Y_1 0))
                (and (> X_0 3) (<= X_0 3))
                (and (>= X_0 5) (<= X_0 6))))
    """
    path = tmp_path / "p.vnnlib"
    path.write_text(head + text)
    found = list(read_vnnlib(path).queries())
    assert [query.region.bounding.lower.tolist() for query in found] == [[0.0], [5.0]]
    assert [len(query.unsafe) for query in found] == [2, 1]
    assert len(found[1].unsafe[0]) == 0  # every output is meant


@pytest.mark.parametrize(
    "text",
    [
        "(assert (and (>= X_0 1) (<= X_0 0)))",
        "(assert (>= X_0 1)) (assert (< X_0 1))",
        "(assert (and (>= X_0 0) (<= X_0 1))) (assert (or (<= X_0 -1) (>= X_0 2)))",
        "(assert (and (>= X_0 0) (<= X_0 1) (<= 1 0)))",
    ],
)
def test_no_box_at_all(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib"
    path.write_text(version_1(1, 1)[0] + text)
    assert not read_vnnlib(path).satisfiable_inputs


def test_what_is_large_stays_lazy(tmp_path: Path) -> None:
    """2^40 boxes, and 3^30 clauses: the first ones come at once."""
    head, names = version_1(40, 3)
    choices = [
        f"(assert (or (and (>= {x} 0) (<= {x} 1)) (and (>= {x} 2) (<= {x} 3))))"
        for x in names.inputs
    ]
    outputs = ["(assert (or (<= Y_0 1) (<= Y_1 2) (<= Y_2 3)))"] * 30
    path = tmp_path / "p.vnnlib"
    path.write_text(head + "\n".join(choices + outputs))
    stream = read_vnnlib(path).queries()
    first, second = next(stream), next(stream)
    assert len(first.unsafe) == len(second.unsafe) == 256
    assert first.region.bounding.upper.max() == 1.0


def test_500_boxes_of_many_inputs(tmp_path: Path) -> None:
    head, names = version_1(100, 2)
    boxes = [
        " ".join(f"(>= {x} {k}.0) (<= {x} {k}.5)" for x in names.inputs) + " (<= Y_0 Y_1)"
        for k in range(500)
    ]
    path = tmp_path / "p.vnnlib"
    path.write_text(head + "(assert (or " + "\n".join(f"(and {box})" for box in boxes) + "))")
    lowers = [float(query.region.bounding.lower[0]) for query in read_vnnlib(path).queries()]
    assert lowers == [float(k) for k in range(500)]


def test_ends_are_rounded_outward(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib"
    path.write_text(
        version_1(1, 1)[0]
        + "(assert (<= (* 3 X_0) 1)) (assert (>= (* -3 X_0) -1)) (assert (>= (* 3 X_0) 0.1))"
        "(assert (<= Y_0 (+ 0.1 0.2)))"
    )
    (query,) = read_vnnlib(path).queries()
    assert Fraction(float(query.region.bounding.upper[0])) >= Fraction(1, 3)
    assert Fraction(float(query.region.bounding.lower[0])) <= Fraction(0.1) / 3
    assert Fraction(float(query.unsafe[0].offsets[0])) <= -(Fraction(0.1) + Fraction(0.2))


def test_a_coefficient_without_a_float_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib"
    path.write_text(
        version_1(1, 1)[0]
        + "(assert (<= X_0 1)) (assert (>= X_0 0))\n(assert (<= (* 0.1 0.3 Y_0) 1))"
    )
    with pytest.raises(SpecError, match=r":4: has a coefficient"):
        read_vnnlib(path)
