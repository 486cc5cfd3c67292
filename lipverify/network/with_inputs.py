"""A network whose outputs are followed by its inputs: constraints on both are on outputs alone."""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from lipverify.graph import ForwardGraph, Node
from lipverify.network.network import Network
from lipverify.network.original import AbstractOriginal
from lipverify.operators import Concat, Reshape

OUTPUTS, INPUTS, BOTH = "(outputs)", "(inputs)", "(outputs, inputs)"


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class OriginalWithInputs(AbstractOriginal):
    """What another original gives, with its inputs as it takes them behind."""

    inner: AbstractOriginal

    def _run(self, x: Tensor) -> Tensor:
        count = x.shape[0] if self.batched else 1
        y = self.inner._run(x).reshape(count, -1)
        return torch.cat([y.double(), x.reshape(count, -1).double()], 1)


def with_inputs(network: Network) -> Network:
    """m outputs and n inputs become m + n outputs, flat; everything else stays as it is."""
    graph, evaluator = network.graph, network.evaluator
    m, n = graph.output_size, graph.input_size
    flat = [
        Node(OUTPUTS, Reshape(graph.output_shape, (m,)), (graph.output,), (m,)),
        Node(INPUTS, Reshape(graph.input_shape, (n,)), (ForwardGraph.INPUT,), (n,)),
    ]
    joined = Node(BOTH, Concat((m + n,), 0, (0, m), (m, n)), (OUTPUTS, INPUTS), (m + n,))
    original = OriginalWithInputs(
        shape=evaluator.shape, dtype=evaluator.dtype, batched=evaluator.batched, inner=evaluator
    )
    return replace(network, graph=ForwardGraph([*graph, *flat, joined], BOTH), evaluator=original)
