"""No certificate of a false claim of the corpus is accepted: not what the writer makes of it, not a
certificate of a true claim that is altered to say it, no tree of random splits and slopes.

That a true claim has no certificate is allowed, and counted.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import inf, nextafter
from pathlib import Path
from typing import Any

import pytest

from lipverify.bounds.methods import Setting
from lipverify.checker import Unreadable, check
from lipverify.checker.network import load
from lipverify.config import PreactivationConfig, VerifyConfig
from lipverify.errors import LipverifyError, NetworkMismatch
from lipverify.evidence.certificate.certify import prove
from lipverify.evidence.certificate.claim import Claim as Stated
from lipverify.evidence.certificate.claim import (
    OutputClaim,
    lipschitz_claim,
    monotonicity_claim,
)
from lipverify.evidence.certificate.encode import floats, network_json, precision_for, region_json
from lipverify.evidence.certificate.questions import class_claim
from lipverify.evidence.certificate.tree import NotProved
from lipverify.network import Network
from lipverify.spec import Spec
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Robustness
from tests.certificate.edit import edited, lines, stored
from tests.checker import handmade
from tests.corpus import CASES, Case
from tests.corpus.asking import loaded
from tests.corpus.case import Claim
from tests.oracles.budget import quickly

CONFIG = VerifyConfig()
SECONDS = 1.0
"""For the writer, per claim: what is not proved until then is allowed to be open."""
LIMIT = 20.0
TREES = 6
"""Random certificates per false claim."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A case as files, and its claims as the certificates' writer knows them."""

    case: Case
    network: Network
    spec: Spec

    @cached_property
    def setting(self) -> Setting:
        return Setting(self.network, self.spec.region, PreactivationConfig())

    def claims(self) -> Iterator[tuple[Claim, Stated]]:
        for claim, prop in zip(self.case.claims, self.spec.properties, strict=True):
            yield claim, self._meant(claim, prop)

    def _meant(self, claim: Claim, prop: Property) -> Stated:
        region = self.spec.region
        match prop:
            case Lipschitz():
                at_most = prop.at_most
                if at_most is None:  # the interval: its best upper end is a claim
                    at_most = above(claim.exact.high)
                return lipschitz_claim(region, prop, at_most)
            case Monotonicity():
                return monotonicity_claim(region, prop)
            case Robustness():
                return class_claim(self.network, prop, region)
        raise AssertionError(prop)

    def accepted(self, certificate: Path) -> bool:
        source = Path(self.network.source)
        return check(certificate, source, LIMIT).accepted


def above(number: Fraction) -> float:
    """A float above it, the largest one at most."""
    try:
        return min(nextafter(float(number), inf), sys.float_info.max)
    except OverflowError:
        return sys.float_info.max


def asked(case: Case, folder: Path) -> Asked:
    try:
        return Asked(case, *loaded(case, folder))
    except NetworkMismatch as error:
        pytest.skip(f"refused before any work: {error}")


def written(asked: Asked, claim: Stated, path: Path) -> bool:
    try:
        return prove(asked.setting, claim, path, CONFIG, SECONDS).accepted
    except (NotProved, LipverifyError, Unreadable):
        return False


def judge(case: Case, folder: Path) -> Counter[str]:
    found, counts = asked(case, folder), Counter[str]()
    path = folder / "x.lipcert"
    proved: dict[str, Path] = {}
    every = list(found.claims())
    for number, (claim, meant) in enumerate(every):
        if claim.truth is False:
            continue
        if written(found, meant, path):
            proved[_question(meant)] = path.rename(folder / f"{number}.lipcert")
            counts["certified"] += 1
        else:
            counts["open"] += 1
    for claim, meant in every:
        if claim.truth is not False:
            continue
        counts["false"] += 1
        assert not written(found, meant, path), f"{case.attacks}: {claim}"
        if (true := proved.get(_question(meant))) is not None:
            said = _property(meant)
            altered = edited(true, lambda head, _, said=said: head.update(property=said))
            assert not found.accepted(altered), f"{case.attacks}: {claim}, altered"
            counts["altered"] += 1
    print(f"{case}: {dict(counts)}")  # noqa: T201 (shown by pytest -s, and on failure)
    return counts


def _property(claim: Stated) -> dict[str, Any]:
    return json.loads(json.dumps(claim.asked))


def _question(claim: Stated) -> str:
    """The property without its number: claims of one question differ in it alone."""
    said = _property(claim)
    for clause in said.get("unsafe", ()):
        clause.pop("offsets")
    return json.dumps({k: v for k, v in said.items() if k not in ("at_most", "margin")})


