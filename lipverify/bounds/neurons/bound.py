"""Linear bounds of many subproblems, with slopes and multipliers optimised together.

A split z >= 0 lets beta z be added to what is bounded from above, for any beta >= 0; a split
z <= 0 lets it be subtracted (Wang et al. 2021, beta-CROWN). The slopes of the open neurons' lines
(alpha, Xu et al. 2021), the multipliers beta, and the weights of a number's rows are all optimised
by Adam; every value that they take on the way gives a proved bound, and the best one is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.bounds.neurons.open_net import Bands, OpenNet, Target
from lipverify.bounds.neurons.substitute import (
    Objectives,
    Substituted,
    preactivations,
    substitute,
)
from lipverify.interval import Interval

STORED = torch.float32
"""Slopes and multipliers may be any numbers in their range: they are kept in half the memory."""


@dataclass(frozen=True)
class Effort:
    """Steps of Adam, the first steps' sizes (of a slope, of a multiplier as a share of the usual
    coefficient, of the logarithm of a row's weight), the factor by which they shrink, and how much
    of the gradients' moments is kept per step."""

    steps: int = 12
    slope_rate: float = 0.2
    multiplier_rate: float = 0.3
    weight_rate: float = 0.5
    decay: float = 0.95
    moments: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True, eq=False)
class Parts:
    """b subproblems of a target's numbers.

    `number` [b]; `sides` [b, g] int8: +1 for z >= 0, -1 for z <= 0, 0 for no split; `least` and
    `most` [b, g] bound the preactivations there, and `upper` [b] the number: proved. `slopes`,
    `multipliers` [b, g] and `logits` [b, r] are where optimisation starts.
    """

    number: Tensor
    sides: Tensor
    least: Tensor
    most: Tensor
    upper: Tensor
    slopes: Tensor
    multipliers: Tensor
    logits: Tensor

    def __len__(self) -> int:
        return len(self.number)

    def pick(self, index: Tensor) -> "Parts":
        return Parts(
            self.number[index],
            self.sides[index],
            self.least[index],
            self.most[index],
            self.upper[index],
            self.slopes[index],
            self.multipliers[index],
            self.logits[index],
        )

    def join(self, other: "Parts") -> "Parts":
        return Parts(
            torch.cat([self.number, other.number]),
            torch.cat([self.sides, other.sides]),
            torch.cat([self.least, other.least]),
            torch.cat([self.most, other.most]),
            torch.cat([self.upper, other.upper]),
            torch.cat([self.slopes, other.slopes]),
            torch.cat([self.multipliers, other.multipliers]),
            torch.cat([self.logits, other.logits]),
        )

    @property
    def bytes(self) -> float:
        return len(self) * (25.0 * self.sides.shape[1] + 4.0 * self.logits.shape[1] + 16.0)


def whole(net: OpenNet, target: Target) -> Parts:
    """One subproblem without splits for each of the target's numbers, not bounded yet."""
    count, size = len(target), net.size
    ends = net.preactivation
    start = (ends.upper > -ends.lower).to(STORED).expand(count, -1)
    return Parts(
        torch.arange(count),
        torch.zeros(count, size, dtype=torch.int8),
        ends.lower.expand(count, -1),
        ends.upper.expand(count, -1),
        torch.full((count,), torch.inf, dtype=torch.float64),
        start.contiguous(),
        torch.zeros(count, size, dtype=STORED),
        torch.zeros(count, target.rows.shape[1], dtype=STORED),
    )


