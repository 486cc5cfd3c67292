"""Tiny networks as `Network` values, with an original of choice to confirm counterexamples on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.network import Network
from lipverify.network.original import AbstractOriginal
from tests.oracles.networks import Tiny


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class FunctionOriginal(AbstractOriginal):
    """A plain function [batch, n] -> [batch, m] as the original."""

    function: Callable[[Tensor], Tensor]

    def _run(self, x: Tensor) -> Tensor:
        return self.function(x)


def network(tiny: Tiny, original: Callable[[Tensor], Tensor] | None = None) -> Network:
    """Our graph of `tiny` with another original, if given; computed in float64."""
    evaluator = FunctionOriginal(
        shape=(1, tiny.inputs), dtype=torch.float64, batched=True, function=original or tiny
    )
    return Network(tiny.graph, tiny.name, "0" * 64, (), evaluator)
