"""Programs of tiny networks, with the intervals that a search would hand over."""

from functools import cache

import torch

from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.methods import Setting
from lipverify.config import PreactivationConfig
from lipverify.milp.problem import MilpProblem, Split
from lipverify.numerics import DTYPE
from lipverify.region import Box
from tests.milp.patterns import Patterns
from tests.oracles import boxes, originals
from tests.oracles.networks import Tiny, dense, residual

DRAWN = tuple(
    tiny
    for seed in range(20, 24)
    for tiny in (dense((2, 3, 3, 2), seed), dense((3, 4, 2), seed, "leaky"), residual(seed))
)
"""Further random networks, so small that all their patterns can be listed."""


@cache
def box_of(tiny: Tiny, kind: str) -> Box:
    sizes = {"centered": 1.0, "wide": 8.0}
    return boxes.centered(tiny.inputs, sizes[kind]) if kind in sizes else boxes.offset(tiny.inputs)


@cache
def patterns_of(tiny: Tiny, kind: str) -> Patterns:
    return Patterns(tiny, box_of(tiny, kind))


def problem_of(
    tiny: Tiny, kind: str, splits: tuple[Split, ...] = (), *, loose: bool = False
) -> MilpProblem:
    """All outputs; `loose` leaves the Jacobian's intervals to the problem itself."""
    setting = Setting(originals.network(tiny), box_of(tiny, kind), PreactivationConfig())
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    intervals = setting.crown_preactivations
    known = mean_split(setting.problem(rows, intervals))
    return MilpProblem(
        setting.backward,
        setting.region,
        rows,
        intervals,
        None if loose else known.elements,
        None if loose else known.adjoints,
        splits,
    )
