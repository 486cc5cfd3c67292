"""Certificates that were written by the search and then altered: each is refused, with its reason.

Where altered multipliers would still prove the claim they are allowed to (they are choices); so the
claim here is close to the value, and what is altered is what its proof needs.
"""

import base64
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
import torch

from lipverify.checker import Unreadable, check
from lipverify.evidence.certificate.certify import prove
from lipverify.evidence.certificate.claim import lipschitz_claim, output_claim
from lipverify.norms import norm_named
from lipverify.query_output import clause
from lipverify.region import Box
from lipverify.spec.property import Lipschitz
from tests.certificate.cases import CONFIG, Case, make
from tests.certificate.edit import Head, Nodes, contents, edited, lines, stored
from tests.oracles.networks import Weights

LIMIT = 20.0
"""Seconds within which a hostile file has to be refused."""


def _case(folder: Path) -> Case:
    draw = Weights(2)
    layers = [(draw(5, 3), draw(5, scale=0.3)), (draw(4, 5), draw(4)), (draw(2, 4), draw(2))]
    center = torch.zeros(3, dtype=torch.float64)
    return make(folder, [(w, b) for w, b in layers], Box(center - 0.75, center + 0.75))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return _case(tmp_path_factory.mktemp("tampering"))


@pytest.fixture(scope="module")
def steep(case: Case) -> Path:
    """linf -> linf, just above the value: neurons are split, quadratic and mean-split leaves."""
    rows = ((1.0, 0.0), (0.0, 1.0))
    linf = norm_named("inf")
    value = case.regions.norm("inf", "inf")
    claim = lipschitz_claim(case.box, Lipschitz(linf, linf, rows), 1.001 * value)
    path = case.path.with_name("steep.lipcert")
    assert prove(case.setting, claim, path, CONFIG, 60.0).accepted
    return path


@pytest.fixture(scope="module")
def output(case: Case) -> Path:
    """f_0 - f_1 stays below its maximum and a bit: neurons are split, linear leaves."""
    row = torch.tensor([1.0, -1.0], dtype=torch.float64)
    largest = case.regions.maximum(row)
    claim = output_claim(case.box, [clause([(-row).tolist()], [largest + 1e-3], 2)])
    path = case.path.with_name("output.lipcert")
    assert prove(case.setting, claim, path, CONFIG, 60.0).accepted
    return path


def numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f8").copy()


def text(values: Any) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f8").tobytes()).decode()


def proof(nodes: Nodes, rule: str) -> dict[str, Any]:
    """The first proof by that rule."""
    return next(p for node in nodes for p in node.get("proofs", ()) if p["rule"] == rule)


def split(nodes: Nodes) -> dict[str, Any]:
    return next(node["split"] for node in nodes if "layer" in node.get("split", {}))


def times(entry: dict[str, Any], key: str, factor: float) -> None:
    entry[key] = text(factor * numbers(entry[key]))


def lower_claim(head: Head, nodes: Nodes) -> None:
    """Below the value: no multipliers can prove it."""
    head["property"]["at_most"] = (float.fromhex(head["property"]["at_most"]) / 1.01).hex()


def wider(head: Head, nodes: Nodes) -> None:
    head["region"]["upper"] = text(numbers(head["region"]["upper"]) + 2.0)


def other_norm(head: Head, nodes: Nodes) -> None:
    head["property"]["output_norm"] = "1"


def other_rows(head: Head, nodes: Nodes) -> None:
    head["property"]["rows"] = text(3 * numbers(head["property"]["rows"]))


def missing_leaf(head: Head, nodes: Nodes) -> None:
    del nodes[-1]


def missing_node(head: Head, nodes: Nodes) -> None:
    del nodes[1]


def repeated_leaf(head: Head, nodes: Nodes) -> None:
    nodes.append(nodes[-1])


def moved_split(head: Head, nodes: Nodes) -> None:
    """So far that one half is the whole."""
    split(nodes)["at"] = (1e3).hex()


def other_neuron(head: Head, nodes: Nodes) -> None:
    split(nodes)["neuron"] = 10_000


def no_proof(head: Head, nodes: Nodes) -> None:
    nodes[-1].pop("proofs")


def unsplit(head: Head, nodes: Nodes) -> None:
    """The first split is left out, with one of its halves."""
    first = next(k for k, node in enumerate(nodes) if "layer" in node.get("split", {}))
    del nodes[first]["split"]
    del nodes[first + 1 :]


def theta_sign(head: Head, nodes: Nodes) -> None:
    times(proof(nodes, "quadratic"), "theta", -1.0)


