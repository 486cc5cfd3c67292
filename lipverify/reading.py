"""How a network's file is to be read: what comes before its input, and which inputs are fixed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from lipverify.errors import NetworkError

Values = tuple[float, ...]


@dataclass(frozen=True)
class Preprocessing:
    """What is done to the user's numbers x on their way into the network: (x - mean) / std, or
    scale x + offset.

    Each holds one number, one per channel (the input's first dimension without the batch) or one
    per input; () leaves the step out. Regions, witnesses and Lipschitz constants are then in the
    user's units. Raises `NetworkError` for numbers that cannot be meant.
    """

    mean: Values = ()
    std: Values = ()
    scale: Values = ()
    offset: Values = ()

    def __post_init__(self) -> None:
        if (self.mean or self.std) and (self.scale or self.offset):
            raise NetworkError(
                "preprocessing: expected mean and std, or scale and offset, not both"
            )
        for name, values in self:
            if not all(isfinite(value) for value in values):
                raise NetworkError(f"preprocessing: {name} holds a number that is not finite")
        if not all(value > 0 for value in self.std):
            raise NetworkError("preprocessing: expected std > 0")
        if not all(value != 0 for value in self.scale):
            raise NetworkError("preprocessing: expected a scale other than 0")

    def __iter__(self) -> Iterator[tuple[str, Values]]:
        """Its four parts with their names."""
        yield from vars(self).items()

    def spread(self, name: str, sample: tuple[int, ...]) -> Tensor | None:
        """One part, broadcastable to a sample's shape; None where it is left out.

        `NetworkError` if its length does not fit.
        """
        values = torch.tensor(dict(self)[name], dtype=torch.float64)
        size = torch.Size(sample).numel()
        if not values.numel():
            return None
        if values.numel() == 1:
            return values.reshape(())
        if values.numel() == size:
            return values.reshape(sample)
        if values.numel() == sample[0]:
            return values.reshape(-1, *(1 for _ in sample[1:]))
        raise NetworkError(
            f"preprocessing: {name} has {values.numel()} numbers; expected 1, one per channel "
            f"({sample[0]}) or one per input ({size})"
        )


@dataclass(frozen=True)
class Reading:
    """`inputs` fixes inputs of the network, by name, to numbers in row-major order (a single one
    fills the tensor); the one input that is left moves. `output` names the output that is asked
    about; without it, the entries of all outputs follow one another."""

    preprocessing: Preprocessing | None = None
    inputs: tuple[tuple[str, Values], ...] = ()
    output: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all numbers; "" where there are none."""
        if self == AS_IT_IS:
            return ""
        return hashlib.sha256(repr(self).encode()).hexdigest()


AS_IT_IS = Reading()
"""One input, which the user's numbers enter as they are; every output."""
