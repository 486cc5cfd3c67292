"""Pairs of neurons that exclude each other, in certificates of the Jacobian.

Random networks of many neurons on few inputs have such pairs; values are the enumeration's.
"""

import re
from collections.abc import Callable
from math import inf, nextafter
from pathlib import Path

import pytest
import torch

from lipverify.bounds.conflicts import Conflict
from lipverify.checker import check
from lipverify.evidence.certificate.certify import prove
from lipverify.evidence.certificate.claim import lipschitz_claim
from lipverify.evidence.certificate.encode import floats
from lipverify.evidence.certificate.exclusions import conflicts_at, listed
from lipverify.evidence.certificate.model import Model, State
from lipverify.evidence.certificate.tree import NotProved
from lipverify.graph import ForwardGraph
from lipverify.graph.evaluate import evaluate
from lipverify.norms import norm_named
from lipverify.region import Box
from lipverify.spec.property import Lipschitz
from tests.certificate.cases import CONFIG, SECONDS, Case, make
from tests.certificate.edit import Head, Nodes, contents, edited
from tests.oracles.budget import quickly
from tests.oracles.networks import Weights

SIZES = ((2, 8, 2), (2, 6, 4, 1), (3, 7, 2))
NORMS = (("inf", "inf"), ("2", "inf"), ("1", "inf"), ("2", "2"))


def crowded(folder: Path, seed: int) -> Case:
    draw = Weights(seed)
    sizes = SIZES[seed % len(SIZES)]
    layers = [
        (draw(b, a, scale=1.5 / a**0.5), draw(b, scale=0.7))
        for a, b in zip(sizes, sizes[1:], strict=False)
    ]
    center = draw(sizes[0], scale=0.5)
    return make(folder, [*layers], Box(center - 0.75, center + 0.75))


def claimed(case: Case, norms: tuple[str, str], at_most: float):  # noqa: ANN201
    rows = tuple(tuple(row) for row in torch.eye(case.tiny.outputs).tolist())
    prop = Lipschitz(norm_named(norms[0]), norm_named(norms[1]), rows)
    return lipschitz_claim(case.box, prop, at_most)


def proved(case: Case, norms: tuple[str, str], at_most: float, folder: Path) -> bool:
    try:
        claim = claimed(case, norms, at_most)
        return prove(case.setting, claim, folder / "x.lipcert", CONFIG, SECONDS).accepted
    except NotProved:
        return False


def uses(nodes: Nodes) -> list[int]:
    """The nodes with a quadratic proof that names conflicts."""
    return [
        place
        for place, node in enumerate(nodes)
        if any("pairs" in proof for proof in node.get("proofs", []))
    ]


