"""The quadratic rule's numbers in a certificate."""

from dataclasses import replace

import numpy as np

from lipverify.bounds.quadratic import OpenGates, QuadraticBound
from lipverify.evidence.certificate.encode import Json, floats
from lipverify.evidence.certificate.model import Model, Pair, State
from lipverify.graph import Node
from lipverify.norms import AbstractNorm

SPARSE = (0.2, 0.05, 1e-2, 1e-3)
"""Conflicts worth less than this share of the best one are left out, if the bound allows."""
INSIDE = 1e-10
"""So far inside the cone, relative to its norm, the matrix has to stay: the checker's margins are
others than ours."""
SHARE = 1e-9
"""Entries blended with less than this beside their chord have the chord alone."""


def sparser(found: QuadraticBound, limit: float) -> QuadraticBound:
    """With the multipliers of conflicts at 0 that `limit` does not need: each costs a proof."""
    dual, gates = found.dual, found.dual.gates
    count, pairs = gates.count, len(gates.conflicts)
    if not pairs:
        return found
    theta = np.clip(found.solution.theta, dual.lmi.lower, dual.lmi.upper)
    place = np.flatnonzero((dual.lmi.parameter >= count) & (dual.lmi.parameter < count + pairs))
    sizes = np.linalg.norm(dual.lmi.left[place], axis=1)
    sizes *= np.linalg.norm(dual.lmi.right[place], axis=1)
    worth = np.abs(theta[count : count + pairs]) * sizes
    for share in SPARSE:
        fewer = theta.copy()
        fewer[count : count + pairs][worth <= share * worth.max()] = 0.0
        matrix = dual.lmi.matrix(fewer)
        inside = INSIDE * float(np.linalg.norm(matrix))
        fewer[dual.lmi.cost > 0] += max(0.0, inside - float(np.linalg.eigvalsh(matrix)[0]))
        if dual.bound(fewer) <= limit:
            return replace(found, solution=replace(found.solution, theta=fewer))
    return found


def used_conflicts(found: QuadraticBound) -> list[int]:
    """The places of the conflicts with a multiplier."""
    count, pairs = found.dual.gates.count, len(found.dual.gates.conflicts)
    return np.flatnonzero(found.solution.theta[count : count + pairs]).tolist()


def quadratic_proof(
    model: Model,
    state: State,
    found: QuadraticBound,
    row_norm: AbstractNorm | None,
    max_signs: int,
) -> Json:
    """The dual's multipliers in the format's order.

    `row_norm` is what was bounded of the row; None: one entry.
    """
    dual, gates = found.dual, found.dual.gates
    theta = np.clip(found.solution.theta, dual.lmi.lower, dual.lmi.upper)
    backward = model.setting.backward
    layer = {node.name: k for k, node in enumerate(model.forward.activations)}
    places = [[layer[_activation(backward[name])], index] for name, index in gates.names]
    count, pairs = gates.count, len(gates.conflicts)
    l1 = row_norm is not None and row_norm.name == "1"
    l2 = row_norm is not None and row_norm.name == "2"
    rest = theta[count + pairs :]
    open_ = (gates.element_lower < 0) & (gates.element_upper > 0)
    majorant = found.start.majorant
    chosen = np.zeros(0, dtype=np.int64)
    if l1 and majorant is None:
        slack = -(gates.element_upper * gates.element_lower)
        width = np.where(open_, gates.element_upper - gates.element_lower, 1.0)
        intercept = np.where(open_, 2 * slack / width, 0.0)
        some = min(max_signs, int(open_.sum()))
        chosen = np.argsort(-intercept, kind="stable")[:some]
    blends = rest[: len(chosen)]
    kappas = rest[len(chosen) :]
    free = 0 if not gates.free else (1 if gates.free_norm == "2" else gates.free)
    proof: Json = {
        "gates": places,
        "theta": floats(theta[:count]),
        "kappa": floats(kappas[1 + free : 1 + free + count]),
    }
    used = used_conflicts(found)
    if used:
        numbers = {item.pair: number for number, item in enumerate(state.listed)}
        every = _pairs(places, gates)
        proof["pairs"] = [numbers[every[k]] for k in used]
        proof["phi"] = floats(theta[count : count + pairs][used])
    if free:
        proof["free"] = floats(kappas[1 : 1 + free])
    signs = kappas[1 + free + count :]
    if l1:
        blend, scale = np.ones(len(open_)), np.ones(len(open_))
        if majorant is not None:
            blend[open_], scale[open_] = majorant.blend[open_], majorant.scale[open_]
        else:
            # The variable s of an entry, eliminated: (1 - w) s r - kappa s^2 is at most
            # (1 - w)^2 r^2 / (4 kappa), so the scale is kappa / (1 - w).
            share = 1.0 - blends
            for k, place in enumerate(np.sort(chosen)):
                if share[k] > SHARE and signs[k] > 0:
                    blend[place], scale[place] = blends[k], signs[k] / share[k]
        proof["blend"], proof["scale"] = floats(blend), floats(scale)
    if l2:
        proof["scale"] = floats(signs[:1])
    return proof


def _pairs(places: list[list[int]], gates: OpenGates) -> list[Pair]:
    """The conflicts of gates at [layer, neuron] in the format's words."""
    return [
        (places[a][0], places[a][1], int(s), places[b][0], places[b][1], int(t))
        for a, s, b, t in gates.conflicts.tolist()
    ]


def _activation(gate: Node) -> str:
    """The activation whose gate a node of the backward graph is: d/OPERAND~ACTIVATION."""
    return gate.name.removeprefix(f"d/{gate.inputs[0]}~")
