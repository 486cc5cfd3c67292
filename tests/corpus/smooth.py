"""The same answers for smooth networks: interval arithmetic at 60 digits, and bisection.

The enclosures are as wide as bisection leaves them; where values are attained at corners or
centres of the region's parts, that is next to nothing.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, cmp_to_key
from typing import Any

from mpmath import iv, libmp

from tests.corpus.exact import Exact, Matrix
from tests.corpus.net import INPUT, Net, Step
from tests.corpus.pieces import AFFINE
from tests.corpus.polytope import Point
from tests.corpus.regions import BoxRegion

BITS = 200
PARTS = 80
GAP = Fraction(1, 10**6)

_ORDER = cmp_to_key(libmp.mpf_cmp)
Box = tuple[tuple[Fraction, Fraction], ...]
Jet = tuple[Any, tuple[Any, ...]]
"""A value and its derivatives by the inputs, intervals all."""


def number(value: Fraction) -> Any:
    return iv.mpf(value.numerator) / iv.mpf(value.denominator)


def span(low: Any, high: Any) -> Any:
    """The interval from low's lower to high's upper end; digits are kept, whatever mp.prec."""
    return iv.make_mpf((low._mpi_[0], high._mpi_[1]))


def ends(interval: Any) -> Exact:
    return Exact(*map(_rational, interval._mpi_))


def _rational(end: Any) -> Fraction:
    sign, mantissa, exponent, _ = end
    assert mantissa or end == libmp.fzero, "no infinities"
    size = Fraction(int(mantissa)) * Fraction(2) ** exponent
    return -size if sign else size


def _tanh(z: Any) -> tuple[Any, Any]:
    return 1 - 2 / (iv.exp(2 * z) + 1), _peak(z, lambda t: 4 / (iv.exp(t) + iv.exp(-t)) ** 2)


def _sigmoid(z: Any) -> tuple[Any, Any]:
    half = iv.mpf(1) / 2
    return 1 - 1 / (iv.exp(z) + 1), _peak(
        z, lambda t: 1 / (iv.exp(t * half) + iv.exp(-t * half)) ** 2
    )


def _peak(z: Any, slope: Callable[[Any], Any]) -> Any:
    """The range of an even function that falls away from 0."""
    low, high = (iv.make_mpf((end, end)) for end in z._mpi_)
    first, second = ends(z).low, ends(z).high
    near, far = (low, high) if abs(first) <= abs(second) else (high, low)
    near = iv.mpf(0) if first <= 0 <= second else near
    return span(slope(far), slope(near))


SMOOTH: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "Tanh": _tanh,
    "Sigmoid": _sigmoid,
    "Exp": lambda z: (iv.exp(z), iv.exp(z)),
}
"""Operator -> value and slope on an interval."""


@dataclass(frozen=True, eq=False)
class SmoothJudge:
    """`exact.Judge`, for affine and smooth operators on a box of a few inputs."""

    net: Net
    region: BoxRegion

    @cached_property
    def box(self) -> Box:
        lower, upper = self.region.lower, self.region.upper
        return tuple((Fraction(a), Fraction(b)) for a, b in zip(lower, upper, strict=True))

    @property
    def moving(self) -> tuple[bool, ...]:
        return tuple(a < b for a, b in self.box)

    def norm(self, input_norm: str, output_norm: str, rows: Matrix | None = None) -> Exact:
        return self._largest(lambda box: self._norm(box, input_norm, output_norm, rows))

    def slopes(self, output: int, index: int) -> tuple[Exact, Exact]:
        least = self._largest(lambda box: -self.jets(box)[output][1][index])
        return (
            Exact(-least.high, -least.low),
            self._largest(lambda box: self.jets(box)[output][1][index]),
        )

    def least_margin(self, label: int) -> Exact:
        def deficit(box: Box) -> Any:
            values = [value for value, _ in self.jets(box)]
            return _join([v - values[label] for j, v in enumerate(values) if j != label])

        most = self._largest(deficit)
        return Exact(-most.high, -most.low)

    def norm_at(
        self, x: Point, input_norm: str, output_norm: str, rows: Matrix | None = None
    ) -> Exact:
        iv.prec = BITS
        return ends(self._norm(tuple((v, v) for v in x), input_norm, output_norm, rows))

    def outputs_at(self, x: Point) -> list[Exact]:
        iv.prec = BITS
        return [ends(value) for value, _ in self.jets(tuple((v, v) for v in x))]

    def jets(self, box: Box) -> list[Jet]:
        size = len(box)
        unit = [[iv.mpf(int(i == k)) for i in range(size)] for k in range(size)]
        start = [(span(number(a), number(b)), tuple(unit[k])) for k, (a, b) in enumerate(box)]
        values: dict[str, list[Jet]] = {INPUT: start}
        for step in self.net.steps:
            operands = [values[name] for name in step.inputs]
            if step.op in SMOOTH:
                values[step.name] = [_chain(SMOOTH[step.op], jet) for jet in operands[0]]
            else:
                values[step.name] = _affine(step, operands)
        return values[self.net.steps[-1].name]

    def _norm(self, box: Box, input_norm: str, output_norm: str, rows: Matrix | None) -> Any:
        jets = self.jets(box)
        jacobian = [list(slopes) for _, slopes in jets]
        if rows is not None:
            jacobian = [
                [_total([number(w) * j[i] for w, j in zip(row, jacobian, strict=True)])
                 for i in range(len(box))]
                for row in rows
            ]  # fmt: skip
        sizes = [[abs(a) for a in row] for row in jacobian]
        match input_norm, output_norm:
            case "inf", "inf":
                return _join([_total(row) for row in sizes])
            case "2", "inf":
                return _join([iv.sqrt(_total([a * a for a in row])) for row in sizes])
            case "1", "inf":
                return _join([a for row in sizes for a in row])
            case "1", "1":
                return _join([_total(column) for column in zip(*sizes, strict=True)])
        raise ValueError(f"{input_norm} -> {output_norm} is not worked out for smooth networks")

    def _largest(self, objective: Callable[[Box], Any]) -> Exact:
        """The maximum, between what centres and corners attain and what bisection proves."""
        iv.prec = BITS
        whole = self.box
        attained = max(ends(objective(point)).low for point in _places(whole))
        heap = [(-ends(objective(whole)).high, 0, whole)]
        for count in range(1, PARTS):
            top = -heap[0][0]
            if top - attained <= GAP * abs(attained):
                break
            _, _, part = heapq.heappop(heap)
            for child in _halves(part):
                attained = max(attained, *(ends(objective(p)).low for p in _places(child)))
                heapq.heappush(heap, (-ends(objective(child)).high, -count, child))
        return Exact(attained, max(attained, -heap[0][0]))


def _affine(step: Step, operands: Sequence[list[Jet]]) -> list[Jet]:
    """Weights, found from the rational rule's answers on unit vectors, applied to intervals."""
    sizes = [len(jets) for jets in operands]
    total = sum(sizes)
    unit = [tuple(Fraction(int(k == i)) for k in range(-1, total)) for i in range(total)]
    start, parts = 0, []
    for size in sizes:
        parts.append(tuple(unit[start : start + size]))
        start += size
    jets = [jet for part in operands for jet in part]
    found = []
    for form in AFFINE[step.op](step, *parts):
        used = [(number(a), jet) for a, jet in zip(form[1:], jets, strict=True) if a]
        value = _total([number(form[0]), *(a * jet[0] for a, jet in used)])
        inputs = len(jets[0][1])
        slopes = tuple(_total([a * jet[1][i] for a, jet in used]) for i in range(inputs))
        found.append((value, slopes))
    return found


def _chain(rule: Callable[[Any], tuple[Any, Any]], jet: Jet) -> Jet:
    value, slope = rule(jet[0])
    return value, tuple(slope * inner for inner in jet[1])


def _total(terms: Sequence[Any]) -> Any:
    found = iv.mpf(0)
    for term in terms:
        found = found + term
    return found


def _join(intervals: Sequence[Any]) -> Any:
    """The range of the largest of them."""
    lows, highs = zip(*(z._mpi_ for z in intervals), strict=True)
    return iv.make_mpf((max(lows, key=_ORDER), max(highs, key=_ORDER)))


def _places(box: Box) -> list[Box]:
    center = tuple(((a + b) / 2,) * 2 for a, b in box)
    low, high = tuple((a, a) for a, _ in box), tuple((b, b) for _, b in box)
    return [center, low, high]


def _halves(box: Box) -> list[Box]:
    k = max(range(len(box)), key=lambda i: box[i][1] - box[i][0])
    a, b = box[k]
    middle = (a + b) / 2
    return [(*box[:k], (a, middle), *box[k + 1 :]), (*box[:k], (middle, b), *box[k + 1 :])]
