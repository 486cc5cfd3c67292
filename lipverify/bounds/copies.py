"""Nodes whose entries are those of an earlier node, rearranged or repeated: bounded only once."""

import torch
from torch import Tensor

from lipverify.graph import Dag, Node
from lipverify.operators import Einsum, Pullback, Reshape, Select, Transpose


def original_entries(dag: Dag, target: str) -> tuple[str, Tensor]:
    """The node that `target` is a rearrangement of, and the entry there of every entry of `target`.

    `target` itself where it is none, or where it holds zeros that are no copies.
    """
    places = torch.arange(dag[target].size)
    while _copies(dag[target]):
        (source,) = dag[target].inputs
        numbers = torch.arange(1.0, dag[source].size + 1.0, dtype=torch.float64)
        operator = dag[target].operator
        copied = operator.linear(numbers.reshape(1, *dag[source].shape))  # type: ignore[union-attr]
        copied = copied.flatten().long() - 1
        if bool((copied < 0).any()):
            break
        target, places = source, copied[places]
    return target, places


def in_order(index: Tensor) -> Tensor:
    """Each number once, in the order of their first places."""
    numbers, which = index.unique(return_inverse=True)
    first = torch.full_like(numbers, len(index))
    first.scatter_reduce_(0, which, torch.arange(len(index)), "amin")
    return numbers[first.argsort()]


def _copies(node: Node) -> bool:
    """Whether every entry is one of the operand's, or 0."""
    operator = node.operator
    if not isinstance(operator, Pullback):
        return isinstance(operator, Reshape | Select | Transpose)
    forward = operator.forward
    if isinstance(forward, Select):
        used = forward.index[forward.index >= 0]
        return len(used.unique()) == len(used)
    if isinstance(forward, Einsum):  # a plain sum: each operand is handed the sum's adjoint
        weighed = set(forward.weights) <= set(forward.inputs)
        plain = set(forward.outputs) <= set(forward.inputs) and bool((forward.weight == 1).all())
        return weighed and plain
    return isinstance(forward, Reshape | Transpose)
