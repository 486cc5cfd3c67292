"""When to stop, and what to tell a person meanwhile."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """How far one property has come; `lower` and `upper` are None while nothing is known."""

    property: int
    stage: str
    lower: float | None
    upper: float | None
    subproblems: int
    seconds: float


Report = Callable[[Progress], None]


class Note:
    """Where a stage says how far it is: note(stage, lower, upper)."""

    def __init__(self, report: Report | None, index: int, clock: "Clock") -> None:
        self._report = report
        self._index = index
        self._clock = clock

    def __call__(
        self, stage: str, lower: float | None, upper: float | None, subproblems: int = 1
    ) -> None:
        if self._report is not None:
            seconds = self._clock.seconds
            self._report(Progress(self._index, stage, lower, upper, subproblems, seconds))


@dataclass(frozen=True)
class Clock:
    """Started when made; `timeout` in seconds, or None."""

    timeout: float | None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def expired(self) -> bool:
        return self.timeout is not None and self.seconds >= self.timeout
