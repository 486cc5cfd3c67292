"""Look-ahead on the best few: their halves are bounded cheaply before one is chosen.

Strong branching where pseudo-costs know little, as in reliability branching (Achterberg, Koch,
Martin 2005): the candidates of the largest pseudo-cost score are tried, unless both of their sides
have been bounded often enough to go by what is known.
"""

from dataclasses import dataclass
from typing import final

from lipverify.search.branching.base import AbstractBranching, Candidate, Crossing
from lipverify.search.branching.costs import LEAST
from lipverify.search.branching.pseudo_costs import score


@final
@dataclass(frozen=True)
class LookAheadBranching(AbstractBranching):
    best: int = 4
    """So many candidates are tried."""
    reliable: int = 4
    """A gate that was split so often is judged by its pseudo-costs."""
    summary = "the best few by pseudo-costs, after bounding their halves cheaply"

    def choose(self, crossing: Crossing) -> Candidate:
        costs = crossing.costs
        order = sorted(crossing.candidates, key=lambda candidate: -score(costs, candidate))
        few = order[: self.best]
        if len(few) == 1 or all(costs.tried(candidate.gate) >= self.reliable for candidate in few):
            return few[0]
        return max(few, key=lambda candidate: self._gain(crossing, candidate))

    def _gain(self, crossing: Crossing, candidate: Candidate) -> float:
        """Product over both halves of the share of the way to the target, by a cheap bound."""
        trial = crossing.attempt(candidate.gate)
        whole = max(crossing.upper - crossing.target, LEAST * abs(crossing.upper), 1e-300)
        product = 1.0
        for end in (trial.below, trial.above):
            product *= max(min(1.0, (crossing.upper - end) / whole), LEAST)
        return product
