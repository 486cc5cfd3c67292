"""Networks, from files and from torch modules. A new format is one reader and one line here."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lipverify.errors import NetworkError
from lipverify.network.inspect import Inspection, inspect_network
from lipverify.network.network import Network, check_agreement
from lipverify.network.node_info import NodeInfo
from lipverify.network.onnx_convert import CONVERTERS as _ONNX_CONVERTERS
from lipverify.network.onnx_network import read_onnx
from lipverify.network.torch_convert import SUPPORTED as _TORCH_CALLS
from lipverify.network.torch_module import read_module
from lipverify.reading import AS_IT_IS, Reading

READERS: dict[str, Callable[[Path, Reading], Network]] = {
    ".onnx": read_onnx,
    ".onnx.gz": read_onnx,
}
"""Reader by the end of a file's name."""

ONNX_OPERATORS = tuple(sorted(_ONNX_CONVERTERS))
"""What can be read from an ONNX file (besides anything computed from constants alone)."""

TORCH_CALLS = tuple(sorted(_TORCH_CALLS))
"""What can be read from a torch module, by the calls' names (besides what constants alone make)."""


def load_network(
    source: str | Path | torch.nn.Module,
    example_input: Tensor | None = None,
    reading: Reading = AS_IT_IS,
) -> Network:
    """Read a network, and compare it with its original at a few random points.

    `example_input` [batch, ...] is needed for modules, and not used for files. A module is read in
    eval mode (from a copy), whatever mode it is in. `reading` puts a preprocessing in front, or
    fixes all but one of several inputs. Raises `NetworkError` for what cannot be read,
    `UnsupportedOperator` listing every node that cannot be bounded, `NetworkMismatch` if our graph
    and the original disagree, `MissingDependency` if onnx or onnxruntime is needed and not there.
    """
    if isinstance(source, torch.nn.Module):
        network = read_module(source, example_input, reading)
    elif isinstance(source, str | Path):
        path = Path(source)
        name = path.name.lower()
        reader = next((READERS[end] for end in READERS if name.endswith(end)), None)
        if reader is None:
            raise NetworkError(
                f"{path}: expected a file ending in {' or '.join(READERS)}, or a torch module"
            )
        network = reader(path, reading)
    else:
        raise NetworkError(f"expected a path or a torch module, not {type(source).__name__}")
    check_agreement(network)
    return network


__all__ = [
    "ONNX_OPERATORS",
    "READERS",
    "TORCH_CALLS",
    "Inspection",
    "Network",
    "NodeInfo",
    "inspect_network",
    "load_network",
]
