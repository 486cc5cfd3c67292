"""The quadratic dual's own estimate: multiplier times distance from both slopes."""

from typing import final

from lipverify.search.branching.base import AbstractBranching, Candidate, Crossing


@final
class MultiplierBranching(AbstractBranching):
    summary = "multiplier of the gate's constraint in the quadratic dual; nothing is learned"

    def choose(self, crossing: Crossing) -> Candidate:
        return max(crossing.candidates, key=lambda candidate: candidate.estimate)
