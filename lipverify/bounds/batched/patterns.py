"""The exact maximum over the gates, where few are open: all patterns of their ends.

A row of the Jacobian is affine in each gate alone, so a norm of it (or a linear function) is convex
in each gate, and largest where every gate is at an end of its interval. Relaxations of several
gates in a row stay loose however small a box gets; this is exact on any box.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.batched.reduced import Reduced
from lipverify.bounds.batched.rows import Pairs
from lipverify.bounds.cuts import CutRegion
from lipverify.graph import ForwardGraph
from lipverify.operators import Activation, AffineOperator
from lipverify.region import Box

PATTERN_LIMIT = 10
"""Up to this many open gates, all 2^k patterns are evaluated (8 to 12 do about as well)."""

AT_ONCE = 2**17
"""Patterns evaluated at once, about: the working set stays in the cache."""


@dataclass(frozen=True, eq=False)
class PatternGroup:
    """The rows [p, patterns, n] of the pairs [p] (positions) with `count` open gates each.

    Bit count - 1 - k of a pattern's number says at which end open gate k is, 0 the lower.
    """

    pairs: Tensor
    count: int
    jacobians: Tensor


def pattern_rows(
    reduced: Reduced, pairs: Pairs, limit: int = PATTERN_LIMIT, block: int = 1
) -> Iterator[PatternGroup]:
    """The row of every pattern, for the pairs whose box has at most `limit` open gates.

    Not rounded: the error is within `RowBounds.slack`. Blocks of so many pairs, each of one box,
    stay together.
    """
    terms = _Terms(pairs.functional(reduced), reduced.table, reduced.gate.lower, reduced.gate.upper)
    yield from _groups(reduced, pairs, terms, limit, block)


def pattern_paths(
    forward: ForwardGraph, reduced: Reduced, pairs: Pairs, limit: int = PATTERN_LIMIT
) -> Iterator[PatternGroup]:
    """For every entry of `pattern_rows`, a count of the paths that add up to it.

    It is 0 only where no path is left: then the entry is exactly 0, without any rounding.
    """
    table, output = _paths(forward, reduced)
    functional = (_present(pairs.rows) @ output)[pairs.box, pairs.row]
    ends = _present(reduced.gate.lower), _present(reduced.gate.upper)
    terms = _Terms(_present(functional), table, *ends)
    yield from _groups(reduced, pairs, terms, limit, 1)


@dataclass(frozen=True, eq=False)
class _Terms:
    """What rows are made of: functional [pairs, columns]; table [boxes, open neurons, columns] and
    both ends of the gates [boxes, open neurons]."""

    functional: Tensor
    table: Tensor
    lower: Tensor
    upper: Tensor


def _groups(
    reduced: Reduced, pairs: Pairs, terms: _Terms, limit: int, block: int
) -> Iterator[PatternGroup]:
    counts = reduced.open_count[pairs.box]
    for count in range(min(limit, reduced.open_size) + 1):
        group = (counts == count).nonzero().flatten()
        for part in group.split(block * max(1, (AT_ONCE >> count) // block)):
            if part.numel():
                chosen = _open_positions(reduced, pairs.box[part], count)
                rows = _all_patterns(terms, pairs.box[part], part, chosen, reduced.inputs)
                yield PatternGroup(part, count, rows)


def _all_patterns(terms: _Terms, box: Tensor, pairs: Tensor, chosen: Tensor, n: int) -> Tensor:
    """Eliminates the open neurons from the last to the first, both ends each: [p, 2^count, n]."""
    count = chosen.shape[1]
    inputs = torch.arange(1, 1 + n).expand(len(box), -1)
    columns = torch.cat([inputs, chosen + 1 + n], 1)  # x, then the open neurons in order
    rows = terms.functional[pairs].gather(1, columns).unsqueeze(1)
    table = terms.table[box.unsqueeze(1), chosen]
    table = table.gather(2, columns.unsqueeze(1).expand(-1, count, -1))
    lower, upper = terms.lower[box].gather(1, chosen), terms.upper[box].gather(1, chosen)
    for position in reversed(range(count)):
        end = n + position
        adjoint, rest = rows[..., end:], rows[..., :end]
        step = adjoint * table[:, position : position + 1, :end]
        low = lower[:, position, None, None] * step
        high = upper[:, position, None, None] * step
        rows = torch.cat([rest + low, rest + high], 1)
    return rows


def _present(values: Tensor) -> Tensor:
    return (values != 0).to(values)


def _paths(forward: ForwardGraph, reduced: Reduced) -> tuple[Tensor, Tensor]:
    """`table` and `output` of the reduced network, 1 where there is a path and 0 where not.

    Signs cannot cancel and products cannot underflow, unlike in the coefficients themselves. The
    column of constants is left out (0): no derivative depends on it.
    """
    batch, n = reduced.boxes.lower.shape
    total = 1 + n + reduced.open_size
    identity = torch.eye(total, dtype=reduced.output.dtype)[:, 1 : 1 + n]
    start = identity.expand(batch, -1, -1).reshape(batch, total, *forward.input_shape)
    columns, stages, tables = {ForwardGraph.INPUT: start}, iter(reduced.stages), []
    used = forward.ancestors(forward.output)
    for node in forward:
        if node.operator is None or node.name not in used:
            continue
        operands = [columns[name].flatten(0, 1) for name in node.inputs]
        if isinstance(node.operator, AffineOperator):
            absolute = node.operator.absolute_cached
            parts = [absolute.linear(value, k) for k, value in enumerate(operands)]
            columns[node.name] = _present(torch.stack(parts).sum(0)).unflatten(0, (batch, total))
            continue
        halves = []
        for operand in reversed(range(len(node.inputs))):  # both of a product
            stage, before = next(stages), columns[node.inputs[operand]].flatten(2)
            assert stage.key == (node.name, operand)
            picked = before.gather(2, stage.index.unsqueeze(1).expand(-1, total, -1))
            tables.append((picked * stage.valid.unsqueeze(1)).transpose(1, 2))
            after = before * _present(reduced.fixed[stage.key]).flatten(1).unsqueeze(1)
            place = stage.index.unsqueeze(1)
            after[:, stage.columns].scatter_(
                2, place.transpose(1, 2), stage.valid.to(after).unsqueeze(2)
            )
            halves.append(after)
        columns[node.name] = _present(torch.stack(halves).sum(0)).unflatten(2, node.shape)
    none = reduced.output.new_zeros(batch, 0, total)
    return torch.cat([none, *tables], 1), columns[forward.output].flatten(2).transpose(1, 2)


def pattern_point(
    forward: ForwardGraph, reduced: Reduced, box: int, count: int, pattern: int
) -> Tensor | None:
    """A point [n] of the box at which the open gates are as in the pattern, or None.

    Only a guide: where to look for a large value. Smooth activations have no such cell.
    """
    n = reduced.inputs
    chosen = _open_positions(reduced, torch.tensor([box]), count)[0]
    stages = reduced.stages
    operators = [forward[stage.node].operator for stage in stages for _ in range(stage.size)]
    cell, outputs = [], torch.zeros(reduced.open_size, n + 1, dtype=reduced.output.dtype)
    for k, position in enumerate(chosen.tolist()):
        operator = operators[position]
        if not isinstance(operator, Activation) or not operator.piecewise_linear:
            return None
        high = bool(pattern >> (count - 1 - k) & 1)
        gate = (reduced.gate.upper if high else reduced.gate.lower)[box, position]
        row = reduced.table[box, position]
        z = row[: n + 1] + row[n + 1 :] @ outputs
        outputs[position] = gate * z
        ahead = operator.derivative(torch.ones_like(gate))
        cell.append(z if bool(ahead == gate) else -z)
    if not cell:
        return None
    sides = torch.stack(cell)
    inside = Box(reduced.boxes.lower[box], reduced.boxes.upper[box])
    return CutRegion(inside, sides[:, 1:], sides[:, 0]).feasible_point()


def _open_positions(reduced: Reduced, box: Tensor, count: int) -> Tensor:
    """Where the open neurons of each box are among the columns of open neurons: [p, count]."""
    valid = reduced.valid[box].to(torch.uint8)
    return valid.argsort(dim=1, descending=True, stable=True)[:, :count]
