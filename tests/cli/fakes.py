"""Stand-ins for networks and for the verification itself: answers are read off `at_most`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lipverify.api import Progress
from lipverify.config import VerifyConfig
from lipverify.errors import NetworkError
from lipverify.evidence import Bound, PropertyResult, Witness
from lipverify.reading import AS_IT_IS, Reading
from lipverify.spec import Spec
from lipverify.verdict import Counterexample, Falsified, Reason, Unknown, Verdict, Verified

VERIFIED, FALSIFIED, UNKNOWN, CRASH, INTERRUPT, REFUSE = 1, 2, 3, 4, 5, 6
"""Values of `at_most` in specs, and what becomes of such a property."""

STATEMENT = "12.5 > 2 at a point"


@dataclass(frozen=True)
class FakeGraph:
    input_size: int = 3
    output_size: int = 2


@dataclass(frozen=True)
class FakeNetwork:
    graph: FakeGraph = FakeGraph()
    sha256: str = "abc"


@dataclass
class Loads:
    """A stand-in for `load_network` that keeps count."""

    count: int = 0

    def __call__(self, path: Path, *, reading: Reading = AS_IT_IS) -> FakeNetwork:
        self.count += 1
        if "broken" in str(path):
            raise NetworkError(f"{path}: no ONNX file")
        if "weird" in str(path):
            raise ZeroDivisionError("in the reader")
        return FakeNetwork()


def verdict(asked: float) -> Verdict:
    match asked:
        case 2:
            point = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
            found = Counterexample((point,), (torch.ones(2, dtype=torch.float64),), STATEMENT)
            return Falsified(found)
        case 3:
            return Unknown(Reason.BOUND, "the bound does not decide it")
        case _:
            return Verified()


def verify_spec(
    network: FakeNetwork,
    spec: Spec,
    config: VerifyConfig,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[PropertyResult]:
    for index, asked in enumerate(spec.properties):
        assert on_progress is not None
        on_progress(Progress(index, "fake stage", 1.0, 2.0, 1, 0.25))
        code: Any = getattr(asked, "at_most", VERIFIED)
        if code == CRASH:
            raise RuntimeError("boom [bold]")
        if code == INTERRUPT:
            raise KeyboardInterrupt
        if code == REFUSE:
            raise NetworkError("layer 'x' is not supported")
        yield PropertyResult(
            spec=str(spec.path),
            name=spec.name,
            property=index,
            kind=asked.kind,
            verdict=verdict(code),
            bound=Bound(1.0, float("inf")),
            witness=Witness((0.5, float("nan"), 1.5), 0),
            method="fake",
            subproblems=1,
            seconds=0.5,
            network_sha256=network.sha256,
        )
