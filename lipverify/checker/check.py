"""The check of a certificate: manifest, network, then the tree node by node (README 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipverify.checker.archive import Archive, Clock
from lipverify.checker.errors import Rejected, Unreadable
from lipverify.checker.exact import down, scalar, up
from lipverify.checker.forward import Known, Problem
from lipverify.checker.network import load
from lipverify.checker.objectives import read
from lipverify.checker.proofs import Node
from lipverify.checker.region import region
from lipverify.checker.witness import confirm

LIMIT = 24 * 3600.0
MOST_OPEN = 20_000
"""Nodes that wait while others are checked."""


@dataclass(frozen=True)
class Report:
    """What was checked: counts, and the claim in words."""

    accepted: bool
    reason: str
    kind: str = ""
    claim: str = ""
    nodes: int = 0
    leaves: int = 0
    rules: Mapping[str, int] | None = None
    outputs: Sequence[Sequence[float]] = ()
    """The network's at each point of a witness, rounded to float64."""

    @property
    def verdict(self) -> str:
        return "accepted" if self.accepted else "rejected"


class Session:
    """A proof, node by node in the tree's order: `examine` the record of the next node, as often as
    it takes, then `settle` it. After `Rejected`, all is as before. Records conform to the schema.

    `waiting`: what is known at the nodes to come, and their objectives, the next one last.
    """

    def __init__(self, manifest: Mapping[str, Any], network: Path, clock: Clock) -> None:
        bits, net = manifest["precision"], load(network, manifest["network"])
        self.asked = read(manifest["property"], net.inputs, net.output.size, bits)
        self.problem = Problem(net, region(manifest["region"], net.inputs, bits), bits, clock)
        self.waiting = [(Known(self.problem), set(range(len(self.asked.objectives))))]
        self.nodes, self.leaves, self.rules = 0, 0, dict[str, int]()

    def examine(self, record: Mapping[str, Any]) -> Node:
        """The next node after the record's steps and proofs."""
        self.problem.clock.check()
        known, left = self.waiting[-1]
        node = Node(known.child(), self.asked, left)
        node.apply(record)
        return node

    def settle(self, record: Mapping[str, Any], node: Node) -> None:
        """Go on to the children, or behind a leaf; `node` is what `examine` made of the record."""
        children = _halves(node, record["split"]) if "split" in record else []
        if node.left and "split" not in record:
            why = "; ".join(node.failures[:3]) or "there is no proof of it"
            raise Rejected(
                f"a leaf leaves {len(node.left)} objectives open, such as {min(node.left)}: {why}"
            )
        if len(self.waiting) + len(children) > MOST_OPEN:
            raise Rejected(f"more than {MOST_OPEN} nodes are waiting")
        self.waiting[-1:] = reversed(children)
        self.nodes += 1
        self.leaves += "split" not in record
        for proof in record.get("proofs", ()):
            self.rules[proof["rule"]] = self.rules.get(proof["rule"], 0) + 1


def _halves(node: Node, split: Mapping[str, Any]) -> list[tuple[Known, set[int]]]:
    """What the children start from; both halves of an interval hold the boundary."""
    network, bits, names = node.known.problem.network, node.bits, set(split)
    if names == {"objectives"}:
        parts = [node.left & set(part) for part in split["objectives"]]
        if node.left - set().union(*parts):
            raise Rejected("a split over objectives leaves some out")
        return [(node.known, part) for part in parts]
    if names not in ({"layer", "neuron", "at"}, {"input", "at"}):
        raise Rejected("a split names a neuron, an input or objectives")
    sizes = {k: form.size for k, form in enumerate(network.layers)} | {-1: network.inputs}
    layer, neuron = split.get("layer", -1), split.get("neuron", split.get("input"))
    if neuron >= sizes.get(layer, 0):
        raise Rejected("a split names a neuron or an input that does not exist")
    at, halves = scalar(split["at"], "split.at"), [node.known.child(), node.known.child()]
    halves[0].cut(layer, neuron, 1, up(at, bits))
    halves[1].cut(layer, neuron, -1, down(at, bits))
    for half in halves:
        half.use_conflicts()
    return [(half, node.left) for half in halves]


def check(certificate: Path, network: Path, limit_seconds: float = LIMIT) -> Report:
    """Check; a certificate that proves nothing gives a report with the reason.

    Raises `Unreadable` for a network, or a certificate's file, that cannot be read.
    """
    if not certificate.is_file():
        raise Unreadable(f"{certificate}: no such file")
    kind = claim = ""
    try:
        archive = Archive(certificate)
        manifest = archive.manifest()
        kind, proof = manifest["kind"], manifest["kind"] == "proof"
        if archive.has_tree != proof or ("witness" in manifest) == proof:
            raise Rejected("a proof has a tree and no witness, other kinds a witness and no tree")
        session = Session(manifest, network, Clock(limit_seconds))
        asked = session.asked
        claim = f"{asked.kind}, {len(asked.objectives)} objectives"
        if not proof:
            entries = manifest["property"], manifest["witness"]
            text, outputs = confirm(session.problem, asked, kind, *entries)
            return Report(True, text, kind, claim, outputs=outputs)
        for record in archive.nodes():
            if not session.waiting:
                raise Rejected(
                    f"the tree is complete after {session.nodes} nodes; the file goes on"
                )
            try:
                session.settle(record, session.examine(record))
            except Rejected as error:
                raise Rejected(f"node {session.nodes + 1}: {error}") from None
        if session.waiting:
            more = len(session.waiting)
            raise Rejected(f"the tree ends after {session.nodes} nodes; {more} more are open")
        reason = "every objective is proved on the whole region"
        return Report(True, reason, kind, claim, session.nodes, session.leaves, session.rules)
    except Rejected as error:
        return Report(False, str(error), kind, claim)
    except (RecursionError, MemoryError, OverflowError) as error:
        why = f"numbers or structures that are too large: {type(error).__name__}"
        return Report(False, why, kind, claim)
