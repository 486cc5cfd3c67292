"""The record of a bundle, `record.json`: every field, its type and what it means.

The JSON Schema beside this file (`record.schema.json`) is made from these classes.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1
SCHEMA_FILE = "record.schema.json"

Status = Literal["established", "refuted", "open"]
"""What an argument may say of a property: claimed; broken by a counterexample; neither."""

Sha256 = str
Numbers = list[float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tool(_Part):
    name: str
    version: str


class Run(_Part):
    """One `lipverify verify --json FILE`: its command as given, and the machine."""

    lipverify: str
    command: list[str]
    started: str = Field(description="UTC, ISO 8601")
    seconds: float
    settings: dict[str, Any]
    threads: int
    jobs: int
    python: str
    packages: dict[str, str]
    system: str
    processor: str
    cores: int | None
    errors: list[str] = Field(description="specs that gave no answer, or not all of them")


class Network(_Part):
    path: str = Field(description="in the bundle")
    files: list[str] = Field(description="all files that it consists of, in the bundle")
    sha256: Sha256 = Field(description="of the file's bytes, then of those that hold its weights")
    opset: int
    parameters: int
    parameters_sha256: Sha256 = Field(
        description="of names, types, shapes and numbers of all stored tensors, by name"
    )
    inputs: int
    outputs: int
    graph: str | None = Field(description="drawing of forward and backward graph, in the bundle")


class Units(_Part):
    statement: str
    preprocessing: dict[str, Numbers]
    fixed_inputs: dict[str, Numbers]
    output: str = Field(description="the output that is asked about; empty: all")


class Ends(_Part):
    lower: Numbers
    upper: Numbers


class Region(_Part):
    shape: Literal["box", "ball", "ball in box"]
    norm: str | None
    center: Numbers | None
    radius: Numbers | None
    raw: Ends = Field(description="the smallest box around it, in the spec's units")
    normalised: Ends = Field(description="the same behind the preprocessing")
    volume_note: str


class SpecFile(_Part):
    path: str = Field(description="in the bundle")
    files: list[str] = Field(description="the spec and what it refers to, in the bundle")
    name: str
    sha256: Sha256 = Field(description="of the file's text as it was verified")
    text: str
    network: str
    units: Units
    features: list[str]
    region: Region
    verify: list[str] = Field(description="arguments that verify it again, inside the bundle")


class Interval(_Part):
    lower: float | None
    upper: float | None


class Replay(_Part):
    """A point, run again on the original network when the bundle was made."""

    confirmed: bool
    outputs: list[Numbers] = Field(description="of the original network, now")
    deviation: float | None = Field(description="largest difference to the outputs recorded")
    detail: str


class Counterexample(_Part):
    inputs: list[Numbers]
    outputs: list[Numbers]
    statement: str


class Witness(_Part):
    input: list[float | None]
    output: int | None


class Certificate(_Part):
    path: str
    sha256: Sha256
    checker: Literal["accepted", "rejected", "not checked"]
    detail: str
    claim: Literal["matches", "differs", "not compared"] = Field(
        description="whether it states what the property asks, or more"
    )
    claim_detail: str

    @property
    def proves(self) -> bool:
        """Whether it stands for the property."""
        return self.checker == "accepted" and self.claim == "matches"

    @property
    def denies(self) -> bool:
        """Whether a property may not be claimed beside it."""
        return self.checker == "rejected" or self.claim == "differs"

    @property
    def word(self) -> str:
        """What is to be said of it, in a few words."""
        if self.checker != "accepted" or self.claim == "matches":
            return self.checker
        return "accepted, but of another claim" if self.denies else "accepted, claim not compared"


class Feature(_Part):
    name: str
    direction: str
    verdict: str
    bound: Interval


class Stage(_Part):
    stage: str
    detail: str | None
    lower: float | None
    upper: float | None
    seconds: float
    subproblems: int


class Property(_Part):
    id: str
    spec: str
    index: int
    kind: str
    asked: str
    requirements: list[str]
    norms: dict[str, str]
    threshold: float | None
    verdict: Literal["verified", "falsified", "unknown"]
    reason: str | None
    status: Status
    claim: str = Field(description="real: the network with its stored weights in real arithmetic")
    bounded_set: str
    bound: Interval | None
    gap: float | None = Field(description="upper / lower - 1, where both ends are positive")
    features: list[Feature]
    method: str
    subproblems: int
    seconds: float
    stages: list[Stage]
    timeline: list[tuple[float, float | None, float | None, int]] = Field(
        description="seconds, lower, upper, subproblems"
    )
    witness: Witness | None
    counterexample: Counterexample | None
    replay: Replay | None
    certificate: Certificate | None
    more_certificates: list[Certificate] = Field(
        description="of a property that takes several, or of its witness"
    )
    remark: str
    question_sha256: Sha256
    resumed: bool
    run: int = Field(description="its position in `runs`")


class Assumption(_Part):
    id: str
    text: str


class Coverage(_Part):
    specs: int
    properties: int
    verified: int
    falsified: int
    unknown: int
    certified: int = Field(
        description="verified, with a certificate that states it and that the checker accepts"
    )
    unanswered: list[str] = Field(description="properties of the specs without any result")


class Trace(_Part):
    requirement: str
    property: str
    asked: str
    verdict: str
    status: Status
    certificate: str


class Record(_Part):
    """The whole record. Paths are relative to the bundle's folder."""

    format: Literal[1]
    tool: Tool
    runs: list[Run]
    networks: list[Network]
    specs: list[SpecFile]
    properties: list[Property]
    assumptions: list[Assumption]
    limits: list[str]
    coverage: Coverage
    traceability: list[Trace]
    checker: str
    reproduce: list[str] = Field(description="commands, to be run in the bundle's folder")

    def as_text(self) -> str:
        """JSON, with every number as it round-trips."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"

    def network(self, path: str) -> Network:
        return next(network for network in self.networks if network.path == path)

    def spec(self, path: str) -> SpecFile:
        return next(spec for spec in self.specs if spec.path == path)


def schema_text() -> str:
    """The JSON Schema of `Record`, as it is published."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Record.model_json_schema(),
    }
    return json.dumps(schema, indent=1) + "\n"


@cache
def published_schema() -> str:
    """The schema that is shipped."""
    return files("lipverify.evidence.bundle").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")
