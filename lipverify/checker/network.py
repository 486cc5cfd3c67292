"""The normal form of a network, read from its ONNX file: layers of activations, and exact affine
maps between them.

The preactivation z_k of layer k, and the outputs, are z = W x + sum over j < k of W_j a_j + b, with
a_j the values of layer j. Every entry of every tensor is followed as such an affine form.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product as tuples
from math import isqrt, prod
from pathlib import Path
from typing import Any

from lipverify.checker.activations import ABS, RELU, SIGMOID, TANH, Activation, clip, leaky
from lipverify.checker.errors import Rejected, Unreadable
from lipverify.checker.exact import Matrix, floats

Key = tuple[int, int]
"""(layer, neuron); layer -1 is the input."""
MOST = 50_000_000
"""Coefficients of all affine maps together."""
UNIT = Fraction(1)
FINE = 128
"""Fraction bits of what is no dyadic number (1 / 3, a square root)."""


@dataclass
class Form:
    """constant + sum of terms; the true coefficients differ by at most `blur` (None: constant)."""

    terms: dict[Key, Fraction] = field(default_factory=dict)
    constant: Fraction = Fraction(0)
    blur: dict[Key | None, Fraction] = field(default_factory=dict)

    def times(self, factor: Fraction, error: Fraction) -> "Form":
        """Times a number that is within `error` of factor."""
        blur = {key: value * (abs(factor) + error) for key, value in self.blur.items()}
        if error:
            for key, value in (*self.terms.items(), (None, self.constant)):
                blur[key] = blur.get(key, 0) + abs(value) * error
        return Form({k: v * factor for k, v in self.terms.items()}, self.constant * factor, blur)


@dataclass
class Value:
    """A tensor: shape and entries row by row; plain Fractions if all are constant."""

    shape: tuple[int, ...]
    items: list[Any]

    @property
    def constant(self) -> bool:
        return all(type(item) is Fraction for item in self.items)

    def forms(self) -> list[Form]:
        return [Form({}, item) if type(item) is Fraction else item for item in self.items]


@dataclass
class Affine:
    """Affine forms of one layer or of the outputs: per source a matrix [size, of source].

    `bias` [size]. `blur` per source, and `bias_blur` [size]: how far the true numbers may be off.
    """

    size: int
    parts: dict[int, Matrix]
    bias: list[Fraction]
    blur: dict[int, Matrix]
    bias_blur: list[Fraction]


@dataclass
class Network:
    """`activations[k]` of `layers[k]`, then `output`; `inputs` entries move."""

    inputs: int
    activations: list[Activation]
    layers: list[Affine]
    output: Affine

    @property
    def forms(self) -> list[Affine]:
        return [*self.layers, self.output]


def load(path: Path, asked: dict[str, Any]) -> Network:
    """The network of a manifest's entry `network`; `Rejected` if it is another file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    digest = hashlib.sha256(raw).hexdigest()
    if digest != asked["sha256"]:
        raise Rejected(
            f"the certificate is about another network: SHA-256 {asked['sha256']}, "
            f"this file has {digest}"
        )
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise Unreadable("reading networks needs the package onnx (pip install onnx)") from None
    try:
        model = onnx.load_model_from_string(raw)
    except Exception as error:
        raise Unreadable(f"{path}: no ONNX file: {error}") from None

    def array(tensor: Any) -> Value:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise Unreadable(f"tensor {tensor.name!r} lies in another file")
        found = numpy_helper.to_array(tensor)
        if found.dtype.kind not in "fiub":
            raise Unreadable(f"tensor {tensor.name!r} holds no numbers")
        try:
            return Value(tuple(found.shape), [Fraction(item) for item in found.ravel().tolist()])
        except (ValueError, OverflowError):
            raise Unreadable(f"tensor {tensor.name!r} holds NaN or an infinity") from None

    return _Reader(model, array, asked).network()


