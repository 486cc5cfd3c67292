"""Counterexamples and witnesses, looked at again: on the original network, by the property's words.

Deliberately not the code that found and confirmed them (`lipverify.confirm`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lipverify.errors import LipverifyError
from lipverify.graph import backward_graph
from lipverify.network import Network
from lipverify.query import norm_query
from lipverify.spec import Spec
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Radius, Robustness, VnnLib
from lipverify.witness import prove_norm

ATTAINED = 1e-9
"""A witness may attain less than recorded by this share: rounding differs between machines."""
ON_EDGE = 1e-9
"""Relative slack of a distance that is computed in float64."""


@dataclass(frozen=True)
class Replayed:
    """`confirmed`: what was recorded of the points is seen again; `outputs` are those of now."""

    confirmed: bool
    outputs: tuple[tuple[float, ...], ...]
    deviation: float | None
    detail: str


def replay_counterexample(
    network: Network, spec: Spec, index: int, recorded: Mapping[str, Any]
) -> Replayed:
    """Whether the points lie in the region and violate the property, by onnxruntime."""
    prop = spec.properties[index]
    try:
        points = torch.tensor(recorded["inputs"], dtype=torch.float64)
        if points.ndim != 2 or len(points) != _count(prop):
            return Replayed(False, (), None, f"expected {_count(prop)} input points")
        outputs = network.original(points)
        deviation = _deviation(outputs, recorded["outputs"])
        if not isinstance(prop, Radius | VnnLib) and not bool(spec.region.contains(points).all()):
            return _told(False, outputs, deviation, "a point lies outside the region")
        holds, detail = _violates(network, spec, prop, points, outputs)
    except (LipverifyError, ValueError, TypeError, RuntimeError) as error:
        return Replayed(False, (), None, f"cannot be replayed: {error}")
    return _told(holds, outputs, deviation, detail)


def replay_witness(
    network: Network, spec: Spec, index: int, point: Sequence[float | None], lower: float | None
) -> Replayed | None:
    """Whether a Lipschitz bound's witness attains its lower end, by interval arithmetic there.

    None for other kinds of property.
    """
    prop = spec.properties[index]
    if not isinstance(prop, Lipschitz) or lower is None or any(x is None for x in point):
        return None
    x = torch.tensor(cast(Sequence[float], point), dtype=torch.float64)
    if not bool(spec.region.contains(x)):
        return Replayed(False, (), None, "the witness lies outside the region")
    value = prove_norm(backward_graph(network.graph), norm_query(prop), x).value
    outputs = network.original(x.unsqueeze(0))
    attained = value >= lower * (1 - ATTAINED)
    text = f"the derivative's norm at the witness is proved to be at least {value:.9g}"
    return _told(attained, outputs, None, f"{text}, recorded {lower:.9g}")


def _told(holds: bool, outputs: Tensor, deviation: float | None, detail: str) -> Replayed:
    return Replayed(holds, tuple(tuple(row) for row in outputs.tolist()), deviation, detail)


def _deviation(outputs: Tensor, recorded: Sequence[Sequence[float]]) -> float | None:
    before = torch.tensor(recorded, dtype=torch.float64)
    return float((outputs - before).abs().max()) if before.shape == outputs.shape else None


def _violates(
    network: Network, spec: Spec, prop: Property, points: Tensor, outputs: Tensor
) -> tuple[bool, str]:
    """By the property's own words, and those in numbers."""
    match prop:
        case Lipschitz():
            if prop.at_most is None:
                return False, "the property asks for an interval, which nothing can violate"
            value = prove_norm(backward_graph(network.graph), norm_query(prop), points[0]).value
            text = f"the derivative's norm is proved to be at least {value:.9g}"
            return value > prop.at_most, f"{text}, claimed at most {prop.at_most:.9g}"
        case Monotonicity():
            return _moves_wrong(prop, points, outputs)
        case Robustness():
            label = _label(network, spec.region.center, prop.label)
            margin = _margin(outputs[0], label)
            broken = margin <= 0 if prop.margin == 0 else margin < prop.margin
            return broken, f"the margin of output {label} is {margin:.9g}"
        case Radius():
            label = _label(network, prop.around.center, prop.label)
            distance = float(prop.norm.of(points[0] - prop.around.center))
            limit = prop.largest if prop.at_least is None else prop.at_least
            margin = _margin(outputs[0], label)
            near = distance <= limit * (1 + ON_EDGE)
            text = f"at distance {distance:.9g} the margin of output {label} is {margin:.9g}"
            return near and margin <= 0, text
        case VnnLib():
            values = (points.flatten().tolist(), outputs.flatten().tolist())
            return prop.file.holds(*values), "the file's constraints, evaluated as written"


def _count(prop: Property) -> int:
    """How many points a counterexample has."""
    match prop:
        case Monotonicity():
            return 2
        case VnnLib():
            return prop.file.layout.copies
        case _:
            return 1


def _moves_wrong(prop: Monotonicity, points: Tensor, outputs: Tensor) -> tuple[bool, str]:
    moved = (points[0] != points[1]).nonzero().flatten().tolist()
    if len(moved) != 1:
        return False, "the pair does not differ in one input alone"
    (index,) = moved
    step = float(points[1, index] - points[0, index])
    values = outputs @ torch.tensor(prop.weights, dtype=torch.float64)
    change = float(values[1] - values[0]) * (1.0 if step > 0 else -1.0)
    step = abs(step)
    wrong = (index in prop.increasing and change < prop.margin * step) or (
        index in prop.decreasing and change > -prop.margin * step
    )
    return wrong, f"input {index} rises by {step:.9g}, the output changes by {change:.9g}"


def _label(network: Network, center: Tensor, label: int | None) -> int:
    if label is not None:
        return label
    return int(network.original(center.unsqueeze(0))[0].argmax())


def _margin(output: Tensor, label: int) -> float:
    others = torch.cat([output[:label], output[label + 1 :]])
    return float(output[label] - others.max())
