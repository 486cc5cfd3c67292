"""How much of a bound is worth its time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

Stop = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Effort:
    """How much is worth doing: `stop` ends the work, and rows whose norm is proved to be at most
    `enough` need none. `norms_only`: of the elements, those that cannot lower a row's norm matter
    to nobody, and may be left where they are many."""

    stop: Stop = lambda: False
    enough: float = -torch.inf
    norms_only: bool = False


EVERYTHING = Effort()
