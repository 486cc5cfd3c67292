"""Train a small attention classifier on rows of handwritten digits, and write it with a spec.

    uv run python scripts/train_attention.py [--out out/attention] [--epochs 30]
    uv run lipverify verify out/attention --timeout 120

One transformer block of width 32 with two heads reads a digit as a sequence of 16 half rows of four
pixels. The spec asks for the linf Lipschitz constant of its ten outputs at radius 0.01 around a
test image. Training takes seconds, on one thread, from a fixed seed. Needs what
`train_networks.py` needs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional
from train_networks import IR_VERSION, OPSET, GraphWriter, Training, digits_table, train

LENGTH, PART, WIDTH, HEADS, HIDDEN = 16, 4, 32, 2, 64
RADIUS = 0.01
EXPORT_TOLERANCE = 1e-4


class Attention(nn.Module):
    """Embedding and places, self-attention, and a ReLU layer, each behind a normalisation and with
    a way around it; the mean over the sequence decides."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(PART, WIDTH), nn.Linear(WIDTH, 10)
        self.place = nn.Parameter(0.1 * torch.randn(LENGTH, WIDTH))
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.reshape(-1, LENGTH, PART)) + self.place
        n = self.before(h)
        query, key, value = (
            layer(n).reshape(-1, LENGTH, HEADS, WIDTH // HEADS).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        shares = torch.softmax(query @ key.transpose(2, 3) / (WIDTH // HEADS) ** 0.5, -1)
        h = h + self.out((shares @ value).transpose(1, 2).reshape(-1, LENGTH, WIDTH))
        h = h + self.down(torch.relu(self.up(self.between(h))))
        return self.head(h.mean(1))


def onnx_model(network: Attention) -> onnx.ModelProto:
    """Input [batch, 64], output [batch, 10]."""
    write = GraphWriter()

    def shaped(x: str, *shape: int) -> str:
        return write.node("Reshape", [x], {"shape": torch.tensor(shape)})

    def dense(x: str, layer: nn.Linear) -> str:
        product = write.node("MatMul", [x], {"weight": layer.weight.T})
        return write.node("Add", [product], {"bias": layer.bias})

    def normed(x: str, layer: nn.LayerNorm) -> str:
        weights = {"scale": layer.weight, "bias": layer.bias}
        return write.node("LayerNormalization", [x], weights, axis=-1, epsilon=layer.eps)

    def heads(x: str, layer: nn.Linear, order: list[int]) -> str:
        parts = shaped(dense(x, layer), -1, LENGTH, HEADS, WIDTH // HEADS)
        return write.node("Transpose", [parts], {}, perm=order)

    embedded = dense(shaped("input", -1, LENGTH, PART), network.embed)
    h = write.node("Add", [embedded], {"place": network.place})
    n = normed(h, network.before)
    query = heads(n, network.query, [0, 2, 1, 3])
    key = heads(n, network.key, [0, 2, 3, 1])
    value = heads(n, network.value, [0, 2, 1, 3])
    factor = {"factor": torch.tensor((WIDTH // HEADS) ** -0.5)}
    scores = write.node("Mul", [write.node("MatMul", [query, key], {})], factor)
    mixed = write.node("MatMul", [write.node("Softmax", [scores], {}, axis=-1), value], {})
    together = write.node("Transpose", [mixed], {}, perm=[0, 2, 1, 3])
    h = write.node("Add", [h, dense(shaped(together, -1, LENGTH, WIDTH), network.out)], {})
    inner = write.node("Relu", [dense(normed(h, network.between), network.up)], {})
    h = write.node("Add", [h, dense(inner, network.down)], {})
    dense(write.node("ReduceMean", [h], {}, axes=[1], keepdims=0), network.head)
    write.nodes[-1].output[0] = "output"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("input", LENGTH * PART), ("output", 10))
    ]
    graph = helper.make_graph(
        write.nodes, "digits_attention", ends[:1], ends[1:], write.initializers
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


SPEC = f"""lipverify: 1
network: digits_attention.onnx
region: {{center: {{file: digits.npz, array: images, index: 0}}, radius: {RADIUS}, norm: inf}}
properties:
  - {{kind: lipschitz, input_norm: inf, output_norm: inf}}
  - {{kind: robustness, label: predicted}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--out", type=Path, default=Path("out/attention"), metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table, network = digits_table(), Attention()
    inputs, targets = torch.from_numpy(table.train_inputs), torch.from_numpy(table.train_targets)
    train(network, inputs, targets, Training(0, functional.cross_entropy, options.epochs))
    model = onnx_model(network).SerializeToString()
    runtime = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = np.asarray(runtime.run(None, {"input": table.test_inputs})[0])
    with torch.no_grad():
        expected = network(torch.from_numpy(table.test_inputs)).numpy()
    difference = float(np.abs(found - expected).max())
    if difference > EXPORT_TOLERANCE:
        raise SystemExit(f"the exported network differs by {difference}")
    accuracy = float((found.argmax(1) == table.test_targets).mean())
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "digits_attention.onnx").write_bytes(model)
    np.savez(options.out / "digits.npz", images=table.test_inputs[:10].astype(np.float64))
    (options.out / "digits_attention.yaml").write_text(SPEC)
    print(f"accuracy on test images: {accuracy:.3f}; wrote {options.out}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
