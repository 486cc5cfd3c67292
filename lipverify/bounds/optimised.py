"""Linear bounds of the Jacobian with gates that see their preactivations (DESIGN 4.2), optimised.

The bounds of `bounds.linear` once more, in the same order (adjoints, elements, row norms), each
with its own mixture of planes per gate and its own slopes of the forward graph. Parameters are
found on the reduced network, where a step is cheap; what is returned is proved, since the whole
network is then bounded with them once, and rounded outward.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lipverify.bounds.effort import Effort, Stop
from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem, pick_rows, with_rows
from lipverify.bounds.linear import matters_to_norm, norm_chord
from lipverify.bounds.mixtures import Evaluator, Mixtures, Question, forward_part, proved_upper
from lipverify.bounds.preactivation import one_hot
from lipverify.bounds.reduced_graph import ReducedGraph
from lipverify.config import GateConfig
from lipverify.errors import InvertedInterval, NumericalFailure
from lipverify.graph import BackwardGraph
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm
from lipverify.region import AbstractRegion

AT_ONCE = 2**20
"""Coefficients of one node worked on together: more gain nothing, and stops would wait longer."""


class Optimiser(Protocol):
    """An engine that finds parameters; `index` as in `Mixtures`."""

    def optimise(
        self, question: Question, index: Mapping[str, Tensor], config: GateConfig, stop: Stop
    ) -> Mixtures: ...


@dataclass(frozen=True, eq=False)
class GateBounds:
    """A network on a region, reduced there, and the engines for both graphs."""

    full: BackwardGraph
    region: AbstractRegion
    reduced: ReducedGraph
    evaluator: Evaluator
    optimiser: Optimiser
    config: GateConfig

    def upper(self, question: Question, stop: Stop) -> Tensor | None:
        """A proved bound [specs, batch]; None if no parameter bears on it."""
        small = self.reduced.question(question)
        if small is None:
            return None
        index = {
            name: torch.arange(len(self.reduced.index[name])) for name in small.forward.intervals
        }
        found = self.optimiser.optimise(small, index, self.config, stop)
        return proved_upper(self.evaluator, self.full, question, self.reduced.mixtures(found))

    @property
    def step_size(self) -> int:
        """About the multiplications of one step, per spec and copy."""
        forward = self.reduced.backward.forward
        # Each weight once per graph, and again for the derivatives; the planes of each gate.
        gates = sum(node.size for node in forward.activations)
        return 4 * forward.parameters + 200 * gates


def optimised(
    gates: GateBounds,
    problem: JacobianProblem,
    input_norm: AbstractNorm,
    known: JacobianBounds,
    effort: Effort,
) -> JacobianBounds:
    """`known`, intersected with what is gained: never worse. Rounded outward."""
    assert known.adjoints is not None
    dual = input_norm.dual
    rows = (known.row_norm(dual) > effort.enough).nonzero().flatten()
    if not rows.numel() or not gates.reduced.origin:
        return known
    run = _Run(gates, problem.at_rows(rows), effort.stop)
    return known.with_rows(rows, run.bounds(dual, known.at_rows(rows), effort.enough))


class _Run:
    """One pass over adjoints, elements and norms; what the work allows is left."""

    def __init__(self, gates: GateBounds, problem: JacobianProblem, stop: Stop) -> None:
        self._gates = gates
        self._problem = problem
        self._stop = stop
        self._left = gates.config.work
        self._forward = forward_part(problem.backward.forward, problem.preactivations)

    def bounds(self, dual: AbstractNorm, known: JacobianBounds, enough: float) -> JacobianBounds:
        backward = self._problem.backward
        adjoints = dict(known.adjoints or {})
        rows = torch.arange(len(self._problem.rows))
        for gate in backward.gates:
            index = self._open(gate.name)
            interval = adjoints[gate.name]
            if index.numel() and self._depends(gate.inputs[1]):
                interval = self._tighten(gate.inputs[1], rows, index, interval, adjoints)
            adjoints[gate.name] = interval
        elements = known.elements
        if self._depends(backward.jacobian):
            elements = self._elements(dual, elements, adjoints, enough)
        norms = self._norms(dual, elements, adjoints)
        if norms is None:
            norms = known.row_norms
        elif known.row_norms is not None:
            norms = torch.minimum(norms, known.row_norms)
        return JacobianBounds(elements, norms, adjoints)

    def _elements(
        self,
        dual: AbstractNorm,
        elements: Interval,
        adjoints: Mapping[str, Interval],
        enough: float,
    ) -> Interval:
        """The entries that matter to the norm, the widest first."""
        jacobian = self._problem.backward[self._problem.backward.jacobian]
        known = elements.reshape(-1, *jacobian.shape)
        matters = matters_to_norm(elements, dual, enough)
        for rows in self._row_groups(elements, matters):
            widest = elements.width[rows].amax(0)
            index = widest.argsort(descending=True)
            index = index[matters[rows].any(0)[index]]
            if index.numel():
                part = pick_rows(known, rows)
                found = self._tighten(jacobian.name, rows, index, part, adjoints)
                known = with_rows(known, rows, found)
        return known.reshape(*elements.shape)

    def _row_groups(self, elements: Interval, matters: Tensor) -> Sequence[Tensor]:
        """All rows together if that is little work; else one by one, as other entries of each
        matter: the largest first."""
        rows = torch.arange(len(elements.lower))
        if len(rows) * int(matters.any(0).sum()) <= self._most(copies=1):
            return [rows]
        return elements.magnitude.sum(1).argsort(descending=True).split(1)

    def _norms(
        self, dual: AbstractNorm, elements: Interval, adjoints: Mapping[str, Interval]
    ) -> Tensor | None:
        chord = norm_chord(elements, dual)
        if chord is None:
            return None
        jacobian = self._problem.backward[self._problem.backward.jacobian]
        rows = torch.arange(len(self._problem.rows))
        objective = chord.slope.reshape(1, -1, *jacobian.shape)
        question = self._question(jacobian.name, objective, rows, adjoints)
        found = self._gates.upper(question, self._stop)
        return None if found is None else chord.norm(found[0])

    def _tighten(
        self,
        target: str,
        rows: Tensor,
        index: Tensor,
        known: Interval,
        adjoints: Mapping[str, Interval],
    ) -> Interval:
        """`known` [rows, *shape] with the flat entries `index`, the first ones first."""
        shape = self._problem.backward[target].shape
        lower = known.lower.reshape(len(rows), -1).clone()
        upper = known.upper.reshape(len(rows), -1).clone()
        for part in self._parts(index, len(rows)):
            unit = one_hot(part, shape).expand(-1, len(rows), *shape)
            question = self._question(target, torch.cat([unit, -unit]), rows, adjoints)
            found = self._gates.upper(question, self._stop)
            if found is None:
                break
            above, below = found.T.split(len(part), 1)
            before = float((upper[:, part] - lower[:, part]).sum())
            upper[:, part] = torch.minimum(upper[:, part], above)
            lower[:, part] = torch.maximum(lower[:, part], -below)
            after = float((upper[:, part] - lower[:, part]).sum())
            if after > (1 - self._gates.config.gain) * before:
                break
        try:
            return Interval(lower.reshape(known.shape), upper.reshape(known.shape))
        except InvertedInterval as error:
            raise NumericalFailure(f"bounds of {target!r} are inverted or NaN") from error

    def _parts(self, index: Tensor, copies: int) -> Iterator[Tensor]:
        """Entries that fit the memory, until the time or the work is used up."""
        config = self._gates.config
        for part in index.split(self._most(copies)):
            work = 2.0 * len(part) * copies * self._gates.step_size * config.iterations
            if self._stop() or work > self._left:
                return
            self._left -= work
            yield part

    def _most(self, copies: int) -> int:
        """So many entries are worked on at once, both ends of each."""
        backward = self._gates.reduced.backward
        widest = max(node.size for graph in (backward, backward.forward) for node in graph)
        largest = max(node.size for node in self._problem.backward)
        most = min(AT_ONCE / widest, self._problem.memory / (8.0 * 12 * largest))
        return max(1, int(most / (2 * copies)))

    def _question(
        self, target: str, objective: Tensor, rows: Tensor, adjoints: Mapping[str, Interval]
    ) -> Question:
        problem = self._problem
        return Question(
            target,
            objective,
            problem.rows[rows],
            self._forward,
            problem.slopes,
            {name: pick_rows(interval, rows) for name, interval in adjoints.items()},
            (self._gates.region,),
        )

    def _open(self, gate: str) -> Tensor:
        slope = self._problem.slopes[gate]
        return (slope.lower < slope.upper).flatten().nonzero().flatten()

    def _depends(self, target: str) -> bool:
        """Whether an open gate lies behind the target; without one, it is known exactly."""
        below = self._problem.backward.ancestors(target)
        gates = (gate.name for gate in self._problem.backward.gates if gate.name in below)
        return any(self._open(gate).numel() for gate in gates)
