"""What users are told about a node of the original network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lipverify.errors import UnsupportedOperator
from lipverify.operators import Shape


@dataclass(frozen=True)
class NodeInfo:
    """One node of the file or module, as it is called there.

    `shape` is that of its first output, with a batch of 1 where the network has a batch; None if
    it is not known. `parameters` counts the stored weights that the node uses directly. A node
    that is not supported has a `reason`; a supported one may have a `note` on how it is read.
    """

    name: str
    operator: str
    shape: Shape | None
    parameters: int
    supported: bool = True
    reason: str = ""
    note: str = ""

    @property
    def complaint(self) -> str:
        """The line that an error message holds about an unsupported node."""
        where = f"{self.operator} at node {self.name!r}"
        return f"{where}: {self.reason}" if self.reason else where


def refuse_unsupported(source: str, nodes: Sequence[NodeInfo], supported: Iterable[str]) -> None:
    """`UnsupportedOperator` listing all nodes that are not supported, if there are any."""
    bad = [node.complaint for node in nodes if not node.supported]
    if bad:
        listed = "\n  ".join(bad)
        raise UnsupportedOperator(
            f"{source}: {len(bad)} of {len(nodes)} nodes cannot be bounded:\n  {listed}\n"
            "Rebuild these parts of the network from supported operators: "
            f"{', '.join(sorted(supported))}"
        )
