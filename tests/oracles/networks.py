"""Small networks, as graphs and as plain torch functions side by side.

A `Tiny` network's `steps` are written with torch's own functions, not with our operators: they are
what the graph, its backward graph and all bounds are judged by. Weights are multiples of 1/64, so
that sums which are zero on paper are zero in float64 as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from lipverify.graph import BackwardGraph, ForwardGraph, Node, backward_graph
from lipverify.numerics import DTYPE
from lipverify.operators import (
    Abs,
    AbstractOperator,
    Add,
    AveragePool,
    Choice,
    Concat,
    Conv,
    Dense,
    Elu,
    Gelu,
    LeakyReLU,
    ReLU,
    Reshape,
    Scale,
    Select,
    Shape,
    Sigmoid,
    Sin,
    Softplus,
    Tanh,
)

GRAIN = 64.0


@dataclass(frozen=True, eq=False)
class Step:
    """One node: `call` maps the operands' values [batch, *shape] to this node's.

    `slopes` is (below 0, above 0) for a piecewise linear activation, None for everything else;
    `activation` tells activations from affine nodes.
    """

    name: str
    inputs: tuple[str, ...]
    shape: Shape
    call: Callable[..., Tensor]
    activation: bool = False
    slopes: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Tiny:
    """A network; `graph` is ours, `steps` is the judge's."""

    name: str
    graph: ForwardGraph
    steps: tuple[Step, ...]
    output: str

    @cached_property
    def backward(self) -> BackwardGraph:
        return backward_graph(self.graph)

    @property
    def inputs(self) -> int:
        return self.graph.input_size

    @property
    def outputs(self) -> int:
        return self.graph.output_size

    @property
    def piecewise(self) -> bool:
        return all(step.slopes is not None for step in self.steps if step.activation)

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Every node's value at flat points [batch, n]."""
        values = {ForwardGraph.INPUT: x.reshape(-1, *self.graph.input_shape)}
        for step in self.steps:
            values[step.name] = step.call(*(values[name] for name in step.inputs))
        return values

    def __call__(self, x: Tensor) -> Tensor:
        """f(x): [batch, n] -> [batch, m]."""
        return self.values(x)[self.output].reshape(len(x), self.outputs)

    def __repr__(self) -> str:
        return self.name


