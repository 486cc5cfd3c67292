"""The one number that an audit is about, as a row over a graph's outputs.

Strictly increasing functions of one number (sigmoid, tanh, softplus, exp; softmax of two classes)
change nothing about monotonicity: the audit looks at what enters them.
"""

from dataclasses import dataclass
from math import inf, prod

import torch
from torch import Tensor

from lipverify.audit.question import Output
from lipverify.errors import SpecError
from lipverify.graph import ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.network import Network
from lipverify.network.original import PreprocessedOriginal
from lipverify.numerics import DTYPE
from lipverify.operators import Exp, Reshape, Sigmoid, Softplus, Tanh

INCREASING = (Sigmoid, Tanh, Softplus, Exp)


@dataclass(frozen=True, eq=False)
class Target:
    """row . graph moves as the asked output does. `stripped` names what was left out at its end.

    `graph` is the network's, or its part before the stripped functions.
    """

    network: Network
    graph: ForwardGraph
    row: Tensor
    shown_row: Tensor
    output: Output
    stripped: tuple[str, ...]

    @property
    def is_direct(self) -> bool:
        """Whether the row is of the network's own outputs, and is the asked output itself."""
        return not self.stripped and not self.behind

    @property
    def name(self) -> str:
        """What people call the asked output."""
        output = self.output
        if output.label:
            return output.label
        if output.probability is not None:
            what = "log odds" if output.log_odds else "probability"
            return f"{what} of class {output.probability}"
        if output.index is not None:
            return f"output {output.index}" if len(self.shown_row) > 1 else "output"
        return "weighted sum of outputs"

    @property
    def moved_name(self) -> str:
        """What people call row . graph, which values and slopes are of."""
        if not self.behind:
            return self.name
        return f"{self.name}, before {', '.join(self.stripped) or self.output.link}"

    def measured(self, value: Interval) -> Interval:
        """The asked output for values of row . graph."""
        operators = {operator.name: operator() for operator in INCREASING}
        for name in self.behind:
            value = operators[name].interval(value)
        return value

    @property
    def behind(self) -> tuple[str, ...]:
        """What makes the asked output of row . graph, first to last, by its name."""
        names = [Sigmoid.name] if self.output.link else list(self.stripped)
        if self.output.log_odds:
            names = names[1:]
        return tuple(reversed(names))

    @property
    def steepness(self) -> float:
        """The largest derivative of the asked output by row . graph."""
        return prod({Sigmoid.name: 0.25, Exp.name: inf}.get(name, 1.0) for name in self.behind)

    def original(self, x: Tensor) -> Tensor:
        """The original network's outputs [k, m] at points [k, n] in the table's units.

        Preprocessed in float64, then rounded once to what the network takes.
        """
        evaluator = self.network.evaluator
        if isinstance(evaluator, PreprocessedOriginal):
            parts = evaluator.preprocessing
            scale, offset = (torch.tensor(dict(parts)[key]) for key in ("scale", "offset"))
            return evaluator.inner.evaluate(x * scale.to(DTYPE) + offset.to(DTYPE))
        return self.network.original(x)

    def raw(self, outputs: Tensor) -> Tensor:
        """The number whose order is the asked one's, from the original's outputs [k, m]: [k]."""
        return outputs @ self.shown_row

    def shown(self, outputs: Tensor) -> Tensor:
        """The asked output, from the original's outputs [k, m]: [k]."""
        value = self.raw(outputs)
        if self.output.link and not self.output.log_odds:
            return torch.sigmoid(value)
        if self.output.log_odds and not self.output.link:
            return torch.logit(value)
        return value


def target_of(network: Network, output: Output, where: object) -> Target:
    """`SpecError` (about the file `where`) for an output that the network does not have."""
    size = network.graph.output_size
    row = _row(output, size, where)
    graph, stripped = network.graph, []
    if output.link:  # what it is applied to is the network's output as it is
        if _stripped(graph)[1][:1] == [Sigmoid.name]:
            raise SpecError(
                "output: the network ends in a sigmoid or softmax already; remove 'link: "
                f"{output.link}'",
                where,
            )
    elif output.weights is None:
        graph, stripped = _stripped(graph)
    if output.log_odds and not output.link and stripped[:1] != [Sigmoid.name]:
        raise SpecError(
            "output: log_odds needs a network that ends in a sigmoid or softmax, or a link", where
        )
    return Target(network, graph, row.unsqueeze(0), row, output, tuple(stripped))


def _row(output: Output, size: int, where: object) -> Tensor:
    row = torch.zeros(size, dtype=DTYPE)
    if output.weights is not None:
        if len(output.weights) != size:
            raise SpecError(
                f"output.weights: expected {size} weights, one per output of the network, found "
                f"{len(output.weights)}",
                where,
            )
        return torch.tensor(output.weights, dtype=DTYPE)
    chosen = output.index if output.probability is None else output.probability
    assert chosen is not None
    binary = output.link == "sigmoid" or (output.probability is not None and size == 1)
    if binary and size == 1 and output.link != "softmax":
        if chosen > 1:
            raise SpecError(f"output: class {chosen} of a network of two classes", where)
        row[0] = 1.0 if chosen == 1 or output.probability is None else -1.0
        if output.probability == 0 and not output.link:
            raise SpecError(
                "output: probability 0 of a single output is 1 minus it; ask for class 1, with the "
                "directions exchanged",
                where,
            )
        return row
    if not chosen < size:
        raise SpecError(
            f"output: {chosen} is out of range: the network has {size} outputs, from 0", where
        )
    row[chosen] = 1.0
    if output.link == "softmax":
        if size != 2:
            raise SpecError(
                f"output: softmax of {size} outputs is monotone in no single one. Export the "
                "network with its softmax as last layer, or ask about differences with 'weights'",
                where,
            )
        row[1 - chosen] = -1.0
    elif output.link == "sigmoid":
        raise SpecError(
            f"output: link sigmoid needs a network with one output; it has {size}", where
        )
    return row


def _stripped(graph: ForwardGraph) -> tuple[ForwardGraph, list[str]]:
    """The graph without strictly increasing functions, entry by entry, at its end."""
    names: list[str] = []
    name, end = graph.output, graph.output
    while True:
        node = graph[name]
        if isinstance(node.operator, INCREASING):
            names.append(node.operator.name)
            name = end = node.inputs[0]
        elif isinstance(node.operator, Reshape):  # keeps the flat order
            name = node.inputs[0]
        else:
            break
    if not names:
        return graph, []
    kept = graph.ancestors(end)
    nodes: list[Node] = [node for node in graph if node.name in kept]
    return ForwardGraph(nodes, end), names
