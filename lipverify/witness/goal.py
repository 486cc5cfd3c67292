"""What is to become large: a function of rows J(x)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.graph import BackwardGraph, row_jacobian
from lipverify.norms import operator_norm
from lipverify.query import NormQuery

AT_ONCE = 4e6
"""Numbers (points x rows x nodes' sizes) held at a time: more take gigabytes on convolutions, and
are slower."""

Stop = Callable[[], bool]


class AbstractGoal(ABC):
    """`rows` [r, m] of the outputs; all jacobians below are rows J, [b, r, n]."""

    @property
    @abstractmethod
    def rows(self) -> Tensor: ...

    @abstractmethod
    def values(self, jacobians: Tensor) -> Tensor:
        """What each one is worth: [b]."""

    @abstractmethod
    def combinations(self, jacobians: Tensor) -> Tensor:
        """c [b, r] such that c rows J is the row vector that the value is read from."""

    @abstractmethod
    def directions(self, combined: Tensor) -> Tensor:
        """v [b, n] such that the value is c rows J . v, from c rows J [b, n]."""

    def measure(self, backward: BackwardGraph, points: Tensor) -> Tensor:
        """The values at points [b, n], kinks taken from the right: [b]."""
        per_point = len(self.rows) * sum(node.size for node in backward)
        parts = points.split(max(1, int(AT_ONCE / max(1, per_point))))
        return torch.cat([self.values(row_jacobian(backward, part, self.rows)) for part in parts])


@final
@dataclass(frozen=True, eq=False)
class NormGoal(AbstractGoal):
    """The operator norm of rows J."""

    query: NormQuery

    @property
    def rows(self) -> Tensor:
        return self.query.rows

    def values(self, jacobians: Tensor) -> Tensor:
        return self._attained(jacobians)[0]

    def combinations(self, jacobians: Tensor) -> Tensor:
        return self._attained(jacobians)[1]

    def directions(self, combined: Tensor) -> Tensor:
        return self.query.input_norm.maximiser(combined)

    def _attained(self, jacobians: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return operator_norm.attained(jacobians, self.query.input_norm, self.query.output_norm)


@final
@dataclass(frozen=True, eq=False)
class SlopeGoal(AbstractGoal):
    """sign d(row . f)/d x_index; row [1, m]."""

    row: Tensor
    index: int
    sign: int

    @property
    def rows(self) -> Tensor:
        return self.row

    def values(self, jacobians: Tensor) -> Tensor:
        return self.sign * jacobians[:, 0, self.index]

    def combinations(self, jacobians: Tensor) -> Tensor:
        return torch.ones(len(jacobians), 1, dtype=jacobians.dtype)

    def directions(self, combined: Tensor) -> Tensor:
        result = torch.zeros_like(combined)
        result[:, self.index] = self.sign
        return result
