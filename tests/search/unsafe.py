"""Random questions about unsafe outputs whose exact answer is known."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import linprog

from lipverify.numerics import DTYPE
from lipverify.query_output import Clause, OutputQuery
from lipverify.region import Box
from tests.oracles import networks
from tests.oracles.networks import Tiny, Weights
from tests.oracles.regions import Regions

SHAPES = (
    (2, 4, 2),
    (1, 5, 3),
    (2, 4, 4, 2),
    (3, 5, 3, 2),
    (2, 3, 3, 3, 2),
    (3, 8, 3),
    (2, 6, 5, 2),
    (2, 7, 7, 3),
    (4, 6, 2),
    (2, 5, 4, 3, 1),
)
"""Up to 14 hidden neurons."""
KINDS = ("relu", "relu", "relu", "leaky", "abs")


@dataclass(frozen=True, eq=False)
class Question:
    """A network, a box, and clauses; `depth` is the largest depth of any clause, exactly."""

    tiny: Tiny
    box: Box
    clauses: tuple[Clause, ...]

    @cached_property
    def depth(self) -> float:
        regions = Regions(self.tiny, self.box)
        return max(largest_depth(regions, clause) for clause in self.clauses)

    def at(self, depth: float) -> OutputQuery:
        """The same clauses, moved such that the largest depth is `depth`."""
        shift = self.depth - depth
        moved = tuple(
            Clause(clause.coefficients, clause.offsets + shift, clause.strict)
            for clause in self.clauses
        )
        return OutputQuery(self.box, moved)


def largest_depth(regions: Regions, clause: Clause) -> float:
    """The largest t with t <= -(row y + offset) for all rows, by one program per linear region."""
    best = []
    center = (regions.box.lower / 2 + regions.box.upper / 2).numpy()
    radius = (regions.box.upper / 2 - regions.box.lower / 2).numpy()
    rows, offsets = clause.coefficients.numpy(), clause.offsets.numpy()
    for region in regions.all:
        slopes = rows @ region.jacobian
        constants = rows @ (region.offset + region.jacobian @ center) + offsets
        n = slopes.shape[1]
        above = np.vstack(
            [
                np.hstack([slopes * radius, np.ones((len(rows), 1))]),
                np.hstack([-region.rows, np.zeros((len(region.rows), 1))]),
            ]
        )
        limits = np.concatenate([-constants, region.constants])
        cost = np.append(np.zeros(n), -1.0)
        box = [(-1, 1)] * n + [(None, None)]
        solved = linprog(cost, A_ub=above, b_ub=limits, bounds=box, method="highs")
        assert solved.status == 0, solved.message
        best.append(-solved.fun)
    return max(best)


def question(seed: int) -> Question:
    """Random, but for the seed: one to three clauses of one to three rows."""
    sizes, kind = SHAPES[seed % len(SHAPES)], KINDS[seed % len(KINDS)]
    tiny = networks.dense(sizes, seed, kind, bias=seed % 7 != 0)
    make = Weights(1000 + seed)
    random = torch.Generator().manual_seed(seed)
    middle = make(sizes[0])
    radius = 0.25 + torch.rand(sizes[0], generator=random, dtype=DTYPE)
    clauses = []
    for _ in range(1 + seed % 3):
        rows = 1 + int(torch.randint(3, (1,), generator=random))
        clauses.append(Clause(make(rows, sizes[-1]), make(rows)))
    return Question(tiny, Box(middle - radius, middle + radius), tuple(clauses))
