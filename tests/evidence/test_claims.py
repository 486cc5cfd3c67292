"""A certificate is taken for a property only if it states that much: each way of less is seen."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipverify.evidence.bundle.claims import Comparison, compare
from tests.cli import networks
from tests.evidence.manifests import floats, load, stating
from tests.evidence.test_results import VNNLIB

BOX = "{lower: [-1, -1], upper: [1, 1]}"
BALL = "{center: [0.5, 0.0], radius: [1, 2], norm: 2}"
ASKED = {
    "robustness": "kind: robustness, label: 0",
    "margin": "kind: robustness, label: predicted, margin: 0.5",
    "lipschitz": "kind: lipschitz, at_most: 7.5, outputs: [1]",
    "monotonicity": "kind: monotonicity, output: 1, increasing: [0, 1], margin: 0.25",
}
Change = Callable[[dict[str, Any]], object]


def compared(
    tmp_path: Path,
    asked: str,
    region: str = BOX,
    more: str = "",
    change: Change = lambda _: None,
    ends: tuple[float | None, float | None] = (None, None),
) -> Comparison:
    networks.linear(tmp_path / "net.onnx")
    path = tmp_path / "a.yaml"
    path.write_text(
        f"lipverify: 1\nnetwork: net.onnx\n{more}\nregion: {region}\nproperties: [{{{asked}}}]\n"
    )
    network, spec = load(path)
    manifest = stating(network, spec)
    change(manifest)
    with zipfile.ZipFile(tmp_path / "a.lipcert", "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
    return compare(tmp_path / "a.lipcert", network, spec, 0, ends)


@pytest.mark.parametrize("region", [BOX, BALL])
@pytest.mark.parametrize("kind", ASKED)
def test_what_states_it_matches(kind: str, region: str, tmp_path: Path) -> None:
    assert compared(tmp_path, ASKED[kind], region).claim == "matches"


def prop(key: str, value: Any) -> Change:
    return lambda manifest: manifest["property"].update({key: value})


def region(key: str, value: Any) -> Change:
    return lambda manifest: manifest["region"].update({key: value})


def ball(key: str, value: Any) -> Change:
    return lambda manifest: manifest["region"]["ball"].update({key: value})


def clause(key: str, value: Any) -> Change:
    return lambda manifest: manifest["property"]["unsafe"][0].update({key: value})


EDGE = float(np.nextafter(1.0, 0.0))


@pytest.mark.parametrize(
    ("kind", "where", "change"),
    [
        ("lipschitz", BOX, prop("at_most", (7.5 + 1e-12).hex())),
        ("lipschitz", BOX, prop("at_most", "nan")),
        ("lipschitz", BOX, prop("input_norm", "2")),
        ("lipschitz", BOX, prop("output_norm", "1")),
        ("lipschitz", BOX, prop("rows", floats([1.0, 0.0]))),
        ("lipschitz", BOX, prop("kind", "monotonicity")),
        ("lipschitz", BOX, region("upper", floats([1.0, EDGE]))),
        ("lipschitz", BOX, region("lower", floats([-EDGE, -1.0]))),
        ("lipschitz", BOX, region("lower", floats([float("nan"), -1.0]))),
        ("lipschitz", BOX, region("upper", floats([1.0]))),
        ("lipschitz", BOX, region("ball", {"norm": "2", "center": "", "radius": ""})),
        ("lipschitz", BOX, lambda manifest: manifest["region"].clear()),
        ("lipschitz", BALL, ball("norm", "1")),
        ("lipschitz", BALL, ball("radius", floats([1.0, 1.999]))),
        ("lipschitz", BALL, ball("center", floats([0.5, 1e-9]))),
        ("lipschitz", BALL, region("lower", floats([-0.4, -3.0]))),
        ("monotonicity", BOX, prop("increasing", [0])),
        ("monotonicity", BOX, prop("margin", (0.2).hex())),
        ("monotonicity", BOX, prop("weights", floats([1.0, 0.0]))),
        ("robustness", BOX, prop("unsafe", [])),
        ("robustness", BOX, clause("strict", [True])),
        ("robustness", BOX, clause("offsets", floats([0.1]))),
        ("robustness", BOX, clause("coefficients", floats([-1.0, 1.0]))),
        ("margin", BOX, clause("offsets", floats([-0.4]))),
        ("robustness", BOX, lambda m: m["network"].update(output="logits")),
        ("robustness", BOX, lambda m: m["network"].update(fixed={"age": floats([1])})),
        ("robustness", BOX, lambda m: m["network"].update(preprocessing={"mean": floats([1])})),
        ("robustness", BOX, lambda manifest: manifest.pop("property")),
    ],
)
def test_less_is_seen(kind: str, where: str, change: Change, tmp_path: Path) -> None:
    assert compared(tmp_path, ASKED[kind], where, change=change).claim == "differs"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("lipschitz", prop("at_most", (7.0).hex())),
        ("lipschitz", region("upper", floats([2.0, 1.0]))),
        ("monotonicity", prop("increasing", [1, 0, 0])),
        ("monotonicity", prop("margin", (0.5).hex())),
        ("robustness", clause("offsets", floats([-0.1]))),
        ("margin", clause("strict", [True])),
    ],
)
def test_more_is_enough(kind: str, change: Change, tmp_path: Path) -> None:
    assert compared(tmp_path, ASKED[kind], change=change).claim == "matches"


def test_preprocessing_has_to_be_the_same(tmp_path: Path) -> None:
    more = "preprocessing: {mean: [1, 2], std: 2}"
    parts = {"mean": floats([1, 2]), "std": floats([2])}
    given = compared(
        tmp_path,
        ASKED["robustness"],
        more=more,
        change=lambda manifest: manifest["network"].update(preprocessing=parts),
    )
    assert given.claim == "matches"
    assert compared(tmp_path, ASKED["robustness"], more=more).claim == "differs"


def test_interval_without_a_threshold(tmp_path: Path) -> None:
    """The certificate's number has to be the solver's, up to a named share."""
    networks.linear(tmp_path / "net.onnx")
    text = f"lipverify: 1\nnetwork: net.onnx\nregion: {BOX}\nproperties: [{{kind: lipschitz}}]\n"
    (tmp_path / "a.yaml").write_text(text)
    network, spec = load(tmp_path / "a.yaml")
    manifest: dict[str, Any] = {
        "kind": "proof",
        "network": {},
        "region": {"lower": floats([-1, -1]), "upper": floats([1, 1])},
        "property": {"kind": "lipschitz", "input_norm": "inf", "output_norm": "inf"},
    }
    for at_most, upper, expected in (
        (7.0, 7.0, "matches"),
        (7.0 * (1 + 1e-7), 7.0, "matches"),
        (7.0 * (1 + 1e-5), 7.0, "differs"),
        (7.0, None, "differs"),
    ):
        manifest["property"]["at_most"] = at_most.hex()
        with zipfile.ZipFile(tmp_path / "a.lipcert", "w") as archive:
            archive.writestr("manifest.json", json.dumps(manifest))
        assert compare(tmp_path / "a.lipcert", network, spec, 0, (None, upper)).claim == expected


def test_what_is_no_proof_is_not_compared(tmp_path: Path) -> None:
    found = compared(tmp_path, ASKED["robustness"], change=lambda m: m.update(kind="falsified"))
    assert found.claim == "not compared"


ROUND = "{center: [0.5, -1.0], radius: 1, norm: 2}"


@pytest.mark.parametrize(
    ("asked", "lower", "radius", "expected"),
    [
        ("at_least: 0.5", None, 0.5, "matches"),
        ("at_least: 0.5", None, 0.75, "matches"),
        ("at_least: 0.5", None, 0.4999, "differs"),
        ("gap: 0.1", 0.25, 0.25, "matches"),
        ("gap: 0.1", 0.25, 0.2, "differs"),
        ("gap: 0.1", None, 1.0, "differs"),
    ],
)
def test_radius(
    asked: str, lower: float | None, radius: float, expected: str, tmp_path: Path
) -> None:
    """The ball that is asked about, or that is reported as proved."""
    text = f"kind: radius, label: 0, {asked}"
    change = ball("radius", floats([radius]))
    found = compared(tmp_path, text, ROUND, change=change, ends=(lower, None))
    assert found.claim == expected, found


def test_vnnlib(tmp_path: Path) -> None:
    """One box, two unsafe sets: both have to be excluded, on all of the box."""
    from lipverify.network import load_network
    from lipverify.spec.vnnlib import read_vnnlib
    from lipverify.spec.vnnlib.property import spec_of

    text = VNNLIB.format(limit=3.5).replace(
        "(assert (>= Y_0 3.5))", "(assert (or (and (>= Y_0 3.5)) (and (<= Y_1 -8.0))))"
    )
    (tmp_path / "p.vnnlib").write_text(text)
    network = load_network(networks.linear(tmp_path / "net.onnx"))
    spec = spec_of(read_vnnlib(tmp_path / "p.vnnlib"))
    sets = [
        {"coefficients": floats([-1.0, 0.0]), "offsets": floats([3.5])},
        {"coefficients": floats([0.0, 1.0]), "offsets": floats([8.0])},
    ]

    def claim(unsafe: list[dict[str, Any]], upper: float = 1.0) -> str:
        manifest = {
            "kind": "proof",
            "network": {},
            "region": {"lower": floats([-1, -1]), "upper": floats([1, upper])},
            "property": {"kind": "robustness", "unsafe": unsafe},
        }
        with zipfile.ZipFile(tmp_path / "a.lipcert", "w") as archive:
            archive.writestr("manifest.json", json.dumps(manifest))
        return compare(tmp_path / "a.lipcert", network, spec, 0, (None, None)).claim

    assert claim(sets) == "matches" and claim(sets[::-1]) == "matches"
    assert claim(sets, EDGE) == "differs"
    assert claim(sets[:1]) == "differs"
    assert claim([{**sets[0], "strict": [True]}, sets[1]]) == "differs"
    assert claim([{**sets[0], "offsets": floats([3.6])}, sets[1]]) == "differs"
