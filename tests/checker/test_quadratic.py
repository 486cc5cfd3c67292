"""The quadratic rule: as tight as the solver's dual, sound for any multipliers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lipverify.checker.semidefinite as semidefinite
from lipverify.checker import check
from lipverify.checker.archive import Clock
from lipverify.checker.semidefinite import exactly, not_negative
from tests.checker import handmade, truth
from tests.checker.solved import quadratic
from tests.checker.test_rules import BOUNDS, LOWER, SIZES, UPPER, ask


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "Tanh"])
@pytest.mark.parametrize("norm", ["inf", "2", "1"])
def test_as_tight_as_the_solver(tmp_path: Path, name: str, norm: str) -> None:
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 6, [4, 9, 8, 2], name)
    lower, upper = np.full(4, -0.3), np.full(4, 0.4)
    row = [1.0, -0.5]
    direction = [0, 0, 1.0, 0] if norm == "1" else None
    bound, proof = quadratic(network, lower, upper, row, norm, direction=direction)
    found = (
        truth.jacobian(weights, biases, name, truth.points(lower, upper, 3000))
        * np.array(row)[:, None]
    ).sum(1)
    best = {"inf": np.abs(found).sum(1), "2": np.linalg.norm(found, axis=1), "1": found[:, 2]}[
        norm
    ].max()
    assert best <= bound

    def accepted(at_most: float) -> bool:
        asked: dict[str, Any] = handmade.lipschitz(at_most, norm, rows=handmade.floats(row))
        if norm == "1":
            asked = {"kind": "monotonicity", "weights": handmade.floats(row), "decreasing": [2]}
            asked["margin"] = handmade.scalar(-at_most)
        nodes = [{"steps": BOUNDS, "proofs": [proof]}]
        return ask(tmp_path, network, asked, nodes, handmade.box(lower, upper)).accepted

    assert accepted(bound + 1e-6 * abs(bound))
    assert not accepted(min(best, bound) - 1e-3 * abs(best))
    assert not accepted(bound - 2e-3 * abs(bound))


@pytest.mark.parametrize("name", ["Relu", "Abs", "Tanh"])
@pytest.mark.parametrize(
    "norms", [("inf", "inf"), ("2", "inf"), ("inf", "1"), ("inf", "2"), ("2", "2"), ("2", "1")]
)
def test_any_multipliers_are_sound(tmp_path: Path, name: str, norms: tuple[str, str]) -> None:
    """Random multipliers on top of dominant kappas: what is accepted is above the sampled norm."""
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 8, SIZES, name)
    found = truth.jacobian(weights, biases, name, truth.points(LOWER, UPPER, 1500))
    if norms[1] == "inf":
        found = found[:, :1]
    signs = np.array([[a, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)], dtype=float)
    if norms == ("2", "2"):
        best = np.linalg.norm(found, 2, axis=(1, 2)).max()
    elif norms[0] == "inf":
        best = np.linalg.norm(found @ signs.T, 1 if norms[1] != "2" else 2, axis=1).max()
    elif norms == ("2", "1"):
        best = max(np.linalg.norm(found[:, 0] + s * found[:, 1], axis=1).max() for s in (1, -1))
    else:
        best = np.linalg.norm(found, axis=2).max()
    generator = np.random.default_rng(9)
    some = False
    for trial in range(6):
        gates = [[k, i] for k in (0, 1) for i in range(SIZES[k + 1]) if (k + i) % 4]
        proof = {
            "rule": "quadratic",
            "objective": 0,
            "gates": gates,
            "theta": handmade.floats(generator.normal(0.05, 0.1, len(gates))),
            "kappa": handmade.floats(generator.uniform(0.5, 2.0 + 4 * trial, len(gates))),
        }
        if norms[0] == "2":
            proof["scale"] = handmade.floats([generator.uniform(0.5, 2)])
        else:
            proof["blend"] = handmade.floats(generator.uniform(0, 1, 3))
            proof["scale"] = handmade.floats(generator.uniform(0.1, 2, 3))
        if norms[1] != "inf":
            proof["free"] = handmade.floats(generator.uniform(1, 5, 1 if norms[1] == "2" else 2))
        rows = {"rows": handmade.floats([1, 0])} if norms[1] == "inf" else {}
        nodes = [{"steps": BOUNDS, "proofs": [proof]}]
        for factor in (0.999, 1.5, 4, 20, 100, 400):
            report = ask(
                tmp_path, network, handmade.lipschitz(factor * best, *norms, **rows), nodes
            )
            assert not (report.accepted and factor < 1)
            some |= report.accepted
    assert some


@pytest.mark.parametrize("norms", [("2", "2"), ("inf", "1")])
def test_joint_objectives_of_a_linear_map(tmp_path: Path, norms: tuple[str, str]) -> None:
    """The operator norm of diag(3, 4) is reached by the best multipliers and undercut by none.

    |c A| <= tau + |c A|^2 / (4 tau) is tau + free |c|^2 there; l1 norms add the entries up.
    """
    network = handmade.mlp(tmp_path / "n.onnx", [[[3.0, 0.0], [0.0, 4.0]]], [[0.0, 0.0]])
    best = {("2", "2"): 4.0, ("inf", "1"): 7.0}[norms]

    def accepted(at_most: float, scale: list[float], free: list[float]) -> bool:
        numbers = {"scale": handmade.floats(scale), "free": handmade.floats(free)}
        if norms[0] == "inf":
            numbers["blend"] = handmade.floats([0.0, 0.0])
        nodes = [{"proofs": [{"rule": "quadratic", "objective": 0, **numbers}]}]
        asked = handmade.lipschitz(at_most, *norms)
        return ask(tmp_path, network, asked, nodes, handmade.box([-1, -1], [1, 1])).accepted

    good = ([2.0], [2.0]) if norms == ("2", "2") else ([1.5, 2.0], [1.5, 2.0])
    # 1 / (4 tau) is rounded up, so `free` has to be a little above it.
    assert accepted(best * (1 + 1e-9), good[0], [x * (1 + 1e-10) for x in good[1]])
    for share in (0.25, 0.5, 1.0, 2.0):
        for more in (0.25, 0.5, 1.0, 2.0):
            changed = [share * x for x in good[0]], [more * x for x in good[1]]
            assert not accepted(best * 0.999, *changed)


def test_conflicts_tighten(tmp_path: Path) -> None:
    """relu(x - 1) - relu(-x - 1) has slope at most 1, which a conflict's product proves."""
    network = handmade.mlp(
        tmp_path / "n.onnx", [[[1.0], [-1.0]], [[1.0, -1.0]]], [[-1.0, -1.0], [0.0]]
    )
    step = {"step": "conflicts", "pairs": [[0, 0, 1, 0, 1, 1]], "weights": handmade.floats([0.5])}
    region = handmade.box([-3], [3])
    # u0 - u1 objective: 1 - (d0 + d1) + 2 d0 d1 ... with d_i^2 = d_i is (1 - d0 - d1)^2 >= 0
    base = {
        "rule": "quadratic",
        "objective": 0,
        "gates": [[0, 0], [0, 1]],
        "kappa": handmade.floats([0.0, 0.0]),
    }

    def accepted(at_most: float, theta: float, phi: float | None) -> bool:
        proof = {**base, "theta": handmade.floats([theta, theta])}
        if phi is not None:
            proof |= {"pairs": [0], "phi": handmade.floats([phi])}
        nodes = [{"steps": [step], "proofs": [proof]}]
        return ask(tmp_path, network, handmade.lipschitz(at_most), nodes, region).accepted

    # The adjoints are 1 and -1: p0 = u0, p1 = u1 <= 0, u0 u1 = 0.
    assert accepted(1.0 + 1e-9, 1.0, 2.0) or accepted(1.0 + 1e-9, 1.0, -2.0)
    assert not accepted(1.5, 1.0, None)
    assert not any(
        accepted(0.99, theta, phi) for theta in (0.5, 1.0, 2.0) for phi in (-2.0, -1.0, 1.0, 2.0)
    )


