"""The widest preactivation: blind to the objective, for comparison."""

from typing import final

from lipverify.search.branching.base import AbstractBranching, Candidate, Crossing


@final
class WidthBranching(AbstractBranching):
    summary = "widest interval of the preactivation"

    def choose(self, crossing: Crossing) -> Candidate:
        def width(candidate: Candidate) -> float:
            node, index = candidate.gate
            interval = crossing.preactivations[node]
            return float(interval.upper.reshape(-1)[index] - interval.lower.reshape(-1)[index])

        return max(crossing.candidates, key=width)