class _Reader:
    def __init__(self, model: Any, array: Callable[[Any], Value], asked: dict[str, Any]) -> None:
        self.array = array
        graph = model.graph
        self.values: dict[str, Value] = {item.name: array(item) for item in graph.initializer}
        if graph.sparse_initializer or model.functions:
            raise Unreadable("sparse initializers and model functions are not read")
        self.activations: list[Activation] = []
        self.rows: list[list[Form]] = []
        self.inputs = self._inputs(graph, asked)
        for node in graph.node:
            if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
                raise Unreadable(
                    f"operator {node.op_type} (node {node.name!r}, output {node.output[0]!r}) "
                    "is not known here"
                )
            self._apply(node)
        named = [item.name for item in graph.output]
        wanted = [asked["output"]] if asked.get("output") else named
        if not set(wanted) <= set(named):
            raise Unreadable(f"no output {wanted[0]!r}; there are {', '.join(named)}")
        self.outputs = [form for name in wanted for form in self.value(name).forms()]

    def value(self, name: str) -> Value:
        if name not in self.values:
            raise Unreadable(f"the value {name!r} is not known")
        return self.values[name]

    def _inputs(self, graph: Any, asked: dict[str, Any]) -> int:
        fixed = asked.get("fixed", {})
        moving = 0
        names = [item.name for item in graph.input if item.name not in self.values]
        for item in graph.input:
            if item.name not in names:
                continue
            shape = tuple(
                max(1, dim.dim_value) if dim.HasField("dim_value") else 1
                for dim in item.type.tensor_type.shape.dim
            )
            if item.name in fixed:
                numbers = floats(fixed[item.name], f"fixed input {item.name!r}")
                if len(numbers) not in (1, prod(shape)):
                    raise Rejected(
                        f"fixed input {item.name!r}: {len(numbers)} numbers for shape {shape}"
                    )
                full = numbers * (prod(shape) // len(numbers))
                self.values[item.name] = Value(shape, [Fraction(number) for number in full])
                continue
            if moving:
                raise Rejected("more than one input moves; the others have to be in `fixed`")
            moving = prod(shape)
            self.values[item.name] = Value(shape, _prepared(shape, asked.get("preprocessing", {})))
        if set(fixed) - set(names):
            raise Rejected(
                f"fixed input {sorted(set(fixed) - set(names))[0]!r}: no input has this name"
            )
        if not moving:
            raise Rejected("no input moves")
        return moving

    def _apply(self, node: Any) -> None:
        attributes = {}
        for item in node.attribute:
            kinds = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints"}
            if item.type not in kinds:
                raise Unreadable(
                    f"{node.op_type} {node.name!r}: attribute {item.name!r} of an unknown kind"
                )
            attributes[item.name] = getattr(item, kinds[item.type])
        operands = [self.value(name) if name else None for name in node.input]
        try:
            result = OPERATORS[node.op_type](self, operands, attributes)
        except (
            IndexError,
            ValueError,
            TypeError,
            AttributeError,
            ZeroDivisionError,
            OverflowError,
            KeyError,
        ) as error:
            raise Unreadable(
                f"{node.op_type} {node.name!r}: {error or type(error).__name__}"
            ) from None
        if prod(result.shape) != len(result.items):
            raise Unreadable(
                f"{node.op_type} {node.name!r}: {len(result.items)} entries of shape {result.shape}"
            )
        self.values[node.output[0]] = result
        for extra in node.output[1:]:
            self.values.pop(extra, None)

    def activate(self, value: Value, activation: Activation) -> Value:
        if value.constant:
            raise ValueError("an activation of constants")
        layer = len(self.rows)
        self.activations.append(activation)
        self.rows.append(value.forms())
        return Value(value.shape, [Form({(layer, i): UNIT}) for i in range(len(value.items))])

    def network(self) -> Network:
        """Without layers that the outputs do not depend on."""
        used: set[int] = set()
        waiting = [self.outputs]
        while waiting:
            for form in waiting.pop():
                for layer, _ in (*form.terms, *(key for key in form.blur if key)):
                    if layer >= 0 and layer not in used:
                        used.add(layer)
                        waiting.append(self.rows[layer])
        number = {layer: place for place, layer in enumerate(sorted(used))}
        number[-1] = -1
        size = {number[layer]: len(self.rows[layer]) for layer in used} | {-1: self.inputs}
        made = [_affine(self.rows[layer], number, size) for layer in sorted(used)]
        return Network(
            self.inputs,
            [self.activations[layer] for layer in sorted(used)],
            made,
            _affine(self.outputs, number, size),
        )


def _prepared(shape: tuple[int, ...], asked: dict[str, Any]) -> list[Form]:
    size = prod(shape)
    channels = prod(shape[1:2]) if len(shape) > 1 else size

    def spread(name: str, default: int) -> list[Fraction]:
        if name not in asked:
            return [Fraction(default)] * size
        numbers = [Fraction(number) for number in floats(asked[name], f"preprocessing {name}")]
        if len(numbers) not in (1, size, channels):
            raise Rejected(f"preprocessing {name}: {len(numbers)} numbers")
        step = 1 if len(numbers) == size else size // len(numbers)
        return [numbers[i // step] for i in range(size)]

    if ("mean" in asked or "std" in asked) and ("scale" in asked or "offset" in asked):
        raise Rejected("preprocessing: mean and std, or scale and offset, not both")
    mean, std, scale, offset = (
        spread("mean", 0),
        spread("std", 1),
        spread("scale", 1),
        spread("offset", 0),
    )
    if not all(std):
        raise Rejected("preprocessing: std is 0")
    share = [UNIT if a == b else a / b for a, b in zip(scale, std, strict=True)]
    return [Form({(-1, i): share[i]}, offset[i] - mean[i] / std[i]) for i in range(size)]


def _affine(rows: list[Form], number: dict[int, int], size: dict[int, int]) -> Affine:
    """Forms as matrices; what is no dyadic number is rounded, and its blur grows."""
    bits = {
        layer: 0
        for layer in sorted(
            {layer for form in rows for layer, _ in (*form.terms, *filter(None, form.blur))}
        )
    }
    if sum(size[number[layer]] for layer in bits) * len(rows) > MOST:
        raise Unreadable("the network is too large for this checker")
    fine = Fraction(1, 1 << FINE)
    terms: dict[int, list[dict[int, Fraction]]] = {layer: [{} for _ in rows] for layer in bits}
    blurs: dict[int, list[dict[int, Fraction]]] = {layer: [{} for _ in rows] for layer in bits}
    bias, bias_blur = [], []
    for place, form in enumerate(rows):
        blur = dict(form.blur)
        for key, value in (*form.terms.items(), (None, form.constant)):
            if value.denominator & (value.denominator - 1):
                value = Fraction(round(value / fine), 1 << FINE)
                blur[key] = blur.get(key, Fraction(0)) + fine
            if key is None:
                bias.append(value)
            elif value:
                terms[key[0]][place][key[1]] = value
                bits[key[0]] = max(bits[key[0]], value.denominator.bit_length() - 1)
        bias_blur.append(blur.pop(None, Fraction(0)))
        for key, value in blur.items():
            assert key is not None
            blurs[key[0]][place][key[1]] = value

    def matrix(entries: list[dict[int, Fraction]], layer: int, scale: int) -> Matrix:
        columns = size[number[layer]]
        made = [[0] * columns for _ in rows]
        for row, found in zip(made, entries, strict=True):
            for column, value in found.items():
                row[column] = -((-value.numerator << scale) // value.denominator)
        return Matrix(made, columns, scale)

    return Affine(
        len(rows),
        {number[layer]: matrix(terms[layer], layer, bits[layer]) for layer in bits},
        bias,
        {
            number[layer]: matrix(blurs[layer], layer, FINE + 8)
            for layer in bits
            if any(blurs[layer])
        },
        bias_blur,
    )


# Operators: (reader, operands, attributes) -> value.


def _taken(value: Value, shape: Sequence[int], strides: Sequence[int]) -> Value:
    """Entry (i, j, ...) is the one at i strides[0] + j strides[1] + ... of the value."""
    steps = (
        range(0, size * stride, stride) if stride else [0] * size
        for size, stride in zip(shape, strides, strict=True)
    )
    return Value(tuple(shape), [value.items[sum(place)] for place in tuples(*steps)])


def _strides(shape: Sequence[int]) -> list[int]:
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _broadcast(value: Value, shape: Sequence[int]) -> list[Any]:
    own = (1,) * (len(shape) - len(value.shape)) + value.shape
    if any(a not in (1, b) for a, b in zip(own, shape, strict=True)):
        raise ValueError(f"shapes {value.shape} and {shape} do not fit")
    if own == shape:
        return value.items
    return _taken(
        value, shape, [0 if n == 1 else step for n, step in zip(own, _strides(own), strict=True)]
    ).items


def _together(a: Value, b: Value) -> tuple[tuple[int, ...], list[tuple[Any, Any]]]:
    """The common shape, and the pairs of entries."""
    rank = max(len(a.shape), len(b.shape))
    left, right = ((1,) * (rank - len(value.shape)) + value.shape for value in (a, b))
    shape = tuple(y if x == 1 else x for x, y in zip(left, right, strict=True))
    return shape, list(zip(_broadcast(a, shape), _broadcast(b, shape), strict=True))


def _sum(parts: Iterable[tuple[Any, Fraction]]) -> Any:
    """Sum of factor times entry: a Fraction if all entries are."""
    total = Form()
    terms, blur = total.terms, total.blur
    moves = False
    for item, factor in parts:
        if type(item) is Fraction:
            total.constant += item * factor
            continue
        moves = True
        if not factor.numerator:
            continue
        for key, value in item.terms.items():
            share = factor if value is UNIT else factor * value
            terms[key] = terms[key] + share if key in terms else share
        if item.constant:
            total.constant += factor * item.constant
        for key, value in item.blur.items():
            blur[key] = blur.get(key, 0) + abs(factor) * value
    return total if moves else total.constant


def _add(sign: int) -> Any:
    def add(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
        shape, pairs = _together(*operands)
        return Value(shape, [_sum([(x, UNIT), (y, Fraction(sign))]) for x, y in pairs])

    return add


def _mul(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    shape, pairs = _together(*(operands if operands[1].constant else reversed(operands)))
    return Value(shape, [_sum([(x, _fixed(y))]) for x, y in pairs])


def _fixed(item: Any) -> Fraction:
    if type(item) is not Fraction:
        raise ValueError("a product of two values that move, or weights that move")
    return item


def _div(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    shape, pairs = _together(*operands)
    return Value(shape, [_sum([(x, 1 / _fixed(y))]) for x, y in pairs])


def _gemm(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    a, b = (
        _permuted(value, (1, 0)) if attributes.get(name, 0) else value
        for value, name in zip(operands, ("transA", "transB"), strict=False)
    )
    alpha, beta = Fraction(attributes.get("alpha", 1.0)), Fraction(attributes.get("beta", 1.0))
    found = _matmul(reader, [a, b], {})
    if len(operands) > 2 and operands[2] is not None:
        offset = _broadcast(operands[2], found.shape)
    else:
        offset = [Fraction(0)] * len(found.items)
    if alpha == beta == 1 and all(type(y) is Fraction for y in offset):
        return Value(
            found.shape, [_shifted(x, y) for x, y in zip(found.items, offset, strict=True)]
        )
    return Value(
        found.shape,
        [_sum([(x, alpha), (y, beta)]) for x, y in zip(found.items, offset, strict=True)],
    )


def _shifted(item: Any, offset: Fraction) -> Any:
    return (
        item + offset
        if type(item) is Fraction
        else Form(item.terms, item.constant + offset, item.blur)
    )


def _matmul(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    a, b = operands
    if len(b.shape) != 2 or not a.shape or a.shape[-1] != b.shape[0]:
        raise ValueError(
            f"shapes {a.shape} and {b.shape}: expected a matrix on the right that fits"
        )
    inner, columns = b.shape
    lines = [a.items[i : i + inner] for i in range(0, len(a.items), inner)]
    others = [b.items[j::columns] for j in range(columns)]
    return Value(
        (*a.shape[:-1], columns), [_dot(line, other) for line in lines for other in others]
    )


def _dot(line: Sequence[Any], other: Sequence[Any]) -> Any:
    if type(other[0]) is not Fraction:
        line, other = other, line
    return _sum((x, _fixed(y)) for x, y in zip(line, other, strict=True))


def _windows(
    attributes: dict[str, Any], spatial: Sequence[int], kernel: Sequence[int]
) -> tuple[list[int], list[list[tuple[int, int]]]]:
    """Output shape; for each output place the (kernel, input) places, flat, that it sees."""
    rank = len(spatial)
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    pads = attributes.get("pads", [0] * 2 * rank)
    auto = attributes.get("auto_pad", b"NOTSET")
    if auto not in (b"NOTSET", b"VALID") or attributes.get("ceil_mode", 0):
        raise ValueError("auto_pad and ceil_mode are not read")
    pads = [0] * 2 * rank if auto == b"VALID" else pads
    each = []
    for d, size in enumerate(spatial):
        count = (size + pads[d] + pads[rank + d] - dilations[d] * (kernel[d] - 1) - 1) // strides[
            d
        ] + 1
        seen = [
            [(tap, out * strides[d] - pads[d] + tap * dilations[d]) for tap in range(kernel[d])]
            for out in range(count)
        ]
        each.append([[(tap, place) for tap, place in taps if 0 <= place < size] for taps in seen])

    def flat(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
        tap = place = 0
        for d, (t, p) in enumerate(pairs):
            tap, place = tap * kernel[d] + t, place * spatial[d] + p
        return tap, place

    return [len(outs) for outs in each], [list(map(flat, tuples(*taps))) for taps in tuples(*each)]


def _conv(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    x, weight, *rest = operands
    (batch, channels, *spatial), (filters, depth, *kernel) = x.shape, weight.shape
    groups = attributes.get("group", 1)
    if batch != 1 or depth * groups != channels or filters % groups or not weight.constant:
        raise ValueError(f"shapes {x.shape} and {weight.shape} do not fit, or weights move")
    shape, places = _windows(attributes, spatial, kernel)
    taps, area = prod(kernel), prod(spatial)
    items = []
    for f in range(filters):
        first = f // (filters // groups) * depth
        constant = rest[0].items[f] if rest and rest[0] else Fraction(0)
        for found in places:
            items.append(
                _sum(
                    [
                        (constant, UNIT),
                        *(
                            (
                                x.items[(first + c) * area + place],
                                weight.items[(f * depth + c) * taps + tap],
                            )
                            for c in range(depth)
                            for tap, place in found
                        ),
                    ]
                )
            )
    return Value((1, filters, *shape), items)


def _average_pool(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    x = operands[0]
    batch, channels, *spatial = x.shape
    kernel = list(attributes.get("kernel_shape", spatial))
    shape, places = _windows(attributes, spatial, kernel)
    padded, area = attributes.get("count_include_pad", 0), prod(spatial)
    items = [
        _sum(
            [
                (x.items[c * area + place], Fraction(1, prod(kernel) if padded else len(found)))
                for _, place in found
            ]
        )
        for c in range(batch * channels)
        for found in places
    ]
    return Value((batch, channels, *shape), items)


def _batch_norm(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    x, *rest = operands
    scale, bias, mean, variance = (value.items for value in rest)
    epsilon = Fraction(attributes.get("epsilon", 9.999999747378752e-06))
    if attributes.get("training_mode", 0):
        raise ValueError("training mode")
    each = prod(x.shape[2:])
    items: list[Any] = []
    for place, item in enumerate(x.items):
        c = place // each % x.shape[1]
        spread = variance[c] + epsilon
        top = spread.numerator * spread.denominator << 2 * FINE
        root = isqrt(top)  # sqrt(spread) is in [root, root + 1] / denominator / 2^FINE
        if root == 0:
            raise ValueError("variance + epsilon is not positive")
        factor = Fraction(spread.denominator << FINE, root)
        error = factor - Fraction(spread.denominator << FINE, root + 1)
        centered = _shifted(item if type(item) is Form else Form({}, item), -mean[c])
        items.append(_shifted(centered.times(factor * scale[c], abs(scale[c]) * error), bias[c]))
    return Value(x.shape, items)


def _permuted(value: Value, order: Sequence[int]) -> Value:
    steps = _strides(value.shape)
    return _taken(value, [value.shape[axis] for axis in order], [steps[axis] for axis in order])


def _transpose(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    rank = len(operands[0].shape)
    return _permuted(operands[0], attributes.get("perm", range(rank - 1, -1, -1)))


def _flatten(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    x, axis = operands[0], attributes.get("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    return Value((prod(x.shape[:axis]), prod(x.shape[axis:])), x.items)


def _whole(value: Value) -> list[int]:
    if not value.constant or any(item.denominator != 1 for item in value.items):
        raise ValueError("expected constant whole numbers")
    return [int(item) for item in value.items]


def _reshape(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    x = operands[0]
    shape = _whole(operands[1])
    if not attributes.get("allowzero", 0):
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    if -1 in shape:
        shape[shape.index(-1)] = len(x.items) // -prod(shape)
    return Value(tuple(shape), x.items)


def _axes(operands: list[Any], attributes: dict[str, Any]) -> list[int] | None:
    if len(operands) > 1:
        return _whole(operands[1])
    return list(attributes["axes"]) if "axes" in attributes else None


def _squeeze(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    x, axes = operands[0], _axes(operands, attributes)
    rank = len(x.shape)
    gone = (
        [i for i, n in enumerate(x.shape) if n == 1] if axes is None else [i % rank for i in axes]
    )
    if any(x.shape[i] != 1 for i in gone):
        raise ValueError(f"shape {x.shape} has no such axes of size 1")
    return Value(tuple(n for i, n in enumerate(x.shape) if i not in gone), x.items)


def _unsqueeze(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    x, axes = operands[0], _axes(operands, attributes) or []
    rank = len(x.shape) + len(axes)
    new, old = {i % rank for i in axes}, iter(x.shape)
    return Value(tuple(1 if i in new else next(old) for i in range(rank)), x.items)


def _concat(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    rank = len(operands[0].shape)
    axis = attributes["axis"] % rank
    shape = list(operands[0].shape)
    shape[axis] = sum(value.shape[axis] for value in operands)
    outer = prod(shape[:axis])
    items = []
    for i in range(outer):
        for value in operands:
            step = len(value.items) // outer
            items.extend(value.items[i * step : (i + 1) * step])
    return Value(tuple(shape), items)


def _clip(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    def end(place: int, name: str) -> float | None:
        if len(operands) > place and operands[place] is not None:
            (only,) = operands[place].items
            return only
        return attributes.get(name)

    return reader.activate(operands[0], clip(end(1, "min"), end(2, "max")))


def _activation(make: Callable[[dict[str, Any]], Activation]) -> Any:
    return lambda reader, operands, attributes: reader.activate(operands[0], make(attributes))


def _same(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    if len(operands) > 2 and operands[2] is not None and any(operands[2].items):
        raise ValueError("training mode")
    return operands[0]


def _constant(reader: _Reader, operands: list[Any], attributes: dict[str, Any]) -> Value:
    if "value" in attributes:
        return reader.array(attributes["value"])
    for name in ("value_float", "value_int"):
        if name in attributes:
            return Value((), [Fraction(attributes[name])])
    numbers = attributes.get("value_floats") or attributes.get("value_ints", [])
    return Value((len(numbers),), [Fraction(number) for number in numbers])


OPERATORS: dict[str, Callable[[_Reader, list[Any], dict[str, Any]], Value]] = {
    "Abs": _activation(lambda _: ABS),
    "Add": _add(1),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "Div": _div,
    "Dropout": _same,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda reader, operands, attributes: _average_pool(reader, operands, {}),
    "Identity": _same,
    "LeakyRelu": _activation(
        lambda attributes: leaky(attributes.get("alpha", 0.009999999776482582))
    ),
    "MatMul": _matmul,
    "Mul": _mul,
    "Neg": lambda reader, operands, attributes: Value(
        operands[0].shape, [_sum([(item, Fraction(-1))]) for item in operands[0].items]
    ),
    "Relu": _activation(lambda _: RELU),
    "Reshape": _reshape,
    "Sigmoid": _activation(lambda _: SIGMOID),
    "Squeeze": _squeeze,
    "Sub": _add(-1),
    "Tanh": _activation(lambda _: TANH),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
