"""ONNX operators that multiply branches: softmax, normalisations, recurrent layers."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network import layers, layout, products, recurrent
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.onnx_node import OnnxNode
from lipverify.network.recurrent import Cell, State
from lipverify.numerics import DTYPE
from lipverify.operators import Pow, ReLU, Tanh

Converter = Callable[[GraphBuilder, OnnxNode], Value | tuple[Value, ...]]

LATER_AXIS = 13
"""The opset from which softmax is along one dimension; before, over all from `axis` on."""


def _softmax(log: bool) -> Converter:
    def convert(build: GraphBuilder, node: OnnxNode) -> Value:
        x = node.value(0)
        if node.opset >= LATER_AXIS:
            return products.softmax(build, x, int(node.attributes.get("axis", -1)), log=log)
        axis = int(node.attributes.get("axis", 1)) % len(x.shape)
        flat = layers.reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:])))
        return layers.reshape(products.softmax(build, flat, 1, log=log), x.shape)

    return convert


def _reduced(kind: str) -> Converter:
    """LogSumExp, SumSquare or L2 over some dimensions."""

    def convert(build: GraphBuilder, node: OnnxNode) -> Value:
        x = node.value(0)
        axes = node.reduced()
        if axes is None:
            raise UnsupportedOperator("it reduces over no dimension")
        flat, kept = products.last(build, x, axes)
        if kind == "LogSumExp":
            y = products.log_sum_exp(build, flat)
        else:
            y = products.sum_of_squares(build, flat)
            y = layers.activation(build, y, Pow(0.5)) if kind == "L2" else y
        dropped = [axis % len(x.shape) for axis in axes]
        shape = tuple(size for axis, size in enumerate(kept) if axis not in dropped)
        return layers.reshape(y, kept if node.attributes.get("keepdims", 1) else shape)

    return convert


def _layer_norm(build: GraphBuilder, node: OnnxNode) -> Value:
    x = node.value(0)
    dimensions = len(x.shape) - int(node.attributes.get("axis", -1)) % len(x.shape)
    epsilon = node.number("epsilon", 1e-5)
    weight, bias = node.weight(1, "scale"), node.optional_weight(2, "bias")
    center = node.operator == "LayerNormalization"
    return products.layer_norm(build, x, dimensions, weight, bias, epsilon, center=center)


def _instance_norm(build: GraphBuilder, node: OnnxNode) -> Value:
    x = node.value(0)
    epsilon = node.number("epsilon", 1e-5)
    weight, bias = node.weight(1, "scale"), node.weight(2, "bias")
    return products.group_norm(build, x, x.shape[1], weight, bias, epsilon)


def _group_norm(build: GraphBuilder, node: OnnxNode) -> Value:
    """Before opset 21, the scale and the bias have one entry per group."""
    x, groups = node.value(0), int(node.attributes["num_groups"])
    epsilon = node.number("epsilon", 1e-5)
    channels = x.shape[1]
    weight, bias = (
        given if len(given) == channels else given.repeat_interleave(channels // len(given))
        for given in (node.weight(1, "scale"), node.weight(2, "bias"))
    )
    return products.group_norm(build, x, groups, weight, bias, epsilon)


DEFAULTS = {"RNN": ["tanh"], "GRU": ["sigmoid", "tanh"], "LSTM": ["sigmoid", "tanh", "tanh"]}
ORDERS = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
"""Where torch's gates are in ONNX's order: z, r, h and i, o, f, c."""


def _recurrent(build: GraphBuilder, node: OnnxNode) -> tuple[Value, ...]:
    kind = node.operator
    step = _step(node)
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    direction = node.text("direction", "forward")
    x = node.value(0)
    by_batch = bool(node.attributes.get("layout", 0))
    if by_batch:
        x = layers.transpose(build, x, (1, 0, 2))
    length, batch, _ = x.shape
    lengths = node.integers(4, "sequence lengths")
    if lengths is not None and set(lengths) != {length}:
        raise UnsupportedOperator(f"its sequence lengths {lengths} are not all {length}")
    shown: list[list[Value]] = []
    ends: list[State] = []
    for number, reverse in enumerate(directions[direction]):
        cell = _cell(node, number, ORDERS[kind])
        zero = torch.zeros(batch, cell.hidden, dtype=DTYPE)
        start = State(
            _initial(build, node, 5, number, zero, by_batch),
            _initial(build, node, 6, number, zero, by_batch) if kind == "LSTM" else None,
        )
        states, end = recurrent.unrolled(build, step, cell, x, start, reverse=reverse)
        shown.append(states)
        ends.append(end)
    every = [recurrent.stacked(build, states) for states in zip(*shown, strict=True)]
    results = [recurrent.stacked(build, every)]  # [length, directions, batch, hidden]
    results.append(recurrent.stacked(build, [end.hidden for end in ends]))
    if kind == "LSTM":
        cells = [end.cell for end in ends if end.cell is not None]
        results.append(recurrent.stacked(build, cells))
    if by_batch:
        orders = ((2, 0, 1, 3), (1, 0, 2), (1, 0, 2))
        results = [
            layers.transpose(build, result, order)
            for result, order in zip(results, orders, strict=False)
        ]
    return tuple(results)


def _step(node: OnnxNode) -> recurrent.Step:
    kind = node.operator
    directions = 2 if node.text("direction", "forward") == "bidirectional" else 1
    given = [
        name.decode().lower() if isinstance(name, bytes) else str(name).lower()
        for name in node.attributes.get("activations", DEFAULTS[kind] * directions)
    ]
    for name in ("clip", "input_forget"):
        if node.attributes.get(name, 0):
            raise UnsupportedOperator(f"{name} is not supported")
    if kind == "LSTM" and node.optional_weight(7, "peepholes") is not None:
        raise UnsupportedOperator("peepholes are not supported")
    if kind == "RNN" and given == ["relu"] * directions:
        return recurrent.plain_step(ReLU())
    if given != DEFAULTS[kind] * directions:
        raise UnsupportedOperator(f"its activations {given} are not the default ones")
    if kind == "RNN":
        return recurrent.plain_step(Tanh())
    if kind == "LSTM":
        return recurrent.lstm_step
    if node.attributes.get("linear_before_reset", 0):
        return recurrent.gru_step
    return recurrent.gru_reset_first_step


def _cell(node: OnnxNode, direction: int, order: Sequence[int]) -> Cell:
    def sorted_(rows: Tensor) -> Tensor:
        gates = rows.chunk(len(order))
        return torch.cat([gates[place] for place in order])

    weight, back = node.weight(1, "W")[direction], node.weight(2, "R")[direction]
    both = node.optional_weight(3, "B")
    if both is None:
        return Cell(sorted_(weight), sorted_(back))
    bias, back_bias = both[direction].chunk(2)
    return Cell(sorted_(weight), sorted_(back), sorted_(bias), sorted_(back_bias))


def _initial(
    build: GraphBuilder, node: OnnxNode, index: int, direction: int, zero: Tensor, by_batch: bool
) -> recurrent.Operand:
    """The initial state of a direction; zeros where left out."""
    axis = 1 if by_batch else 0
    if index >= len(node.operands) or node.operands[index] is None:
        return zero
    if node.is_constant(index):
        return node.weight(index, "initial state").select(axis, direction)
    given = node.value(index)
    return layout.select(build, given, layout.numbers(given).select(axis, direction))


PRODUCT_CONVERTERS: dict[str, Converter] = {
    "GRU": _recurrent,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LSTM": _recurrent,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax(log=True),
    "RMSNormalization": _layer_norm,
    "RNN": _recurrent,
    "ReduceL2": _reduced("L2"),
    "ReduceLogSumExp": _reduced("LogSumExp"),
    "ReduceSumSquare": _reduced("SumSquare"),
    "Softmax": _softmax(log=False),
}
