"""How far one property is: what a checkpoint holds of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lipverify.config import VerifyConfig
from lipverify.evidence import PropertyResult
from lipverify.verdict import Reason, Unknown, Verified

SPENT = {Reason.TIMEOUT, Reason.SUBPROBLEMS, Reason.MEMORY, Reason.INTERRUPTED}
"""Reasons of an Unknown that more of something could change."""


@dataclass(frozen=True)
class Budget:
    """What a run may use; inf is no limit."""

    timeout: float
    max_subproblems: float
    memory: float

    def allows_more_than(self, other: "Budget") -> bool:
        return (
            self.timeout > other.timeout
            or self.max_subproblems > other.max_subproblems
            or self.memory > other.memory
        )


def budget_of(config: VerifyConfig) -> Budget:
    infinite = float("inf")
    return Budget(
        infinite if config.timeout is None else float(config.timeout),
        infinite if config.max_subproblems is None else float(config.max_subproblems),
        float(config.memory),
    )


@dataclass(frozen=True, eq=False)
class PropertyProgress:
    """Seconds spent, the answer if there is one, and by key what has been worked out."""

    seconds: float = 0.0
    budget: Budget | None = None
    """The one that `answer` was found with."""
    answer: PropertyResult | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)

    def settled(self, budget: Budget) -> bool:
        """Whether there is an answer that `budget` leaves no room to better."""
        if self.answer is None or self.budget is None:
            return False
        no_time = self.seconds >= budget.timeout
        return finished(self.answer) or no_time or not budget.allows_more_than(self.budget)


def finished(answer: PropertyResult) -> bool:
    """Whether no budget can have ended the work on it."""
    if answer.bound is not None and isinstance(answer.verdict, Verified):
        return False  # an interval is an answer whatever ended the work on it
    verdicts = (answer.verdict, *(feature.verdict for feature in answer.features))
    return not any(isinstance(verdict, Unknown) and verdict.reason in SPENT for verdict in verdicts)