def check_parts(net: OpenNet, target: Target, parts: Parts) -> None:
    """ValueError for parts that the network and the target cannot have."""
    count, numbers, rows = len(parts), len(target), target.rows.shape[1]
    wide = {"sides": torch.int8, "least": torch.float64, "most": torch.float64}
    wide |= {"slopes": STORED, "multipliers": STORED}
    expected = {name: ((count, net.size), dtype) for name, dtype in wide.items()}
    expected |= {"number": ((count,), torch.int64), "upper": ((count,), torch.float64)}
    expected |= {"logits": ((count, rows), STORED)}
    for name, (shape, dtype) in expected.items():
        value = getattr(parts, name)
        if value.shape != shape or value.dtype != dtype:
            raise ValueError(f"{name} of {count} parts: {tuple(value.shape)}, {value.dtype}")
        if bool(value.isnan().any()):
            raise ValueError(f"{name} of a part is NaN")
    if not bool(((parts.number >= 0) & (parts.number < numbers)).all()):
        raise ValueError("a part of no number")
    split = parts.sides != 0
    if bool((parts.sides.abs() > 1).any() | (split & ~net.splittable).any()):
        raise ValueError("a split of a neuron that cannot be split")
    if bool((parts.least > parts.most).any() | (parts.multipliers < 0).any()):
        raise ValueError("a part with inverted bounds or a negative multiplier")
    if not bool(((parts.slopes >= 0) & (parts.slopes <= 1)).all()):
        raise ValueError("a slope outside [0, 1]")


@dataclass(frozen=True, eq=False)
class Bounded:
    """`parts` with their upper ends lowered and the slopes and multipliers that did it.

    `coefficients` [b, g] of the open neurons' values are a guide.
    """

    parts: Parts
    coefficients: Tensor


def bound_parts(
    net: OpenNet,
    target: Target,
    parts: Parts,
    effort: Effort,
    enough: float = -torch.inf,
    stop: Callable[[], bool] = lambda: False,
) -> Bounded:
    """Lower the upper ends of the subproblems; those proved at most `enough` are left as they are.

    Where `stop` says so, the steps that are left are not taken. Raises `NumericalFailure` on
    overflow.
    """
    state = _State(net, target, parts)
    for step in range(effort.steps + 1):
        last = step == effort.steps or (step > 0 and stop())
        state.evaluate(enough, last)
        if last or not len(state.live):
            break
        state.move(effort, step)
    return state.result()