class Builder:
    """Adds a node to the graph and its step to the judge; every method returns the node's name."""

    INPUT = ForwardGraph.INPUT

    def __init__(self, *shape: int) -> None:
        self.nodes = [Node(self.INPUT, None, (), shape)]
        self.steps: list[Step] = []

    def _shape(self, name: str) -> Shape:
        return next(node.shape for node in self.nodes if node.name == name)

    def _add(
        self,
        kind: str,
        operator: AbstractOperator,
        sources: tuple[str, ...],
        call: Callable[..., Tensor],
        slopes: tuple[float, float] | None = None,
        activation: bool = False,
    ) -> str:
        shape = operator.output_shape(*(self._shape(source) for source in sources))
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(Node(name, operator, sources, shape))
        self.steps.append(Step(name, sources, shape, call, activation, slopes))
        return name

    def dense(self, source: str, weight: Tensor, bias: Tensor | None = None) -> str:
        return self._add(
            "dense",
            Dense(weight, bias),
            (source,),
            lambda x: functional.linear(x, weight, bias),
        )

    def conv(
        self, source: str, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0
    ) -> str:
        operator = Conv(
            weight,
            bias,
            self._shape(source),
            (stride, stride),
            ((padding, padding), (padding, padding)),
            (1, 1),
        )
        return self._add(
            "conv",
            operator,
            (source,),
            lambda x: functional.conv2d(x, weight, bias, stride, padding),
        )

    def pool(self, source: str, kernel: int) -> str:
        operator = AveragePool(
            self._shape(source), (kernel, kernel), (kernel, kernel), ((0, 0), (0, 0)), False
        )
        return self._add("pool", operator, (source,), lambda x: functional.avg_pool2d(x, kernel))

    def scale(self, source: str, factor: Tensor | None, shift: Tensor | None) -> str:
        shape = self._shape(source)
        wide = [None if part is None else part.expand(shape) for part in (factor, shift)]

        def call(x: Tensor) -> Tensor:
            y = x if factor is None else factor * x
            return y if shift is None else y + shift

        return self._add("scale", Scale(wide[0], wide[1]), (source,), call)

    def add(self, *sources: str, signs: tuple[int, ...] | None = None) -> str:
        chosen = signs or tuple(1 for _ in sources)

        def call(*x: Tensor) -> Tensor:
            return sum((s * v for s, v in zip(chosen, x, strict=True)), torch.zeros_like(x[0]))

        return self._add("add", Add(chosen), sources, call)

    def flatten(self, source: str) -> str:
        shape = self._shape(source)
        size = torch.Size(shape).numel()
        return self._add(
            "flat", Reshape(shape, (size,)), (source,), lambda x: x.reshape(x.shape[0], size)
        )

    def activate(self, source: str, kind: str, slope: float = 0.25) -> str:
        # By `where`, so that torch's derivative at a kink is the one from the right, as ours.
        operators = {
            "relu": (ReLU(), lambda x: torch.where(x >= 0, x, 0.0 * x), (0.0, 1.0)),
            "leaky": (LeakyReLU(slope), lambda x: torch.where(x >= 0, x, slope * x), (slope, 1.0)),
            "abs": (Abs(), lambda x: torch.where(x >= 0, x, -x), (-1.0, 1.0)),
            "tanh": (Tanh(), torch.tanh, None),
            "sigmoid": (Sigmoid(), torch.sigmoid, None),
            "gelu": (Gelu(), functional.gelu, None),
            "softplus": (Softplus(), lambda x: torch.logaddexp(x, torch.zeros_like(x)), None),
            "elu": (Elu(), functional.elu, None),
            "bent elu": (Elu(alpha=2.0), lambda x: functional.elu(x, 2.0), None),
            "sin": (Sin(), torch.sin, None),
        }
        operator, call, slopes = operators[kind]
        return self._add(kind, operator, (source,), call, slopes, activation=True)

    def select(self, source: str, index: list[int]) -> str:
        """These entries of a flat node."""
        operator = Select(self._shape(source), (len(index),), torch.tensor(index))
        return self._add("select", operator, (source,), lambda x: x[:, index])

    def concat(self, *sources: str) -> str:
        """Flat nodes, one after the other."""
        sizes = tuple(self._shape(source)[0] for source in sources)
        starts = tuple(sum(sizes[:place]) for place in range(len(sizes)))
        operator = Concat((sum(sizes),), 0, starts, sizes)
        return self._add("cat", operator, sources, lambda *x: torch.cat(x, 1))

    def ordered(self, a: str, b: str) -> tuple[str, str]:
        """The larger and the smaller, entry by entry, as sums with one shared gate."""
        above = self.activate(self.add(a, b, signs=(1, -1)), "relu")
        most = self._add("max", Choice("max", 1), (a, b, above), lambda p, q, r: q + r)
        least = self._add("min", Choice("min", -1), (b, a, above), lambda p, q, r: q - r)
        return most, least

    def larger(self, a: str, b: str) -> str:
        above = self.activate(self.add(a, b, signs=(1, -1)), "relu")
        return self._add("max", Choice("max", 1), (a, b, above), lambda p, q, r: q + r)

    def smaller(self, a: str, b: str) -> str:
        above = self.activate(self.add(a, b, signs=(1, -1)), "relu")
        return self._add("min", Choice("min", -1), (b, a, above), lambda p, q, r: q - r)

    def finish(self, name: str, output: str) -> Tiny:
        return Tiny(name, ForwardGraph(self.nodes, output), tuple(self.steps), output)


class Weights:
    """Random weights on the grid of 1/64, from one seed."""

    def __init__(self, seed: int, scale: float = 1.0) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.scale = scale

    def __call__(self, *shape: int, scale: float = 1.0) -> Tensor:
        values = torch.randn(*shape, generator=self.random, dtype=DTYPE)
        return (GRAIN * scale * self.scale * values).round() / GRAIN


def dense(
    sizes: tuple[int, ...],
    seed: int = 0,
    kind: str = "relu",
    bias: bool = True,
    scale: float = 1.0,
    name: str = "",
) -> Tiny:
    """Fully connected, with one kind of activation between the layers."""
    make, builder = Weights(seed, scale), Builder(sizes[0])
    last = builder.INPUT
    for layer, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False)):
        if layer:
            last = builder.activate(last, kind)
        weight = make(after, before, scale=1.5 / before**0.5)
        last = builder.dense(last, weight, make(after, scale=0.5) if bias else None)
    label = name or f"{kind}-{'-'.join(map(str, sizes))}-{seed}{'' if bias else '-no-bias'}"
    return builder.finish(label, last)


