"""What an audit found: one answer per record, feature and region."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from lipverify.verdict import Reason


class Found(Enum):
    VERIFIED = "verified"
    FALSIFIED = "falsified"
    UNKNOWN = "unknown"


class Trend(Enum):
    """What is proved of a part of a feature's range."""

    INCREASING = "increasing"
    DECREASING = "decreasing"
    CONSTANT = "constant"
    OPEN = "open"


@dataclass(frozen=True)
class Part:
    """From `start` to `end` of the moving feature."""

    start: float
    end: float
    trend: Trend

    def as_json(self) -> list[Any]:
        return [self.start, self.end, self.trend.value]


@dataclass(frozen=True)
class Pair:
    """Two inputs [n] in the table's units, and the original network's asked output at them.

    `engine` ran them. Which of the two is `before` has the smaller value of the moving feature.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    output_before: float
    output_after: float
    engine: str

    def as_json(self) -> dict[str, Any]:
        return {
            "before": list(self.before),
            "after": list(self.after),
            "output_before": self.output_before,
            "output_after": self.output_after,
            "engine": self.engine,
        }


@dataclass(frozen=True)
class Certificate:
    """Certificates of an answer that the checker accepted: files by name with their digests."""

    files: tuple[tuple[str, str], ...]
    bytes: int
    seconds: float
    """Of writing."""
    check_seconds: float

    def as_json(self) -> dict[str, Any]:
        return {
            "files": [list(file) for file in self.files],
            "bytes": self.bytes,
            "seconds": self.seconds,
            "check_seconds": self.check_seconds,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Certificate":
        files = tuple((name, digest) for name, digest in data["files"])
        return Certificate(files, data["bytes"], data["seconds"], data["check_seconds"])


@dataclass(frozen=True)
class Answer:
    """One answer. `record` is the row's number in the table, 0 for the region of all inputs.

    `lower` and `upper` enclose the derivative (for `insensitive`: the change of the output).
    `pair` is the smallest confirmed change that shows the violation, `worst` the one with the
    largest effect that was found. `certificate` is there where certificates are asked for and one
    was accepted; a falsified answer without one says why in `detail`.
    """

    record: int
    question: int
    found: Found
    lower: float
    upper: float
    method: str
    seconds: float
    reason: Reason | None = None
    detail: str = ""
    pair: Pair | None = None
    worst: Pair | None = None
    parts: tuple[Part, ...] = ()
    certificate: Certificate | None = None
