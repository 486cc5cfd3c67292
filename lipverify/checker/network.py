"""The normal form of a network, read from its ONNX file: layers of activations, and exact affine
maps between them.

The preactivation z_k of layer k, and the outputs, are z = W x + sum over j < k of W_j a_j + b, with
a_j the values of layer j. While the file is read, a tensor is a numpy array of objects: `Fraction`
where an entry is constant, such an affine `Form` where it moves.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper, numpy_helper

from lipverify.checker.activations import ACTIVATIONS, RELU, Activation
from lipverify.checker.errors import Rejected, Unreadable
from lipverify.checker.exact import Matrix, floats

Array = np.ndarray
Key = tuple[int, int] | None
"""(layer, neuron) of a coefficient, layer -1 is the input; None: the constant."""
MOST = 50_000_000
"""Coefficients of one affine map."""
FINE = 128
"""Fraction bits of what is no dyadic number (1 / 3, a square root)."""
UNBOUNDED = 3.4e38
"""Bounds of Clip from here on are none."""
ALPHA, EPSILON = 0.20000000298023224, 9.999999747378752e-06
"""Defaults of HardSigmoid and BatchNormalization, float32."""
FLOATS = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
INTEGERS = onnx.TensorProto.INT32, onnx.TensorProto.INT64
REFUSALS = ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError
"""What functions of operators raise on what they do not know."""
ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(slots=True)
class Form:
    """Coefficients, and how far the true ones may be off."""

    terms: dict[Key, Fraction]
    blur: dict[Key, Fraction]


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


def load(path: Path, asked: Mapping[str, Any]) -> Network:
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
        model = onnx.load_model_from_string(raw)
    except Exception as error:
        raise Unreadable(f"{path}: no ONNX file: {error}") from None
    if model.functions or model.graph.sparse_initializer:
        raise Unreadable("model functions and sparse initializers are not read")
    return _Reader(model.graph, asked).network(asked.get("output"))


class _Reader:
    """Values by name; of each activation its function and the forms of its preactivations."""

    def __init__(self, graph: Any, asked: Mapping[str, Any]) -> None:
        self.graph = graph
        self.activations: list[Activation] = []
        self.rows: list[list[Form]] = []
        self.values: dict[str, Any] = {item.name: exact(item) for item in graph.initializer}
        self.values[""] = None  # an operand that is left out
        self.inputs = self._inputs(asked)
        own = {"Clip": self.clip, "HardSigmoid": self.hard_sigmoid}
        for node in graph.node:
            where = f"operator {node.op_type} (node {node.name!r}, output {node.output[0]!r})"
            options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            try:
                operands: list[Any] = [self.values[name] for name in node.input]
                if node.domain not in ("", "ai.onnx"):
                    raise ValueError(f"the domain {node.domain!r}")
                if node.op_type in ACTIVATIONS:
                    (x,) = operands
                    found = self.activate(x, ACTIVATIONS[node.op_type](**options))
                elif node.op_type in MOVES:
                    found = moved(node, operands)
                else:
                    found = (own.get(node.op_type) or OPERATORS[node.op_type])(*operands, **options)
            except REFUSALS as error:
                why = f"{type(error).__name__} {error}"
                raise Unreadable(f"{where} is not read: {why}") from None
            found = found if isinstance(found, list) else [found]
            self.values.update(zip(node.output, found, strict=False))
            self.values[""] = None

    def _inputs(self, asked: Mapping[str, Any]) -> int:
        """The size of the moving input; all inputs get their values."""
        fixed, moving = dict(asked.get("fixed", {})), 0
        for item in self.graph.input:
            if item.name in self.values:
                continue
            shape = [max(1, dim.dim_value) for dim in item.type.tensor_type.shape.dim]
            size = prod(shape)
            if item.name in fixed:
                numbers = floats(fixed.pop(item.name), item.name)
                if len(numbers) not in (1, size):
                    raise Rejected(f"fixed input {item.name!r}: {len(numbers)} numbers for {shape}")
                self.values[item.name] = exact(np.resize(numbers, shape))
            elif moving:
                raise Rejected("more than one input moves; the others have to be in `fixed`")
            else:
                moving = size
                x = tensor([Form({(-1, i): ONE}, {}) for i in range(size)], shape)
                self.values[item.name] = prepared(x, asked.get("preprocessing", {}))
        if fixed or not moving:
            raise Rejected(f"fixed input {min(fixed)!r}: unknown" if fixed else "no input moves")
        return moving

    def activate(self, x: Array, function: Activation) -> Array:
        if not any(isinstance(item, Form) for item in x.flat):
            raise ValueError("an activation of constants")
        layer = len(self.rows)
        self.activations.append(function)
        self.rows.append(forms(x))
        return tensor([Form({(layer, i): ONE}, {}) for i in range(x.size)], x.shape)

    def clip(self, x: Array, min: Any = None, max: Any = None) -> Array:
        """high - relu(high - low - relu(x - low)): two layers, as every splitter wants them."""
        low = None if min is None or number(min) <= -UNBOUNDED else number(min)
        high = None if max is None or number(max) >= UNBOUNDED else number(max)
        if low is not None:
            x = self.activate(total(x, -low), RELU)
        if high is None:
            return x if low is None else total(x, low)
        return total(high, self.activate(total(high - (low or 0), x, sign=-ONE), RELU), sign=-ONE)

    def hard_sigmoid(self, x: Array, alpha: float = ALPHA, beta: float = 0.5) -> Array:
        return self.clip(total(times(x, Fraction(alpha)), Fraction(beta)), ZERO, ONE)

    def network(self, output: str | None) -> Network:
        """Of the layers that the outputs depend on."""
        named = [item.name for item in self.graph.output]
        wanted = [output] if output else named
        if not set(wanted) <= set(named) & set(self.values):
            raise Unreadable(f"no output {wanted[0]!r}; there are {', '.join(named)}")
        outputs = [form for name in wanted for form in forms(self.values[name])]
        used, waiting = {-1}, [outputs]
        while waiting:
            for layer in {key[0] for form in waiting.pop() for key in form.terms if key} - used:
                used.add(layer)
                waiting.append(self.rows[layer])
        kept = sorted(used - {-1})
        place = {layer: number for number, layer in enumerate(kept)} | {-1: -1}
        sizes = [*(len(self.rows[layer]) for layer in kept), self.inputs]  # the input's is last
        made = [affine(rows, place, sizes) for rows in (*(self.rows[k] for k in kept), outputs)]
        return Network(self.inputs, [self.activations[k] for k in kept], made[:-1], made[-1])


def prepared(x: Array, given: Mapping[str, str]) -> Array:
    """(x - mean) / std, or scale x + offset; numbers for all, for channels, or for each entry."""
    channels = x.shape[1] if x.ndim > 1 else x.size

    def spread(name: str) -> Array:
        found = exact(floats(given[name], name))
        if len(found) not in (1, x.size, channels):
            raise Rejected(f"preprocessing {name}: {len(found)} numbers")
        return found.repeat(x.size // len(found)).reshape(x.shape)

    if {"mean", "std"} & set(given) and {"scale", "offset"} & set(given):
        raise Rejected("preprocessing: mean and std, or scale and offset, not both")
    x = total(x, spread("mean"), sign=-ONE) if "mean" in given else x
    x = times(x, spread("scale")) if "scale" in given else x
    x = total(x, spread("offset")) if "offset" in given else x
    if "std" not in given:
        return x
    std = spread("std")
    if not all(std.flat):
        raise Rejected("preprocessing: std is 0")
    return times(x, 1 / std)


def affine(rows: list[Form], place: Mapping[int, int], sizes: Sequence[int]) -> Affine:
    """Forms as matrices; what is no dyadic number is rounded, and its blur grows."""
    terms, blurs = [dict(form.terms) for form in rows], [dict(form.blur) for form in rows]
    for row, blur in zip(terms, blurs, strict=True):
        for key, value in row.items():
            if value.denominator & (value.denominator - 1):
                row[key] = Fraction(round(value * (1 << FINE)), 1 << FINE)
                blur[key] = blur.get(key, ZERO) + Fraction(1, 1 << FINE)

    def matrices(lines: list[dict[Key, Fraction]], bits: int) -> dict[int, Matrix]:
        """By source, rounded up to 2^-bits; 0 bits: as fine as they need."""
        made = {}
        for source in sorted({key[0] for line in lines for key in line if key}):
            size = sizes[place[source]]
            if size * len(lines) > MOST:
                raise Unreadable("the network is too large for this checker")
            found = [[(k[1], v) for k, v in line.items() if k and k[0] == source] for line in lines]
            grid = bits or max(v.denominator for row in found for _, v in row).bit_length() - 1
            dense = [[0] * size for _ in lines]
            for row, entries in zip(dense, found, strict=True):
                for j, value in entries:
                    row[j] = -((-value.numerator << grid) // value.denominator)
            made[place[source]] = Matrix(dense, size, grid)
        return made

    bias, bias_blur = ([line.get(None, ZERO) for line in lines] for lines in (terms, blurs))
    return Affine(len(rows), matrices(terms, 0), bias, matrices(blurs, FINE + 8), bias_blur)


def tensor(items: Sequence[Any], shape: Sequence[int]) -> Array:
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made.reshape(shape)


def exact(found: Any) -> Array:
    """Numbers, or what the file stores, as Fractions."""
    if isinstance(found, onnx.TensorProto):
        if found.data_location == onnx.TensorProto.EXTERNAL:
            raise Unreadable(f"tensor {found.name!r} lies in another file")
        found = numpy_helper.to_array(found)
    found = np.asarray(found)
    if found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise Unreadable("a tensor holds no numbers, or NaN, or an infinity")
    return tensor([Fraction(item) for item in found.ravel().tolist()], found.shape)


def forms(x: Array) -> list[Form]:
    return [item if isinstance(item, Form) else Form({None: item}, {}) for item in x.flat]


def number(x: Any) -> Fraction:
    """The one constant in a tensor or an attribute."""
    return Fraction(np.asarray(x, dtype=object).item())


def whole(x: Any) -> list[int]:
    """Constant whole numbers, of a tensor or an attribute."""
    found = [Fraction(item) for item in np.asarray(x, dtype=object).flat]
    if any(item.denominator != 1 for item in found):
        raise ValueError("expected whole numbers")
    return [int(item) for item in found]


def weighted(entries: Iterable[Any], factors: Iterable[Any], errors: Iterable[Any]) -> Any:
    """The sum of entry times factor, each within its error; a Fraction if nothing moves."""
    terms: dict[Key, Fraction] = {}
    blur: dict[Key, Fraction] = {}
    moves = False
    for entry, factor, error in zip(entries, factors, errors, strict=True):
        if type(factor) is Form:
            entry, factor = factor, entry
        if type(factor) is Form:
            raise ValueError("a product of two values that move, or weights that move")
        moves = moves or type(entry) is Form
        if entry is ZERO or (type(entry) is not Form and not (factor.numerator or error)):
            continue  # what moves is kept, times 0 as well: the output depends on its layer
        own: Any = entry.terms if type(entry) is Form else {None: entry}
        rough: Any = entry.blur if type(entry) is Form else None
        if factor is ONE and not (terms or blur or error):
            terms, blur = dict(own), dict(rough or {})
            continue
        for key, value in own.items():
            share = factor if value is ONE else factor * value
            terms[key] = terms[key] + share if key in terms else share
        for key, value in own.items() if error else ():
            blur[key] = blur.get(key, ZERO) + abs(value) * error
        if rough:
            reach = abs(factor) + error
            for key, value in rough.items():
                blur[key] = blur.get(key, ZERO) + value * reach
    return Form(terms, blur) if moves else terms.get(None, ZERO)


def dot(values: Array, factors: Array, errors: Any = 0) -> Array:
    """Sums over the last axis, which all share; the others are broadcast."""
    if values.shape[-1] != factors.shape[-1]:
        raise ValueError(f"a sum of {values.shape[-1]} values and {factors.shape[-1]} factors")
    parts = np.broadcast_arrays(values, factors, np.asarray(errors, dtype=object))
    made = np.empty(parts[0].shape[:-1], dtype=object)
    for place in np.ndindex(made.shape):
        made[place] = weighted(*(part[place].tolist() for part in parts))
    return made


def times(a: Any, b: Any) -> Array:
    """Entry by entry."""
    return dot(np.asarray(a, dtype=object)[..., None], np.asarray(b, dtype=object)[..., None])


def total(*parts: Any, sign: Fraction = ONE) -> Array:
    """The first, and all others times sign."""
    factors = [ONE] + [sign] * (len(parts) - 1)
    return dot(np.stack(np.broadcast_arrays(*parts), axis=-1), tensor(factors, [-1]))


def matmul(a: Array, b: Array) -> Array:
    rows, columns = np.atleast_2d(a), b[:, None] if b.ndim == 1 else b
    made = dot(rows[..., :, None, :], columns.swapaxes(-1, -2)[..., None, :, :])
    made = made if a.ndim > 1 else made[..., 0, :]
    return made if b.ndim > 1 else made[..., 0]


def gemm(a: Array, b: Array, c: Any = None, alpha=1.0, beta=1.0, transA=0, transB=0) -> Array:
    made = matmul(a.T if transA else a, b.T if transB else b)
    made = made if alpha == 1 else times(made, Fraction(alpha))
    return made if c is None else total(made, c if beta == 1 else times(c, Fraction(beta)))


def windows(
    x: Array, kernel, strides=(), pads=(), dilations=(), auto_pad=b"NOTSET", ceil_mode=0
) -> Array:
    """[..., *places, *kernel]: what a kernel over the last axes sees from each place."""
    rank = len(kernel)
    if auto_pad not in (b"NOTSET", b"VALID") or ceil_mode:
        raise ValueError("auto_pad and ceil_mode are not read")
    pads = pads if pads and auto_pad == b"NOTSET" else [0] * 2 * rank
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    edges = [(0, 0)] * (x.ndim - rank) + list(zip(pads[:rank], pads[rank:], strict=True))
    reach = [step * (size - 1) + 1 for size, step in zip(kernel, dilations, strict=True)]
    padded: Any = np.pad(x, edges, constant_values=ZERO)  # type: ignore[arg-type]
    seen = sliding_window_view(padded, reach, tuple(range(-rank, 0)))  # type: ignore[arg-type]
    return seen[(..., *(slice(None, None, step) for step in (*strides, *dilations)))]


def conv(x: Array, weight: Array, bias: Any = None, group=1, kernel_shape=None, **more: Any):
    if len(x) != 1 or weight.shape[1] * group != x.shape[1]:
        raise ValueError(f"shapes {x.shape} and {weight.shape} do not fit")
    seen = windows(x[0], weight.shape[2:], **more)
    places = seen.shape[1 : x.ndim - 1]
    taps = seen.reshape(group, weight.shape[1], prod(places), -1).swapaxes(1, 2)
    filters = weight.reshape(group, len(weight) // group, 1, -1)
    made = dot(taps.reshape(group, 1, prod(places), -1), filters).reshape(1, -1, *places)
    return made if bias is None else total(made, bias.reshape(-1, *[1] * len(places)))


def average_pool(x: Array, kernel_shape, count_include_pad=0, **more: Any) -> Array:
    def summed(values: Array) -> Array:
        seen = windows(values, kernel_shape, **more)
        taps = seen.reshape(*seen.shape[: x.ndim], -1)
        return dot(taps, np.full(taps.shape[-1], ONE))

    counts = Fraction(prod(kernel_shape)) if count_include_pad else summed(np.full(x.shape, ONE))
    return times(summed(x), 1 / counts)


def reduce(x: Array, axes=None, keepdims=1, noop_with_empty_axes=0, mean=False) -> Array:
    over = sorted(axis % x.ndim for axis in whole([] if axes is None else axes))
    if not over and noop_with_empty_axes:
        return x
    over = over or list(range(x.ndim))
    last = np.moveaxis(x, over, range(-len(over), 0))
    last = last.reshape(*last.shape[: -len(over)], -1)
    made = dot(last, np.full(last.shape[-1], Fraction(1, last.shape[-1]) if mean else ONE))
    return np.expand_dims(made, tuple(over)) if keepdims else made


def batch_norm(
    x: Array, scale, bias, mean, variance, epsilon=EPSILON, momentum=0.9, training_mode=0
) -> Array:
    """(x - mean) scale / sqrt(variance + epsilon) + bias; the root is rounded."""
    if training_mode:
        raise ValueError("training mode")
    factors, errors = [], []
    for size, spread in zip(scale, variance + Fraction(epsilon), strict=True):
        root = isqrt(spread.numerator * spread.denominator << 2 * FINE)
        # sqrt(spread) is in [root, root + 1] / spread.denominator / 2^FINE
        high, low = (Fraction(spread.denominator << FINE, end) for end in (root, root + 1))
        factors.append(size * high)
        errors.append(abs(size) * (high - low))
    shape = [-1, *[1] * (x.ndim - 2)]
    centered = total(x, mean.reshape(shape), sign=-ONE)[..., None]
    made = dot(centered, tensor(factors, [*shape, 1]), tensor(errors, [*shape, 1]))
    return total(made, bias.reshape(shape))


def reshape(x: Array, shape: Any, allowzero=0) -> Array:
    sizes = enumerate(whole(shape))
    return x.reshape([n if n or allowzero else x.shape[i] for i, n in sizes])


def dropout(x: Array, ratio=None, training_mode=None, seed=0) -> Array:
    if training_mode is not None and number(training_mode):
        raise ValueError("training mode")
    return x


def cast(x: Array, to: int, saturate=1) -> Array:
    """Between floats; of whole constants, between integers."""
    if to not in FLOATS and not (to in INTEGERS and whole(x)):
        raise ValueError("only casts to floats, and of whole constants, are read")
    return x


def moved(node: Any, operands: Sequence[Array]) -> list[Array]:
    """The standard's own evaluator says where entries of the first operand go; 0 is a zero."""
    from onnx.reference import ReferenceEvaluator  # large, and seldom needed

    x, *rest = operands
    filled = node.op_type == "Pad" and rest[1:] and rest[1] is not None and number(rest[1])
    if filled or node.input[0] in node.input[1:]:
        raise ValueError("padding by other numbers than 0, or an operand that is there twice")
    names = [name for name in node.input if name]
    places = np.arange(1, x.size + 1).reshape(x.shape)
    feeds = [places, *(np.reshape(whole(y), y.shape) for y in rest if y is not None)]
    found = ReferenceEvaluator(node).run(None, dict(zip(names, feeds, strict=True)))
    entries = tensor([*x.flat, ZERO], [-1])
    return [entries[np.asarray(to) - 1] for to in found]


MOVES = {"DepthToSpace", "Expand", "Gather", "Pad", "Slice", "SpaceToDepth", "Split", "Tile"}
OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": total,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Cast": cast,
    "Concat": lambda *parts, axis: np.concatenate(parts, axis),
    "Constant": lambda **given: exact(*given.values()),
    "Conv": conv,
    "Div": lambda x, y: times(x, 1 / y),
    "Dropout": dropout,
    "Flatten": lambda x, axis=1: x.reshape(prod(x.shape[:axis]), -1),
    "Gemm": gemm,
    "GlobalAveragePool": lambda x: reduce(x, range(2, x.ndim), mean=True),
    "Identity": lambda x: x,
    "MatMul": matmul,
    "Mul": lambda x, y: times(x, y),
    "Neg": lambda x: times(x, -ONE),
    "ReduceMean": partial(reduce, mean=True),
    "ReduceSum": reduce,
    "Reshape": reshape,
    "Squeeze": lambda x, axes=None: np.squeeze(x, axes if axes is None else tuple(whole(axes))),
    "Sub": partial(total, sign=-ONE),
    "Sum": total,
    "Transpose": lambda x, perm=None: x.transpose(perm),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(whole(axes))),
}
