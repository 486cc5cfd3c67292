"""Which gate to split: pseudo-costs, learned as the search goes.

Each bounded child says how much fixing one gate on one side lowered the bound. A gate's score is
the product of its two average drops (Achterberg, Koch, Martin 2005, reliability branching), times
how undecided the relaxation is about it here. Gates not tried yet start from the multiplier-based
estimate, scaled to the drops seen so far.
"""

from dataclasses import dataclass, field

GateName = tuple[str, int]

LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class Candidate:
    """An open gate: `estimate` of the worth of splitting it, `doubt` in [0, 1] about its slope."""

    gate: GateName
    estimate: float
    doubt: float


@dataclass(eq=False)
class PseudoCosts:
    """Average drop of the bound, relative to the parent's, by (gate, side); grows as it goes."""

    drops: dict[tuple[GateName, int], tuple[float, int]] = field(default_factory=dict)
    ratio: tuple[float, float] = (0.0, 0.0)
    """Sums of drops and of the estimates that they were predicted by."""

    def learn(
        self, gate: GateName, side: int, parent: float, child: float, estimate: float
    ) -> None:
        if not parent > 0:
            return
        drop = min(1.0, max(0.0, (parent - child) / parent))
        total, count = self.drops.get((gate, side), (0.0, 0))
        self.drops[gate, side] = (total + drop, count + 1)
        self.ratio = (self.ratio[0] + drop, self.ratio[1] + estimate)

    def tried(self, gate: GateName) -> int:
        return min(self.drops.get((gate, side), (0.0, 0))[1] for side in (-1, 1))

    def score(self, candidate: Candidate) -> float:
        guess = candidate.estimate
        if self.ratio[1] > 0:
            guess *= self.ratio[0] / self.ratio[1]
        product = 1.0
        for side in (-1, 1):
            total, count = self.drops.get((candidate.gate, side), (0.0, 0))
            average = total / count if count else guess
            product *= max(average, LEAST)
        return product * (0.1 + candidate.doubt)
