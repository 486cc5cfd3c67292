"""Linear bounds of many subproblems, with slopes and multipliers optimised together.

A split z >= 0 lets beta z be added to what is bounded from above, for any beta >= 0; a split
z <= 0 lets it be subtracted (Wang et al. 2021, beta-CROWN). The slopes of the open neurons' lines
(alpha, Xu et al. 2021), the multipliers beta, and the weights of a number's rows are all optimised
by Adam; every value that they take on the way gives a proved bound, and the best one is kept.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.bounds.neurons.open_net import Lines, OpenNet, Target
from lipverify.interval import Interval

MOMENTS = (0.9, 0.999)
STORED = torch.float32
"""Slopes and multipliers may be any numbers in their range: they are kept in half the memory."""


@dataclass(frozen=True)
class Effort:
    """Steps of Adam, the first steps' sizes (of a slope, of a multiplier as a share of the usual
    coefficient, of the logarithm of a row's weight), and the factor by which they shrink."""

    steps: int = 12
    slope_rate: float = 0.2
    multiplier_rate: float = 0.3
    weight_rate: float = 0.5
    decay: float = 0.95


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


@dataclass(frozen=True, eq=False)
class Bounded:
    """`parts` with their upper ends lowered and the slopes and multipliers that did it.

    Guides: `coefficients` [b, g] of the open neurons' values; `points` [b, n], where the bound is
    attained if it is exact.
    """

    parts: Parts
    coefficients: Tensor
    points: Tensor


@dataclass(frozen=True, eq=False)
class _Substituted:
    value: Tensor
    slope: Tensor
    coefficients: Tensor


def substitute(
    net: OpenNet, before: int, objective: Tensor, lines: Lines, slopes: Tensor, signed: Tensor
) -> _Substituted:
    """An upper end of objective . (1, x, a) for each subproblem, not rounded: [...].

    objective [..., columns]; slopes in [0, 1] and signed multipliers [..., g], as the lines.
    """
    met = objective
    seen: list[Tensor] = []
    for stage in reversed(net.stages[:before]):
        place = net.places(stage)
        own = met[..., stage.first :]
        positive = own.clamp(min=0.0)
        negative = own - positive
        choice = slopes[..., place]
        upper_slope = lines.upper_least[..., place] + choice * lines.upper_change[..., place]
        lower_slope = lines.lower_least[..., place] + choice * lines.lower_change[..., place]
        pulled = positive * upper_slope + negative * lower_slope + signed[..., place]
        shift = positive * lines.upper_intercept[..., place]
        shift = (shift + negative * lines.lower_intercept[..., place]).sum(-1, keepdim=True)
        met = met[..., : stage.first] + pulled @ stage.table[0]
        met = torch.cat([met[..., :1] + shift, met[..., 1:]], -1)
        seen.insert(0, own)
    slope = met[..., 1:]
    box = net.reduced.boxes
    highest = slope.clamp(min=0.0) @ box.upper[0] + slope.clamp(max=0.0) @ box.lower[0]
    if net.reduced.region is not None:
        highest = torch.minimum(highest, net.reduced.region.support(slope))
    empty = objective.new_zeros(*objective.shape[:-1], 0)
    return _Substituted(met[..., 0] + highest, slope, torch.cat([empty, *seen], -1))


def bound_parts(
    net: OpenNet, target: Target, parts: Parts, effort: Effort, enough: float = -torch.inf
) -> Bounded:
    """Lower the upper ends of the subproblems; those proved at most `enough` are left as they are.

    Raises `NumericalFailure` on overflow.
    """
    state = _State(net, target, parts)
    for step in range(effort.steps + 1):
        state.evaluate(enough)
        if step == effort.steps or not len(state.live):
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
        own = target.pick(parts.number)
        self.own = own
        width = net.first + sum(stage.size for stage in net.stages[: target.before])
        self.single = own.rows.shape[1] == 1
        self.rows = own.rows[..., :width]
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
        self.points = torch.zeros(count, net.inputs, dtype=torch.float64)
        self.tried = torch.full((count,), torch.inf, dtype=torch.float64)

    def evaluate(self, enough: float) -> None:
        """Bound the live ones where they are; gradients, for those that stay."""
        slopes, multipliers, logits = (value.requires_grad_(True) for value in self.values)
        signed = multipliers * self.sides
        with torch.enable_grad():
            if self.single:
                weights = torch.ones_like(logits)
                objective = self.rows[:, 0]
            else:
                weights = torch.softmax(logits.masked_fill(~self.own.used, -torch.inf), 1)
                objective = (weights.unsqueeze(1) @ self.rows).squeeze(1)
            found = substitute(self.net, self.target.before, objective, self.lines, slopes, signed)
            wanted = (slopes, multipliers, logits)
            # Without neurons before the target, and with one row, nothing can be chosen.
            gradients = tuple(torch.zeros_like(value) for value in wanted)
            if found.value.requires_grad:
                gradients = torch.autograd.grad(
                    found.value.sum(), wanted, allow_unused=True, materialize_grads=True
                )
        self.values = [value.detach() for value in self.values]
        value, weights = found.value.detach(), weights.detach()
        upper = value + self.net.slack(self.own, weights, signed.detach())
        live = self.live
        better = upper < self.tried[live]
        chosen = live[better]
        self.tried[chosen] = upper[better]
        self.best[chosen] = torch.minimum(self.best[chosen], upper[better])
        for kept, now in zip(self.best_values, self.values, strict=True):
            kept[chosen] = now[better]
        seen = found.coefficients.detach()
        self.coefficients[chosen, : seen.shape[1]] = seen[better]
        box = self.net.reduced.boxes
        points = torch.where(found.slope.detach() >= 0, box.upper, box.lower)
        self.points[chosen] = points[better]
        self.scale = seen.abs().mean(1, keepdim=True) if seen.shape[1] else self.scale
        self.gradients = [gradient.detach() for gradient in gradients]
        # Written so that NaN stays.
        stay = (~(self.best[live] <= enough)).nonzero().flatten()
        if len(stay) < len(live):
            self._keep(stay)

    def _keep(self, stay: Tensor) -> None:
        self.live = self.live[stay]
        self.own = self.own.pick(stay)
        self.rows, self.sides, self.scale = self.rows[stay], self.sides[stay], self.scale[stay]
        self.lines = Lines(*(getattr(self.lines, name)[stay] for name in Lines.__annotations__))
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
        moved = []
        for k, rate in enumerate(rates):
            gradient = self.gradients[k]
            self.first[k] = MOMENTS[0] * self.first[k] + (1 - MOMENTS[0]) * gradient
            self.second[k] = MOMENTS[1] * self.second[k] + (1 - MOMENTS[1]) * gradient.square()
            mean = self.first[k] / (1 - MOMENTS[0] ** (step + 1))
            spread = (self.second[k] / (1 - MOMENTS[1] ** (step + 1))).sqrt()
            moved.append(self.values[k] - rate * mean / (spread + 1e-300))
        moved[0] = moved[0].clamp(0.0, 1.0)
        moved[1] = moved[1].clamp(min=0.0)
        self.values = moved

    def result(self) -> Bounded:
        slopes, multipliers, logits = (value.to(STORED) for value in self.best_values)
        parts = replace(
            self.parts, upper=self.best, slopes=slopes, multipliers=multipliers, logits=logits
        )
        return Bounded(parts, self.coefficients, self.points)
