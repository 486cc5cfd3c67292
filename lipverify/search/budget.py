"""When to stop, and what to tell a person meanwhile."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lipverify.evidence import StageRecord, TimePoint


@dataclass(frozen=True)
class Progress:
    """How far one property has come; `lower` and `upper` are None while nothing is known."""

    property: int
    stage: str
    lower: float | None
    upper: float | None
    subproblems: int
    seconds: float
    detail: str = ""
    """Why this stage, where there was a choice."""


ALIVE_SECONDS = 1.0
"""Between two reports in which nothing is new."""

TIMELINE_POINTS = 400
"""Most points that are kept of an interval's way; of more, every other one is dropped."""

Report = Callable[[Progress], None]
Tell = Callable[[str, float | None, float | None, int], None]
"""tell(stage, lower, upper, subproblems): a `Note`, or what stands before one."""


class Note:
    """Where a stage says how far it is: note(stage, lower, upper). Keeps the last of each stage."""

    def __init__(self, report: Report | None, index: int, clock: "Clock") -> None:
        self._report = report
        self._index = index
        self._clock = clock
        self._stages: list[StageRecord] = []
        self._began = 0.0
        self._told: tuple[tuple[object, ...], float] = ((), 0.0)
        self._timeline: list[TimePoint] = []

    def __call__(
        self,
        stage: str,
        lower: float | None,
        upper: float | None,
        subproblems: int = 1,
        detail: str = "",
    ) -> None:
        seconds = self._clock.seconds
        self._mark(TimePoint(seconds, lower, upper, subproblems))
        detail = self._keep(StageRecord(stage, lower, upper, seconds, subproblems, detail))
        if self._report is None or not self._news((stage, lower, upper, subproblems), seconds):
            return
        self._report(Progress(self._index, stage, lower, upper, subproblems, seconds, detail))

    @property
    def stages(self) -> tuple[StageRecord, ...]:
        """What each stage gained so far, with the time since the one before it."""
        return tuple(self._stages)

    @property
    def timeline(self) -> tuple[TimePoint, ...]:
        """The interval over time, as far as it changed; at most `TIMELINE_POINTS`."""
        return tuple(self._timeline)

    def _mark(self, point: TimePoint) -> None:
        """What was known stays known: a stage may not repeat what another one found."""
        points = self._timeline
        if points:
            lower = _best(max, points[-1].lower, point.lower)
            upper = _best(min, points[-1].upper, point.upper)
            if (lower, upper) == (points[-1].lower, points[-1].upper):
                return
            point = replace(point, lower=lower, upper=upper)
        points.append(point)
        if len(points) > TIMELINE_POINTS:
            # The last one stays: it is the interval that was reached.
            points[:] = [*points[:-1:2], points[-1]]

    def _news(self, now: tuple[object, ...], seconds: float) -> bool:
        """Whether anything changed, or some time passed: long steps report that they are alive."""
        if now == self._told[0] and seconds < self._told[1] + ALIVE_SECONDS:
            return False
        self._told = (now, seconds)
        return True

    def _keep(self, new: StageRecord) -> str:
        """The record in place of the last one of the same stage; its detail."""
        last = self._stages[-1] if self._stages else None
        if last is not None and last.stage == new.stage:
            new = replace(new, detail=new.detail or last.detail)
            self._stages.pop()
        elif last is not None:
            self._began += last.seconds
        self._stages.append(replace(new, seconds=new.seconds - self._began))
        return new.detail


def _best(
    better: Callable[[float, float], float], old: float | None, new: float | None
) -> float | None:
    """The better one of two ends, as far as they are known."""
    if old is None or new is None:
        return new if old is None else old
    return better(old, new)


@dataclass(frozen=True)
class Clock:
    """Started when made; `timeout` in seconds, or None."""

    timeout: float | None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds, at least 0; None without a timeout."""
        return None if self.timeout is None else max(0.0, self.timeout - self.seconds)

    def limited(self, seconds: float) -> "Clock":
        """This clock, with at most so many seconds from now on."""
        end = self.seconds + seconds
        return replace(self, timeout=end if self.timeout is None else min(self.timeout, end))

    def expired(self) -> bool:
        return self.timeout is not None and self.seconds >= self.timeout


POINTS_SHARE = 0.25
"""Of the time left, for the search for points: bounds come after it, and need some too."""


def points_clock(clock: Clock) -> Clock:
    """The clock of the search for points that comes before all bounds."""
    return clock if clock.left is None else clock.limited(POINTS_SHARE * clock.left)
