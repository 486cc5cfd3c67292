"""Steps of kind `bound`: which neurons are bounded again at a node, and with what multipliers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.cuts import CutRegion
from lipverify.evidence.certificate.encode import Json, floats
from lipverify.evidence.certificate.model import Empty, Lines, Model, State
from lipverify.interval import Interval
from lipverify.operators import Relaxation
from lipverify.search.split import Split, tightest

GAIN = 1e-2
"""Share of a neuron's interval that a new bound has to cut off to be written."""
STEPS, RATE, DECAY = 15, 0.2, 0.95
"""Of Adam over slopes in [0, 1], and over multipliers as shares of the usual coefficient."""
CHUNK = 2**25
"""Numbers that the arrays of one step of Adam may hold, about."""


@dataclass(frozen=True, eq=False)
class Cuts:
    """The splits on the path as half-spaces of inputs."""

    splits: tuple[Split, ...]
    region: CutRegion

    def __len__(self) -> int:
        return len(self.splits)

    def betas(self, model: Model, amounts: Tensor) -> dict[str, Tensor]:
        """Amounts [T, k] >= 0 of side (z - position) >= 0 as the format's signed betas."""
        found: dict[str, Tensor] = {}
        for name in dict.fromkeys(split.node for split in self.splits):
            mine = [k for k, split in enumerate(self.splits) if split.node == name]
            index = torch.tensor([self.splits[k].index for k in mine])
            side = torch.tensor([float(self.splits[k].side) for k in mine], dtype=torch.float64)
            flat = torch.zeros(len(amounts), model.forward[name].size, dtype=torch.float64)
            flat = flat.index_add(1, index, -side * amounts[:, mine])
            found[name] = flat.reshape(len(amounts), *model.forward[name].shape)
        return found


def cuts_of(model: Model, state: State, lines: Lines) -> Cuts:
    """side z <= slope x + offset, and side (z - position) >= 0, for every split on the path."""
    splits = tightest(state.splits)
    nothing = torch.zeros(0, model.forward.input_size, dtype=torch.float64)
    ordered: list[Split] = []
    slopes, offsets = [nothing], [nothing[:, 0]]
    for name in dict.fromkeys(split.node for split in splits):
        mine = [split for split in splits if split.node == name]
        side = torch.tensor([float(split.side) for split in mine], dtype=torch.float64)
        index = torch.tensor([split.index for split in mine])
        start = unit_targets(model, name, index) * side.reshape(-1, *[1] * _rank(model, name))
        slope, constant, _ = model.substitute(state, {name: start}, lines)
        position = torch.tensor([split.position for split in mine], dtype=torch.float64)
        slopes.append(slope)
        offsets.append(constant - side * position)
        ordered.extend(mine)
    return Cuts(tuple(ordered), CutRegion(state.region, torch.cat(slopes), torch.cat(offsets)))


def unit_targets(model: Model, name: str, index: Tensor) -> Tensor:
    """One-hot rows [k, *shape] for flat indices of a node."""
    node = model.forward[name]
    rows = torch.zeros(len(index), node.size, dtype=torch.float64)
    rows[torch.arange(len(index)), index] = 1.0
    return rows.reshape(-1, *node.shape)


def _rank(model: Model, name: str) -> int:
    return len(model.forward[name].shape)


@dataclass(frozen=True, eq=False)
class Choice:
    """Multipliers for T functionals, and the upper ends [T] that they give.

    `slopes` by activation: the open neurons [k] and their lower slopes [T, k].
    """

    value: Tensor
    amounts: Tensor
    slopes: Mapping[str, tuple[Tensor, Tensor]]
    coefficients: Mapping[str, Tensor]

    def pick(self, index: Tensor) -> "Choice":
        return Choice(
            self.value[index],
            self.amounts[index],
            {name: (open_, slope[index]) for name, (open_, slope) in self.slopes.items()},
            {name: value[index] for name, value in self.coefficients.items()},
        )


def plain(
    model: Model, state: State, start: Mapping[str, Tensor], lines: Lines, cuts: Cuts
) -> Choice:
    """Default slopes, and the multipliers that the half-spaces' dual gives."""
    slope, constant, seen = model.substitute(state, start, lines)
    value = constant + state.region.support(slope)
    amounts = torch.zeros(len(value), len(cuts), dtype=torch.float64)
    if len(cuts):
        tried = cuts.region.multipliers(slope)
        slope, constant, _ = model.substitute(state, start, lines, cuts.betas(model, tried))
        other = constant + state.region.support(slope)
        better = other < value
        amounts[better] = tried[better]
        value = torch.where(better, other, value)
    return Choice(value, amounts, {}, seen)


