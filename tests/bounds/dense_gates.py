"""The bound of DESIGN 4.2 by hand, entry by entry: chains of dense layers, slopes negative and 1.

Written from the formulas, without our relaxations: what auto_LiRPA's operators are compared with.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.mixtures import Mixtures, Question, gate_of
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators import Dense
from lipverify.operators.gate_planes import PLANES
from lipverify.region import Box
from tests.oracles.networks import Tiny

Ends = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Chain:
    """A network's layers, the slope below 0, and the parameters for one spec and copy."""

    dense: list[Dense]
    names: list[str]
    negative: float
    question: Question
    mixtures: Mixtures
    spec: int
    copy: int

    def position(self, layer: int, neuron: int) -> int | None:
        """Where the neuron's parameters are."""
        index = self.mixtures.index.get(self.names[layer])
        places = [] if index is None else index.tolist()
        return places.index(neuron) if neuron in places else None


def evaluate(tiny: Tiny, negative: float, box: Box, question: Question, mixtures: Mixtures):
    """max objective . (row of J) over the box: [specs, batch]."""
    dense = [node.operator for node in tiny.graph if isinstance(node.operator, Dense)]
    names = [node.name for node in tiny.graph.activations]
    adjoints = {name: question.adjoints[gate.name] for name, gate in gate_of(tiny.backward).items()}
    out = torch.zeros(*question.size, dtype=DTYPE)
    for spec in range(out.shape[0]):
        for copy in range(out.shape[1]):
            chain = Chain(dense, names, negative, question, mixtures, spec, copy)
            crossing, constant = _through_gates(chain, adjoints)
            on_x, more = _through_layers(chain, crossing)
            highest = torch.maximum(on_x * box.lower, on_x * box.upper).sum()
            out[spec, copy] = constant + more + float(highest)
    return out


def _through_gates(chain: Chain, adjoints: dict[str, Interval]) -> tuple[list[Tensor], float]:
    """From the input's end of J to the seed: coefficients of every z, and the constant."""
    coefficient = chain.question.objective[chain.spec, chain.copy].flatten()
    crossing, constant = [], 0.0
    for layer, name in enumerate(chain.names):
        on_y = chain.dense[layer].weight @ coefficient
        on_z, on_g = torch.zeros_like(on_y), torch.zeros_like(on_y)
        z, g = chain.question.forward.intervals[name], adjoints[name]
        for i, weight in enumerate(on_y.tolist()):
            place, share = chain.position(layer, i), None
            if place is not None:
                side = 1 if weight >= 0 else 0
                share = chain.mixtures.weights[name][side, :, chain.spec, chain.copy, place]
            a, b, c = gate_plane(
                (float(z.lower[0, i]), float(z.upper[0, i])),
                (float(g.lower[chain.copy, i]), float(g.upper[chain.copy, i])),
                chain.negative,
                weight >= 0,
                share,
            )
            on_z[i], on_g[i] = weight * a, weight * b
            constant += weight * c
        crossing.append(on_z)
        coefficient = on_g
    seed = chain.question.rows[chain.copy]
    return crossing, constant + float(seed @ (chain.dense[-1].weight @ coefficient))


def _through_layers(chain: Chain, crossing: list[Tensor]) -> tuple[Tensor, float]:
    """From every z down to the input: coefficients of x, and the constant."""
    on_a, constant = torch.zeros_like(crossing[-1]), 0.0
    for layer in reversed(range(len(chain.names))):
        name, on_z = chain.names[layer], crossing[layer].clone()
        z = chain.question.forward.intervals[name]
        for i, weight in enumerate(on_a.tolist()):
            place, choice = chain.position(layer, i), None
            if place is not None:
                choice = float(chain.mixtures.choices[name][chain.spec, chain.copy, place])
            ends = float(z.lower[0, i]), float(z.upper[0, i])
            slope, shift = activation_line(ends, chain.negative, weight >= 0, choice)
            on_z[i] += weight * slope
            constant += weight * shift
        bias = chain.dense[layer].bias
        constant += 0.0 if bias is None else float(on_z @ bias)
        on_a = on_z @ chain.dense[layer].weight
    return on_a, constant


def gate_plane(
    z: Ends, g: Ends, negative: float, above: bool, share: Tensor | None
) -> tuple[float, float, float]:
    """(a, b, c): y <= a z + b g + c, or >= where not `above`; y = negative g + (1 - negative) h."""
    (low, high), (first, last) = z, g
    if low > 0 or high < 0:
        return 0.0, 1.0 if low > 0 else negative, 0.0
    if not above:
        a, b, c = gate_plane(z, (-last, -first), negative, True, share)
        return -a, b, -c
    mixed_sign = first < 0 < last
    chord = last / (last - first) if mixed_sign else float(first >= 0)
    planes = [(0.0, chord, -chord * first if mixed_sign else 0.0)]
    for b, t in ((0.0, last), (1.0, first)):
        c = (1 - b) * last if t >= 0 else -b * first
        steep = 0.0  # at an end of z's interval, no line leads through 0
        if low < 0 < high:
            steep = t / -low if t >= 0 else t / high
        planes += [(0.0, b, c), (steep, b, c)]  # s = 0 and s = 1
    weights = torch.eye(PLANES, dtype=DTYPE)[0]
    if share is not None:
        weights = torch.cat([1 - share.sum().reshape(1), share])
    a, b, c = (weights @ torch.tensor(planes, dtype=DTYPE)).tolist()
    rise = 1.0 - negative
    return rise * a, negative + rise * b, rise * c


def activation_line(
    z: Ends, negative: float, above: bool, choice: float | None
) -> tuple[float, float]:
    """Slope and intercept of the line above the activation, or below it."""
    low, high = z
    if low >= 0 or high <= 0:
        return (1.0 if low >= 0 else negative), 0.0
    if above:
        slope = (high - negative * low) / (high - low)
        return slope, (negative - slope) * low
    share = float(high > -low) if choice is None else choice
    return negative + share * (1.0 - negative), 0.0
