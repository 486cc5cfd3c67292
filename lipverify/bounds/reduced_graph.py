"""A network on one region as a small graph: its open neurons, and affine maps between them.

The same reduction as for boxes (`bounds.batched`), as a graph that every engine takes. Linear
bounds on it equal those on the whole network but for rounding, at a fraction of the work. Its
coefficients are rounded, so nothing is proved on it: it serves to find parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lipverify.bounds.batched import Boxes, Reduced, reduce_network
from lipverify.bounds.mixtures import (
    ForwardPart,
    Mixtures,
    Question,
    gate_of,
    pick,
    pick_relaxation,
)
from lipverify.graph import BackwardGraph, ForwardGraph, Node, backward_graph
from lipverify.interval import Interval
from lipverify.operators import Add, Dense
from lipverify.region import AbstractRegion


@dataclass(frozen=True, eq=False)
class ReducedGraph:
    """The graph, and where it came from.

    `origin` gives the activation node of the full network that an activation here is a part of,
    `index` [k] the flat positions there of its neurons; both by its name here.
    """

    full: BackwardGraph
    backward: BackwardGraph
    origin: Mapping[str, str]
    index: Mapping[str, Tensor]

    def question(self, question: Question) -> Question | None:
        """The question about the full network asked here; None if its target has gone.

        Neurons that the output does not depend on (weights of 0) have no gate here.
        """
        gates, full_gates = gate_of(self.backward), gate_of(self.full)
        targets: dict[str, tuple[str, Tensor | None]] = {
            self.full.jacobian: (self.backward.jacobian, None)
        }
        intervals, relaxations, lines, slopes, adjoints = {}, {}, {}, {}, {}
        for name, origin in self.origin.items():
            if name not in gates:
                continue
            gate, source, index = gates[name], full_gates[origin], self.index[name]
            intervals[name] = pick(question.forward.intervals[origin], index)
            relaxations[name] = pick_relaxation(question.forward.relaxations[origin], index)
            lines[name] = pick_relaxation(question.forward.lines[origin], index)
            slopes[gate.name] = pick(question.slopes[source.name], index)
            if source.name in question.adjoints:
                adjoints[gate.name] = pick(question.adjoints[source.name], index)
            targets[source.inputs[1]] = (gate.inputs[1], index)
        if question.target not in targets:
            return None
        target, index = targets[question.target]
        objective = question.objective.flatten(2)
        return Question(
            target,
            objective if index is None else objective[:, :, index],
            question.rows,
            ForwardPart(intervals, relaxations, lines),
            slopes,
            adjoints,
            question.regions,
        )

    def mixtures(self, found: Mixtures) -> Mixtures:
        """Parameters found here, for the full network."""
        return Mixtures(
            {self.origin[name]: self.index[name] for name in found.index},
            {self.origin[name]: values for name, values in found.weights.items()},
            {self.origin[name]: values for name, values in found.choices.items()},
        )


def reduce_graph(
    full: BackwardGraph, region: AbstractRegion, preactivations: Mapping[str, Interval]
) -> ReducedGraph:
    """The network on `region`, where `preactivations` [1, *shape] hold, without its fixed gates."""
    box = region.bounding
    boxes = Boxes(box.lower.unsqueeze(0), box.upper.unsqueeze(0))
    reduced = reduce_network(full.forward, boxes, region, preactivations)
    nodes = [Node(ForwardGraph.INPUT, None, (), (reduced.inputs,))]
    origin: dict[str, str] = {}
    index: dict[str, Tensor] = {}
    for stage in reduced.stages:
        if stage.size:
            name = f"a{len(origin)}"
            z = _affine(nodes, f"z{len(origin)}", stage.table[0], reduced, origin)
            nodes.append(Node(name, full.forward[stage.node].operator, (z,), (stage.size,)))
            origin[name], index[name] = stage.node, stage.index[0]
    output = _affine(nodes, "output", reduced.output[0], reduced, origin)
    return ReducedGraph(full, backward_graph(ForwardGraph(nodes, output)), origin, index)


def _affine(
    nodes: list[Node], name: str, table: Tensor, reduced: Reduced, earlier: Mapping[str, str]
) -> str:
    """Adds table . (1, x, a) [out, columns], with a the outputs of the activations `earlier`."""
    shape = (len(table),)
    by_input = Dense(table[:, 1 : 1 + reduced.inputs].contiguous(), table[:, 0].contiguous())
    pieces = [Node(f"{name}.x", by_input, (ForwardGraph.INPUT,), shape)]
    columns = {stage.node: stage.columns for stage in reduced.stages}
    for activation, origin in earlier.items():
        weight = table[:, columns[origin]].contiguous()
        if bool((weight != 0).any()):
            pieces.append(Node(f"{name}.{activation}", Dense(weight), (activation,), shape))
    nodes.extend(pieces)
    if len(pieces) == 1:
        return pieces[0].name
    signs = tuple(1 for _ in pieces)
    nodes.append(Node(name, Add(signs), tuple(piece.name for piece in pieces), shape))
    return name
