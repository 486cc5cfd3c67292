"""torch calls that multiply branches: softmax, normalisations, attention, recurrent layers."""

from math import sqrt

import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network import contraction, joining, layers, layout, products, recurrent
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.recurrent import Cell, State, Step
from lipverify.network.torch_node import Converter, TorchNode
from lipverify.numerics import DTYPE
from lipverify.operators import Abs, Pow, ReLU, Tanh


def _softmax(log: bool) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        return products.softmax(build, node.value(), int(node.arguments["dim"]), log=log)

    return convert


def _log_sum_exp(build: GraphBuilder, node: TorchNode) -> Value:
    dims = node.arguments["dim"]
    flat, _ = products.last(build, node.value(), [dims] if isinstance(dims, int) else list(dims))
    return layers.reshape(products.log_sum_exp(build, flat), node.shape)


def _variance(root: bool) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        x = node.value()
        given = node.arguments.get("dim")
        axes = [given] if isinstance(given, int) else list(given or range(len(x.shape)))
        less = node.arguments.get("correction")
        if less is None:
            less = 1 if node.arguments.get("unbiased", True) else 0
        flat, _ = products.last(build, x, axes)
        y = products.variance(build, flat, less=int(less))
        y = layers.activation(build, y, Pow(0.5)) if root else y
        return layers.reshape(y, node.shape)

    return convert


def _norm(build: GraphBuilder, node: TorchNode) -> Value:
    """The l1 or l2 norm over some dimensions."""
    x = node.value()
    order = node.arguments.get("ord", node.arguments.get("p"))
    given = node.arguments.get("dim")
    axes = [given] if isinstance(given, int) else list(given or range(len(x.shape)))
    flat, _ = products.last(build, x, axes)
    if order in (2, 2.0, None):
        total = products.sum_of_squares(build, flat)
        return layers.reshape(layers.activation(build, total, Pow(0.5)), node.shape)
    if order != 1:
        raise UnsupportedOperator(f"the norm {order} is not supported, only 1 and 2")
    size = layers.activation(build, flat, Abs())
    total = contraction.reduce(build, size, [-1], keep=True, mean=False)
    return layers.reshape(total, node.shape)


def _layer_norm(build: GraphBuilder, node: TorchNode) -> Value:
    dimensions = len(node.arguments["normalized_shape"])
    weight, bias = node.optional_weight("weight"), node.optional_weight("bias")
    epsilon = float(node.arguments["eps"])
    return products.layer_norm(build, node.value("input"), dimensions, weight, bias, epsilon)


def _rms_norm(build: GraphBuilder, node: TorchNode) -> Value:
    given = node.arguments["eps"]
    epsilon = torch.finfo(node.dtype).eps if given is None else float(given)
    dimensions = len(node.arguments["normalized_shape"])
    weight = node.optional_weight("weight")
    x = node.value("input")
    return products.layer_norm(build, x, dimensions, weight, None, epsilon, center=False)


def _group_norm(build: GraphBuilder, node: TorchNode) -> Value:
    weight, bias = node.optional_weight("weight"), node.optional_weight("bias")
    groups, epsilon = int(node.arguments["num_groups"]), float(node.arguments["eps"])
    return products.group_norm(build, node.value("input"), groups, weight, bias, epsilon)


def _instance_norm(build: GraphBuilder, node: TorchNode) -> Value:
    if not node.arguments["use_input_stats"]:
        raise UnsupportedOperator("it uses running statistics; a batch norm would do the same")
    x = node.value("input")
    weight, bias = node.optional_weight("weight"), node.optional_weight("bias")
    epsilon = float(node.arguments["eps"])
    return products.group_norm(build, x, x.shape[1], weight, bias, epsilon)


def _glu(build: GraphBuilder, node: TorchNode) -> Value:
    return products.gated_linear(build, node.value(), int(node.arguments["dim"]))


def _attention(build: GraphBuilder, node: TorchNode) -> Value:
    query, key, value = (node.value(name) for name in ("query", "key", "value"))
    if node.arguments.get("enable_gqa") or node.arguments["dropout_p"]:
        raise UnsupportedOperator("enable_gqa and dropout_p are not supported")
    if len({len(part.shape) for part in (query, key, value)}) > 1:
        raise UnsupportedOperator("its operands differ in the number of dimensions")
    given = node.arguments.get("scale")
    factor = 1.0 / sqrt(query.shape[-1]) if given is None else float(given)
    sizes = (query.shape[-2], key.shape[-2])
    kept, shift = None, None
    if node.arguments["is_causal"]:
        kept = torch.ones(sizes, dtype=torch.bool).tril()
    mask = node.arguments["attn_mask"]
    if isinstance(mask, Value):
        raise UnsupportedOperator("its mask must be a constant")
    if mask is not None and mask.dtype == torch.bool:
        kept = mask
    elif mask is not None:
        kept = mask > -torch.inf
        shift = torch.where(kept, mask, 0.0).to(DTYPE)
    return products.attention(build, query, key, value, factor, kept, shift)


