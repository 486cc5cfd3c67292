"""Random questions about unsafe outputs whose exact answer is known."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from math import floor

import torch

from lipverify.numerics import DTYPE
from lipverify.query_output import Clause, OutputQuery
from lipverify.region import Box
from tests.oracles import networks
from tests.oracles.networks import Tiny, Weights
from tests.oracles.regions import Regions
from tests.search.exact_depth import Exact, exact_depth, float_depth

STEP = Fraction(1, 2**44)
"""The grid of thresholds next to an exact value: any is a float64 beside offsets of 1/64."""

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
    def regions(self) -> Regions:
        return Regions(self.tiny, self.box)

    @cached_property
    def depth(self) -> float:
        """In float arithmetic."""
        found = ((r, clause) for clause in self.clauses for r in self.regions.all)
        return max(float_depth(r, self.regions, clause)[0] for r, clause in found)

    @cached_property
    def exact(self) -> Exact:
        return exact_depth(self.tiny, self.regions, self.clauses)

    def limits(self, strict: bool) -> "tuple[OutputQuery, OutputQuery]":
        """The clauses moved such that the largest depth is at least 0 and less than a `STEP`, the
        last multiple of it; and such that it is below 0, by a step at most. Without rounding."""
        last = Fraction(floor(self.exact.depth / STEP)) * STEP
        below, above = (self._moved(shift, strict) for shift in (last, last + STEP))
        return below, above

    def _moved(self, shift: Fraction, strict: bool) -> OutputQuery:
        moved = []
        for clause in self.clauses:
            offsets = [Fraction(value) + shift for value in clause.offsets.tolist()]
            assert all(Fraction(float(value)) == value for value in offsets)
            new = torch.tensor([float(value) for value in offsets], dtype=DTYPE)
            moved.append(Clause(clause.coefficients, new, torch.full_like(new, strict).bool()))
        return OutputQuery(self.box, tuple(moved))

    def scale(self) -> float:
        """What a violation at the deepest point is compared with: the magnitudes of its terms."""
        x = torch.tensor([[float(value) for value in self.exact.point]], dtype=DTYPE)
        clause = self.exact.clause
        offsets = clause.offsets.abs() + abs(float(self.exact.depth))
        return 1.0 + float((clause.coefficients.abs() @ self.tiny(x)[0].abs() + offsets).max())

    def at(self, depth: float) -> OutputQuery:
        """The same clauses, moved such that the largest depth is `depth`."""
        shift = self.depth - depth
        moved = tuple(
            Clause(clause.coefficients, clause.offsets + shift, clause.strict)
            for clause in self.clauses
        )
        return OutputQuery(self.box, moved)


@cache
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
