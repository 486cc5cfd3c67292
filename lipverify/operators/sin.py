"""The sine."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.operators.curve import Rounded, relative
from lipverify.operators.wave import Wave


@final
@dataclass(frozen=True, eq=False)
class Sin(Wave):
    name = "Sin"
    root = 0.0
    crest = 0.5

    def value(self, x: Tensor) -> Rounded:
        return relative(torch.sin(x))

    def slope(self, x: Tensor) -> Rounded:
        return relative(torch.cos(x))
