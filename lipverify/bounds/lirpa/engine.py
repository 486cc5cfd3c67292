"""The auto_LiRPA engine: the same interface as the native one."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor

from lipverify.bounds.lirpa.module import JacobianModule
from lipverify.bounds.propagation import ALPHA_HELD, LAYERS_HELD, GateRelaxation
from lipverify.errors import NumericalFailure
from lipverify.graph import BackwardGraph, Dag, Node
from lipverify.interval import Interval
from lipverify.numerics import float64_default
from lipverify.operators import ReLU
from lipverify.region import AbstractRegion


@final
class LirpaEngine:
    """CROWN, or alpha-CROWN with `iterations` steps per call for forward nodes.

    Not thread-safe (a BoundedModule keeps state): one per thread or process.
    """

    def __init__(
        self,
        backward: BackwardGraph,
        region: AbstractRegion,
        relax_gate: GateRelaxation,
        iterations: int = 0,
        rate: float = 0.5,
    ) -> None:
        self._region = region
        self._iterations = iterations
        self._rate = rate
        self._seed = torch.zeros(1, backward.forward.output_size, dtype=torch.float64)
        with float64_default():
            self._module = JacobianModule(backward, relax_gate)
        self._backward = backward

    def forward_upper(
        self, target: str, objective: Tensor, preactivations: Mapping[str, Interval]
    ) -> Tensor:
        forward = self._backward.forward
        below = forward.ancestors(target)
        bounded = [node for node in forward.activations if node.name in below]
        intervals = {
            name: preactivations[name]
            for node in (*bounded, *forward.products)
            if node.name in below
            for name in node.inputs
        }
        # Only slopes of unstable ReLUs can be optimised; without any, 0.3's optimiser fails.
        free = any(_is_unstable_relu(node, preactivations) for node in bounded)
        iterations = self._iterations if free else 0
        with translated(target):
            return self._module.upper(
                target,
                objective,
                self._region,
                self._seed,
                intervals,
                iterations,
                self._rate,
            )

    def backward_upper(
        self,
        target: str,
        objective: Tensor,
        rows: Tensor,
        preactivations: Mapping[str, Interval],
        adjoints: Mapping[str, Interval],
        slopes: Mapping[str, Interval] | None = None,
    ) -> Tensor:
        """As `Engine` says; slopes are read off the preactivations: narrower ones are not used."""
        below = self._backward.ancestors(target)
        intervals = dict(preactivations)
        for gate in self._backward.gates:
            if gate.name in below:
                intervals[gate.inputs[1]] = adjoints[gate.name]
        with translated(target):
            return self._module.upper(target, objective, self._region, rows, intervals)

    def values_held(self, dag: Dag, target: str) -> float:
        """Steps of alpha-CROWN keep what their gradients need, for every layer."""
        below = dag.ancestors(target)
        sizes = [node.size for node in dag if node.name in below]
        if self._iterations == 0 or isinstance(dag, BackwardGraph):
            return LAYERS_HELD * max(sizes)
        return ALPHA_HELD * sum(sizes) + LAYERS_HELD * max(sizes)


def _is_unstable_relu(node: Node, preactivations: Mapping[str, Interval]) -> bool:
    bounds = preactivations[node.inputs[0]]
    unstable = (bounds.lower < 0) & (bounds.upper > 0)
    return isinstance(node.operator, ReLU) and bool(unstable.any())


@contextmanager
def translated(target: str) -> Iterator[None]:
    """auto_LiRPA at work: float64, and whatever goes wrong inside it as a `NumericalFailure`."""
    try:
        # Importing torch's optimiser on the way adds warning filters: they are put back.
        with warnings.catch_warnings(), float64_default():
            yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise NumericalFailure(f"auto_LiRPA failed at node {target!r}: {error}") from error
