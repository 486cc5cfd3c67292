"""Recurrent layers, unrolled over their sequence of fixed length.

A state is a value, or a constant as long as nothing has come in. Weights have torch's order:
input, forget, cell, output (LSTM); reset, update, new (GRU).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.errors import NetworkError
from lipverify.network import joining, layers, layout, products
from lipverify.network.builder import GraphBuilder, Value
from lipverify.numerics import DTYPE
from lipverify.operators import Activation, Sigmoid, Tanh

Operand = Value | Tensor


@dataclass(frozen=True, eq=False)
class Cell:
    """The weights [gates * hidden, in] and [gates * hidden, hidden] of one layer and direction."""

    weight: Tensor
    recurrent: Tensor
    bias: Tensor | None = None
    recurrent_bias: Tensor | None = None

    @property
    def hidden(self) -> int:
        return self.recurrent.shape[1]


@dataclass(frozen=True, eq=False)
class State:
    """`hidden`, and the LSTM's `cell`: [batch, hidden] each."""

    hidden: Operand
    cell: Operand | None = None


Step = Callable[[GraphBuilder, Cell, Value, State], State]


def plain_step(operator: Activation) -> Step:
    """h' = f(W x + b + R h + c)."""

    def step(build: GraphBuilder, cell: Cell, x: Value, state: State) -> State:
        into, back = _both(build, cell, x, state)
        return State(layers.activation(build, _plus(build, into, back), operator))

    return step


def lstm_step(build: GraphBuilder, cell: Cell, x: Value, state: State) -> State:
    """c' = f c + i g, h' = o tanh(c')."""
    assert state.cell is not None
    into, back = _both(build, cell, x, state)
    total = _plus(build, into, back)
    pieces = (_gate(build, total, number, cell.hidden) for number in range(4))
    kinds = (Sigmoid(), Sigmoid(), Tanh(), Sigmoid())
    i, f, g, o = (
        layers.activation(build, piece, kind) for piece, kind in zip(pieces, kinds, strict=True)
    )
    kept, added = _times(build, f, state.cell), products.multiply(build, i, g)
    carried = added if kept is None else _plus(build, added, kept)
    shown = layers.activation(build, carried, Tanh())
    return State(products.multiply(build, o, shown), carried)


def gru_step(build: GraphBuilder, cell: Cell, x: Value, state: State) -> State:
    """h' = (1 - z) n + z h with n = tanh(W x + b + r (R h + c))."""
    return _gru(build, cell, x, state, reset_first=False)


def gru_reset_first_step(build: GraphBuilder, cell: Cell, x: Value, state: State) -> State:
    """The same with n = tanh(W x + b + R (r h) + c)."""
    return _gru(build, cell, x, state, reset_first=True)


def _gru(build: GraphBuilder, cell: Cell, x: Value, state: State, *, reset_first: bool) -> State:
    hidden = cell.hidden
    into, back = _both(build, cell, x, state)
    r, z = (
        layers.activation(
            build,
            _plus(build, _gate(build, into, k, hidden), _slice(build, back, k, hidden)),
            Sigmoid(),
        )
        for k in range(2)
    )
    fresh = _gate(build, into, 2, hidden)
    if reset_first:
        shown = _times(build, r, state.hidden)
        again = torch.zeros(x.shape[0], hidden, dtype=DTYPE) if shown is None else shown
        bias = None if cell.recurrent_bias is None else cell.recurrent_bias[2 * hidden :]
        fresh = _plus(build, fresh, _linear(build, again, cell.recurrent[2 * hidden :], bias))
    else:
        seen = _times(build, r, _slice(build, back, 2, hidden))
        fresh = fresh if seen is None else _plus(build, fresh, seen)
    new = layers.activation(build, fresh, Tanh())
    one = torch.ones((), dtype=DTYPE)
    mixed = products.multiply(build, layers.scale(build, z, -one, one), new)
    kept = _times(build, z, state.hidden)
    return State(mixed if kept is None else _plus(build, mixed, kept))


def unrolled(
    build: GraphBuilder, step: Step, cell: Cell, sequence: Value, start: State, *, reverse: bool
) -> tuple[list[Value], State]:
    """The states [batch, hidden] after each of sequence [length, batch, in], and the last one.

    Read from the end if `reverse`; the states are in the sequence's order in any case.
    """
    if len(sequence.shape) != 3 or sequence.shape[2] != cell.weight.shape[1]:
        raise NetworkError(
            f"its sequence has shape {list(sequence.shape)}; expected [length, batch, "
            f"{cell.weight.shape[1]}]"
        )
    numbers, state = layout.numbers(sequence), start
    shown: list[Value] = []
    for place in range(len(numbers))[:: -1 if reverse else 1]:
        state = step(build, cell, layout.select(build, sequence, numbers[place]), state)
        assert isinstance(state.hidden, Value)
        shown.append(state.hidden)
    return (shown[::-1] if reverse else shown), state


def stacked(build: GraphBuilder, parts: Sequence[Operand], axis: int = 0) -> Value:
    """The parts along a new dimension."""

    def wide(part: Operand) -> Operand:
        if isinstance(part, Tensor):
            return part.unsqueeze(axis)
        return Value(part.node, (*part.shape[:axis], 1, *part.shape[axis:]))

    return joining.concat(build, [wide(part) for part in parts], axis)


def _both(build: GraphBuilder, cell: Cell, x: Value, state: State) -> tuple[Value, Operand]:
    """W x + b and R h + c."""
    into = layers.dense(build, x, cell.weight, cell.bias)
    return into, _linear(build, state.hidden, cell.recurrent, cell.recurrent_bias)


def _linear(build: GraphBuilder, x: Operand, weight: Tensor, bias: Tensor | None) -> Operand:
    if isinstance(x, Value):
        return layers.dense(build, x, weight, bias)
    # As everything that is computed from stored weights alone, rounded to float64 and kept.
    result = x @ weight.T
    return result if bias is None else result + bias


def _plus(build: GraphBuilder, x: Value, y: Operand) -> Value:
    if isinstance(y, Tensor):
        return layers.scale(build, x, shift=y)
    return layers.add(build, x, y)


def _times(build: GraphBuilder, x: Value, y: Operand) -> Value | None:
    """None for a product with zeros."""
    if isinstance(y, Value):
        return products.multiply(build, x, y)
    return layers.scale(build, x, y) if bool(y.any()) else None


def _gate(build: GraphBuilder, x: Value, number: int, size: int) -> Value:
    part = _slice(build, x, number, size)
    assert isinstance(part, Value)
    return part


def _slice(build: GraphBuilder, x: Operand, number: int, size: int) -> Operand:
    """The gate `number` of `size` entries along the last dimension."""
    part = slice(number * size, (number + 1) * size)
    if isinstance(x, Tensor):
        return x[..., part]
    return layout.select(build, x, layout.numbers(x)[..., part])
