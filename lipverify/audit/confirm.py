"""Pairs of inputs, run on the original network: only such a pair makes an answer `falsified`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from lipverify.audit.answer import Pair
from lipverify.audit.double import in_double
from lipverify.audit.output import Target

FLOAT32_NOISE = 16 * 2.0**-24
"""A difference of float32 outputs below this share of their size may be rounding."""
FLOAT32, FLOAT64 = "float32", "float64"


@dataclass(frozen=True, eq=False)
class Candidate:
    """Two points [n] between which the claim is proved to break in real arithmetic.

    sign x (after - before) is then below `least`: of the asked output itself with `by_shown`, else
    of a number with its order.
    """

    before: Tensor
    after: Tensor
    sign: int
    least: float
    by_shown: bool = False


@dataclass(frozen=True)
class Confirmed:
    """The shortest pair that the original confirms, and that with the largest effect."""

    shortest: Pair | None
    worst: Pair | None


@dataclass(frozen=True, eq=False)
class Judge:
    """The original network, in its own precision and, where that shows nothing, in double."""

    target: Target

    @cached_property
    def _double(self) -> Target | None:
        wide = in_double(self.target.network.evaluator)
        if wide is None:
            return None
        return replace(self.target, network=replace(self.target.network, evaluator=wide))

    def judged(self, groups: Sequence[Sequence[Candidate]]) -> list[Confirmed]:
        """For each group of candidates what the original confirms.

        Its own precision beyond its rounding first; then double precision; then any difference.
        """
        found = self._run(groups, self.target, FLOAT32, FLOAT32_NOISE)
        for target, engine in ((self._double, FLOAT64), (self.target, FLOAT32)):
            missing = [place for place, one in enumerate(found) if one.shortest is None]
            if missing and target is not None:
                again = self._run([groups[place] for place in missing], target, engine, 0.0)
                for place, one in zip(missing, again, strict=True):
                    found[place] = one
        return found

    def _run(
        self, groups: Sequence[Sequence[Candidate]], target: Target, engine: str, noise: float
    ) -> list[Confirmed]:
        every = [candidate for group in groups for candidate in group]
        if not every:
            return [Confirmed(None, None) for _ in groups]
        points = torch.stack([x for one in every for x in (one.before, one.after)])
        outputs = target.original(points)
        order, shown = target.raw(outputs), target.shown(outputs)
        size = 1.0 + outputs.abs().amax(1)
        found: list[Confirmed] = []
        place = 0
        for group in groups:
            good: list[tuple[float, float, Pair]] = []
            for one in group:
                values = shown if one.by_shown else order
                rise = one.sign * float(values[place + 1] - values[place])
                if rise < one.least - noise * float(size[place]):
                    ends = float(shown[place]), float(shown[place + 1])
                    points_ = tuple(one.before.tolist()), tuple(one.after.tolist())
                    length = float((one.after - one.before).abs().sum())
                    good.append((length, rise - one.least, Pair(*points_, *ends, engine)))
                place += 2
            if good:
                shortest = min(good, key=lambda item: item[0])[2]
                found.append(Confirmed(shortest, min(good, key=lambda item: item[1])[2]))
            else:
                found.append(Confirmed(None, None))
        return found
