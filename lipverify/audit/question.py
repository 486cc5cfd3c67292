"""What an audit asks: features, what is expected of them, and in which regions."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lipverify.audit.columns import Layout
from lipverify.audit.conditions import Condition
from lipverify.spec.document import Document


class Direction(Enum):
    INCREASING = "increasing"
    DECREASING = "decreasing"
    INSENSITIVE = "insensitive"

    @property
    def sign(self) -> int:
        """Of the derivative that is expected."""
        assert self is not Direction.INSENSITIVE
        return 1 if self is Direction.INCREASING else -1


class RegionKind(Enum):
    LINE = "line"
    NEIGHBOURHOOD = "neighbourhood"
    JOINT = "joint"
    GLOBAL = "global"


@dataclass(frozen=True)
class Region:
    """Which other inputs are looked at, around each record or (GLOBAL) at once.

    `radius` by feature, in the table's units, or else `share` of each feature's range: how far the
    others move in a neighbourhood. `features` move together in a joint region.
    """

    name: str
    kind: RegionKind
    radius: tuple[tuple[str, float], ...] = ()
    share: float = 0.0
    features: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()

    @property
    def per_record(self) -> bool:
        return self.kind is not RegionKind.GLOBAL


@dataclass(frozen=True)
class Question:
    """One feature in one region; `at_most` is the change that an insensitive output may show."""

    feature: str
    direction: Direction
    region: Region
    at_most: float | None = None


@dataclass(frozen=True)
class Output:
    """What the questions are about: weights [m] of the network's outputs, and what people call it.

    With `probability`, it is the probability of that class (or its log odds): the network's own
    output, or, with `link`, what softmax or sigmoid make of its outputs.
    """

    weights: tuple[float, ...] | None = None
    index: int | None = None
    probability: int | None = None
    link: str = ""
    log_odds: bool = False
    label: str = ""


@dataclass(frozen=True)
class TableFile:
    path: Path
    separator: str = ","
    missing: tuple[str, ...] = ("",)


@dataclass(frozen=True, eq=False)
class Audit:
    """An audit file that is sound by itself; files are not opened yet."""

    path: Path
    name: str
    network: Path
    table: TableFile
    layout: Layout
    output: Output
    questions: tuple[Question, ...]
    margin: float
    document: Document
    sha256: str
    extra: tuple[Path, ...] = ()
    """Other files that it was read from."""