def from_weights(
    weights: list[tuple[Tensor, Tensor | None]], name: str, kind: str = "relu"
) -> Tiny:
    """Fully connected, of the given (weight, bias)."""
    builder = Builder(weights[0][0].shape[1])
    last = builder.INPUT
    for layer, (weight, bias) in enumerate(weights):
        if layer:
            last = builder.activate(last, kind)
        last = builder.dense(last, weight, bias)
    return builder.finish(name, last)


def zero_rows(seed: int = 0) -> Tiny:
    """A hidden neuron without weights nor bias (identically 0), and one with a bias alone."""
    make, builder = Weights(seed), Builder(2)
    first, bias = make(4, 2), make(4)
    first[1] = 0.0
    bias[1] = 0.0
    first[2] = 0.0
    hidden = builder.activate(builder.dense(builder.INPUT, first, bias), "relu")
    hidden = builder.activate(builder.dense(hidden, make(3, 4), None), "relu")
    return builder.finish(f"zero-rows-{seed}", builder.dense(hidden, make(2, 3), make(2)))


def duplicated(seed: int = 0) -> Tiny:
    """Two equal hidden neurons, and one that is their negative; no biases."""
    make, builder = Weights(seed), Builder(2)
    first = make(4, 2)
    first[1] = first[0]
    first[2] = -first[0]
    hidden = builder.activate(builder.dense(builder.INPUT, first), "relu")
    hidden = builder.activate(builder.dense(hidden, make(3, 4)), "relu")
    return builder.finish(f"duplicated-{seed}", builder.dense(hidden, make(2, 3), make(2)))


def identically_zero(seed: int = 0) -> Tiny:
    """A second layer that cancels: its preactivation is 0 wherever the first neuron is active."""
    make, builder = Weights(seed), Builder(2)
    first = make(3, 2)
    first[1] = first[0]
    second = make(3, 3)
    second[0] = torch.tensor([1.0, -1.0, 0.0])
    hidden = builder.activate(builder.dense(builder.INPUT, first), "relu")
    hidden = builder.activate(builder.dense(hidden, second), "relu")
    return builder.finish(f"identically-zero-{seed}", builder.dense(hidden, make(1, 3)))


def kink_pair() -> Tiny:
    """relu(x) - relu(-x) = x: Clarke Jacobian {1}; the gate-product set at 0 is [0, 2]."""
    one = torch.ones(1, 1, dtype=DTYPE)
    builder = Builder(1)
    above = builder.activate(builder.dense(builder.INPUT, one), "relu")
    below = builder.activate(builder.dense(builder.INPUT, -one), "relu")
    return builder.finish("kink-pair", builder.add(above, below, signs=(1, -1)))


def absolute() -> Tiny:
    """|x_0| + |x_1| + |x_2|: every kink at the origin."""
    eye = torch.eye(3, dtype=DTYPE)
    first = torch.cat([eye, -eye])
    return from_weights([(first, None), (torch.ones(1, 6, dtype=DTYPE), None)], "absolute")


def residual(seed: int = 0, kind: str = "relu") -> Tiny:
    """Two residual blocks: the input of each is added to its output."""
    make, builder = Weights(seed), Builder(2)
    stem = builder.dense(builder.INPUT, make(3, 2), make(3, scale=0.5))
    for _ in range(2):
        inner = builder.activate(stem, kind)
        inner = builder.dense(inner, make(3, 3, scale=0.7), make(3, scale=0.5))
        stem = builder.add(stem, inner)
    last = builder.activate(stem, kind)
    return builder.finish(f"residual-{kind}-{seed}", builder.dense(last, make(2, 3), make(2)))


def fan_out(seed: int = 0, kind: str = "relu") -> Tiny:
    """One preactivation with two activations, one activation with three users, x + x, x - y."""
    make, builder = Weights(seed), Builder(2)
    shared = builder.dense(builder.INPUT, make(3, 2), make(3, scale=0.5))
    first = builder.activate(shared, kind)
    second = builder.activate(shared, "leaky", 0.5)
    twice = builder.add(first, first)
    left = builder.dense(first, make(3, 3, scale=0.6), make(3, scale=0.5))
    mixed = builder.add(left, twice, second, shared, signs=(1, -1, 1, 1))
    again = builder.activate(mixed, kind)
    out = builder.dense(again, make(2, 3, scale=0.6), make(2))
    direct = builder.dense(first, make(2, 3, scale=0.6))
    return builder.finish(f"fan-out-{kind}-{seed}", builder.add(out, direct))


