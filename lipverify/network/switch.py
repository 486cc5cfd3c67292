"""Comparisons, and what networks make of them: branches that are taken where an entry is positive.

where(z > 0, p, q) is continuous if p - q = c z, entry by entry; then it is q + c relu(z). That is
tested on the affine functions themselves: activations (and the input) are replaced by random
numbers, of which p, q and z are affine functions; c must be the same for all of them.

Stored weights are rounded, so branches may miss each other at z = 0 by a few roundings of float32
(sines and cosines of an angle); a function that jumps has no Lipschitz constant, so this is read as
the continuous function that is meant. `MEETING` bounds what is taken for rounding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network import layers, layout
from lipverify.network.builder import GraphBuilder, Switched, Value
from lipverify.operators import AffineOperator, ReLU, Shape

MEETING = 4e-7
"""Relative to the branches' size: four units of float32's rounding."""
OWN = 1e-12
"""Rounding of the comparison itself, relative to the sum of all terms."""
ROUNDINGS = 1000
"""Behind the factor c, which is the quotient of two differences."""
PROBES = 4
"""Random points at which the branches are compared."""

JUMPS = (
    "it takes what a comparison made, which jumps: only where branches meet at the comparison "
    "(and in products, sums and where with comparisons) is that read"
)

Branch = Value | Tensor | None
"""None for 0."""


def compare(build: GraphBuilder, x: Value | Tensor, y: Value | Tensor, *, more: bool) -> Switched:
    """1 where x > y (more) or x < y, else 0. Ties do not matter: only continuous uses are read."""
    if isinstance(x, Tensor):
        assert isinstance(y, Value)
        return compare(build, y, x, more=not more)
    difference = (
        layers.add(build, x, y, sign=-1)
        if isinstance(y, Value)
        else layers.scale(build, x, shift=-y)
    )
    # Modules compare the same numbers again and again: each difference is one node.
    node = build.node(difference.node)
    if node.operator is not None:
        same = build.known(node.operator, *node.inputs)
        difference = Value(same or node.name, difference.shape)
    one = torch.ones(difference.shape, dtype=torch.float64)
    return Switched(difference, one, None) if more else Switched(difference, None, one)


def negated(condition: Switched) -> Switched:
    """1 where the condition does not hold."""
    first, second = (_one_less(part, condition.z.shape) for part in _parts(condition))
    return Switched(condition.z, first, second)


def _one_less(part: Branch, shape: Shape) -> Branch:
    one = torch.ones(shape, dtype=torch.float64)
    if part is None:
        return one
    if isinstance(part, Value) or not bool(((part == 0) | (part == 1)).all()):
        raise UnsupportedOperator("it negates something that is no comparison")
    return None if bool((part == 1).all()) else one - part


def product(
    build: GraphBuilder, x: Switched | Value | Tensor, y: Switched | Value | Tensor
) -> Value | Switched:
    """x y, where one of both is switched: the other in place of each 1 of a comparison."""
    switched, factor = (x, y) if isinstance(x, Switched) else (y, x)
    assert isinstance(switched, Switched)
    if isinstance(factor, Switched):
        raise UnsupportedOperator("it multiplies two comparisons")
    found: list[Branch] = []
    for part in _parts(switched):
        if part is None:
            found.append(None)
        elif isinstance(part, Tensor) and isinstance(factor, Tensor):
            found.append(part * factor)
        elif isinstance(part, Tensor):
            assert isinstance(factor, Value)
            found.append(layers.scale(build, factor, part))
        elif isinstance(factor, Tensor):
            found.append(layers.scale(build, part, factor))
        else:
            raise UnsupportedOperator("both factors depend on the input; one must be a constant")
    return settled(build, Switched(switched.z, *found))


def total(
    build: GraphBuilder, x: Switched | Value | Tensor, y: Switched | Value | Tensor, sign: int = 1
) -> Value | Switched:
    """x + sign y, where one of both is switched, or both are by the same comparison."""
    if not isinstance(x, Switched):
        assert isinstance(y, Switched)
        x = Switched(y.z, x, x)
    elif not isinstance(y, Switched):
        y = Switched(x.z, y, y)
    assert isinstance(y, Switched)
    mine, theirs = _parts(x), _parts(y)
    if x.z != y.z:
        raise UnsupportedOperator("it adds up branches of different comparisons")
    parts = [_sum(build, a, b, sign) for a, b in zip(mine, theirs, strict=True)]
    return settled(build, Switched(x.z, *parts))


def _sum(build: GraphBuilder, a: Branch, b: Branch, sign: int) -> Branch:
    if b is None:
        return a
    if a is None:
        if isinstance(b, Tensor):
            return sign * b
        return b if sign == 1 else layers.negate(build, b)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a + sign * b
    if isinstance(b, Tensor):
        assert isinstance(a, Value)
        return layers.scale(build, a, shift=sign * b)
    if isinstance(a, Tensor):
        return layers.scale(build, b, torch.tensor(float(sign), dtype=torch.float64), a)
    return layers.add(build, a, b, sign)


def where(
    build: GraphBuilder, condition: Switched, first: Value | Tensor, second: Value | Tensor
) -> Value | Switched:
    """`first` where the comparison holds, `second` elsewhere."""
    if isinstance(condition.first, Tensor) and condition.second is None:
        here, there = first, second
    elif isinstance(condition.second, Tensor) and condition.first is None:
        here, there = second, first
    else:
        raise UnsupportedOperator("its condition is no comparison")
    return settled(build, Switched(condition.z, here, there))


def settled(build: GraphBuilder, switched: Switched) -> Value | Switched:
    """The continuous function that the branches make up; as it was, if they do not meet."""
    first, second = _parts(switched)
    parts = [part for part in (first, second) if part is not None]
    if not any(isinstance(part, Value) for part in parts):
        return switched
    shape = layers.broadcast(switched.z.shape, *(tuple(part.shape) for part in parts))
    z = layout.expand(build, switched.z, shape)
    factor = _common_factor(build, z, first, second, shape)
    if factor is None:
        return switched
    # One gate for each comparison, however many entries it switches.
    gate = Value(build.shared(ReLU(), switched.z.node), switched.z.shape)
    above = layers.scale(build, layout.expand(build, gate, shape), factor, rounding=ROUNDINGS)
    result = _sum(build, second, above, 1)
    assert isinstance(result, Value)
    return result


def _common_factor(
    build: GraphBuilder, z: Value, first: Branch, second: Branch, shape: Shape
) -> Tensor | None:
    """c with first - second = c z as affine functions, entry by entry; None if there is none."""
    values = _Probe(build)
    at_z = values.of(z, shape)
    difference = values.of(first, shape) - values.of(second, shape)
    size = (values.of(first, shape).abs() + values.of(second, shape).abs()).amax(0)
    # And this file's own rounding, where terms cancel.
    terms = values.magnitude_of(first, shape) + values.magnitude_of(second, shape)
    allowed = MEETING * size + OWN * terms.amax(0)
    best = at_z.abs().argmax(0, keepdim=True)
    largest = at_z.gather(0, best)
    factor = difference.gather(0, best) / torch.where(largest == 0, 1.0, largest)
    factor = torch.where(largest == 0, 0.0, factor)
    if not bool(((difference - factor * at_z).abs() <= allowed).all()):
        return None
    return _rounded(factor[0])


def _rounded(factor: Tensor) -> Tensor:
    """Without the rounding of this file's own arithmetic: whole numbers, and float32 ones."""
    short = factor.to(torch.float32).to(torch.float64)
    near = factor.round()
    factor = torch.where((factor - short).abs() <= 1e-12 * factor.abs(), short, factor)
    return torch.where((factor - near).abs() <= 1e-12 * near.abs(), near, factor)