def theta_short(head: Head, nodes: Nodes) -> None:
    entry = proof(nodes, "quadratic")
    entry["theta"] = text(numbers(entry["theta"])[:-1])


def kappa_negative(head: Head, nodes: Nodes) -> None:
    times(proof(nodes, "quadratic"), "kappa", -1.0)


def kappa_small(head: Head, nodes: Nodes) -> None:
    times(proof(nodes, "quadratic"), "kappa", 0.5)


def blend_large(head: Head, nodes: Nodes) -> None:
    entry = proof(nodes, "quadratic")
    entry["blend"] = text(numbers(entry["blend"]) + 1.5)


def scale_zero(head: Head, nodes: Nodes) -> None:
    times(proof(nodes, "quadratic"), "scale", 0.0)


def gate_twice(head: Head, nodes: Nodes) -> None:
    entry = proof(nodes, "quadratic")
    entry["gates"][0] = entry["gates"][1]


def not_a_number(head: Head, nodes: Nodes) -> None:
    entry = proof(nodes, "quadratic")
    entry["theta"] = text(np.full(len(numbers(entry["theta"])), np.nan))


def infinite(head: Head, nodes: Nodes) -> None:
    head["region"]["upper"] = text(np.full(3, np.inf))


def other_objective(head: Head, nodes: Nodes) -> None:
    proof(nodes, "quadratic")["objective"] = 17


def other_rule(head: Head, nodes: Nodes) -> None:
    proof(nodes, "quadratic")["rule"] = "trust-me"


def wrong_digest(head: Head, nodes: Nodes) -> None:
    head["network"]["sha256"] = "0" * 64


def no_precision(head: Head, nodes: Nodes) -> None:
    head["precision"] = 8


def other_version(head: Head, nodes: Nodes) -> None:
    head["lipcert"] = 2


def extra_key(head: Head, nodes: Nodes) -> None:
    nodes[0]["bound"] = "0x1.0p+0"


def as_falsified(head: Head, nodes: Nodes) -> None:
    head["kind"] = "falsified"


def plain_number(head: Head, nodes: Nodes) -> None:
    head["property"]["at_most"] = 3.5


def long_region(head: Head, nodes: Nodes) -> None:
    head["region"]["lower"] = text(np.zeros(4))


STEEP = (
    lower_claim, wider, other_norm, other_rows, missing_leaf, missing_node, repeated_leaf,
    moved_split, other_neuron, no_proof, unsplit, theta_sign, theta_short, kappa_negative,
    kappa_small, blend_large, scale_zero, gate_twice, not_a_number, infinite, other_objective,
    other_rule, wrong_digest, no_precision, other_version, extra_key, as_falsified, plain_number,
    long_region,
)  # fmt: skip


def refused(path: Path, network: Path) -> str:
    """The reason; it is found in time."""
    started = monotonic()
    try:
        report = check(path, network, LIMIT)
    except Unreadable as error:
        return str(error)
    finally:
        assert monotonic() - started < 2 * LIMIT
    assert not report.accepted, report
    assert report.reason
    return report.reason


def test_untouched(case: Case, steep: Path, output: Path) -> None:
    for path in (steep, output):
        report = check(edited(path, lambda head, nodes: None), case.path)
        assert report.accepted and report.nodes > 3, report


@pytest.mark.parametrize("change", STEEP, ids=lambda change: change.__name__)
def test_altered_proofs_of_slopes(
    case: Case, steep: Path, change: Callable[[Head, Nodes], None]
) -> None:
    refused(edited(steep, change), case.path)


def test_a_shifted_region(case: Case, tmp_path: Path) -> None:
    """A proof for where the network is flatter does not hold where it is steeper."""
    rows = ((1.0, 0.0), (0.0, 1.0))
    linf = norm_named("inf")
    step = torch.full((3,), 2.0, dtype=torch.float64)
    away = Case(case.path, case.tiny, Box(case.box.lower + step, case.box.upper + step))
    value = away.regions.norm("inf", "inf")
    assert 1.01 * value < case.regions.norm("inf", "inf")
    claim = lipschitz_claim(away.box, Lipschitz(linf, linf, rows), 1.001 * value)
    path = tmp_path / "away.lipcert"
    assert prove(away.setting, claim, path, CONFIG, 60.0).accepted

    def shifted(head: Head, nodes: Nodes) -> None:
        head["region"] = {"lower": text(case.box.lower), "upper": text(case.box.upper)}

    refused(edited(path, shifted), case.path)


def beta_sign(head: Head, nodes: Nodes) -> None:
    for node in nodes:
        for entry in (*node.get("steps", ()), *node.get("proofs", ())):
            for given in entry.get("multipliers", ()):
                if "beta" in given:
                    times(given, "beta", -1.0)