def unused_branch(seed: int = 0) -> Tiny:
    """A branch with an activation that the output does not depend on."""
    make, builder = Weights(seed), Builder(2)
    hidden = builder.dense(builder.INPUT, make(3, 2), make(3))
    builder.activate(builder.dense(hidden, make(2, 3)), "relu")
    last = builder.dense(builder.activate(hidden, "relu"), make(1, 3))
    return builder.finish(f"unused-branch-{seed}", last)


def conv_net(seed: int = 0, kind: str = "relu") -> Tiny:
    """Convolutions with padding, scaling per channel, average pooling, a residual sum."""
    make, builder = Weights(seed), Builder(1, 4, 4)
    stem = builder.conv(builder.INPUT, make(2, 1, 3, 3, scale=0.6), make(2, scale=0.3), padding=1)
    stem = builder.scale(stem, make(2, 1, 1), make(2, 1, 1, scale=0.3))
    inner = builder.activate(stem, kind)
    inner = builder.conv(inner, make(2, 2, 3, 3, scale=0.4), None, padding=1)
    stem = builder.add(stem, inner)
    pooled = builder.pool(builder.activate(stem, kind), 2)
    last = builder.conv(pooled, make(3, 2, 1, 1), make(3, scale=0.3), stride=1)
    last = builder.flatten(builder.activate(last, kind))
    return builder.finish(f"conv-{kind}-{seed}", builder.dense(last, make(3, 12, scale=0.5)))


def mixed(seed: int = 0) -> Tiny:
    """ReLU, then tanh, then sigmoid, with a skip connection around each."""
    make, builder = Weights(seed), Builder(2)
    stem = builder.dense(builder.INPUT, make(3, 2), make(3, scale=0.5))
    for kind in ("relu", "tanh", "sigmoid"):
        inner = builder.dense(builder.activate(stem, kind), make(3, 3, scale=0.8), make(3))
        stem = builder.add(stem, inner)
    return builder.finish(f"mixed-{seed}", builder.dense(stem, make(2, 3)))


def in_turn(kinds: tuple[str, ...], sizes: tuple[int, ...], seed: int = 0) -> Tiny:
    """Fully connected, each layer with an activation of its own kind."""
    make, builder = Weights(seed), Builder(sizes[0])
    last = builder.INPUT
    for layer, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False)):
        if layer:
            last = builder.activate(last, kinds[(layer - 1) % len(kinds)])
        weight = make(after, before, scale=1.5 / before**0.5)
        last = builder.dense(last, weight, make(after, scale=0.5))
    return builder.finish(f"{'+'.join(kinds)}-{seed}", last)


def monotone(sizes: tuple[int, ...], seed: int = 0, kind: str = "relu") -> Tiny:
    """All weights at least 1/64: the outputs rise with every input."""
    make = Weights(seed)
    weights = [
        (make(after, before).abs() + 1 / GRAIN, make(after, scale=0.5))
        for before, after in zip(sizes, sizes[1:], strict=False)
    ]
    return from_weights(weights, f"monotone-{kind}-{seed}", kind)


def affine(seed: int = 0, inputs: int = 3, outputs: int = 3) -> Tiny:
    """Two layers without anything between them, and a skip connection."""
    make, builder = Weights(seed), Builder(inputs)
    inner = builder.dense(builder.INPUT, make(4, inputs), make(4))
    inner = builder.dense(inner, make(outputs, 4), make(outputs))
    direct = builder.dense(builder.INPUT, make(outputs, inputs))
    return builder.finish(f"affine-{seed}", builder.add(inner, direct))


def saturated(kind: str, seed: int = 0) -> Tiny:
    """Preactivations of several hundreds, next to moderate ones."""
    make, builder = Weights(seed), Builder(2)
    first = make(4, 2)
    first[:2] *= 700.0
    second = make(3, 4)
    second[0] *= 900.0
    bias = torch.tensor([0.5, 600.0, -0.5, 0.25], dtype=DTYPE)
    hidden = builder.activate(builder.dense(builder.INPUT, first, bias), kind)
    hidden = builder.activate(builder.dense(hidden, second), kind)
    return builder.finish(f"saturated-{kind}-{seed}", builder.dense(hidden, make(2, 3)))


