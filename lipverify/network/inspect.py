"""What a file holds, whether or not lipverify can bound it."""

from dataclasses import dataclass
from pathlib import Path

from lipverify.network.node_info import NodeInfo
from lipverify.network.onnx_file import TensorInfo, interface_problems, read_file
from lipverify.network.onnx_graph import convert
from lipverify.reading import AS_IT_IS, Reading


@dataclass(frozen=True)
class Inspection:
    """`nodes` are all nodes of the file, in order; `problems` concern the file as a whole.

    `parameters` counts the stored weights in use, each once.
    """

    path: str
    sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: tuple[NodeInfo, ...]
    parameters: int
    problems: tuple[str, ...]

    @property
    def unsupported(self) -> tuple[NodeInfo, ...]:
        return tuple(node for node in self.nodes if not node.supported)

    @property
    def is_supported(self) -> bool:
        """Whether `load_network` would read the file (and then compare it with the original)."""
        return not self.problems and not self.unsupported


def inspect_network(path: str | Path, reading: Reading = AS_IT_IS) -> Inspection:
    """List the nodes of an ONNX file; `NetworkError` only if the file itself is unreadable."""
    file = read_file(Path(path))
    conversion = convert(file, reading)
    return Inspection(
        str(path),
        file.sha256,
        file.inputs,
        file.outputs,
        conversion.nodes,
        conversion.parameters,
        (*interface_problems(file, reading), *conversion.errors),
    )
