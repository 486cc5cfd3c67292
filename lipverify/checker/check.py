"""The check of a certificate: manifest, network, then the tree node by node (README 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipverify.checker.archive import Archive, Clock
from lipverify.checker.errors import Rejected, Unreadable
from lipverify.checker.exact import down, scalar, up
from lipverify.checker.forward import Known, Problem, bound, conflicts
from lipverify.checker.network import load
from lipverify.checker.objectives import read
from lipverify.checker.proofs import Closer
from lipverify.checker.region import region
from lipverify.checker.witness import confirm

LIMIT = 24 * 3600.0
MAX_PATH = 20_000
"""Splits above each other."""


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


@dataclass(frozen=True)
class Node:
    """A node after its steps and proofs: what is known, the objectives that are left, and why."""

    known: Known
    left: frozenset[int]
    failures: Sequence[str]
    rules: Sequence[str]


@dataclass(frozen=True)
class _Job:
    """A node to come: one side of its parent's split, or its parent with fewer objectives."""

    parent: Known
    left: frozenset[int]
    split: Mapping[str, Any] | None
    side: int
    depth: int

    def known(self) -> Known:
        """The closed half on one side; both halves hold the boundary."""
        known = self.parent.child()
        if self.split is not None and not known.empty:
            at, bits = scalar(self.split["at"], "split.at"), known.problem.bits
            layer, neuron = self.split.get("layer", -1), self.split.get("neuron")
            place = self.split["input"] if neuron is None else neuron
            known.cut(layer, place, -self.side, up(at, bits) if self.side < 0 else down(at, bits))
            known.use_conflicts()
        return known


class Session:
    """A proof, node by node in the tree's order: `examine` the next node's record, as often as it
    takes, then `settle` it. `Rejected` leaves everything as it was. The records have to conform to
    node.schema.json."""

    def __init__(self, manifest: Mapping[str, Any], network: Path, clock: Clock) -> None:
        bits, self.clock = manifest["precision"], clock
        net = load(network, manifest["network"])
        self.asked = read(manifest["property"], net.inputs, net.output.size, bits)
        self.problem = Problem(net, region(manifest["region"], net.inputs, bits), bits, clock)
        everything = frozenset(range(len(self.asked.objectives)))
        self.nodes, self.leaves, self.rules = 0, 0, dict[str, int]()
        self._jobs = [_Job(Known(self.problem), everything, None, 0, 0)]

    @property
    def open(self) -> int:
        """Nodes that are still to come, as far as is known."""
        return len(self._jobs)

    def examine(self, record: Mapping[str, Any]) -> Node:
        """The next node's steps and proofs; nothing is settled."""
        self.clock.check()
        job = self._jobs[-1]
        known = job.known()
        for step in record.get("steps", ()):
            if not known.empty:
                _step(known, step)
        closer, proofs = Closer(known, self.asked), record.get("proofs", ())
        left = closer.close(job.left, proofs)
        return Node(known, left, closer.failures, [proof["rule"] for proof in proofs])

    def settle(self, node: Node, split: Mapping[str, Any] | None = None) -> None:
        """The node is the leaf, or the parent of the nodes, that comes next."""
        depth = self._jobs[-1].depth
        if split is not None:
            if depth >= MAX_PATH:
                raise Rejected(f"more than {MAX_PATH} splits above each other")
            children = _children(node, split, depth + 1)
        elif node.left:
            why = "; ".join(node.failures[:3]) or "there is no proof of it"
            raise Rejected(
                f"a leaf leaves {len(node.left)} objectives open, such as {min(node.left)}: {why}"
            )
        else:
            children = []
            self.leaves += 1
        self._jobs[-1:] = reversed(children)
        self.nodes += 1
        for rule in node.rules:
            self.rules[rule] = self.rules.get(rule, 0) + 1


def _step(known: Known, step: Mapping[str, Any]) -> None:
    if step["step"] == "intervals":
        known.intervals()
    elif step["step"] == "bound":
        bound(known, step)
    else:
        conflicts(known, step)


def _children(node: Node, split: Mapping[str, Any], depth: int) -> list[_Job]:
    network, names = node.known.problem.network, set(split)
    if names == {"objectives"}:
        parts = [frozenset(part) for part in split["objectives"]]
        if not node.left <= frozenset().union(*parts):
            raise Rejected("a split over objectives leaves some out")
        return [_Job(node.known, node.left & part, None, 0, depth) for part in parts]
    if names == {"layer", "neuron", "at"}:
        sizes = [form.size for form in network.layers]
        if split["layer"] >= len(sizes) or split["neuron"] >= sizes[split["layer"]]:
            raise Rejected("a split names a neuron that does not exist")
    elif names != {"input", "at"}:
        raise Rejected("a split names a neuron, an input or objectives")
    elif split["input"] >= network.inputs:
        raise Rejected("a split names an input that does not exist")
    scalar(split["at"], "split.at")
    return [_Job(node.known, node.left, split, side, depth) for side in (-1, 1)]


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
        kind = manifest["kind"]
        if archive.has_tree != (kind == "proof") or ("witness" in manifest) != (kind != "proof"):
            raise Rejected("a proof has a tree and no witness, other kinds a witness and no tree")
        session = Session(manifest, network, Clock(limit_seconds))
        asked = session.asked
        claim = f"{asked.kind}, {len(asked.objectives)} objectives"
        if kind != "proof":
            entries = manifest["property"], manifest["witness"]
            return Report(True, confirm(session.problem, asked, kind, *entries), kind, claim)
        _walk(session, archive)
        reason = "every objective is proved on the whole region"
        return Report(True, reason, kind, claim, session.nodes, session.leaves, session.rules)
    except Rejected as error:
        return Report(False, str(error), kind, claim)
    except (RecursionError, MemoryError, OverflowError) as error:
        why = f"numbers or structures that are too large: {type(error).__name__}"
        return Report(False, why, kind, claim)


def _walk(session: Session, archive: Archive) -> None:
    """Every record of the tree."""
    for record in archive.nodes():
        if not session.open:
            raise Rejected(f"the tree is complete after {session.nodes} nodes; the file goes on")
        try:
            session.settle(session.examine(record), record.get("split"))
        except Rejected as error:
            raise Rejected(f"node {session.nodes + 1}: {error}") from None
    if session.open:
        raise Rejected(f"the tree ends after {session.nodes} nodes; {session.open} more are open")