def test_exact_elimination() -> None:
    generator = np.random.default_rng(2)
    for size in range(1, 6):
        for _ in range(20):
            factor = generator.integers(-3, 4, (size, max(1, size - 1)))
            matrix = factor @ factor.T
            from fractions import Fraction

            def exact(array: np.ndarray) -> list[list[Fraction]]:
                return [[Fraction(int(x)) for x in row] for row in array]

            assert exactly(exact(matrix))
            vector = generator.integers(-2, 3, size)
            below = matrix * 1000 - np.outer(vector, vector) - np.eye(size, dtype=int)
            truly = np.linalg.eigvalsh(below.astype(float)).min() > 1e-9
            assert exactly(exact(below)) == truly


def test_large_forms() -> None:
    """Positive definite ones are proved, indefinite ones never, by much or by little."""
    generator = np.random.default_rng(5)
    for size in (13, 40):
        factor = generator.standard_normal((size, size))
        matrix = factor @ factor.T + 0.1 * np.eye(size)
        scale = 2.0 ** generator.integers(-30, 30, size)
        scaled = matrix * scale * scale[:, None]
        grid = [[int(x * 2**100) for x in row] for row in scaled]
        assert not_negative(
            [
                [max(a, b) for a, b in zip(r, c, strict=True)]
                for r, c in zip(grid, zip(*grid, strict=True), strict=True)
            ],
            Clock(60),
        )
        point = generator.choice([-1.0, 1.0], size)
        point[0] = 1.0
        for worse in (1e-6, 0.1, 10.0):
            bad = matrix.copy()
            bad[0, 0] -= (1 + worse) * (point @ matrix @ point)  # negative at an admissible point
            fixed = [[int(x * 2**60) for x in row] for row in (bad + bad.T) / 2]
            assert not not_negative(fixed, Clock(60))


