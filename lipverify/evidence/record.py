"""What is reported of a property: the record behind the table, the JSON and the exit code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lipverify.verdict import Falsified, Unknown, Verdict

CLAIM = "real"
"""Claims are about the network with its stored weights in real arithmetic."""


@dataclass(frozen=True, eq=False)
class Bound:
    """A proved two-sided interval."""

    lower: float
    upper: float

    def as_json(self) -> dict[str, float | None]:
        return {"lower": _finite(self.lower), "upper": _finite(self.upper)}


@dataclass(frozen=True, eq=False)
class Witness:
    """A point [n] at which the lower end of a bound is attained, and the output (row) it is of."""

    input: tuple[float, ...]
    output: int | None


@dataclass(frozen=True, eq=False)
class FeatureResult:
    """One feature of a monotonicity property: its proved derivative bounds and its verdict."""

    name: str
    direction: str
    verdict: Verdict
    bound: Bound


@dataclass(frozen=True)
class StageRecord:
    """What one stage gained: the interval after it (None: not known), and what it took.

    `detail` says why it was chosen, where there was a choice.
    """

    stage: str
    lower: float | None
    upper: float | None
    seconds: float
    subproblems: int
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "detail": self.detail or None,
            "lower": None if self.lower is None else _finite(self.lower),
            "upper": None if self.upper is None else _finite(self.upper),
            "seconds": self.seconds,
            "subproblems": self.subproblems,
        }


@dataclass(frozen=True)
class TimePoint:
    """The interval that was known after so many seconds and subproblems (None: not known)."""

    seconds: float
    lower: float | None
    upper: float | None
    subproblems: int

    def as_json(self) -> list[float | int | None]:
        ends = (None if end is None else _finite(end) for end in (self.lower, self.upper))
        return [self.seconds, *ends, self.subproblems]


@dataclass(frozen=True)
class CertificateRecord:
    """A certificate's file, and what the checker said of it.

    `at_most` is what a proof of a Lipschitz constant claims, `at_least` what a witness attains.
    """

    path: str
    sha256: str
    kind: str
    """proof, falsified or attained."""
    accepted: bool
    reason: str
    seconds: float
    """That writing it took; `check_seconds`: that checking it took."""
    check_seconds: float
    bytes: int
    nodes: int = 0
    leaves: int = 0
    at_most: float | None = None
    at_least: float | None = None

    def as_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "path": self.path,
            "sha256": self.sha256,
            "kind": self.kind,
            "checker": {
                "verdict": "accepted" if self.accepted else "rejected",
                "reason": self.reason,
                "seconds": self.check_seconds,
            },
            "seconds": self.seconds,
            "bytes": self.bytes,
        }
        if self.kind == "proof":
            record |= {"nodes": self.nodes, "leaves": self.leaves}
        if self.at_most is not None:
            record["at_most"] = self.at_most
        if self.at_least is not None:
            record["at_least"] = self.at_least
        return record


@dataclass(frozen=True, eq=False)
class PropertyResult:
    """The answer to one property of one spec file; the fields of DESIGN section 6."""

    spec: str
    name: str
    property: int
    kind: str
    verdict: Verdict
    bound: Bound | None
    witness: Witness | None
    method: str
    subproblems: int
    seconds: float
    network_sha256: str
    features: tuple[FeatureResult, ...] = ()
    resumed: bool = False
    """Whether it rests on a checkpoint: then it is as good as that file."""
    stages: tuple[StageRecord, ...] = ()
    remark: str = ""
    """What a reader of the verdict has to know beside it."""
    network: str = ""
    """The network's file, or what it was made from."""
    asked: str = ""
    """The property in a few words."""
    requirements: tuple[str, ...] = ()
    """Identifiers of the requirements that the property stands for."""
    timeline: tuple[TimePoint, ...] = ()
    """How the interval changed over time; of long searches, a choice of points."""
    spec_sha256: str = ""
    """Of the spec file's text; "" where there was none."""
    question_sha256: str = ""
    """Of region, property, feature names and preprocessing (`spec.digest.question_digest`)."""
    certificates: tuple[CertificateRecord, ...] = ()
    """The decisive one first; then others, such as of an interval's attained end."""

    def as_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "spec": self.spec,
            "name": self.name,
            "property": self.property,
            "kind": self.kind,
            **_verdict_json(self.verdict),
            "bound": None if self.bound is None else self.bound.as_json(),
            "witness": None
            if self.witness is None
            else {"input": list(self.witness.input), "output": self.witness.output},
            "counterexample": _counterexample_json(self.verdict),
            "method": self.method,
            "subproblems": self.subproblems,
            "seconds": self.seconds,
            "claim": CLAIM,
            "network_sha256": self.network_sha256,
            "asked": self.asked,
            "requirements": list(self.requirements),
            "spec_sha256": self.spec_sha256,
            "question_sha256": self.question_sha256,
            "stages": [stage.as_json() for stage in self.stages],
            "timeline": [point.as_json() for point in self.timeline],
        }
        if self.features:
            record["features"] = [
                {
                    "name": feature.name,
                    "direction": feature.direction,
                    **_verdict_json(feature.verdict),
                    "bound": feature.bound.as_json(),
                }
                for feature in self.features
            ]
        if self.network:
            record["network"] = self.network
        if self.remark:
            record["remark"] = self.remark
        if self.resumed:
            record["resumed"] = True
        if self.certificates:
            first, *others = self.certificates
            record["certificate"] = first.as_json()
            if others:
                record["more_certificates"] = [other.as_json() for other in others]
        return record


def _verdict_json(verdict: Verdict) -> Mapping[str, str | None]:
    if isinstance(verdict, Unknown):
        return {"verdict": verdict.word, "reason": f"{verdict.reason.value}: {verdict.detail}"}
    return {"verdict": verdict.word, "reason": None}


def _counterexample_json(verdict: Verdict) -> dict[str, Any] | None:
    if not isinstance(verdict, Falsified):
        return None
    found = verdict.counterexample
    return {
        "inputs": [point.tolist() for point in found.inputs],
        "outputs": [value.tolist() for value in found.outputs],
        "statement": found.statement,
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity: an unbounded end is null."""
    return value if abs(value) != float("inf") and value == value else None
