"""From points to proved values."""

from dataclasses import dataclass

from torch import Tensor

from lipverify.graph import BackwardGraph, jacobian_enclosure
from lipverify.norms import operator_norm
from lipverify.query import NormQuery


@dataclass(frozen=True, eq=False)
class NormWitness:
    """A point [n] at which rows J is at least `value` (proved), nearly attained along v [n]."""

    point: Tensor
    direction: Tensor
    output: int | None
    value: float


def prove_norm(backward: BackwardGraph, query: NormQuery, point: Tensor) -> NormWitness:
    """The point with a proved bound below its Clarke Jacobians' norm (kinks: of all of them)."""
    enclosure = jacobian_enclosure(backward, point, query.rows)
    value = operator_norm.lower(enclosure, query.input_norm, query.output_norm)
    _, c, v = operator_norm.attained(
        enclosure.center.unsqueeze(0), query.input_norm, query.output_norm
    )
    single = int(c[0].abs().argmax()) if int((c[0] != 0).sum()) == 1 else None
    return NormWitness(point, v[0], single, value)
