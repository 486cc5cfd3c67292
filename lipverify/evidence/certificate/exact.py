"""Neurons that a split puts on a side of 0 exactly: multiples and combinations of split ones.

Rounded multipliers would leave such a neuron open by a hair, and with it a part of the region
without inner points, that no bound closes. Here the multipliers are solved for in fractions, and
scaled to whole numbers, which floats hold.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import torch

from lipverify.bounds.interior import ExactForward
from lipverify.evidence.certificate.bounding import cuts_of, unit_targets
from lipverify.evidence.certificate.encode import Json, floats
from lipverify.evidence.certificate.model import Model, State
from lipverify.search.split import sides

NEAR = 1e-9
"""Ends so near to 0, as a share of the interval, may be 0."""
FEW_NEURONS, FEW_INPUTS = 6, 32
"""So many open neurons get a linear program each in any case, with so many inputs."""
MOST = 2**53
SUPPORT = 1e-9
"""Multipliers of a linear program below this share of the largest one count as 0."""

Row = list[Fraction]


def exact_steps(model: Model, exact: ExactForward, state: State) -> tuple[list[Json], State]:
    """Steps `bound` that prove ends of exactly 0, and the state after them."""
    if not state.splits or not exact.applicable:
        return [], state
    steps: list[Json] = []
    opened = sum(len(model.open(name, state.known[name])) for name in model.layers)
    few = opened <= FEW_NEURONS and model.forward.input_size <= FEW_INPUTS
    for name in model.layers:
        for index in model.open(name, state.known[name]).tolist():
            now = state.known[name]
            lower, upper = float(now.lower.flatten()[index]), float(now.upper.flatten()[index])
            if not lower < 0 < upper:
                continue
            near = NEAR * (upper - lower)
            for sign, end in ((1, upper), (-1, -lower)):
                close = few or end <= near
                made = _proof(model, exact, state, name, index, sign) if close else None
                if made is not None:
                    steps.append(made)
                    state = _ended(model, state, name, index, sign)
                    break
    return steps, state


def _ended(model: Model, state: State, name: str, index: int, sign: int) -> State:
    old = state.known[name]
    lower, upper = old.lower.clone(), old.upper.clone()
    (upper if sign > 0 else lower).reshape(-1)[index] = 0.0
    return model.with_known(state, name, lower, upper)


def _proof(
    model: Model, exact: ExactForward, state: State, name: str, index: int, sign: int
) -> Json | None:
    """sign z <= 0, as sign z + sum of mu_i side_i z_i = 0 with mu >= 0, if that is so."""
    lines = model.lines(state.known)
    cuts = cuts_of(model, state, lines)
    start = {name: sign * unit_targets(model, name, torch.tensor([index]))}
    slope, _, _ = model.substitute(state, start, lines)
    amounts = cuts.region.duals(slope[0])
    if not len(amounts) or not bool(amounts.max() > 0):
        return None
    betas = cuts.betas(model, amounts.unsqueeze(0))
    slope, constant, _ = model.substitute(state, start, lines, betas)
    ends = state.known[name]
    width = float((ends.upper - ends.lower).flatten()[index])
    if abs(float(constant + state.region.support(slope))) > NEAR * width:
        return None
    used = [
        split
        for split, amount in zip(cuts.splits, amounts.tolist(), strict=True)
        if amount > SUPPORT * float(amounts.max()) and split.position == 0
    ]
    target = exact.functions([(name, index, sign)], state.known)
    rows = exact.functions(sides(used), state.known)
    if len(target) != 1 or len(rows) != len(used):
        return None
    found = _combination(rows, [-value for value in target[0]])
    if found is None or any(value < 0 for value in found):
        return None
    scale = lcm(*(value.denominator for value in found))
    whole = [int(value * scale) for value in found]
    if max(scale, *whole) > MOST:
        return None
    entries: dict[int, tuple[list[int], list[float]]] = {}
    for split, amount in zip(used, whole, strict=True):
        neurons, betas = entries.setdefault(model.layers[split.node][0], ([], []))
        neurons.append(split.index)
        betas.append(-split.side * float(amount))
    return {
        "step": "bound",
        "layer": model.layers[name][0],
        "neurons": [index],
        "sides": "upper" if sign > 0 else "lower",
        "scale": floats([float(scale)]),
        "multipliers": [
            {"layer": layer, "neurons": neurons, "beta": floats(betas)}
            for layer, (neurons, betas) in sorted(entries.items())
        ],
    }


def _combination(rows: Sequence[Row], target: Row) -> list[Fraction] | None:
    """mu with sum of mu_i rows_i = target, where the rows are independent."""
    count = len(rows)
    table = [[row[j] for row in rows] + [target[j]] for j in range(len(target))]
    place = 0
    for column in range(count):
        pivot = next((r for r in range(place, len(table)) if table[r][column]), None)
        if pivot is None:
            return None
        table[place], table[pivot] = table[pivot], table[place]
        lead = table[place][column]
        table[place] = [value / lead for value in table[place]]
        for r, row in enumerate(table):
            if r != place and row[column]:
                factor = row[column]
                table[r] = [a - factor * b for a, b in zip(row, table[place], strict=True)]
        place += 1
    if any(row[-1] for row in table[place:]):
        return None
    return [table[k][-1] for k in range(count)]