@pytest.mark.parametrize("seed", quickly(range(120), 6))
def test_certificates_with_conflicts_agree_with_the_enumeration(tmp_path: Path, seed: int) -> None:
    case, norms = crowded(tmp_path, seed), NORMS[(seed // 3) % len(NORMS)]
    value = case.regions.norm(*norms)
    for above in (1.0 + 1e-9, 1.02, 1.2):
        assert proved(case, norms, value * above, tmp_path), above
        below = nextafter(value * (1 - 1e-9), -inf).hex()

        def less(head: Head, nodes: Nodes, below: str = below) -> None:
            head["property"].update(at_most=below)

        assert not check(edited(tmp_path / "x.lipcert", less), case.path).accepted
    assert value == 0 or not proved(case, norms, value * (1 - 1e-6), tmp_path)


@pytest.mark.parametrize("seed", quickly(range(60), 6))
def test_conflicts_that_are_listed_hold_at_sampled_points(tmp_path: Path, seed: int) -> None:
    case = crowded(tmp_path, seed)
    model = Model(case.setting)
    state = State(case.box, model.intervals(case.box))
    steps, after, missed = listed(model, state, conflicts_at(model, state).pairs)
    assert len(after.listed) + len(missed) == len(conflicts_at(model, state).pairs)
    assert bool(steps) == bool(after.listed)
    draw = torch.Generator().manual_seed(seed)
    share = torch.rand(2000, case.box.size, generator=draw, dtype=torch.float64)
    points = case.box.lower + share * (case.box.upper - case.box.lower)
    values = {name: _values(case, name, points) for name in model.layers}
    for item in after.listed:
        (a, i, s), (b, j, t) = item.conflict.first, item.conflict.second
        both = (s * values[a][:, i] >= 0) & (t * values[b][:, j] >= 0)
        assert not bool(both.any()), item


def _values(case: Case, name: str, points: torch.Tensor) -> torch.Tensor:
    shaped = points.reshape(len(points), *case.network.graph.input_shape)
    found = evaluate(case.network.graph, {ForwardGraph.INPUT: shaped})
    return found[name].flatten(1)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path]:
    """A certificate that needs its conflicts: without them it is refused."""
    folder = tmp_path_factory.mktemp("conflicts")
    for seed in range(0, 300, 3):
        case = crowded(folder, seed)
        value = case.regions.norm("inf", "inf")
        for above in (1.02, 1.05, 1.1):
            if not proved(case, ("inf", "inf"), value * above, folder):
                continue
            path = folder / "x.lipcert"
            if not uses(contents(path)[1]):
                continue
            if not check(edited(path, unused), case.path).accepted:
                return case, path
    raise AssertionError("no random network needs its conflicts")


def unused(head: Head, nodes: Nodes) -> None:
    """All multipliers of conflicts are 0."""
    for node in nodes:
        for proof in node.get("proofs", []):
            if "phi" in proof:
                proof["phi"] = floats([0.0] * len(proof["pairs"]))


def _steps(nodes: Nodes) -> list[dict]:
    return [s for node in nodes for s in node.get("steps", []) if s["step"] == "conflicts"]


def _other_side(head: Head, nodes: Nodes) -> None:
    _steps(nodes)[0]["pairs"][0][2] *= -1


def _other_neuron(head: Head, nodes: Nodes) -> None:
    pairs = _steps(nodes)[0]["pairs"]
    pairs[0][1] = pairs[0][4]


def _missing(head: Head, nodes: Nodes) -> None:
    for node in nodes:
        node["steps"] = [s for s in node.get("steps", []) if s["step"] != "conflicts"]


def _one_weight(weight: float) -> Callable[[Head, Nodes], None]:
    def change(head: Head, nodes: Nodes) -> None:
        step = _steps(nodes)[0]
        step["weights"] = floats([weight] * len(step["pairs"]))

    return change


def _unknown_number(head: Head, nodes: Nodes) -> None:
    for node in nodes:
        for proof in node.get("proofs", []):
            if "pairs" in proof:
                proof["pairs"][0] = 10_000


def _wrong_size(head: Head, nodes: Nodes) -> None:
    for node in nodes:
        for proof in node.get("proofs", []):
            if "pairs" in proof:
                proof["phi"] = floats([1.0] * (len(proof["pairs"]) + 1))


def _invented(head: Head, nodes: Nodes) -> None:
    """Both sides of one neuron can hold at once: at 0."""
    step = _steps(nodes)[0]
    layer, neuron, _ = step["pairs"][0][:3]
    step["pairs"][0] = [layer, neuron, 1, layer, neuron, -1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_other_side, "is not proved"),
        (_other_neuron, "is not proved"),
        (_missing, "is not known"),
        (_one_weight(1.5), r"weight in \[0, 1\]"),
        (_one_weight(-0.25), r"weight in \[0, 1\]"),
        (_unknown_number, "is not known"),
        (_wrong_size, "phi"),
        (_invented, "is not proved"),
    ],
)
def test_altered_conflicts_are_refused(
    example: tuple[Case, Path], change: Callable[[Head, Nodes], None], why: str
) -> None:
    case, path = example
    assert check(path, case.path).accepted
    report = check(edited(path, change), case.path)
    assert not report.accepted
    assert re.search(why, report.reason), report.reason


def test_a_conflict_that_is_none_is_not_listed(tmp_path: Path) -> None:
    case = crowded(tmp_path, 0)
    model = Model(case.setting)
    state = State(case.box, model.intervals(case.box))
    (name, *_) = model.layers
    wrong = Conflict((name, 0, 1), (name, 0, -1), -1.0, -1.0)
    steps, after, missed = listed(model, state, [wrong])
    assert not steps and not after.listed and missed == {wrong}
