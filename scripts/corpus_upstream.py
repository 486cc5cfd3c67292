"""What the released auto_LiRPA 0.3 alone claims on the attack corpus.

    uv run python scripts/corpus_upstream.py [--double] [--out FILE.md]

Its way in is tracing, which needs torch internals that today's torch does not have: the exception
is shown. So its own nodes are put together by hand, as its tracer would; nothing of lipverify
bounds anything. Forward: CROWN, in float32, its default (weights and regions are rounded to it;
`--double` leaves them as they are). 0.3 knows no Jacobians; the chain rule is made of its
products and linear layers, each gate an input that moves between the least and the largest slope
on CROWN's preactivation interval. Networks that are no chain of linear layers and activations
that 0.3 knows, and regions that are no boxes, have no such path: said per case.

Two numbers are held against the exact ones: the Lipschitz constant linf -> linf from above, and the
least margin of the asked class from below. "wrong" is a claim that the exact answer contradicts.
"""

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the corpus is among the tests

from lipverify.bounds.lirpa.compat import auto_lirpa  # noqa: E402

auto_lirpa()

from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm  # noqa: E402
from auto_LiRPA import bound_ops as ops  # noqa: E402

from tests.corpus import CASES, Case  # noqa: E402
from tests.corpus.regions import BallRegion, BoxRegion  # noqa: E402

ACTIVATIONS = {
    "Relu": ops.BoundRelu,
    "LeakyRelu": ops.BoundLeakyRelu,
    "Abs": ops.BoundAbs,
    "Tanh": ops.BoundTanh,
    "Sigmoid": ops.BoundSigmoid,
    "Exp": ops.BoundExp,
}
WORDS = ("right", "wrong", "crash", "nan", "no path")


class NoPath(Exception):
    """0.3 has no way to this network or region."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--out", type=Path, default=None, metavar="FILE.md")
    parser.add_argument("--double", action="store_true", help="in float64, for comparison")
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64 if options.double else torch.float32)
    lines = [f"Tracing, as shipped: {_tracing()}.", "", "| case | asked | exact | claimed | |",
             "|---|---|--:|--:|---|"]  # fmt: skip
    counts: Counter[str] = Counter()
    for case in CASES:
        for row in _rows(case):
            counts[row.word] += 1
            lines.append(f"| {case} | {row.asked} | {row.exact} | {row.claimed} | {row.word} |")
            print(lines[-1], flush=True)
    lines += ["", ", ".join(f"{counts[word]} {word}" for word in WORDS)]
    print("\n".join([lines[0], lines[-1]]))
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n")
    return 0


def _tracing() -> str:
    stand_in = sys.modules.pop("auto_LiRPA.parse_graph")
    try:
        import_module("auto_LiRPA.parse_graph")
    except ImportError as error:
        return f"cannot be imported with torch {torch.__version__} ({error})"
    finally:
        sys.modules["auto_LiRPA.parse_graph"] = stand_in
    return "can be imported"


@dataclass(frozen=True)
class Row:
    asked: str
    exact: str
    claimed: str
    word: str


def _rows(case: Case) -> Iterator[Row]:
    if ("inf", "inf") in case.exact:
        exact = case.exact["inf", "inf"]
        yield _row("Lipschitz <=", case, exact.low, _lipschitz, lambda value: value >= exact.low)
    if case.label is not None:
        least = case.judge.least_margin(case.label)
        yield _row("margin >=", case, least.low, _margin, lambda value: value <= least.high)


def _row(asked: str, case: Case, exact: Fraction, claim: Any, holds: Any) -> Row:
    shown = _short(exact)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = claim(case)
    except NoPath as why:
        return Row(asked, shown, str(why), "no path")
    except Exception as error:  # whatever 0.3 raises
        return Row(asked, shown, f"{type(error).__name__}: {str(error)[:60]}", "crash")
    if value != value:
        return Row(asked, shown, "nan", "nan")
    if abs(value) == float("inf"):
        return Row(asked, shown, str(value), "right")  # it claims nothing
    return Row(asked, shown, f"{value:.9g}", "right" if holds(Fraction(value)) else "wrong")


def _short(number: Fraction) -> str:
    try:
        return f"{float(number):.9g}" + ("" if number == 0 or float(number) else " (above 0)")
    except OverflowError:
        return "over 1e308"


@dataclass(frozen=True, eq=False)
class Layer:
    """weight [out, in], bias [out]; then the activation, None at the end."""

    weight: Tensor
    bias: Tensor
    activation: str | None
    slope: float


def _layers(case: Case) -> list[Layer]:
    """A chain of linear layers, in torch's default dtype."""
    found: list[Layer] = []
    last = "x"
    for step in case.net.steps:
        if step.inputs != (last,) or step.op not in ("Gemm", *ACTIVATIONS):
            raise NoPath(f"{step.op}: no chain of linear layers and activations")
        last = step.name
        if step.op == "Gemm":
            if found and found[-1].activation is None:
                raise NoPath("two linear layers in a row")
            dtype = torch.get_default_dtype()
            weight, bias = (torch.tensor(np.asarray(w), dtype=dtype) for w in step.weights)
            found.append(Layer(weight, bias, None, 0.0))
        elif not found or found[-1].activation is not None:
            raise NoPath(f"{step.op} without a linear layer in front")
        else:
            slope = float(step.attributes.get("alpha", 0.01))
            found[-1] = Layer(found[-1].weight, found[-1].bias, step.op, slope)
    if found[-1].activation is not None:  # 0.3 wants functions of a last linear layer
        size = len(found[-1].bias)
        found.append(Layer(torch.eye(size), torch.zeros(size), None, 0.0))
    return found