def optimised(
    model: Model,
    state: State,
    start: Mapping[str, Tensor],
    lines: Lines,
    cuts: Cuts,
    steps: int = STEPS,
    enough: float = float("-inf"),
) -> Choice:
    """As `plain`, then slopes and amounts per functional by Adam; the best of each is kept."""
    first = plain(model, state, start, lines, cuts)
    places = _free_slopes(model, state, first)
    if not places and not len(cuts) or bool((first.value <= enough).all()):
        return first
    count = len(first.value)
    choices = {
        name: _default_share(lines[name], place, ends).expand(count, -1).clone()
        for name, (place, ends) in places.items()
    }
    usual = _usual(first)
    parameters = {**choices, "": first.amounts / usual}
    best_value, best = first.value.clone(), {key: v.clone() for key, v in parameters.items()}
    plain_choice = torch.ones(count, dtype=torch.bool)
    moments = {key: (torch.zeros_like(v), torch.zeros_like(v)) for key, v in parameters.items()}
    coefficients = dict(first.coefficients)
    for step in range(steps + 1):
        leaves = {key: value.detach().requires_grad_() for key, value in parameters.items()}
        made = {**lines, **_with_slopes(model, lines, places, leaves)}
        betas = cuts.betas(model, leaves[""] * usual) if len(cuts) else None
        slope, constant, seen = model.substitute(state, start, made, betas)
        value = constant + state.region.support(slope)
        better = value.detach() < best_value
        best_value = torch.where(better, value.detach(), best_value)
        plain_choice &= ~better
        for key, leaf in leaves.items():
            best[key][better] = leaf.detach()[better]
        for name, coefficient in seen.items():
            coefficients[name] = coefficients[name].clone()
            coefficients[name][better] = coefficient.detach()[better]
        if step == steps or bool((best_value <= enough).all()):
            break
        keys = [key for key in leaves if leaves[key].numel()]
        gradients = torch.autograd.grad(value.sum(), [leaves[k] for k in keys], allow_unused=True)
        for key, gradient in zip(keys, gradients, strict=True):
            if gradient is None:
                continue
            m, v = moments[key]
            m = 0.9 * m + 0.1 * gradient
            v = 0.999 * v + 0.001 * gradient**2
            moments[key] = m, v
            move = (m / (1 - 0.9 ** (step + 1))) / (
                (v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-12 * v.max().sqrt() + 1e-300
            )
            moved = parameters[key] - RATE * DECAY**step * move
            parameters[key] = moved.clamp(min=0.0) if key == "" else moved.clamp(0.0, 1.0)
    slopes = {}
    for name, (place, ends) in places.items():
        low, high = ends
        slopes[name] = place, low + best[name] * (high - low)
    return Choice(best_value, best[""] * usual, slopes, coefficients)


def _usual(choice: Choice) -> Tensor:
    """The usual size of a coefficient, per functional: [T, 1]."""
    sizes = [value.abs().flatten(1).mean(1) for value in choice.coefficients.values()]
    if not sizes:
        return torch.ones(len(choice.value), 1, dtype=torch.float64)
    size = torch.stack(sizes).amax(0)
    return torch.where(size > 0, size, torch.ones_like(size)).unsqueeze(1)


def _free_slopes(
    model: Model, state: State, choice: Choice
) -> dict[str, tuple[Tensor, tuple[float, float]]]:
    """Open neurons [k] of convex activations with a kink at 0 that matter, and both slopes."""
    found = {}
    for node in model.forward.activations:
        operator = model.activation(node)
        if node.name not in choice.coefficients or not operator.has_choice:
            continue
        ends = operator.derivative(torch.tensor([-1.0, 1.0], dtype=torch.float64)).tolist()
        if not operator.piecewise_linear or operator.kinks != (0.0,) or ends[0] > ends[1]:
            continue
        now = state.known[node.inputs[0]]
        place = ((now.lower < 0) & (now.upper > 0)).flatten().nonzero().flatten()
        if place.numel():
            found[node.name] = place, (ends[0], ends[1])
    return found


def _default_share(line: Relaxation, place: Tensor, ends: tuple[float, float]) -> Tensor:
    """Where in [0, 1] the default lower slope is, [1, k]."""
    low, high = ends
    slope = line.lower_slope.reshape(1, -1)[:, place]
    return (slope - low) / (high - low)


def _with_slopes(
    model: Model,
    lines: Lines,
    places: Mapping[str, tuple[Tensor, tuple[float, float]]],
    shares: Mapping[str, Tensor],
) -> dict[str, Relaxation]:
    found = {}
    for name, (place, (low, high)) in places.items():
        line, share = lines[name], shares[name]
        flat = line.lower_slope.reshape(1, -1).expand(len(share), -1)
        slope = flat.index_copy(1, place, low + share * (high - low))
        found[name] = Relaxation(
            slope.reshape(-1, *model.forward[name].shape),
            line.lower_intercept,
            line.upper_slope,
            line.upper_intercept,
        )
    return found


def multipliers_json(
    model: Model, state: State, lines: Lines, cuts: Cuts, choice: Choice
) -> list[Json]:
    """The list `multipliers` of a step or proof with the functionals of `choice`."""
    count = len(choice.value)
    found: list[Json] = []
    betas = {
        name: value.reshape(count, -1)
        for name, value in cuts.betas(model, choice.amounts).items()
        if bool((value != 0).any())
    }
    for number, node in enumerate(model.forward.activations):
        name = node.inputs[0]
        beta = betas.get(name) if model.layers[name][0] == number else None
        entry: Json = {}
        if not model.activation(node).piecewise_linear:
            line = lines.get(node.name)
            if line is not None and node.name in choice.coefficients:
                entry = {
                    "lower": floats(line.lower_slope.flatten()),
                    "upper": floats(line.upper_slope.flatten()),
                }
            if beta is not None:
                entry["beta"] = floats(beta)
        else:
            place, slope = choice.slopes.get(node.name, (None, None))
            used = torch.zeros(node.size, dtype=torch.bool)
            if place is not None:
                used[place] = True
            if beta is not None:
                used |= (beta != 0).any(0)
            index = used.nonzero().flatten()
            if index.numel():
                entry = {"neurons": index.tolist()}
            if place is not None and slope is not None:
                every = lines[node.name].lower_slope.reshape(1, -1).repeat(count, 1)
                every[:, place] = slope
                entry["lower"] = floats(every[:, index])
            if beta is not None:
                entry["beta"] = floats(beta[:, index])
        if entry:
            found.append({"layer": number, **entry})
    return found


def bound_steps(
    model: Model,
    state: State,
    names: Sequence[str],
    *,
    optimise: bool,
    gain: float = GAIN,
) -> tuple[list[Json], State]:
    """New bounds of the open neurons of these preactivations, those that gain; may raise `Empty`.

    One layer after the other, so that later ones see what earlier ones gained.
    """
    steps: list[Json] = []
    lines = model.lines(state.known)
    cuts = cuts_of(model, state, lines)
    for name in names:
        index = model.open(name, state.known[name])
        if not index.numel():
            continue
        made, state = _bound_layer(model, state, name, index, lines, cuts, optimise, gain)
        if made:
            steps += made
            lines = model.lines(state.known)
    return steps, state


def _bound_layer(
    model: Model,
    state: State,
    name: str,
    index: Tensor,
    lines: Lines,
    cuts: Cuts,
    optimise: bool,
    gain: float,
) -> tuple[list[Json], State]:
    steps: list[Json] = []
    below = model.forward.ancestors(name)
    size = sum(node.size for node in model.forward if node.name in below)
    for part in index.split(max(1, CHUNK // (2 * size))):
        unit = unit_targets(model, name, part)
        start = {name: torch.cat([unit, -unit])}
        work = optimised if optimise else plain
        choice = work(model, state, start, lines, cuts)
        count = len(part)
        upper, lower = choice.value[:count], -choice.value[count:]
        old = state.known[name]
        before = Interval(old.lower.flatten()[part], old.upper.flatten()[part])
        if bool((lower > upper + 1e-9 * (before.width + upper.abs())).any()):
            keep = (lower > upper).nonzero().flatten()[:1]
            steps += _steps_json(model, state, name, part, keep, lines, cuts, choice)
            raise EmptyAfter(steps)
        least, most = torch.minimum(lower, upper), torch.maximum(lower, upper)
        cut_off = (least - before.lower).clamp(min=0) + (before.upper - most).clamp(min=0)
        keep = (cut_off > gain * before.width).nonzero().flatten()
        if not keep.numel():
            continue
        steps += _steps_json(model, state, name, part, keep, lines, cuts, choice)
        try:
            state = model.cut(state, name, part[keep], Interval(least[keep], most[keep]))
        except Empty:
            raise EmptyAfter(steps) from None
    return steps, state


class EmptyAfter(Exception):
    """The steps that show a node to be empty."""

    def __init__(self, steps: list[Json]) -> None:
        super().__init__()
        self.steps = steps


def _steps_json(
    model: Model,
    state: State,
    name: str,
    index: Tensor,
    keep: Tensor,
    lines: Lines,
    cuts: Cuts,
    choice: Choice,
) -> list[Json]:
    both = torch.cat([keep, keep + len(index)])
    given = multipliers_json(model, state, lines, cuts, choice.pick(both))
    # A step's targets are before everything that comes behind them.
    neurons = index[keep].tolist()
    steps = []
    for layer in model.layers[name]:
        step: Json = {"step": "bound", "layer": layer, "neurons": neurons, "sides": "both"}
        if given:
            step["multipliers"] = given
        steps.append(step)
    return steps