def _baddbmm(build: GraphBuilder, node: TorchNode) -> Value:
    """self + batch1 @ batch2."""
    if node.arguments["alpha"] != 1 or node.arguments["beta"] != 1:
        raise UnsupportedOperator("alpha and beta other than 1 are not supported")
    y = products.matrix_product(build, node.value("batch1"), node.value("batch2"))
    if node.is_value("self"):
        return layers.add(build, y, node.value())
    return layers.scale(build, y, shift=node.weight("self"))


def _state(build: GraphBuilder, given: Value | Tensor, index: int | None) -> Value | Tensor:
    """One of several stacked states [.., batch, hidden]; None: the only one."""
    if isinstance(given, Tensor):
        constant = given.detach().to(DTYPE)
        return constant if index is None else constant[index]
    return given if index is None else layout.select(build, given, layout.numbers(given)[index])


def _parameters(given: list[Tensor | None]) -> list[Tensor | None]:
    return [None if one is None else one.detach().to(DTYPE) for one in given]


def _cell(weights: list[Tensor | None]) -> Cell:
    weight, recurrent_weight, *biases = weights
    assert weight is not None and recurrent_weight is not None
    return Cell(weight, recurrent_weight, *biases)


def _layers(step: Step, has_cell: bool) -> Converter:
    """Whole stacks: (every state of the last layer, last states[, last cells])."""

    def convert(build: GraphBuilder, node: TorchNode) -> tuple[Value, ...]:
        arguments = node.arguments
        if "batch_sizes" in arguments:
            raise UnsupportedOperator("packed sequences are not supported")
        x = node.value("input")
        if len(x.shape) != 3:
            raise UnsupportedOperator("its sequence has no batch dimension")
        batch_first = bool(arguments["batch_first"])
        x = layers.transpose(build, x, (1, 0, 2)) if batch_first else x
        each = 4 if arguments["has_biases"] else 2
        ways = 2 if arguments["bidirectional"] else 1
        weights = _parameters(arguments["params"])
        if len(weights) != each * ways * int(arguments["num_layers"]):
            raise UnsupportedOperator("projections (proj_size) are not supported")
        starts = arguments["hx"] if has_cell else [arguments["hx"]]
        ends: list[State] = []
        for _ in range(int(arguments["num_layers"])):
            shown = []
            for reverse in (False, True)[:ways]:
                number = len(ends)
                cell = _cell(weights[each * number : each * (number + 1)])
                start = State(*(_state(build, given, number) for given in starts))
                states, end = recurrent.unrolled(build, step, cell, x, start, reverse=reverse)
                shown.append(states)
                ends.append(end)
            joined = [
                joining.concat(build, states, 1) if ways == 2 else states[0]
                for states in zip(*shown, strict=True)
            ]
            x = recurrent.stacked(build, joined)
        x = layers.transpose(build, x, (1, 0, 2)) if batch_first else x
        results = [x, recurrent.stacked(build, [end.hidden for end in ends])]
        if has_cell:
            cells = [end.cell for end in ends if end.cell is not None]
            results.append(recurrent.stacked(build, cells))
        return tuple(results)

    return convert


def _single(step: Step, has_cell: bool) -> Converter:
    """One cell: the new state, or (state, cell)."""

    def convert(build: GraphBuilder, node: TorchNode) -> Value | tuple[Value, ...]:
        names = ("w_ih", "w_hh", "b_ih", "b_hh")
        cell = _cell([node.optional_weight(name) for name in names])
        given = node.arguments["hx"] if has_cell else [node.arguments["hx"]]
        start = State(*(_state(build, one, None) for one in given))
        end = step(build, cell, node.value("input"), start)
        assert isinstance(end.hidden, Value)
        return (end.hidden, end.cell) if isinstance(end.cell, Value) else end.hidden

    return convert


PRODUCT_CONVERTERS: dict[str, Converter] = {
    "aten._log_softmax": _softmax(log=True),
    "aten._softmax": _softmax(log=False),
    "aten.baddbmm": _baddbmm,
    "aten.glu": _glu,
    "aten.group_norm": _group_norm,
    "aten.gru": _layers(recurrent.gru_step, has_cell=False),
    "aten.gru_cell": _single(recurrent.gru_step, has_cell=False),
    "aten.instance_norm": _instance_norm,
    "aten.layer_norm": _layer_norm,
    "aten.linalg_vector_norm": _norm,
    "aten.log_softmax": _softmax(log=True),
    "aten.logsumexp": _log_sum_exp,
    "aten.lstm": _layers(recurrent.lstm_step, has_cell=True),
    "aten.lstm_cell": _single(recurrent.lstm_step, has_cell=True),
    "aten.native_layer_norm": _layer_norm,
    "aten.rms_norm": _rms_norm,
    "aten.rnn_relu": _layers(recurrent.plain_step(ReLU()), has_cell=False),
    "aten.rnn_relu_cell": _single(recurrent.plain_step(ReLU()), has_cell=False),
    "aten.rnn_tanh": _layers(recurrent.plain_step(Tanh()), has_cell=False),
    "aten.rnn_tanh_cell": _single(recurrent.plain_step(Tanh()), has_cell=False),
    "aten.scaled_dot_product_attention": _attention,
    "aten.softmax": _softmax(log=False),
    "aten.std": _variance(root=True),
    "aten.var": _variance(root=False),
}
