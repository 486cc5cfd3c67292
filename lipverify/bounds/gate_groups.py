"""Entries that one gate switches together: maxima with their minima, reflections.

A `Pair` is the larger and the smaller of a and b by relu(a - b). A `Switch` is a set of sums
q + c relu(z) whose every entry has one gate d at most: (1 - d) q + d (q + c z), where q and z are
affine in one earlier node x. Either way, no more than two linear maps are mixed for each gate, all
its entries alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx
import torch
from torch import Tensor

from lipverify.graph import ForwardGraph, Node
from lipverify.numerics import DTYPE, UNIT_ROUNDOFF, gamma
from lipverify.operators import (
    Add,
    AffineOperator,
    Choice,
    ReLU,
    Reshape,
    Scale,
    Select,
)

LARGEST_SOURCE = 1200
"""Switches of nodes with more entries are not looked at."""


@dataclass(frozen=True, eq=False)
class Pair:
    """max(a, b) and min(a, b), as far as there are such nodes; `gate` is relu(a - b)."""

    gate: str
    a: str
    b: str
    largest: str | None
    smallest: str | None

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(name for name in (self.largest, self.smallest) if name is not None)


@dataclass(frozen=True, eq=False)
class Switch:
    """The sums `members`; `kept` [x, entries] and `added` [x, entries] hold q and c z.

    `switch` [entries] is the flat position of each entry's gate in `gate`, -1 for none. The entries
    are those of all members in order; constants do not matter here.
    """

    gate: str
    source: str
    members: tuple[str, ...]
    kept: Tensor
    added: Tensor
    switch: Tensor
    error: Tensor
    """Rounding of `kept`, and of `kept + added`, entry by entry."""


def pairs(forward: ForwardGraph) -> dict[str, Pair]:
    """By name of the gate."""
    found: dict[str, Pair] = {}
    for node in forward.activations:
        difference = forward[node.inputs[0]]
        operator = difference.operator
        if not isinstance(node.operator, ReLU) or not isinstance(operator, Add):
            continue
        if operator.signs != (1, -1):
            continue
        a, b = difference.inputs
        most = _member(forward, node.name, "max", (a, b))
        least = _member(forward, node.name, "min", (b, a))
        if a != b and (most or least):
            found[node.name] = Pair(node.name, a, b, most, least)
    return found


def _member(forward: ForwardGraph, gate: str, kind: str, branches: tuple[str, str]) -> str | None:
    for name in forward.users(gate):
        user = forward[name]
        if isinstance(user.operator, Choice) and user.operator.kind == kind:
            if user.inputs == (*branches, gate):
                return name
    return None


def switches(forward: ForwardGraph) -> dict[str, Switch]:
    """By name of the gate; only those of nodes small enough for dense matrices."""
    dominators = nx.immediate_dominators(forward.networkx, ForwardGraph.INPUT)
    found: dict[str, Switch] = {}
    for node in forward.activations:
        if not isinstance(node.operator, ReLU):
            continue
        sums = _sums(forward, node)
        if not sums:
            continue
        wanted = [node.inputs[0], *(name for _, name, _ in sums)]
        source = _common(forward, dominators, wanted)
        if source is None:
            continue
        switch = _switch(forward, node, source, sums)
        if switch is not None:
            found[node.name] = switch
    return found


_Sum = tuple[Node, str, int]
"""A sum of two operands, the name of the one without the gate, and the other one's position."""


def _sums(forward: ForwardGraph, gate: Node) -> list[_Sum]:
    """The sums q + c relu(z), c of entrywise operators alone."""
    found: list[_Sum] = []
    pending = [gate.name]
    while pending:
        name = pending.pop()
        for user in (forward[user] for user in forward.users(name)):
            if isinstance(user.operator, Scale | Select | Reshape):
                pending.append(user.name)
            elif isinstance(user.operator, Add) and len(set(user.inputs)) == 2:
                if len(user.inputs) == 2:
                    place = user.inputs.index(name)
                    found.append((user, user.inputs[1 - place], place))
    return found


def _common(
    forward: ForwardGraph, dominators: Mapping[str, str | None], names: list[str]
) -> str | None:
    """The last node through which all of `names` depend on the input, in an affine way."""
    chains = []
    for name in names:
        chain, above = [name], dominators.get(name)
        while above is not None and above != chain[-1]:
            chain.append(above)
            above = dominators.get(above)
        chains.append(chain)
    shared = set(chains[0]).intersection(*chains[1:])
    source = next((name for name in chains[0] if name in shared), None)
    if source is None or forward[source].size > LARGEST_SOURCE:
        return None
    for name in set().union(*(forward.ancestors(name) for name in names)):
        below = source in forward.ancestors(name) and name != source
        if below and not isinstance(forward[name].operator, AffineOperator):
            return None
    return source


def _switch(forward: ForwardGraph, gate: Node, source: str, sums: list[_Sum]) -> Switch | None:
    kept, added, switch, error = [], [], [], []
    z = linear_map(forward, source, gate.inputs[0])
    for node, other, place in sums:
        assert isinstance(node.operator, Add)
        q = linear_map(forward, source, other)
        c = linear_map(forward, gate.name, node.inputs[place])
        touched = c.matrix != 0
        if int(touched.sum(0).max()) > 1:
            return None
        index = torch.where(touched.any(0), touched.to(DTYPE).argmax(0), -1)
        at = index.clamp(min=0)
        signs = node.operator.signs
        kept.append(signs[1 - place] * q.matrix)
        added.append(signs[place] * z.matrix[:, at] * c.matrix.sum(0))
        # The product of both, each with its own error, and one rounding.
        factor = c.matrix.abs().sum(0)
        rest = z.error[:, at] * (factor + c.error.sum(0)) + z.matrix[:, at].abs() * c.error.sum(0)
        rest = rest + 8 * UNIT_ROUNDOFF * (added[-1].abs() + kept[-1].abs())
        error.append(2 * (q.error + rest))
        switch.append(index)
    members = tuple(node.name for node, _, _ in sums)
    return Switch(
        gate.name,
        source,
        members,
        torch.cat(kept, 1),
        torch.cat(added, 1),
        torch.cat(switch),
        torch.cat(error, 1),
    )


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A matrix [source, target] whose entries are off by up to `error`."""

    matrix: Tensor
    error: Tensor


def linear_map(forward: ForwardGraph, source: str, target: str) -> LinearMap:
    """d target / d source through affine nodes; every path between them must be affine."""
    shape, size = forward[source].shape, forward[source].size
    eye = torch.eye(size, dtype=DTYPE).reshape(size, *shape)
    values, reach, depth = {source: eye}, {source: eye}, {source: 0}
    for node in forward:
        if node.name not in forward.ancestors(target) or node.name in values:
            continue
        operands = [(k, name) for k, name in enumerate(node.inputs) if name in values]
        if not operands:
            continue
        operator = node.operator
        assert isinstance(operator, AffineOperator), "a path that is not affine"
        absolute = operator.absolute_cached
        parts = [operator.linear(values[name], k) for k, name in operands]
        sizes = [absolute.linear(reach[name], k) for k, name in operands]
        values[node.name] = torch.stack(parts).sum(0)
        reach[node.name] = torch.stack(sizes).sum(0)
        depth[node.name] = max(depth[name] for _, name in operands) + operator.terms + 4
    if target not in values:
        zero = torch.zeros(size, forward[target].size, dtype=DTYPE)
        return LinearMap(zero, zero)
    error = 2 * gamma(depth[target]) * reach[target].reshape(size, -1)
    return LinearMap(values[target].reshape(size, -1), error)
