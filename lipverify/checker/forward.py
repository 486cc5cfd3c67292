"""Intervals of preactivations: interval arithmetic, and linear bounds by back-substitution with the
multipliers of the certificate (README 4.1 to 4.3). The same serves the backward graph (4.6)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import copy
from functools import lru_cache
from operator import add, gt, sub
from typing import Any

from lipverify.checker.activations import SLOPE, Activation, Line, Span
from lipverify.checker.archive import Clock
from lipverify.checker.errors import Rejected
from lipverify.checker.exact import (
    Rows,
    down,
    each,
    floats,
    magnitude,
    paired,
    quotient_up,
    shift_up,
    support,
    up,
)
from lipverify.checker.network import Affine, Network
from lipverify.checker.region import Region

Ends = tuple[list[int], list[int]]
Between = tuple[Activation, Activation]
"""Functions below and above an activation's value: it twice, or a gate's (README 4.6)."""
Entries = Sequence[Mapping[str, Any]]
"""A list `multipliers` of the certificate."""


class Problem:
    """The network on a region: what does not change from node to node. Everything at 2^-bits.

    `functions` by layer and neuron. By form: `spread`, what the coefficients' blur can do to it on
    the region; `bias`, an enclosure of its constant with that; `first`, its interval (-1: the box);
    `far`, above its magnitude. `reach` by layer, -1 the input: above |a| there.
    """

    def __init__(
        self,
        network: Network,
        region: Region,
        bits: int,
        clock: Clock,
        functions: Sequence[Sequence[Between]] | None = None,
    ) -> None:
        self.network, self.region, self.bits, self.clock = network, region, bits, clock
        self.forms, self.count = network.forms, len(network.layers)
        self.functions = functions or [
            [(function, function)] * form.size
            for function, form in zip(network.activations, network.layers, strict=True)
        ]
        self.spread: list[list[int]] = []
        self.bias: list[Ends] = []
        self.first = {-1: (region.lower, region.upper)}
        values = dict(self.first)
        self.reach = {-1: paired(magnitude, *values[-1])}
        for layer, form in enumerate(self.forms):
            clock.check()
            self.spread.append(self._spread(form))
            lower = [down(constant, bits) for constant in form.bias]
            upper = [up(constant, bits) for constant in form.bias]
            spread = self.spread[layer]
            self.bias.append((paired(sub, lower, spread), paired(add, upper, spread)))
            self.first[layer] = self.interval(layer, values)
            if layer < self.count:
                values[layer] = self.values(layer, *self.first[layer])
                self.reach[layer] = paired(magnitude, *values[layer])
        self.far = {layer: paired(magnitude, *ends) for layer, ends in self.first.items()}

    def _spread(self, form: Affine) -> list[int]:
        spread = [up(value, self.bits) for value in form.bias_blur]
        for source, blur in form.blur.items():
            spread = paired(add, spread, blur.transposed.above(self.reach[source]))
        return spread

    def interval(self, layer: int, values: Mapping[int, Ends]) -> Ends:
        """Preactivations from intervals of everything before."""
        lower, upper = self.bias[layer]
        for source, matrix in self.forms[layer].parts.items():
            middle = matrix.transposed.after([paired(add, *values[source])])[0]
            radius = matrix.transposed.magnitude.after([paired(sub, *values[source][::-1])])[0]
            low, high = paired(sub, middle, radius), paired(add, middle, radius)  # of twice z
            lower = paired(add, lower, [x >> matrix.bits + 1 for x in low])
            upper = paired(add, upper, [shift_up(x, matrix.bits + 1) for x in high])
        return lower, upper

    def values(self, layer: int, lower: list[int], upper: list[int]) -> Ends:
        low, high = [], []
        for (below, above), *ends in zip(self.functions[layer], lower, upper, strict=True):
            span = below.range(Span(*ends), self.bits)
            low.append(span.lower)
            span = span if above is below else above.range(Span(*ends), self.bits)
            high.append(span.upper)
        return low, high


class Known:
    """What has been proved at a node: `ends` of preactivations (-1: the box), and conflicts: pairs
    of (layer, neuron, side) that are never on the sides of 0 named at once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.ends = {k: (list(lower), list(upper)) for k, (lower, upper) in problem.first.items()}
        self.conflicts: tuple[tuple[int, ...], ...] = ()
        self.empty = False

    def child(self) -> "Known":
        made = copy(self)
        made.ends = {k: (list(lower), list(upper)) for k, (lower, upper) in self.ends.items()}
        return made

    def span(self, layer: int, neuron: int) -> Span:
        return Span(*(end[neuron] for end in self.ends[layer]))

    def is_open(self, layer: int, neuron: int) -> bool:
        """Whether the value is not one linear function of the preactivation."""
        below, above = self.problem.functions[layer][neuron]
        return below != above or below.open(self.span(layer, neuron), self.problem.bits)

    def cut(self, layer: int, neuron: int, side: int, end: int) -> bool:
        """From now on z <= end (side 1), z >= end (side -1); whether that is news."""
        lower, upper = self.ends[layer]
        old = lower[neuron], upper[neuron]
        if side > 0:
            upper[neuron] = min(upper[neuron], end)
        else:
            lower[neuron] = max(lower[neuron], end)
        self.empty |= lower[neuron] > upper[neuron]
        return (lower[neuron], upper[neuron]) != old

    def meet(self, layer: int, lower: list[int], upper: list[int]) -> None:
        """Intersect the intervals of a layer."""
        old = self.ends[layer]
        self.ends[layer] = paired(max, old[0], lower), paired(min, old[1], upper)
        self.empty |= any(paired(gt, *self.ends[layer]))

    def use_conflicts(self) -> None:
        """Cut neurons whose partner lies on its side of a conflict."""
        changed = True
        while changed and not self.empty:
            changed = False
            for pair in self.conflicts:
                for k, i, s, other, j, side in (pair, (*pair[3:], *pair[:3])):
                    low, high = self.span(k, i)
                    if (low >= 0) if s > 0 else (high <= 0):
                        changed |= self.cut(other, j, side, 0)