def test_flint_and_python_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flint")
    import lipverify.checker.exact as exact

    generator = np.random.default_rng(7)
    for _ in range(20):
        rows, inner, columns = generator.integers(1, 40, 3)
        left = [
            [int(x) << int(s) for x, s in zip(row, generator.integers(0, 300, inner), strict=True)]
            for row in generator.integers(-(2**60), 2**60, (rows, inner))
        ]
        right = [
            [int(x) for x in row] for row in generator.integers(-(2**60), 2**60, (inner, columns))
        ]
        monkeypatch.setattr(exact, "use_flint", True)
        monkeypatch.setattr(exact, "SMALL", 0)
        fast = exact.Matrix(right, int(columns), 0).after(left)
        monkeypatch.setattr(exact, "use_flint", False)
        assert fast == exact.Matrix(right, int(columns), 0).after(left)
    network, _, _ = handmade.random_mlp(tmp_path / "n.onnx", 6, [4, 9, 8, 2])
    lower, upper = np.full(4, -0.3), np.full(4, 0.4)
    bound, proof = quadratic(network, lower, upper, [1.0, 0.0], "inf")
    asked = handmade.lipschitz(bound * 1.000001, rows=handmade.floats([1, 0]))
    path = handmade.write(
        tmp_path / "c.lipcert",
        handmade.manifest(network, handmade.box(lower, upper), asked),
        [{"steps": BOUNDS, "proofs": [proof]}],
    )
    slow = check(path, network)
    monkeypatch.setattr(exact, "use_flint", True)
    assert slow == check(path, network) and slow.accepted


def test_gates_that_are_not_listed_are_paid_for(tmp_path: Path) -> None:
    """relu(x), its gate not listed: u = 1/2 + t/2 costs 1, not 1/2."""
    network = handmade.mlp(tmp_path / "n.onnx", [[[1.0]], [[1.0]]], [[0.0], [0.0]])
    nodes = [{"proofs": [{"rule": "quadratic", "objective": 0}]}]
    region = handmade.box([-1], [1])
    assert not ask(tmp_path, network, handmade.lipschitz(0.75), nodes, region).accepted
    assert ask(tmp_path, network, handmade.lipschitz(1.0 + 1e-9), nodes, region).accepted


def test_a_wrong_factor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The float factor is a guess: its exact residual decides."""
    matrix = [[(1 << 80) * (i == j) for j in range(20)] for i in range(20)]
    assert not_negative(matrix, Clock(60))
    monkeypatch.setattr(semidefinite, "sqrt", lambda x: 1.001 * x**0.5)
    assert not not_negative(matrix, Clock(60))
