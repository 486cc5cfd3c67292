"""A network that was read: our graph of it, and the original to compare with."""

import hashlib
from dataclasses import dataclass, field, fields, is_dataclass

import torch
from torch import Tensor

from lipverify.errors import NetworkError, NetworkMismatch
from lipverify.graph import ForwardGraph, output
from lipverify.network.node_info import NodeInfo
from lipverify.network.original import AbstractOriginal
from lipverify.numerics import MISMATCH_RELATIVE
from lipverify.reading import AS_IT_IS, Reading

AGREEMENT_SCALES = (0.1, 0.5, 1.0, 2.0)
"""Standard deviations of the normal points that graph and original are compared at."""

AGREEMENT_TRIES = 200
"""How often other points are drawn if the network has no finite value at any."""


@dataclass(frozen=True, eq=False)
class Network:
    """`graph` has float64 weights, and shapes without the batch.

    `source` is the path as given, or the module's class name. `sha256` is that of the file's
    bytes (and of those that hold its weights); for a module, of its graph with all weights.
    `nodes` are those of the original. With a preprocessing, graph and original begin before it.
    """

    graph: ForwardGraph
    source: str
    sha256: str
    nodes: tuple[NodeInfo, ...] = field(repr=False)
    evaluator: AbstractOriginal = field(repr=False)
    reading: Reading = AS_IT_IS

    @property
    def dtype(self) -> torch.dtype:
        """The type the original computes in: `original` rounds its argument to it."""
        return self.evaluator.dtype

    def original(self, x: Tensor) -> Tensor:
        """The original network's output, in its own arithmetic: flat [batch, n] -> [batch, m].

        By onnxruntime for a file. The result is float64. `NetworkError` for another shape of x,
        or if the engine fails.
        """
        if x.dim() != 2 or x.shape[1] != self.graph.input_size:
            raise NetworkError(
                f"{self.source}: points have shape {list(x.shape)}; "
                f"expected [batch, {self.graph.input_size}]"
            )
        if not len(x):
            return torch.zeros(0, self.graph.output_size, dtype=torch.float64)
        return self.evaluator.evaluate(x)


def check_agreement(network: Network) -> None:
    """Compare graph and original at random points; `NetworkMismatch` if they disagree."""
    x = _agreement_points(network)
    ours, theirs = output(network.graph, x), network.original(x)
    if ours.shape != theirs.shape:
        raise NetworkMismatch(
            f"{network.source}: our graph has {ours.shape[1]} outputs, the original has "
            f"{theirs.shape[1]}"
        )
    # Outside the domain of Log and the like both are NaN or infinite.
    usable = torch.isfinite(ours) & torch.isfinite(theirs)
    if not bool(usable.any()) or not bool((torch.isfinite(ours) == torch.isfinite(theirs)).all()):
        raise NetworkMismatch(
            f"{network.source}: outputs at random points of size about 1 are NaN or infinite"
        )
    ours, theirs = ours[usable], theirs[usable]
    deviation = float((ours - theirs).abs().max())
    reach = max(1.0, float(theirs.abs().max()))
    if not deviation <= MISMATCH_RELATIVE * reach:
        raise NetworkMismatch(
            f"{network.source}: our graph and the original differ by {deviation:.3g} at a random "
            f"point, where outputs reach {reach:.3g}; at most {MISMATCH_RELATIVE:g} times that is "
            "expected. Please report this network: it is read wrongly, or its own arithmetic is "
            "too inexact to be compared"
        )


def _agreement_points(network: Network) -> Tensor:
    """Random points [p, n] in the original's dtype, so that both see the same ones.

    Where Log and the like leave hardly any point with a value, ones that have it are looked for.
    """
    generator = torch.Generator().manual_seed(0)
    size = (len(AGREEMENT_SCALES), network.graph.input_size)
    scales = torch.tensor(AGREEMENT_SCALES, dtype=torch.float64)[:, None]
    first: Tensor | None = None
    for _ in range(AGREEMENT_TRIES):
        normal = scales * torch.randn(size, generator=generator, dtype=torch.float64)
        uniform = torch.rand(size, generator=generator, dtype=torch.float64)
        x = torch.cat([normal, uniform]).to(network.dtype).to(torch.float64)
        if bool(torch.isfinite(output(network.graph, x)).any()):
            return x
        first = x if first is None else first
    assert first is not None
    return first


def graph_digest(graph: ForwardGraph) -> str:
    """SHA-256 over the nodes, their operators and all their weights."""
    digest = hashlib.sha256()
    for node in graph:
        digest.update(repr((node.name, node.inputs, node.shape)).encode())
        operator = node.operator
        if operator is None:
            continue
        _digest_fields(digest, operator)
    return digest.hexdigest()


def _digest_fields(digest: "hashlib._Hash", value: object) -> None:
    """An operator, with all tensors; also those of operators that it is made of."""
    digest.update(type(value).__name__.encode())
    assert is_dataclass(value)
    for entry in fields(value):
        part = getattr(value, entry.name)
        if isinstance(part, Tensor):
            digest.update(repr((entry.name, tuple(part.shape), str(part.dtype))).encode())
            digest.update(part.detach().contiguous().numpy().tobytes())
        elif is_dataclass(part):
            digest.update(entry.name.encode())
            _digest_fields(digest, part)
        else:
            digest.update(repr((entry.name, part)).encode())