def _box(case: Case) -> tuple[Tensor, Tensor]:
    region = case.region
    if isinstance(region, BallRegion):
        if region.norm != "inf" or region.clip is not None:
            raise NoPath("its balls are over one norm, without a valid range")
        center = torch.tensor([region.center])
        return center - region.radius, center + region.radius
    assert isinstance(region, BoxRegion)
    return torch.tensor([region.lower]), torch.tensor([region.upper])


class Module(BoundedModule):
    """Nodes put together by `build(inputs)`, in place of what tracing would give."""

    def __init__(self, build: Any, *examples: Tensor) -> None:
        self.__dict__["build"] = build
        super().__init__(_Shape(), examples, device="cpu")
        for node in list(self._modules.values()):
            self.get_forward_value(node)

    def _convert_nodes(self, model: Any, global_input: Any) -> Any:
        inputs = [
            ops.BoundInput(f"x{k}", value, input_index=k) for k, value in enumerate(global_input)
        ]
        made: list[Any] = []
        for k, node in enumerate(inputs):
            node.name, node.input_name = f"x{k}", []
            node.perturbation = None

        def add(kind: Any, operands: Sequence[Any], **attributes: Any) -> Any:
            node = kind(attributes or {"device": "cpu"}, list(operands), 0, self.bound_opts)
            return named(node, operands)

        def constant(value: Tensor) -> Any:
            fixed = torch.nn.Parameter(value, requires_grad=False)
            return named(ops.BoundParams(f"w{len(made)}", fixed, perturbation=None), ())

        def named(node: Any, operands: Sequence[Any]) -> Any:
            node.name, node.input_name = f"n{len(made)}", [other.name for other in operands]
            made.append(node)
            return node

        root = self.build(inputs, add, constant)
        leaves = [node for node in made if not node.input_name]
        return [node for node in made if node.input_name], [*inputs, *leaves], [root], None

    def register_parameter(self, name: str, param: Any) -> None:
        torch.nn.Module.register_parameter(self, name, param)

    def _named_members(self, get_members_fn: Any, prefix: str = "", recurse: bool = True, **_: Any):
        return iter(())


class _Shape(torch.nn.Module):
    def forward(self, *_: Tensor) -> Tensor:
        return torch.zeros(1, 1)


