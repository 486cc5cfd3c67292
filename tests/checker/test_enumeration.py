"""Whole trees, every neuron split, against enumeration by linear programs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from tests.checker import handmade
from tests.checker.test_rules import ask

Pattern = tuple[int, ...]


class Enumeration:
    """A ReLU network on a box: the linear pieces, and the tree that splits every neuron at 0."""

    def __init__(
        self, weights: list[np.ndarray], biases: list[np.ndarray], lower: Any, upper: Any
    ) -> None:
        self.weights, self.biases = (
            [w.astype(float) for w in weights],
            [b.astype(float) for b in biases],
        )
        self.box = list(zip(lower, upper, strict=True))
        self.neurons = [(k, i) for k, w in enumerate(weights[:-1]) for i in range(len(w))]
        self.leaves = [
            self.leaf(tuple(pattern)) for pattern in np.ndindex(*([2] * len(self.neurons)))
        ]

    def leaf(self, pattern: Pattern) -> tuple[float, np.ndarray, np.ndarray]:
        """How far inside of all halves one can be, its multipliers, and the Jacobian there."""
        slope, offset = np.eye(len(self.box)), np.zeros(len(self.box))
        rows, ends, place = [], [], 0
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            slope, offset = weight @ slope, weight @ offset + bias
            if k + 1 < len(self.weights):
                on = np.array(pattern[place : place + len(bias)])
                place += len(bias)
                rows.append((2 * on - 1)[:, None] * slope)
                ends.append((2 * on - 1) * offset)
                slope, offset = on[:, None] * slope, on * offset
        sides, constants = np.vstack(rows), np.concatenate(ends)
        # maximise s with sides x + constants >= s
        table = np.hstack([-sides, np.ones((len(sides), 1))])
        goal = np.zeros(table.shape[1])
        goal[-1] = -1
        found = linprog(
            goal, A_ub=table, b_ub=constants, bounds=[*self.box, (None, None)], method="highs"
        )
        return -found.fun, -found.ineqlin.marginals, slope

    @property
    def norm(self) -> float:
        """The largest l1 norm of a row on pieces with an inside."""
        return max(np.abs(slope).sum(1).max() for depth, _, slope in self.leaves if depth > 0)

    def tree(self, at_most: float) -> list[dict[str, Any]]:
        """Depth first: a neuron's first child is the half below 0."""
        nodes: list[dict[str, Any]] = []

        def grow(prefix: Pattern) -> None:
            if len(prefix) < len(self.neurons):
                layer, neuron = self.neurons[len(prefix)]
                nodes.append(
                    {"split": {"layer": layer, "neuron": neuron, "at": handmade.scalar(0.0)}}
                )
                grow((*prefix, 0))
                grow((*prefix, 1))
                return
            number = int("".join(map(str, prefix)), 2)
            depth, multipliers, slope = self.leaves[number]
            if np.abs(slope).sum(1).max() <= at_most:
                nodes.append({"proofs": [{"rule": "mean-split", "objectives": "all"}]})
                return
            # on the half above 0, beta < 0 adds |beta| (z - 0)
            betas = np.where(np.array(prefix) == 1, -1, 1) * np.maximum(multipliers, 0)
            entries, place = [], 0
            for k, weight in enumerate(self.weights[:-1]):
                entries.append(
                    {"layer": k, "beta": handmade.floats(betas[place : place + len(weight)])}
                )
                place += len(weight)
            nodes.append({"proofs": [{"rule": "empty", "multipliers": entries}]})

        grow(())
        return nodes


def sweep(path: Path, seeds: range) -> tuple[int, int]:
    """Networks whose constant is accepted a little above it and rejected a little below."""
    right = checked = 0
    for seed in seeds:
        sizes = [2, 3, 2, 1] if seed % 2 else [2, 4, 2]
        network, weights, biases = handmade.random_mlp(path / "n.onnx", seed, sizes)
        lower, upper = np.full(2, -1.0), np.full(2, 1.0)
        truth = Enumeration(weights, biases, lower, upper)
        slack = 1e-6 * (truth.norm or 1.0)
        for at_most, expected in ((truth.norm + slack, True), (truth.norm - slack, False)):
            region = handmade.box(lower, upper)
            report = ask(path, network, handmade.lipschitz(at_most), truth.tree(at_most), region)
            right += report.accepted is expected
            checked += 1
    return right, checked


def test_enumerated(tmp_path: Path) -> None:
    right, checked = sweep(tmp_path, range(12))
    assert right == checked == 24


@pytest.mark.slow
def test_enumerated_many(tmp_path: Path) -> None:
    right, checked = sweep(tmp_path, range(500))
    assert right == checked == 1000