class _State:
    """The running optimisation; subproblems drop out of `live` as they are proved."""

    def __init__(self, net: OpenNet, target: Target, parts: Parts) -> None:
        self.net = net
        self.target = target
        self.parts = parts
        self.live = torch.arange(len(parts))
        self.single = target.rows.shape[1] == 1
        self.width = net.width(target.before)
        self.sides = parts.sides.double()
        self.lines = net.lines(Interval(parts.least, parts.most))
        self.values = [
            parts.slopes.double(),
            parts.multipliers.double(),
            parts.logits.double(),
        ]
        self.first = [torch.zeros_like(value) for value in self.values]
        self.second = [torch.zeros_like(value) for value in self.values]
        self.gradients: list[Tensor] = []
        self.scale = torch.ones(len(parts), 1, dtype=torch.float64)
        count = len(parts)
        self.best = parts.upper.clone()
        self.best_values = [value.clone() for value in self.values]
        self.coefficients = torch.zeros(count, net.size, dtype=torch.float64)
        self.tried = torch.full((count,), torch.inf, dtype=torch.float64)

    def evaluate(self, enough: float, last: bool) -> None:
        """Bound the live ones where they are; gradients, for those that stay."""
        slopes, multipliers, logits = self.values
        signed = multipliers * self.sides
        bands = self.lines.at(slopes)
        number = self.parts.number[self.live]
        objectives, weights = combined(self.target, number, logits)
        found = substitute(
            self.net,
            self.target.before,
            objectives,
            bands,
            signed,
            attained=True,
            points=not self.single,
        )
        upper = found.value + self.net.slack(self.target.reach[number], weights, signed)
        live = self.live
        better = upper < self.tried[live]
        chosen = live[better]
        self.tried[chosen] = upper[better]
        self.best[chosen] = torch.minimum(self.best[chosen], upper[better])
        for kept, now in zip(self.best_values, self.values, strict=True):
            kept[chosen] = now[better]
        seen = found.coefficients
        self.coefficients[chosen, : seen.shape[1]] = seen[better]
        self.scale = seen.abs().mean(1, keepdim=True) if seen.shape[1] else self.scale
        if last:
            return
        self.gradients = self._gradients(found, bands, weights)
        # Written so that NaN stays.
        stay = (~(self.best[live] <= enough)).nonzero().flatten()
        if len(stay) < len(live):
            self._keep(stay)

    def _gradients(self, found: Substituted, bands: Bands, weights: Tensor) -> list[Tensor]:
        """Of the bounds, by slopes, multipliers and logits."""
        z, values = preactivations(self.net, found, bands)
        seen = found.coefficients
        upper, lower = (
            change[:, : self.width] for change in (self.lines.upper_change, self.lines.lower_change)
        )
        by_weight = torch.zeros_like(weights)
        if not self.single:
            assert found.attained is not None and found.attained.points is not None
            one = torch.ones(len(z), 1, dtype=z.dtype)
            where = torch.cat([one, found.attained.points, values], 1)
            rows = self.target.rows[self.parts.number[self.live], :, : where.shape[1]]
            each = (rows @ where.unsqueeze(2)).squeeze(2)
            by_weight = weights * (each - (weights * each).sum(1, keepdim=True))
        by_slope, by_multiplier = (torch.zeros_like(value) for value in self.values[:2])
        by_slope[:, : self.width] = z * seen * torch.where(seen >= 0, upper, lower)
        by_multiplier[:, : self.width] = z * self.sides[:, : self.width]
        return [by_slope, by_multiplier, by_weight]

    def _keep(self, stay: Tensor) -> None:
        self.live = self.live[stay]
        self.sides, self.scale = self.sides[stay], self.scale[stay]
        self.lines = self.lines.pick(stay)
        for name in ("values", "first", "second", "gradients"):
            setattr(self, name, [part[stay] for part in getattr(self, name)])

    def move(self, effort: Effort, step: int) -> None:
        """A step of Adam (Kingma and Ba 2015), downhill, back into the ranges."""
        shrink = effort.decay**step
        rates = (
            effort.slope_rate * shrink,
            effort.multiplier_rate * shrink * self.scale,
            effort.weight_rate * shrink,
        )
        keep, hold = effort.moments
        moved = []
        for k, rate in enumerate(rates):
            gradient = self.gradients[k]
            self.first[k] = keep * self.first[k] + (1 - keep) * gradient
            self.second[k] = hold * self.second[k] + (1 - hold) * gradient.square()
            mean = self.first[k] / (1 - keep ** (step + 1))
            spread = (self.second[k] / (1 - hold ** (step + 1))).sqrt()
            moved.append(self.values[k] - rate * mean / (spread + 1e-300))
        moved[0] = moved[0].clamp(0.0, 1.0)
        moved[1] = moved[1].clamp(min=0.0)
        self.values = moved

    def result(self) -> Bounded:
        slopes, multipliers, logits = (value.to(STORED) for value in self.best_values)
        parts = replace(
            self.parts, upper=self.best, slopes=slopes, multipliers=multipliers, logits=logits
        )
        return Bounded(parts, self.coefficients)


def combined(target: Target, number: Tensor, logits: Tensor) -> tuple[Objectives, Tensor]:
    """What is bounded of numbers [b], with the weights [b, r] of their rows, and these."""
    if target.rows.shape[1] == 1:
        return Objectives(target.rows[:, 0], number), torch.ones_like(logits)
    weights = torch.softmax(logits.masked_fill(~target.used[number], -torch.inf), 1)
    table = (weights.unsqueeze(1) @ target.rows[number]).squeeze(1)
    return Objectives(table, torch.arange(len(table))), weights


def attaining_points(net: OpenNet, target: Target, parts: Parts) -> Tensor:
    """Where the parts' bounds are attained if they are exact, [b, n]: a guide."""
    objectives, _ = combined(target, parts.number, parts.logits.double())
    bands = net.lines(Interval(parts.least, parts.most)).at(parts.slopes.double())
    signed = parts.multipliers.double() * parts.sides.double()
    found = substitute(net, target.before, objectives, bands, signed, points=True).attained
    assert found is not None and found.points is not None
    return found.points
