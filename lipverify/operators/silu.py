"""x sigmoid(x), also called Swish."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF
from lipverify.operators.curve import Curve, Piece, Rounded, relative

BEND = 2.3993572805154677
"""Where x tanh(x / 2) = 2: the second derivative is 0."""

FAR = 750.0
"""Beyond it sigmoid is 0 or 1 in float64."""


@final
@dataclass(frozen=True, eq=False)
class Silu(Curve):
    """Convex between both inflection points, concave outside."""

    name = "Silu"
    turns = (-1.2784645427610738,)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return (
            Piece(-torch.inf, -BEND, -1, self._value, self._slope),
            Piece(-BEND, BEND, 1, self._value, self._slope),
            Piece(BEND, torch.inf, -1, self._value, self._slope),
        )

    def _value(self, x: Tensor) -> Rounded:
        return relative(x * torch.sigmoid(x), 24)

    def _slope(self, x: Tensor) -> Rounded:
        share = torch.sigmoid(x)
        bump = x.clamp(-FAR, FAR) * share * torch.sigmoid(-x)
        return Rounded(share + bump, 48 * UNIT_ROUNDOFF * (share + bump.abs()) + SMALLEST)
