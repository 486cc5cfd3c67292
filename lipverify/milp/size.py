"""How large a network's mixed-integer program would be, before anything of it is made."""

from collections.abc import Mapping
from dataclasses import dataclass

from lipverify.errors import UnsupportedOperator
from lipverify.graph import BackwardGraph, ForwardGraph
from lipverify.interval import Interval
from lipverify.milp.problem import slopes_of
from lipverify.operators import Activation, AffineOperator
from lipverify.region import AbstractRegion

OPERATIONS_PER_SECOND = 2e8
"""Of the substitutions that make a program, about, with all that is done beside them."""
NONZERO_BYTES = 64
"""Of a coefficient in a row, on its way to the solver and in it."""


@dataclass(frozen=True)
class ProgramSize:
    """`binaries` decide how hard it is; `bytes` and `seconds` are what making it takes, about."""

    binaries: int
    columns: int
    bytes: float
    seconds: float


def unsupported(forward: ForwardGraph) -> str | None:
    """Why there is no program for the network, in words; None if there is one."""
    for node in forward.products:
        return (
            f"node {node.origin or node.name!r} multiplies two branches: no mixed-integer program. "
            "Use another method"
        )
    for node in forward.activations:
        assert isinstance(node.operator, Activation)
        try:
            slopes_of(node.operator, node.origin or node.name)
        except UnsupportedOperator as error:
            return str(error)
    return None


def program_size(
    backward: BackwardGraph,
    region: AbstractRegion,
    preactivations: Mapping[str, Interval],
    signs: int,
) -> ProgramSize:
    """Of one row of the Jacobian, `signs` of whose entries have an open sign; 0 for an output's.

    Columns are, for each unstable neuron, z, r, d, g and h (`forward_part`, `backward_part`), and
    three for each open sign. A form holds a number per column for each entry of each node.
    """
    forward = backward.forward
    unstable = 0
    for node in forward.activations:
        assert isinstance(node.operator, Activation)
        gate = node.operator.gate(preactivations[node.inputs[0]])
        unstable += int((gate.lower < gate.upper).sum())
    box = region.bounding
    moving = int((box.lower < box.upper).sum())
    columns = 1 + moving + 5 * unstable + 3 * signs
    values = terms = 0.0
    for graph in (forward, backward):
        for node in graph:
            values += node.size
            if isinstance(node.operator, AffineOperator):
                terms += node.size * node.operator.terms
    nonzeros = columns * (2.0 * unstable + signs + 1)
    return ProgramSize(
        unstable + signs,
        columns,
        2 * 8.0 * columns * values + NONZERO_BYTES * nonzeros,
        (columns * terms + 10 * nonzeros) / OPERATIONS_PER_SECOND,
    )
