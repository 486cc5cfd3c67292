"""Gates relaxed over (z, g), through auto_LiRPA: their planes' mixtures, optimised and evaluated.

Both graphs are bounded as one: what a gate's plane says of its preactivation goes on through the
forward graph, whose own free slopes are optimised along.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from lipverify.bounds.lirpa.engine import translated
from lipverify.bounds.lirpa.module import JacobianModule
from lipverify.bounds.lirpa.nodes import ActivationNode, GateNode
from lipverify.bounds.mixtures import Mixtures, Question, gate_of, pick, planes_at
from lipverify.config import GateConfig
from lipverify.graph import BackwardGraph
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, float64_default
from lipverify.operators import Activation
from lipverify.operators.gate import relax_chords
from lipverify.operators.gate_planes import PLANES, GatePlanes, mixed


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What stays the same while the parameters of a question change.

    By activation node: `planes` of the gates that the target depends on, and `preactivations` at
    the positions whose relaxation has a choice. `intervals` is what auto_LiRPA is given.
    """

    question: Question
    index: Mapping[str, Tensor]
    planes: Mapping[str, GatePlanes]
    preactivations: Mapping[str, Interval]
    intervals: Mapping[str, Interval]


@final
class GateEngine:
    """Not thread-safe (a BoundedModule keeps state): one per thread or process."""

    def __init__(self, backward: BackwardGraph) -> None:
        with float64_default():
            self._module = JacobianModule(backward, relax_chords, own_relus=True)
        self._backward = backward
        self._gates = gate_of(backward)

    def evaluate(self, question: Question, mixtures: Mixtures) -> Tensor:
        """The bound with these parameters: [specs, batch]. Not rounded."""
        with translated(question.target), torch.no_grad():
            prepared = self._prepare(question, mixtures.index)
            return self._bound(prepared, mixtures.weights, mixtures.choices)

    def optimise(
        self,
        question: Question,
        index: Mapping[str, Tensor],
        config: GateConfig,
        stop: Callable[[], bool] = lambda: False,
    ) -> Mixtures:
        """The best parameters that some steps of projected Adam find, for each spec and copy.

        `index` holds the flat positions that get parameters, by activation node. The start is the
        relaxation of Shi et al. 2022; `stop` ends the search between two steps.
        """
        with translated(question.target):
            prepared = self._prepare(question, index)
            return self._optimise(prepared, config, stop)

    def _optimise(
        self, prepared: _Prepared, config: GateConfig, stop: Callable[[], bool]
    ) -> Mixtures:
        specs, batch = prepared.question.size
        weights, choices = {}, {}
        for name, z in prepared.preactivations.items():
            # CROWN's choice: the line through 0 on the side of the larger part.
            start = (z.upper > -z.lower).to(z.lower).expand(batch, -1)
            choices[name] = start.expand(specs, -1, -1).clone().requires_grad_()
        for name, planes in prepared.planes.items():
            start = torch.zeros_like(planes.above.intercept[1:]).unsqueeze(1)
            shape = (2, PLANES - 1, specs, batch, start.shape[-1])
            weights[name] = start.expand(shape).clone().requires_grad_()
        if not weights:  # no gate behind the target has parameters
            return Mixtures({}, {}, {})
        parameters = [*weights.values(), *choices.values()]
        optimiser = torch.optim.Adam(parameters, lr=config.rate)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, config.decay)
        value = self._bound(prepared, weights, choices)
        best, kept = value.detach(), [part.detach().clone() for part in parameters]
        # Relative to the start, so that Adam's own constant tells gradients from their rounding.
        scale = best.abs().clamp(min=max(1e-6 * float(best.abs().amax()), SMALLEST))
        for _ in range(config.iterations):
            if stop():
                break
            optimiser.zero_grad()
            (value / scale).sum().backward()  # parameters are each spec's and copy's own
            optimiser.step()
            schedule.step()
            _project(weights, choices)
            value = self._bound(prepared, weights, choices)
            better = value.detach() < best
            best = torch.where(better, value.detach(), best)
            for part, mine in zip(parameters, kept, strict=True):
                torch.where(better.unsqueeze(-1), part.detach(), mine, out=mine)
        return Mixtures(
            prepared.index,
            dict(zip(weights, kept[: len(weights)], strict=True)),
            dict(zip(choices, kept[len(weights) :], strict=True)),
        )

    def _prepare(self, question: Question, index: Mapping[str, Tensor]) -> _Prepared:
        """Set the nodes' relaxations without parameters, and collect what the others need."""
        forward = self._backward.forward
        below = self._backward.ancestors(question.target)
        planes: dict[str, GatePlanes] = {}
        intervals: dict[str, Interval] = {}
        picked: dict[str, Interval] = {}
        for node in forward.activations:
            assert isinstance(node.operator, Activation)
            z = question.forward.intervals[node.name]
            intervals[node.inputs[0]] = z
            activation, gate = self._node(node.name), self._gates[node.name]
            activation.relaxation = question.forward.relaxations[node.name]
            activation.chosen = None
            if node.name in index and node.operator.has_choice:
                picked[node.name] = pick(z, index[node.name])
            if gate.name not in below:
                continue
            slope, adjoint = question.slopes[gate.name], question.adjoints[gate.name]
            intervals[gate.inputs[1]] = adjoint
            built = self._node(gate.name)
            built.relaxation, built.mixture = relax_chords(slope, adjoint), None
            if node.name in index:
                planes[node.name] = planes_at(node.name, gate.name, question, index[node.name])
        return _Prepared(question, index, planes, picked, intervals)

    def _bound(
        self, prepared: _Prepared, weights: Mapping[str, Tensor], choices: Mapping[str, Tensor]
    ) -> Tensor:
        forward, question = self._backward.forward, prepared.question
        for name, choice in choices.items():
            operator = forward[name].operator
            assert isinstance(operator, Activation)
            own = operator.relax(prepared.preactivations[name], choice)
            self._node(name).chosen = (prepared.index[name], own)
        for name, share in weights.items():
            mixture = mixed(prepared.planes[name], share)
            self._node(self._gates[name].name).mixture = (prepared.index[name], mixture)
        return self._module.crown(
            question.target,
            question.objective,
            question.regions,
            question.rows,
            prepared.intervals,
        )

    def _node(self, name: str) -> Any:
        """auto_LiRPA's node of an activation or a gate."""
        node = self._module[self._module.ids[name]]
        assert isinstance(node, ActivationNode | GateNode)
        return node


def _project(weights: Mapping[str, Tensor], choices: Mapping[str, Tensor]) -> None:
    """Back to weights >= 0 of a sum of at most 1, and to choices in [0, 1]."""
    with torch.no_grad():
        for part in weights.values():
            part.clamp_(min=0.0)
            part.div_(part.sum(1, keepdim=True).clamp(min=1.0))
        for part in choices.values():
            part.clamp_(0.0, 1.0)
