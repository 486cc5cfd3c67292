"""Conflicts: pairs of neurons that are never on two given sides of 0 at once, and their proofs.

They are looked for once, where a quadratic proof is tried first, and listed where one uses them.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from lipverify.bounds.conflicts import Conflict, Conflicts, Side, find_conflicts
from lipverify.bounds.methods import CONFLICT_NEURONS
from lipverify.bounds.preactivation import ForwardProblem
from lipverify.evidence.certificate.bounding import cuts_of, multipliers_json, plain, unit_targets
from lipverify.evidence.certificate.encode import Json, floats
from lipverify.evidence.certificate.model import Listed, Model, Pair, State

SAFE = 1e-9
"""Share of the numbers behind a float bound by which it has to be below 0."""


def conflicts_at(model: Model, state: State) -> Conflicts:
    """Those that the region and the intervals of a state show, of neurons that the format allows.

    Each neuron has one activation, whose slope rises at 0.
    """
    problem = ForwardProblem(model.forward, state.region, model.setting.memory)
    found = find_conflicts(problem, state.known, CONFLICT_NEURONS)
    fit = {name for name in model.layers if _rises(model, name)}
    return Conflicts(tuple(p for p in found.pairs if {p.first[0], p.second[0]} <= fit))


def _rises(model: Model, name: str) -> bool:
    if len(model.layers[name]) > 1:
        return False
    ends = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    below, above = model.users(name)[0].derivative(ends).tolist()
    return below < above


def listed(
    model: Model, state: State, wanted: Sequence[Conflict]
) -> tuple[list[Json], State, set[Conflict]]:
    """Steps that prove the wanted ones not known yet, the state after them, and what they miss."""
    known = {item.pair for item in state.listed}
    new = [(one, pair) for one in wanted if (pair := pair_of(model, one)) not in known]
    if not new:
        return [], state, set()
    weights = torch.tensor([_weight(one) for one, _ in new], dtype=torch.float64)
    lines = model.lines(state.known)
    cuts = cuts_of(model, state, lines)
    start: dict[str, torch.Tensor] = {}
    for side_of, share in ((_first, weights), (_second, 1.0 - weights)):
        for t, (one, _) in enumerate(new):
            name, index, side = side_of(one)
            if name not in start:
                shape = model.forward[name].shape
                start[name] = torch.zeros(len(new), *shape, dtype=torch.float64)
            unit = unit_targets(model, name, torch.tensor([index]))[0]
            start[name][t] += side * share[t] * unit
    choice = plain(model, state, start, lines, cuts)
    reach = _reach(state, start)
    proved = choice.value < -SAFE * reach
    keep = proved.nonzero().flatten()
    missed = {one for (one, _), fine in zip(new, proved.tolist(), strict=True) if not fine}
    if not keep.numel():
        return [], state, missed
    kept = [new[t] for t in keep.tolist()]
    step: Json = {
        "step": "conflicts",
        "pairs": [list(pair) for _, pair in kept],
        "weights": floats(weights[keep]),
    }
    given = multipliers_json(model, state, lines, cuts, choice.pick(keep))
    if given:
        step["multipliers"] = given
    items = (Listed(one, pair) for one, pair in kept)
    return [step], replace(state, listed=(*state.listed, *items)), missed


def pair_of(model: Model, conflict: Conflict) -> Pair:
    (one, i, s), (two, j, t) = conflict.first, conflict.second
    return (model.layers[one][0], i, s, model.layers[two][0], j, t)


def _first(conflict: Conflict) -> Side:
    return conflict.first


def _second(conflict: Conflict) -> Side:
    return conflict.second


def _weight(conflict: Conflict) -> float:
    """From w a + (1 - w) b <= v < 0: a <= v / w, b <= v / (1 - w)."""
    return conflict.second_upper / (conflict.first_upper + conflict.second_upper)


def _reach(state: State, start: dict[str, torch.Tensor]) -> torch.Tensor:
    """The size of what cancels, [T]."""
    total = torch.zeros(len(next(iter(start.values()))), dtype=torch.float64)
    for name, rows in start.items():
        size = state.known[name].magnitude.reshape(1, -1)
        total = total + (rows.abs().flatten(1) * size).sum(1)
    return total