@dataclass(eq=False)
class _Probe:
    """Values of nodes at random values of the input and of all activations."""

    build: GraphBuilder

    def __post_init__(self) -> None:
        self._known: dict[str, Tensor] = {}
        self._sizes: dict[str, Tensor] = {}

    def of(self, part: Branch, shape: Shape) -> Tensor:
        """[probes, *shape]."""
        if isinstance(part, Value):
            return self._value(part.node).reshape(PROBES, *part.shape).expand(PROBES, *shape)
        constant = torch.zeros((), dtype=torch.float64) if part is None else part
        return constant.expand(shape).unsqueeze(0).expand(PROBES, *shape)

    def magnitude_of(self, part: Branch, shape: Shape) -> Tensor:
        """The sum of the magnitudes of all terms."""
        if isinstance(part, Value):
            self._value(part.node)
            return self._sizes[part.node].reshape(PROBES, *part.shape).expand(PROBES, *shape)
        return self.of(part, shape).abs()

    def _value(self, name: str) -> Tensor:
        if name not in self._known:
            node = self.build.node(name)
            if isinstance(node.operator, AffineOperator):
                operands = [self._value(operand) for operand in node.inputs]
                sizes = [self._sizes[operand] for operand in node.inputs]
                self._known[name] = AffineOperator.evaluate(node.operator, *operands)
                self._sizes[name] = node.operator.absolute_cached.evaluate(*sizes)
            else:
                seed = torch.Generator().manual_seed(len(self._known))
                drawn = torch.randn((PROBES, *node.shape), generator=seed, dtype=torch.float64)
                self._known[name], self._sizes[name] = drawn, drawn.abs()
        return self._known[name]


def _parts(switched: Switched) -> tuple[Branch, Branch]:
    return switched.first, switched.second