@pytest.mark.parametrize("case", quickly(CASES, 8), ids=str)
def test_no_false_claim_is_certified(case: Case, tmp_path: Path) -> None:
    counts = judge(case, tmp_path)
    assert counts["certified"] + counts["open"] + counts["false"] == len(case.claims)


def manifest(asked: Asked, claim: Stated) -> dict[str, Any]:
    box = claim.region.bounding
    source, precision = Path(asked.network.source), precision_for([box.lower, box.upper, box.width])
    region = region_json(claim.region)
    head = handmade.manifest(source, region, _property(claim), precision=precision)
    return {**head, "network": network_json(asked.network)}


class Guess:
    """Random certificates that are well formed: any choice is allowed, none may prove too much."""

    def __init__(self, sizes: list[int], claim: Stated, seed: str) -> None:
        self.sizes, self.box = sizes, claim.region.bounding
        self.outputs_only = isinstance(claim, OutputClaim)
        self.draw = random.Random(seed)

    def numbers(self, count: int, spread: float) -> str:
        few = (0.0, 1.0, -1.0, 0.5, spread)
        return floats([self.draw.choice((*few, self.draw.gauss(0, spread))) for _ in range(count)])

    def multipliers(self) -> list[dict[str, Any]]:
        found = []
        for layer, size in enumerate(self.sizes):
            if self.draw.random() < 0.5:
                names = [n for n in ("lower", "upper", "beta") if self.draw.random() < 0.5]
                found.append({"layer": layer, **{n: self.numbers(size, 1.0) for n in names}})
        return found

    def split(self) -> dict[str, Any]:
        if self.draw.random() < 0.5 and self.sizes:
            layer = self.draw.randrange(len(self.sizes))
            at = self.draw.choice((0.0, 0.0, self.draw.gauss(0, 1)))
            neuron = self.draw.randrange(self.sizes[layer])
            return {"layer": layer, "neuron": neuron, "at": at.hex()}
        index = self.draw.randrange(len(self.box.lower))
        low, high = self.box.lower[index].item(), self.box.upper[index].item()
        share = self.draw.choice((0.0, 0.5, 1.0, self.draw.random()))
        return {"input": index, "at": (low + share * (high - low)).hex()}

    def node(self, leaf: bool) -> dict[str, Any]:
        steps: list[dict[str, Any]] = [{"step": "intervals"}]
        steps += [
            {"step": "bound", "layer": layer, "neurons": "all", "sides": "both", **extra}
            for layer in range(len(self.sizes))
            for extra in ({}, {"multipliers": self.multipliers()})
        ]
        proofs: list[dict[str, Any]] = [{"rule": "empty", "multipliers": self.multipliers()}]
        if self.outputs_only:
            linear = {"rule": "linear", "objectives": "all"}
            proofs += [linear, {**linear, "multipliers": self.multipliers()}]
        else:
            proofs += [{"rule": rule, "objectives": "all"} for rule in ("mean-split", "backward")]
        return {"steps": steps, "proofs": proofs, **({} if leaf else {"split": self.split()})}

    def tree(self, depth: int) -> list[dict[str, Any]]:
        if depth == 0:
            return [self.node(leaf=True)]
        return [self.node(leaf=False), *self.tree(depth - 1), *self.tree(depth - 1)]


@pytest.mark.parametrize("case", quickly(CASES, 40), ids=str)
def test_random_certificates_prove_nothing_false(case: Case, tmp_path: Path) -> None:
    """Every false claim, and by the same trees the true ones, of which some are proved."""
    found = asked(case, tmp_path)
    try:
        network = load(Path(found.network.source), network_json(found.network))
    except Unreadable as error:
        pytest.skip(f"the checker refuses the network: {error}")
    sizes = [form.size for form in network.layers]
    counts: Counter[str] = Counter()
    for number, (claim, meant) in enumerate(found.claims()):
        head = manifest(found, meant)
        for trial in range(TREES):
            guess = Guess(sizes, meant, f"{case} {number} {trial}")
            nodes = lines(guess.tree(trial % 3))
            path = stored(tmp_path / "x.lipcert", json.dumps(head), nodes)
            accepted = found.accepted(path)
            counts[f"{claim.truth} {accepted}"] += 1
            assert not (accepted and claim.truth is False), f"{case.attacks}: {claim}"
    print(f"{case}: {dict(counts)}")  # noqa: T201