def max_pool(seed: int = 0, bias: bool = True) -> Tiny:
    """Windows of three entries, overlapping in one, twice; without biases, all ties meet at 0."""
    make, builder = Weights(seed), Builder(2)
    last = builder.dense(builder.INPUT, make(5, 2), make(5, scale=0.5) if bias else None)
    pairs = builder.larger(builder.select(last, [0, 2]), builder.select(last, [1, 3]))
    pooled = builder.larger(pairs, builder.select(last, [2, 4]))
    last = builder.dense(builder.activate(pooled, "relu"), make(2, 2), make(2))
    return builder.finish(f"max-pool-{seed}{'' if bias else '-no-bias'}", last)


def max_min(seed: int = 0, bias: bool = True) -> Tiny:
    """Two layers of MaxMin on four neurons."""
    make, builder = Weights(seed), Builder(2)
    last = builder.INPUT
    for before in (2, 4):
        last = builder.dense(last, make(4, before, scale=0.7), make(4, scale=0.4) if bias else None)
        halves = builder.select(last, [0, 1]), builder.select(last, [2, 3])
        last = builder.concat(*builder.ordered(*halves))
    last = builder.dense(last, make(2, 4), make(2))
    return builder.finish(f"max-min-{seed}{'' if bias else '-no-bias'}", last)


def sorted_triple(seed: int = 0) -> Tiny:
    """Three neurons sorted by three comparisons; then one of the ends, and a minimum."""
    make, builder = Weights(seed), Builder(3)
    last = builder.dense(builder.INPUT, make(3, 3), make(3, scale=0.3))
    a, b, c = (builder.select(last, [i]) for i in range(3))
    a, b = builder.ordered(a, b)
    b, c = builder.ordered(b, c)
    a, b = builder.ordered(a, b)
    last = builder.dense(builder.concat(a, b, c), make(3, 3), make(3))
    first, second = builder.select(last, [0, 1]), builder.select(last, [1, 2])
    return builder.finish(f"sorted-triple-{seed}", builder.smaller(first, second))


def always_tied() -> Tiny:
    """max(x, x) of two equal neurons: the difference is 0 everywhere, and its gate open."""
    builder = Builder(2)
    weight = torch.tensor([[1.0, -1.0], [1.0, -1.0], [0.5, 0.25]], dtype=DTYPE)
    hidden = builder.dense(builder.INPUT, weight)
    most, least = builder.ordered(builder.select(hidden, [0, 2]), builder.select(hidden, [1, 1]))
    return builder.finish("always-tied", builder.add(most, least, signs=(1, -2)))


SELECTIONS: tuple[Tiny, ...] = (
    max_pool(0),
    max_pool(1, bias=False),
    max_min(0),
    max_min(1, bias=False),
    sorted_triple(0),
    always_tied(),
)
"""Piecewise linear, with choices between branches."""

PIECEWISE: tuple[Tiny, ...] = (
    dense((2, 4, 3, 2), 0),
    dense((3, 4, 3, 2), 1),
    dense((2, 3, 3, 3, 2), 2, "leaky"),
    dense((1, 4, 3, 1), 3, name="one-input"),
    dense((2, 1, 1, 1), 7, name="width-one"),
    dense((2, 4, 3, 2), 5, bias=False),
    zero_rows(1),
    duplicated(2),
    identically_zero(4),
    residual(0),
    residual(1, "leaky"),
    fan_out(0),
    unused_branch(0),
    kink_pair(),
    absolute(),
)
"""Piecewise linear, so small that all their linear regions can be listed."""

LARGER: tuple[Tiny, ...] = (
    dense((4, 10, 8, 3), 7),
    dense((3, 6, 6, 6, 2), 8, "leaky"),
    dense((3, 6, 6, 2), 9, "tanh"),
    dense((3, 6, 6, 2), 10, "sigmoid"),
    residual(2, "tanh"),
    fan_out(1, "sigmoid"),
    mixed(0),
    conv_net(0),
    conv_net(1, "tanh"),
)
"""Judged by sampling."""
