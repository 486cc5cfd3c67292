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
    outputs: Sequence[Sequence[float]] = ()
    """The network's at each point of a witness, rounded to float64."""

    @property
    def verdict(self) -> str:
        return "accepted" if self.accepted else "rejected"


@dataclass(frozen=True)
class _Job:
    """A node to come: made from its parent, or the root's own knowledge."""

    parent: Known
    left: frozenset[int]
    split: Mapping[str, Any] | None
    side: int
    depth: int


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
        clock = Clock(limit_seconds)
        bits = manifest["precision"]
        net = load(network, manifest["network"])
        asked = read(manifest["property"], net.inputs, net.output.size, bits)
        claim = f"{asked.kind}, {len(asked.objectives)} objectives"
        problem = Problem(net, region(manifest["region"], net.inputs, bits), bits, clock)
        if kind != "proof":
            if archive.has_tree or "witness" not in manifest:
                raise Rejected(f"a certificate of kind {kind} has a witness and no tree")
            entry, witness = manifest["property"], manifest["witness"]
            text, outputs = confirm(problem, asked, kind, entry, witness)
            return Report(True, text, kind, claim, outputs=outputs)
        if not archive.has_tree or "witness" in manifest:
            raise Rejected("a proof has a tree and no witness")
        return _tree(archive, problem, Closer(asked), claim)
    except Rejected as error:
        return Report(False, str(error), kind, claim)
    except (RecursionError, MemoryError, OverflowError) as error:
        return Report(
            False, f"numbers or structures that are too large: {type(error).__name__}", kind, claim
        )


def _tree(archive: Archive, problem: Problem, closer: Closer, claim: str) -> Report:
    everything = frozenset(range(len(closer.asked.objectives)))
    jobs = [_Job(Known(problem), everything, None, 0, 0)]
    nodes = leaves = 0
    rules: dict[str, int] = {}
    lines = archive.nodes()
    while jobs:
        problem.clock.check()
        job = jobs.pop()
        record = next(lines, None)
        if record is None:
            raise Rejected(f"the tree ends after {nodes} nodes; {len(jobs) + 1} more are open")
        nodes += 1
        try:
            known = _child(job)
            left = job.left
            if not known.empty:
                for step in record.get("steps", ()):
                    if not known.empty:
                        _step(known, step)
            proofs = record.get("proofs", ())
            closed = set(left) if known.empty else closer.close(known, set(left), proofs)
            for proof in proofs:
                rules[proof["rule"]] = rules.get(proof["rule"], 0) + 1
            left = left - closed
            split = record.get("split")
            if split is None:
                leaves += 1
                if left:
                    why = "; ".join(closer.failures[:3]) or "there is no proof of it"
                    raise Rejected(
                        f"a leaf leaves {len(left)} objectives open, such as {min(left)}: {why}"
                    )
                continue
            if job.depth >= MAX_PATH:
                raise Rejected(f"more than {MAX_PATH} splits above each other")
            jobs.extend(reversed(_children(known, left, split, job.depth + 1)))
        except Rejected as error:
            raise Rejected(f"node {nodes}: {error}") from None
    if next(lines, None) is not None:
        raise Rejected(f"the tree is complete after {nodes} nodes; the file goes on")
    return Report(
        True, "every objective is proved on the whole region", "proof", claim, nodes, leaves, rules
    )


def _step(known: Known, step: Mapping[str, Any]) -> None:
    if step["step"] == "intervals":
        known.intervals()
        known.use_conflicts()
    elif step["step"] == "bound":
        bound(known, step)
    else:
        conflicts(known, step)


def _children(
    known: Known, left: frozenset[int], split: Mapping[str, Any], depth: int
) -> list[_Job]:
    network = known.problem.network
    names = set(split)
    if names == {"objectives"}:
        parts = [frozenset(part) for part in split["objectives"]]
        if not left <= frozenset().union(*parts):
            raise Rejected("a split over objectives leaves some out")
        return [_Job(known, left & part, None, 0, depth) for part in parts]
    if names == {"layer", "neuron", "at"}:
        if (
            split["layer"] >= len(network.layers)
            or split["neuron"] >= network.layers[split["layer"]].size
        ):
            raise Rejected("a split names a neuron that does not exist")
    elif names != {"input", "at"}:
        raise Rejected("a split names a neuron, an input or objectives")
    elif split["input"] >= network.inputs:
        raise Rejected("a split names an input that does not exist")
    scalar(split["at"], "split.at")
    return [_Job(known, left, split, side, depth) for side in (-1, 1)]


def _child(job: _Job) -> Known:
    """The closed half on one side; both halves hold the boundary."""
    known = Known(job.parent.problem, job.parent)
    if job.split is not None and not known.empty:
        at, bits = scalar(job.split["at"], "split.at"), known.problem.bits
        ends = (None, up(at, bits)) if job.side < 0 else (down(at, bits), None)
        if "input" in job.split:
            known.cut_box(job.split["input"], *ends)
        else:
            known.cut(job.split["layer"], job.split["neuron"], *ends)
            known.use_conflicts()
    return known