@lru_cache(maxsize=1 << 16)
def _line(between: Between, z: Span, bits: int, above: bool, slope: int | None = None) -> Line:
    """A line above or below all that lies between two functions. Kept, since intervals often stay
    what they were."""
    return between[above].line(z, bits, above, slope)


def _multipliers(
    known: Known, entries: Entries, targets: int
) -> dict[tuple[int, str], dict[int, list[int]]]:
    """Slopes and betas by layer and name, then neuron: one number per target, or one for all."""
    found: dict[tuple[int, str], dict[int, list[int]]] = defaultdict(dict)
    sizes = [form.size for form in known.problem.network.layers]
    for entry in entries:
        layer = entry["layer"]
        if not 0 <= layer < len(sizes):
            raise Rejected(f"multipliers of a layer that does not exist, of {len(sizes)}")
        neurons = entry.get("neurons", range(sizes[layer]))
        count = len(neurons)
        if any(i >= sizes[layer] for i in neurons) or len(set(neurons)) < count:
            raise Rejected(f"multipliers of layer {layer}: neurons that do not exist, or twice")
        for name in {"lower", "upper", "beta"} & set(entry):
            what, grid = f"{name} of layer {layer}", known.problem.bits if name == "beta" else SLOPE
            fixed = [down(number, grid) for number in floats(entry[name], what)]
            if len(fixed) not in (count, targets * count):
                raise Rejected(f"{what}: {len(fixed)} numbers, {count} neurons, {targets} targets")
            found[layer, name] |= {i: fixed[place::count] for place, i in enumerate(neurons)}
    return found


def uppers(
    known: Known,
    start: Mapping[int, Rows],
    count: int,
    entries: Entries = (),
    constant: Sequence[int] = (),
) -> list[int]:
    """Upper bounds, at 2^-bits, of `count` linear functions of preactivations.

    `start[k]` [count, size of form k] are coefficients at 2^-bits, taken over; `constant` is at
    2^-(2 bits).
    """
    problem, bits, ball = known.problem, known.problem.bits, known.problem.region.ball
    chosen = _multipliers(known, entries, count)
    totals = list(constant) or [0] * count  # at 2^-(2 bits)
    coming: dict[int, Rows] = {}
    behind = [*start, *(layer for layer, name in chosen if name == "beta")]
    for layer in range(max(behind, default=-1), -1, -1):
        problem.clock.check()
        form = problem.forms[layer]
        rows, own = coming.pop(layer, []), start.get(layer, [])
        if rows:
            _replace(known, layer, rows, (chosen[layer, "lower"], chosen[layer, "upper"]), totals)
        rows = each(add, rows, own) if rows and own else rows or own
        rows = rows or [[0] * form.size for _ in range(count)]
        for i, betas in chosen[layer, "beta"].items():
            for t, row in enumerate(rows):
                beta = betas[t % len(betas)]
                totals[t] += beta * known.ends[layer][beta > 0][i]
                row[i] -= beta
        if any(map(any, problem.bias[layer])):
            ends = [support(row, *problem.bias[layer]) for row in rows]
            totals = paired(add, totals, ends)
        for source, matrix in form.parts.items():
            made = matrix.after(rows)
            _divide(made, matrix.bits, problem.reach[source], totals)
            coming[source] = each(add, coming[source], made) if source in coming else made
    for t, row in enumerate(coming.get(-1, ())):
        most = support(row, *known.ends[-1])
        totals[t] += min(most, ball.support(row, *known.ends[-1], bits)) if ball else most
    return [shift_up(total, bits) for total in totals]


