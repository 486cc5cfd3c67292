"""Layers that pick entries by their size: maxima, minima, pooling, sorting.

All are written with comparisons of pairs, max(a, b) = b + relu(a - b) and min(a, b) =
a - relu(a - b), which share the gate of that ReLU; see `operators.choice`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.network import layers, layout
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.layers import Padding
from lipverify.operators import Add, Choice, Concat, ReLU, Select, Shape

Rows = list[list[int]]
"""For each result, the flat positions of the entries that it is chosen from."""


def extremum(build: GraphBuilder, x: Value, y: Value, *, largest: bool) -> Value:
    """The larger (smaller) of two branches, entry by entry, with broadcasting."""
    shape = layers.broadcast(x.shape, y.shape)
    x, y = (layout.expand(build, part, shape) for part in (x, y))
    other = build.view(y.node, build.shape(x.node))
    if x.node == other:
        return x
    return Value(_chosen(build, x.node, other, largest=largest), shape)


def extremum_with(build: GraphBuilder, x: Value, bound: Tensor, *, largest: bool) -> Value:
    """The same with a constant: bound + relu(x - bound), bound - relu(bound - x)."""
    sign = torch.tensor(1.0 if largest else -1.0, dtype=torch.float64)
    above = layers.activation(build, layers.scale(build, x, sign, -sign * bound), ReLU())
    return layers.scale(build, above, sign, bound)


def extremum_of(build: GraphBuilder, parts: Sequence[Value | Tensor], *, largest: bool) -> Value:
    """Of any number of branches and constants, at least one of them a branch."""
    values = [part for part in parts if isinstance(part, Value)]
    constants = [part for part in parts if isinstance(part, Tensor)]
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        rest = values[-1:] if len(values) % 2 else []
        values = [extremum(build, a, b, largest=largest) for a, b in pairs] + rest
    (result,) = values
    if not constants:
        return result
    bound = constants[0]
    for other in constants[1:]:
        bound = torch.maximum(bound, other) if largest else torch.minimum(bound, other)
    return extremum_with(build, result, bound, largest=largest)


def _chosen(build: GraphBuilder, a: str, b: str, *, largest: bool) -> str:
    """max(a, b) or min(a, b) of two nodes of one shape; both share one gate."""
    gate = build.known(Add((1, -1)), a, b), build.known(Add((1, -1)), b, a)
    if gate[0] is None and gate[1] is not None:
        a, b = b, a
    above = build.shared(ReLU(), build.shared(Add((1, -1)), a, b))
    if largest:
        return build.shared(Choice("max", 1), a, b, above)
    return build.shared(Choice("min", -1), b, a, above)


@dataclass(frozen=True, eq=False)
class _Entries:
    """A node, and where in it (flat) the entries are that are still in play."""

    build: GraphBuilder
    node: str

    def pick(self, index: Sequence[int]) -> str:
        """A flat node of these entries."""
        source = self.build.shape(self.node)
        if list(index) == list(range(prod(source))):
            return self.build.view(self.node, (len(index),))
        select = Select(source, (len(index),), torch.tensor(index))
        return self.build.shared(select, self.node)

    def joined(self, parts: Sequence[str]) -> "_Entries":
        """Flat nodes, one after the other."""
        if len(parts) == 1:
            return _Entries(self.build, parts[0])
        sizes = tuple(self.build.shape(part)[0] for part in parts)
        starts = tuple(sum(sizes[:place]) for place in range(len(sizes)))
        operator = Concat((sum(sizes),), 0, starts, sizes)
        return _Entries(self.build, self.build.apply(operator, *parts))


def reduce(build: GraphBuilder, x: Value, rows: Rows, shape: Shape, *, largest: bool) -> Value:
    """The largest (smallest) entry of each row of positions in x, in `shape`.

    Round by round, neighbours in each row are compared; a pair that several rows have is compared
    once.
    """
    if not all(rows):
        raise UnsupportedOperator("it takes the maximum of nothing (a window of padding alone)")
    entries = _Entries(build, x.node)
    while any(len(row) > 1 for row in rows):
        pairs: dict[tuple[int, int], int] = {}
        single: dict[int, int] = {}
        following: list[list[tuple[bool, int]]] = []
        for row in rows:
            made = []
            for a, b in zip(row[::2], row[1::2], strict=False):
                made.append((True, pairs.setdefault((a, b), len(pairs))))
            if len(row) % 2:
                made.append((False, single.setdefault(row[-1], len(single))))
            following.append(made)
        first = entries.pick([a for a, _ in pairs])
        second = entries.pick([b for _, b in pairs])
        parts = [_chosen(build, first, second, largest=largest)]
        if single:
            parts.append(entries.pick(list(single)))
        entries = entries.joined(parts)
        rows = [
            [place if is_pair else len(pairs) + place for is_pair, place in made]
            for made in following
        ]
    return Value(entries.pick([row[0] for row in rows]), shape)


def reduce_axes(
    build: GraphBuilder, x: Value, axes: Sequence[int], *, largest: bool, keep: bool
) -> Value:
    """The largest (smallest) entry over the dimensions `axes`; with `keep`, these stay as 1."""
    axes = sorted({axis % len(x.shape) for axis in axes})
    others = [axis for axis in range(len(x.shape)) if axis not in axes]
    places = _places(x.shape).permute(*others, *axes)
    rows = places.reshape(prod(places.shape[: len(others)]), -1).tolist()
    sizes = [(1 if axis in axes else size) for axis, size in enumerate(x.shape)]
    shape = tuple(size for axis, size in enumerate(sizes) if keep or axis not in axes)
    return reduce(build, x, rows, shape, largest=largest)


def max_pool(
    build: GraphBuilder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    windows: Sequence[int],
) -> Value:
    """The largest entry of each window of x [..., *space]; padding never is the largest.

    Dimension by dimension, as the maximum over a window is one of maxima; `windows` counts them in
    each, so that rounding up (ceil_mode) is the caller's matter.
    """
    if min(windows) < 1:
        raise NetworkError(f"its kernel is larger than its padded operand, shape {list(x.shape)}")
    first = len(x.shape) - len(kernel)
    for axis, (width, step, (begin, _), spread, count) in enumerate(
        zip(kernel, stride, padding, dilation, windows, strict=True), start=first
    ):
        starts = range(-begin, count * step - begin, step)
        members = [range(start, start + width * spread, spread) for start in starts]
        inside = [[i for i in window if 0 <= i < x.shape[axis]] for window in members]
        x = pool_axis(build, x, axis, inside)
    return x


def pool_axis(build: GraphBuilder, x: Value, axis: int, windows: Rows) -> Value:
    """The largest entry of each window of positions along one dimension."""
    places = _places(x.shape).movedim(axis, -1)
    lines = places.reshape(-1, x.shape[axis]).tolist()
    rows = [[line[place] for place in window] for line in lines for window in windows]
    order = torch.arange(len(rows)).reshape(*places.shape[:-1], len(windows)).movedim(-1, axis)
    ordered = [rows[place] for place in order.flatten().tolist()]
    return reduce(build, x, ordered, tuple(order.shape), largest=True)


def sort(build: GraphBuilder, x: Value, axis: int, count: int, *, descending: bool) -> Value:
    """The first `count` entries along dimension `axis` once they are sorted.

    By Batcher's merge exchange (Knuth 1998, section 5.2.2, algorithm M), all lines side by side:
    each step compares disjoint pairs, so it permutes the entries.
    """
    axis %= len(x.shape)
    places = _places(x.shape).movedim(axis, -1)
    size = x.shape[axis]
    lines = places.reshape(-1, size).tolist()
    entries = _Entries(build, x.node)
    for step in merge_exchange(size):
        used = {place for pair in step for place in pair}
        pairs = [(line[i], line[j]) for line in lines for i, j in step]
        rest = [line[i] for line in lines for i in range(size) if i not in used]
        first = entries.pick([a for a, _ in pairs])
        second = entries.pick([b for _, b in pairs])
        parts = [
            _chosen(build, first, second, largest=descending),
            _chosen(build, first, second, largest=not descending),
        ]
        if rest:
            parts.append(entries.pick(rest))
        entries = entries.joined(parts)
        counter = iter(range(2 * len(pairs), 2 * len(pairs) + len(rest)))
        for number, line in enumerate(lines):
            start = number * len(step)
            for place, (i, j) in enumerate(step):
                line[i], line[j] = start + place, len(pairs) + start + place
            for i in range(size):
                if i not in used:
                    line[i] = next(counter)
    kept = torch.tensor([line[:count] for line in lines]).reshape(*places.shape[:-1], count)
    picked = kept.movedim(-1, axis)
    return Value(entries.pick(picked.flatten().tolist()), tuple(picked.shape))


def merge_exchange(size: int) -> list[list[tuple[int, int]]]:
    """Steps of disjoint comparisons (i, j), i < j, that sort any `size` entries."""
    steps: list[list[tuple[int, int]]] = []
    top = 1 << max(0, (size - 1).bit_length() - 1)
    p = top if size > 1 else 0
    while p > 0:
        q, r, d = top, 0, p
        while True:
            step = [(i, i + d) for i in range(size - d) if i & p == r]
            if step:
                steps.append(step)
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return steps


def _places(shape: Shape) -> Tensor:
    """0, 1, ... in this shape."""
    return torch.arange(prod(shape)).reshape(shape)