def steep_slopes(head: Head, nodes: Nodes) -> None:
    """Valid, but far above the activations."""
    for node in nodes:
        for entry in node.get("proofs", ()):
            entry.setdefault("multipliers", []).append({"layer": 1, "upper": text([50.0] * 4)})


def no_strict(head: Head, nodes: Nodes) -> None:
    """A looser offset: more outputs count as unsafe."""
    (clause_,) = head["property"]["unsafe"]
    clause_["offsets"] = text(numbers(clause_["offsets"]) - 0.01)


def other_class(head: Head, nodes: Nodes) -> None:
    (clause_,) = head["property"]["unsafe"]
    times(clause_, "coefficients", -4.0)


def missing_neurons(head: Head, nodes: Nodes) -> None:
    for node in nodes:
        for entry in node.get("proofs", ()):
            for given in entry.get("multipliers", ()):
                if "neurons" in given:
                    given["neurons"] = given["neurons"][:-1]


@pytest.mark.parametrize(
    "change",
    (beta_sign, steep_slopes, no_strict, other_class, missing_neurons, missing_leaf, wider),
    ids=lambda change: change.__name__,
)
def test_altered_proofs_of_outputs(
    case: Case, output: Path, change: Callable[[Head, Nodes], None]
) -> None:
    refused(edited(output, change), case.path)


def test_another_network(case: Case, steep: Path, tmp_path: Path) -> None:
    other = _case(tmp_path).path
    raw = bytearray(other.read_bytes())
    raw[len(raw) // 2] ^= 1
    other.write_bytes(bytes(raw))
    assert "network" in refused(steep, other)


def test_cut_off_files(case: Case, steep: Path, tmp_path: Path) -> None:
    raw = steep.read_bytes()
    for length in (0, 10, len(raw) // 2, len(raw) - 30, len(raw) - 1):
        path = tmp_path / "cut.lipcert"
        path.write_bytes(raw[:length])
        refused(path, case.path)
    head, nodes = contents(steep)
    tree = lines(nodes)
    for cut in (len(tree) // 2, len(tree) - 1):
        refused(stored(tmp_path / "cut.lipcert", json.dumps(head), tree[:cut]), case.path)


def test_every_flipped_byte_is_noticed_or_harmless(case: Case, steep: Path, tmp_path: Path) -> None:
    """A flipped bit in the archive is refused, or the file says the same as before."""
    raw = bytearray(steep.read_bytes())
    before = contents(steep)
    path = tmp_path / "flipped.lipcert"
    for place in range(0, len(raw), max(1, len(raw) // 60)):
        raw[place] ^= 16
        path.write_bytes(bytes(raw))
        try:
            accepted = check(path, case.path, LIMIT).accepted
        except Unreadable:
            accepted = False
        if accepted:
            assert contents(path) == before
        raw[place] ^= 16


def test_hostile_archives(case: Case, steep: Path, tmp_path: Path) -> None:
    head, nodes = contents(steep)
    good, tree = json.dumps(head), lines(nodes)
    path = tmp_path / "hostile.lipcert"

    refused(stored(path, b" " * (65 * 2**20), tree), case.path)
    refused(stored(path, good, b" " * (257 * 2**20)), case.path)
    digits = good.replace('"precision": 128', '"precision": ' + "1" * 1_000_000)
    refused(stored(path, digits, tree), case.path)
    refused(stored(path, "[" * 200_000 + "]" * 200_000, tree), case.path)
    refused(stored(path, good.replace("{", '{"a":' * 5_000 + "{", 1), tree), case.path)
    twice = good.replace('"kind": "proof"', '"kind": "proof", "kind": "proof"', 1)
    refused(stored(path, twice, tree), case.path)
    refused(stored(path, good.replace("128", "NaN", 1), tree), case.path)
    refused(stored(path, good.replace("128", "1e999", 1), tree), case.path)
    refused(stored(path, b"\xff\xfe" + good.encode(), tree), case.path)

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # a member twice
        archive.writestr("manifest.json", good)
        archive.writestr("tree.jsonl", tree)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("tree.jsonl", tree)
    refused(path, case.path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # a zip in a zip
        archive.writestr("manifest.json", good)
        archive.writestr("tree.jsonl", tree)
        archive.writestr("inner.zip", steep.read_bytes())
    refused(path, case.path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("manifest.json", good)
        archive.writestr("tree.jsonl", tree)
    refused(path, case.path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../manifest.json", good)
        archive.writestr("tree.jsonl", tree)
    refused(path, case.path)
