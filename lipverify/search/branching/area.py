"""The area score of Shi et al. 2022 (arXiv 2210.07394, section 3.5, and their released code).

An open gate multiplies its adjoint g by any slope in [alpha, beta]; what it allows over g's
interval [gl, gu] is a set of (g, output) of area (beta - alpha) (gu |gu| - gl |gl|) / 2, and a
split leaves a line on both sides: all of the area is gained. It is weighted by the modulus of the
coefficient that the gate's output has when the objective is propagated back to it.

Where ours may differ from theirs: the coefficients are those of the chord relaxation of this
subproblem, with the row's l1 norm under its chords (theirs are kept from the bound's own pass, and
optimised where slopes are); for the l2 norm, the row's entries are weighted as for l1; theirs adds
1 to the score of every unstable neuron, which only orders gates without any area; theirs knows
ReLU alone, where beta - alpha is 1.
"""

from typing import final

import numpy as np
from numpy.typing import NDArray

from lipverify.bounds.quadratic import OpenGates
from lipverify.search.branching.base import AbstractBranching, Candidate, Crossing

Array = NDArray[np.float64]


@final
class AreaBranching(AbstractBranching):
    summary = "area that the gate's relaxation loses, weighted (Shi et al. 2022)"

    def choose(self, crossing: Crossing) -> Candidate:
        return max(crossing.candidates, key=lambda candidate: candidate.area)


def weighted_areas(gates: OpenGates, direction: Array | None) -> Array:
    """The score of each open gate, [m]. `direction` [n]: of the row; None: the row's l1 norm."""
    lower, upper, spread = gates.adjoint_lower, gates.adjoint_upper, gates.beta - gates.alpha
    with np.errstate(all="ignore"):  # scores only: of huge adjoints, squares may overflow
        area = spread * (upper * np.abs(upper) - lower * np.abs(lower)) / 2
        return np.nan_to_num(area * np.abs(_coefficients(gates, direction)))


def _coefficients(gates: OpenGates, direction: Array | None) -> Array:
    """Of every open gate's output in the objective's linear upper bound, [m].

    Gates come from the network's output towards its input, so the adjoint of gate k depends on
    the outputs of gates before k only, and the last gate's coefficient is known first.
    """
    if direction is None:
        direction = _chord_slopes(gates.element_lower, gates.element_upper)
    first = 1 + gates.free
    coefficients = direction @ gates.jacobian[:, first:]
    above = _chords(gates)
    for gate in range(gates.count - 1, -1, -1):
        coefficient = coefficients[gate]
        slope = above[gate] if coefficient > 0 else gates.alpha[gate] + gates.beta[gate]
        if not coefficient > 0:
            slope -= above[gate]
        coefficients += coefficient * slope * gates.adjoint[gate, first:]
    return coefficients


def _chords(gates: OpenGates) -> Array:
    """Slope of the relaxation above each gate; the one below is alpha + beta minus that."""
    return gates.alpha + (gates.beta - gates.alpha) * _share(
        gates.adjoint_lower, gates.adjoint_upper
    )


def _share(lower: Array, upper: Array) -> Array:
    """Slope of the chord of relu on [lower, upper]."""
    width = np.maximum(upper - lower, 1e-300)
    chord = (np.maximum(upper, 0) - np.maximum(lower, 0)) / width
    return np.where(upper > lower, chord, (upper > 0).astype(np.float64))


def _chord_slopes(lower: Array, upper: Array) -> Array:
    """Slope of the chord of |.| on [lower, upper]."""
    return 2 * _share(lower, upper) - 1
