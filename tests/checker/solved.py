"""Multipliers of the quadratic rule from the solver's own dual, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lipverify.bounds.jacobian import JacobianProblem, interval
from lipverify.bounds.linear import linear
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.methods import Setting
from lipverify.bounds.propagation import NativeEngine
from lipverify.bounds.quadratic import open_gates
from lipverify.bounds.quadratic.lmi import solve
from lipverify.bounds.quadratic.relaxation import (
    entry_dual,
    first_majorant,
    l1_dual_majorised,
    l2_dual,
    next_majorant,
)
from lipverify.config import PreactivationConfig
from lipverify.network import load_network
from lipverify.norms import norm_named
from lipverify.operators.gate import relax_chords
from lipverify.region import Box
from tests.checker.handmade import floats


def quadratic(
    network: Path,
    lower: Any,
    upper: Any,
    row: Any,
    norm: str,
    adjoints: str = "backward",
    direction: Any = None,
) -> tuple[float, dict[str, Any]]:
    """The solver's bound, and the proof for it."""
    loaded = load_network(str(network))
    region = Box(
        torch.as_tensor(lower, dtype=torch.float64), torch.as_tensor(upper, dtype=torch.float64)
    )
    setting = Setting(loaded, region, PreactivationConfig())
    rows = torch.as_tensor(np.asarray(row, dtype=np.float64)[None])
    problem = JacobianProblem(setting.backward, rows, setting.crown_preactivations)
    known = interval(problem).intersect(mean_split(problem))
    if adjoints == "backward":
        engine = NativeEngine(setting.backward, region, relax_chords)
        known = known.intersect(linear(problem, engine, relax_chords, norm_named(norm), known))
    gates = open_gates(problem, known, 0)
    extra: dict[str, Any] = {}
    if direction is not None:
        dual = entry_dual(gates, np.asarray(direction, dtype=np.float64))
        solution = solve(dual.lmi)
        theta, kappa = solution.theta[: gates.count], solution.theta[gates.count + 1 :]
    elif norm == "2":
        dual = l2_dual(gates)
        solution = solve(dual.lmi)
        theta, kappa = (
            solution.theta[: gates.count],
            solution.theta[gates.count + 1 : 2 * gates.count + 1],
        )
        extra["scale"] = floats(solution.theta[-1:])
    else:
        majorant = first_majorant(gates)
        for _ in range(4):
            dual = l1_dual_majorised(gates, majorant)
            solution = solve(dual.lmi)
            used, majorant = majorant, next_majorant(gates, solution.moments, majorant)
        theta, kappa = solution.theta[: gates.count], solution.theta[gates.count + 1 :]
        extra["blend"], extra["scale"] = floats(used.blend), floats(used.scale)
    order = [gate.name for gate in loaded_gates(setting)]
    names = [[len(order) - 1 - order.index(name), index] for name, index in gates.names]
    proof = {
        "rule": "quadratic",
        "objective": 0,
        "adjoints": adjoints,
        "gates": names,
        "theta": floats(theta),
        "kappa": floats(kappa),
        **extra,
    }
    return float(dual.bound(solution.theta)), proof


def loaded_gates(setting: Setting) -> list[Any]:
    """Gates of a sequential network: the last layer's first."""
    return list(setting.backward.gates)
