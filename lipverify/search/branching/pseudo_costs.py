"""Pseudo-costs, learned as the search goes (Benichou et al. 1971; Achterberg, Koch, Martin 2005).

A gate's score is the product of its two average drops, times how undecided the relaxation is about
it here. Gates not tried yet start from the multiplier's estimate, scaled to the drops seen so far.
"""

from typing import final

from lipverify.search.branching.base import AbstractBranching, Candidate, Crossing
from lipverify.search.branching.costs import PseudoCosts


def score(costs: PseudoCosts, candidate: Candidate) -> float:
    return costs.product(candidate.gate, candidate.estimate) * (0.1 + candidate.doubt)


@final
class PseudoCostBranching(AbstractBranching):
    summary = "average drop of the bound at earlier splits of the gate"

    def choose(self, crossing: Crossing) -> Candidate:
        return max(crossing.candidates, key=lambda candidate: score(crossing.costs, candidate))