def _forward(layers: Sequence[Layer]) -> Any:
    def build(inputs: Sequence[Any], add: Any, constant: Any) -> Any:
        (x,) = inputs
        for layer in layers:
            x = add(ops.BoundLinear, (x, constant(layer.weight), constant(layer.bias)), transB=1)
            if layer.activation == "LeakyRelu":
                x = add(ACTIVATIONS["LeakyRelu"], (x,), alpha=layer.slope)
            elif layer.activation is not None:
                x = add(ACTIVATIONS[layer.activation], (x,))
        return x

    return build


def _bounds(build: Any, boxes: Sequence[tuple[Tensor, Tensor]], rows: Tensor) -> tuple[Any, Any]:
    """CROWN's ends of rows . output."""
    module = Module(build, *((low + high) / 2 for low, high in boxes))
    inputs = tuple(
        BoundedTensor((low + high) / 2, PerturbationLpNorm(norm=np.inf, x_L=low, x_U=high))
        for low, high in boxes
    )
    with torch.no_grad():
        return module.compute_bounds(x=inputs, C=rows.unsqueeze(0), method="CROWN")


def _margin(case: Case) -> float:
    layers, box = _layers(case), _box(case)
    size = len(layers[-1].bias)
    rows = torch.eye(size)[case.label] - torch.eye(size)
    others = [j for j in range(size) if j != case.label]
    return float(_bounds(_forward(layers), [box], rows[others])[0].min())


def _lipschitz(case: Case) -> float:
    layers, box = _layers(case), _box(case)
    if len(layers) == 1:
        raise NoPath("it is linear: nothing to bound")
    gates = []
    for k, layer in enumerate(layers[:-1]):
        upto = [*layers[:k], Layer(layer.weight, layer.bias, None, 0.0)]
        low, high = _bounds(_forward(upto), [box], torch.eye(len(layer.bias)))
        gates.append(_slopes(layer, low, high))
    size = layers[0].weight.shape[1]
    return max(
        float(torch.maximum(-low, high).sum())
        for row in layers[-1].weight
        for low, high in [_row_bounds(layers, row, gates, size)]
    )


def _row_bounds(
    layers: Sequence[Layer], row: Tensor, gates: Sequence[tuple[Tensor, Tensor]], size: int
) -> tuple[Tensor, Tensor]:
    """Of the Jacobian's row: products and linear layers from the output to the input."""

    def build(inputs: Sequence[Any], add: Any, constant: Any) -> Any:
        g = constant(row.unsqueeze(0))
        for layer, gate in zip(layers[-2::-1], inputs[::-1], strict=True):
            y = add(ops.BoundMul, (g, gate))
            zero = constant(torch.zeros(layer.weight.shape[1]))
            g = add(ops.BoundLinear, (y, constant(layer.weight.T.contiguous()), zero), transB=1)
        return g

    return _bounds(build, gates, torch.eye(size))


def _slopes(layer: Layer, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest slope on CROWN's intervals, as one would write it in float32."""
    match layer.activation:
        case "Relu" | "LeakyRelu" | "Abs":
            below = {"Relu": 0.0, "LeakyRelu": layer.slope, "Abs": -1.0}[layer.activation]
            left = torch.where(low >= 0, 1.0, below)
            right = torch.where(high <= 0, below, 1.0)
        case "Tanh":
            left, right = (1 - torch.tanh(end) ** 2 for end in (low, high))
        case "Sigmoid":
            left, right = (torch.sigmoid(e) * (1 - torch.sigmoid(e)) for e in (low, high))
        case _:
            left, right = low.exp(), high.exp()
    least, most = torch.minimum(left, right), torch.maximum(left, right)
    peaks = {"Tanh": 1.0, "Sigmoid": 0.25}
    if layer.activation in peaks:
        most = torch.where((low < 0) & (high > 0), peaks[layer.activation], most)
    return least, most


if __name__ == "__main__":
    sys.exit(main())
