"""Specs that contradict their network are refused with file and line."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from lipverify.errors import SpecError
from lipverify.spec import bind, read_spec
from tests.spec.files import GOOD, HEAD, INPUTS, LIPSCHITZ, OUTPUTS, REGION, line_of, write

NAMES = "features: [age, income, debt]\n"


@dataclass(frozen=True)
class Misfit:
    name: str
    text: str
    line: str
    says: tuple[str, ...]
    outputs: int = OUTPUTS


def region(body: str) -> str:
    return HEAD + f"region: {{{body}}}\n" + LIPSCHITZ


def prop(kind: str, body: str = "") -> str:
    rest = f"    {body}\n" if body else ""
    return HEAD + NAMES + REGION + f"properties:\n  - kind: {kind}\n{rest}"


MISFITS = [
    Misfit("center", region("center: [1, 2], radius: 1"), "region", ("region.center", "3 numbers")),
    Misfit("radius", region("center: [1, 2], radius: [1, 1]"), "region", ("found 2",)),
    Misfit("box", region("lower: [1], upper: [2]"), "region", ("region.lower", "found 1")),
    Misfit(
        "clip", region("center: [1, 2, 3], radius: 1, clip: [[0], [1]]"), "region", ("clip[0]",)
    ),
    Misfit(
        "clip end", region("center: [1, 2, 3], radius: 1, clip: [0, [1, 2]]"), "region", ("[1]",)
    ),
    Misfit("empty", region("center: [5, 5, 5], radius: 1, clip: [0, 1]"), "region", ("widen",)),
    Misfit(
        "empty ball",
        region("center: [5, 5, 5], radius: 1, norm: 2, clip: [0, 1]"),
        "region",
        ("region.clip", "no common point"),
    ),
    Misfit("names", GOOD + "features: [a, b]\n", "features", ("3 names", "found 2")),
    Misfit("output", prop("lipschitz", "outputs: [0, 2]"), "outputs", ("outputs[1]", "0 to 1")),
    Misfit("negative", prop("lipschitz", "outputs: [-1]"), "outputs", ("-1 is out of range",)),
    Misfit(
        "weights",
        prop("lipschitz", "outputs: {weights: [[1, 1], [1]]}"),
        "outputs",
        ("properties[0].outputs.weights[1]", "2 weights", "found 1"),
    ),
    Misfit("nothing", prop("monotonicity", "output: 0"), "- kind", ("names no feature",)),
    Misfit(
        "empty lists",
        prop("monotonicity", "output: 0\n    increasing: []\n    decreasing: []"),
        "- kind",
        ("names no feature", "'increasing' or 'decreasing'"),
    ),
    Misfit(
        "unknown feature",
        prop("monotonicity", "output: 0\n    increasing: [incomes]"),
        "increasing",
        ("increasing[0]", "'incomes'", "did you mean 'income'?"),
    ),
    Misfit(
        "far feature",
        prop("monotonicity", "output: 0\n    increasing: [zzz]"),
        "increasing",
        ("known: age, income, debt",),
    ),
    Misfit(
        "position",
        prop("monotonicity", "output: 0\n    decreasing: [0, 3]"),
        "decreasing",
        ("decreasing[1]: 3 is out of range", "0 to 2"),
    ),
    Misfit(
        "twice",
        prop("monotonicity", "output: 0\n    increasing: [age, debt, 0]"),
        "increasing",
        ("increasing[2]", "'age' is named twice"),
    ),
    Misfit(
        "both ways",
        prop("monotonicity", "output: 0\n    increasing: [age]\n    decreasing: [debt, 0]"),
        "decreasing",
        ("decreasing[1]", "'age' is also under 'increasing'"),
    ),
    Misfit(
        "which output", prop("monotonicity", "increasing: [0]"), "- kind", ("'output' is missing",)
    ),
    Misfit(
        "output range",
        prop("monotonicity", "increasing: [0]\n    output: 2"),
        "output: 2",
        ("2 is out of range",),
    ),
    Misfit(
        "output weights",
        prop("monotonicity", "increasing: [0]\n    output: {weights: [1, 2, 3]}"),
        "output:",
        ("output.weights", "2 weights"),
    ),
    Misfit("label", prop("robustness", "label: 2"), "label", ("properties[0].label: 2 is out of",)),
    Misfit("label -1", prop("robustness", "label: -1"), "label", ("out of range",)),
    Misfit("one output", prop("robustness", "label: 0"), "- kind", ("two outputs",), outputs=1),
]


@pytest.mark.parametrize("misfit", MISFITS, ids=lambda misfit: misfit.name)
def test_refused(misfit: Misfit, folder: Path) -> None:
    path = write(folder, misfit.text)
    file = read_spec(path)
    with pytest.raises(SpecError) as caught:
        bind(file, INPUTS, misfit.outputs)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line_of(misfit.text, misfit.line)}: ")
    for piece in misfit.says:
        assert piece in message


def test_second_property_is_named(folder: Path) -> None:
    text = GOOD + "  - kind: robustness\n    label: 9\n"
    with pytest.raises(SpecError, match=r"spec\.yaml:9: properties\[1\]\.label"):
        bind(read_spec(write(folder, text)), INPUTS, OUTPUTS)
