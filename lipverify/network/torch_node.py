"""One call of an exported torch graph with its arguments looked up: what a converter works on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.network.builder import GraphBuilder, Switched, Value
from lipverify.operators import Shape


@dataclass(frozen=True, eq=False)
class TorchNode:
    """One aten call: its arguments by their names in the schema, with defaults filled in.

    Arguments that depend on the input are `Value`s, others what torch passes. `shape` and `dtype`
    are those of the (first) result, at a batch of 1. `call` runs it on another first operand.
    """

    arguments: Mapping[str, Any]
    shape: Shape
    dtype: torch.dtype
    call: Callable[[Tensor], Any] | None = None

    def evaluated(self, x: Tensor) -> Any:
        """What torch's own call makes of `x` in the place of its one operand."""
        assert self.call is not None
        return self.call(x)

    def value(self, name: str = "self") -> Value:
        """An argument that depends on the input."""
        argument = self.arguments[name]
        if not isinstance(argument, Value):
            raise UnsupportedOperator(f"its argument {name!r} must depend on the input")
        return argument

    def is_value(self, name: str) -> bool:
        return isinstance(self.arguments[name], Value)

    def weight(self, name: str) -> Tensor:
        """A constant tensor or number, as float64; `NetworkError` if it is not finite."""
        argument = self.arguments[name]
        if isinstance(argument, Value) or argument is None:
            raise UnsupportedOperator(f"its argument {name!r} must be a constant")
        if not isinstance(argument, Tensor):  # else torch would take numbers as float32
            argument = torch.tensor(argument, dtype=torch.float64)
        weight = argument.detach().to(torch.float64)
        if not bool(torch.isfinite(weight).all()):
            bad = int((~torch.isfinite(weight)).sum())
            raise NetworkError(f"its {name!r} holds {bad} entries that are NaN or infinite")
        return weight

    def optional_weight(self, name: str) -> Tensor | None:
        return None if self.arguments[name] is None else self.weight(name)

    def sizes(self, name: str, dimensions: int) -> tuple[int, ...]:
        """A list with one number per space dimension; torch also takes a single one for all."""
        given = self.arguments[name]
        listed = [given] if isinstance(given, int) else list(given)
        return tuple(listed) if len(listed) == dimensions else tuple(listed) * dimensions


Converter = Callable[[GraphBuilder, TorchNode], Value | Switched | tuple[Value, ...]]
"""One value (or what a comparison makes of values), or one for each result of the call."""