def _replace(
    known: Known, layer: int, rows: Rows, given: Sequence[dict[int, list[int]]], totals: list[int]
) -> None:
    """Coefficients of an activation's values become those of its arguments, by lines; `given`:
    slopes for those below and above."""
    functions, bits = known.problem.functions[layer], known.problem.bits
    spans = paired(Span, *known.ends[layer])
    pairs = list(zip(functions, spans, strict=True))
    lines = [[_line(f, z, bits, above) for f, z in pairs] for above in (False, True)]
    for t, row in enumerate(rows):
        for i, a in enumerate(row):
            if a:
                slope, intercept = lines[a > 0][i]
                if own := given[a > 0].get(i):
                    slope, intercept = _line(*pairs[i], bits, a > 0, own[t % len(own)])
                totals[t] += a * intercept
                row[i] = a * slope
    _divide(rows, SLOPE, known.problem.far[layer], totals)


def _divide(rows: Rows, bits: int, reach: Sequence[int], totals: list[int]) -> None:
    """Coefficients divided by 2^bits, in place; what rounding down drops, less than a unit of each,
    is charged to the totals by the reach of what it multiplies."""
    lost = (1 << bits) - 1
    for t, row in enumerate(rows):
        totals[t] += sum(far for value, far in zip(row, reach, strict=True) if value & lost)
        row[:] = [value >> bits for value in row]


def intervals(known: Known, step: Mapping[str, Any]) -> None:
    """The step `intervals`: interval arithmetic from the box, layer by layer."""
    values = {-1: known.ends[-1]}
    for layer in range(known.problem.count):
        known.problem.clock.check()
        known.meet(layer, *known.problem.interval(layer, values))
        if known.empty:
            return
        values[layer] = known.problem.values(layer, *known.ends[layer])
    known.use_conflicts()


def bound(known: Known, step: Mapping[str, Any]) -> None:
    """The step `bound`: linear bounds of preactivations of one layer."""
    problem, layer, neurons = known.problem, step.get("layer", -1), step.get("neurons", "open")
    if not 0 <= layer < problem.count:
        raise Rejected(f"step bound: no layer {layer}, of {problem.count}")
    size = problem.forms[layer].size
    if isinstance(neurons, str):
        every = neurons == "all"
        neurons = [i for i in range(size) if every or known.is_open(layer, i)]
    if any(i >= size for i in neurons):
        raise Rejected(f"step bound: layer {layer} has {size} neurons")
    sides = {"both": (1, -1), "upper": (1,), "lower": (-1,)}[step.get("sides", "both")]
    targets = [(i, side) for side in sides for i in neurons]
    if not targets:
        return
    scales = floats(step["scale"], "scale") if "scale" in step else [1.0] * len(targets)
    if len(scales) != len(targets) or min(scales) <= 0:
        raise Rejected(f"scale: expected {len(targets)} numbers > 0")
    fixed = [down(scale, problem.bits) for scale in scales]
    if not all(fixed):
        raise Rejected("scale: a number is too small for the precision")
    rows = [[0] * size for _ in targets]
    for row, (i, side), scale in zip(rows, targets, fixed, strict=True):
        row[i] = side * scale
    found = uppers(known, {layer: rows}, len(rows), step.get("multipliers", ()))
    for (i, side), scale, value in zip(targets, fixed, found, strict=True):
        known.cut(layer, i, side, side * quotient_up(value << problem.bits, scale))
    known.use_conflicts()


def conflicts(known: Known, step: Mapping[str, Any]) -> None:
    """The step `conflicts`: pairs of neurons that are never on the given sides of 0 at once."""
    problem, one = known.problem, 1 << known.problem.bits
    pairs = [tuple(pair) for pair in step.get("pairs", ())]
    weights = floats(step.get("weights", ""), "weights")
    if len(weights) != len(pairs) or any(not 0 <= w <= 1 for w in weights):
        raise Rejected("step conflicts: expected one weight in [0, 1] per pair")
    sizes = [form.size for form in problem.network.layers]
    start: dict[int, Rows] = {}
    for t, (pair, weight) in enumerate(zip(pairs, weights, strict=True)):
        share = down(weight, problem.bits)
        for (k, i, s), part in ((pair[:3], share), (pair[3:], one - share)):
            if not (0 <= k < len(sizes) and 0 <= i < sizes[k] and s in (-1, 1)):
                raise Rejected(f"step conflicts: {list(pair)} names no two sides of neurons")
            start.setdefault(k, [[0] * sizes[k] for _ in pairs])[t][i] += s * part
    found = uppers(known, start, len(pairs), step.get("multipliers", ())) if pairs else []
    for pair, value in zip(pairs, found, strict=True):
        if value >= 0:
            raise Rejected(f"step conflicts: {list(pair)} is not proved: {value / one:.6g} >= 0")
        known.conflicts += (pair,)
    known.use_conflicts()
