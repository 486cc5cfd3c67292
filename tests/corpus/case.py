"""A case of the corpus: a network, a region, what is claimed, and whether it is true."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import inf, nextafter
from pathlib import Path
from typing import Any

from tests.corpus.exact import Exact, Judge
from tests.corpus.net import Net
from tests.corpus.regions import BoxRegion, Region
from tests.corpus.smooth import SMOOTH, SmoothJudge

Norms = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Claim:
    """One property as it stands in a spec file.

    `truth` None: neither answer is wrong (the constant is not defined that finely, or bisection
    cannot tell). `exact` is the number that the property is about: the Lipschitz constant, the
    least slope in the claimed direction, or the least margin.
    """

    entry: dict[str, Any]
    truth: bool | None
    exact: Exact

    @property
    def kind(self) -> str:
        return self.entry["kind"]

    def __str__(self) -> str:
        return ", ".join(f"{key}: {value}" for key, value in self.entry.items())


@dataclass(frozen=True)
class Written:
    network: Path
    spec: Path
    """Its properties are `case.claims`, in order."""


@dataclass(frozen=True, eq=False)
class Case:
    """`attacks` says in a line which careless step gets this wrong.

    `norms` are pairs (input, output); `features` the inputs asked about for monotonicity of output
    0; `label` the class whose robustness is asked; `at_most` more thresholds than those next to
    the exact value.
    """

    name: str
    attacks: str
    net: Net
    region: Region
    norms: tuple[Norms, ...] = (("inf", "inf"),)
    features: tuple[int, ...] = (0,)
    label: int | None = None
    at_most: tuple[float, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def smooth(self) -> bool:
        return any(step.op in SMOOTH for step in self.net.steps)

    @cached_property
    def judge(self) -> Judge | SmoothJudge:
        if not self.smooth:
            return Judge(self.net, self.region)
        assert isinstance(self.region, BoxRegion), "smooth cases are about boxes"
        return SmoothJudge(self.net, self.region)

    @cached_property
    def exact(self) -> dict[Norms, Exact]:
        """The Lipschitz constant for each pair of norms."""
        return {norms: self.judge.norm(*norms) for norms in self.norms}

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        return (*self._lipschitz(), *self._monotonicity(), *self._robustness())

    def write(self, folder: Path) -> Written:
        """The ONNX file and one spec file with all claims."""
        folder.mkdir(parents=True, exist_ok=True)
        network = self.net.save(folder / f"{self.name}.onnx")
        spec = folder / f"{self.name}.yaml"
        content = {
            "lipverify": 1,
            "name": self.name,
            "network": network.name,
            "region": self.region.entry(),
            "properties": [claim.entry for claim in self.claims],
        }
        spec.write_text(json.dumps(content, indent=1, allow_nan=False))
        return Written(network, spec)

    def _lipschitz(self) -> Iterator[Claim]:
        for place, (norms, exact) in enumerate(self.exact.items()):
            entry = {"kind": "lipschitz", "input_norm": norms[0], "output_norm": norms[1]}
            yield Claim(entry, True, exact)
            thresholds = {*_neighbours(exact.high), *_neighbours(exact.low)}
            if place == 0:
                thresholds |= {*_neighbours(exact.low / 2)[:1], *self.at_most}
            else:
                thresholds = {min(thresholds, default=-1.0)}
            for at_most in sorted(t for t in thresholds if t >= 0):
                truth = _at_most(exact, Fraction(at_most))
                yield Claim({**entry, "at_most": at_most}, truth, exact)

    def _monotonicity(self) -> Iterator[Claim]:
        for index in self.features:
            if self.judge.moving[index]:
                least, most = self.judge.slopes(0, index)
                directions = {"increasing": least, "decreasing": Exact(-most.high, -most.low)}
                for direction, exact in directions.items():
                    entry = {"kind": "monotonicity", "output": 0, direction: [index]}
                    for margin in _margins(exact):
                        truth = _at_least(exact, Fraction(margin))
                        yield Claim({**entry, "margin": margin}, truth, exact)

    def _robustness(self) -> Iterator[Claim]:
        if self.label is None:
            return
        exact = self.judge.least_margin(self.label)
        for margin in _margins(exact):
            truth = _at_least(exact, Fraction(margin))
            if margin == 0.0:  # strictly: the class may not be shared
                truth = True if exact.low > 0 else (False if exact.high <= 0 else None)
            yield Claim({"kind": "robustness", "label": self.label, "margin": margin}, truth, exact)


def _at_most(exact: Exact, threshold: Fraction) -> bool | None:
    return True if exact.high <= threshold else (False if exact.low > threshold else None)


def _at_least(exact: Exact, threshold: Fraction) -> bool | None:
    return True if exact.low >= threshold else (False if exact.high < threshold else None)


def _neighbours(number: Fraction) -> tuple[float, ...]:
    """The largest float below the number, the number if it is one, and the smallest above it."""
    try:
        near = float(number)
    except OverflowError:
        return ()
    if Fraction(near) == number:
        return nextafter(near, -inf), near
    if Fraction(near) > number:
        return nextafter(near, -inf), near
    return near, nextafter(near, inf)


def _margins(exact: Exact) -> list[float]:
    """0, the largest float up to the exact number, and the smallest one above it."""
    found = {0.0}
    for end in {exact.low, exact.high}:
        largest = max((m for m in _neighbours(end) if Fraction(m) <= end), default=0.0)
        found |= {largest, nextafter(largest, inf)}
    return sorted(found)
