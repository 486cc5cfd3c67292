"""One walked line, and the questions about it: signs of slopes, parts, largest changes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lipverify.audit.answer import Part, Trend
from lipverify.numerics import gamma

Numbers = NDArray[np.float64]

SLIVER = 1e-9
"""Undecided parts shorter than this share of the line are only the rounding of a turning point."""


@dataclass(frozen=True, eq=False)
class LinePieces:
    """The pieces of one line in order: start, end, slopes lower and upper, all [p].

    `value` at the middle of each is known within `error`; `bent` ones may hold a kink inside.
    """

    start: Numbers
    end: Numbers
    lower: Numbers
    upper: Numbers
    middle: Numbers
    value: Numbers
    error: Numbers
    bent: NDArray[np.bool_]

    def replaced(self, at: NDArray[np.bool_], lower: Numbers, upper: Numbers) -> "LinePieces":
        """With better slopes on the pieces `at`."""
        low, high = self.lower.copy(), self.upper.copy()
        low[at], high[at] = lower, upper
        return LinePieces(
            self.start, self.end, low, high, self.middle, self.value, self.error, self.bent
        )

    @cached_property
    def nodes(self) -> Numbers:
        """All ends, in order: [p + 1]."""
        return np.append(self.start, self.end[-1])

    @cached_property
    def profile(self) -> Numbers:
        """About the values at the nodes [p + 1]; not rounded."""
        slope = (self.lower + self.upper) / 2
        bent = self.bent
        steps = np.where(bent, 0.0, slope * (self.end - self.start))
        total = np.concatenate([[0.0], np.cumsum(steps)])
        wide = int(np.argmax(np.where(bent, -1.0, self.end - self.start)))
        offset = slope[wide] * (self.start[wide] - self.middle[wide])
        anchor = self.value[wide] + (0.0 if bent[wide] else offset)
        return total + (anchor - total[wide])

    def at(self, t: Numbers) -> tuple[Numbers, Numbers]:
        """Values at places of the line, as centre and error: [k] each. Proved."""
        place = np.clip(np.searchsorted(self.start, t, side="right") - 1, 0, len(self.start) - 1)
        slope = (self.lower[place] + self.upper[place]) / 2
        spread = (self.upper[place] - self.lower[place]) / 2 * (1 + 1e-9)
        step = t - self.middle[place]
        change = slope * step
        value = self.value[place] + change
        rounding = gamma(8) * (np.abs(change) + np.abs(value) + np.abs(self.value[place]))
        return value, (self.error[place] + spread * np.abs(step) + rounding) * (1 + 1e-9)

    def parts(self) -> tuple[Part, ...]:
        """Neighbouring pieces with one trend, joined.

        Between a rising and a falling part, a gap of rounding's size is left: the turning point.
        """
        least = SLIVER * float(self.end[-1] - self.start[0])
        joined: list[Part] = []
        gap: Part | None = None
        for start, end, low, high in zip(self.start, self.end, self.lower, self.upper, strict=True):
            part = Part(float(start), float(end), _trend(low, high))
            if part.trend is Trend.OPEN and part.end - part.start <= least and joined:
                gap = part if gap is None else Part(gap.start, part.end, Trend.OPEN)
                continue
            last = joined[-1] if joined else None
            alike = last is not None and (part.trend is last.trend or _fits(last.trend, part.trend))
            if alike and gap is None:
                assert last is not None
                kept = last.trend if part.trend is Trend.CONSTANT else part.trend
                joined[-1] = Part(last.start, part.end, kept)
                continue
            joined += [gap, part] if alike and gap is not None else [part]
            gap = None
        return tuple(joined)


def _fits(before: Trend, after: Trend) -> bool:
    """Whether a constant part joins its neighbour."""
    monotone = (Trend.INCREASING, Trend.DECREASING)
    return (before is Trend.CONSTANT and after in monotone) or (
        after is Trend.CONSTANT and before in monotone
    )


def _trend(lower: float, upper: float) -> Trend:
    if lower == 0 and upper == 0:
        return Trend.CONSTANT
    if lower >= 0:
        return Trend.INCREASING
    return Trend.DECREASING if upper <= 0 else Trend.OPEN


def largest_fall(profile: Numbers) -> tuple[int, int]:
    """Places i <= j with the largest profile[i] - profile[j]."""
    highest = np.maximum.accumulate(profile)
    j = int(np.argmax(highest - profile))
    return int(np.argmax(profile[: j + 1])), j
