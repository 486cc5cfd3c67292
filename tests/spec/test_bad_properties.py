"""Bad properties are refused with file, line and advice."""

from pathlib import Path

import pytest

from tests.spec.bad import Bad, check_refused, check_table
from tests.spec.files import GOOD, HEAD, REGION


def prop(kind: str, body: str) -> str:
    return HEAD + REGION + f"properties:\n  - kind: {kind}\n    {body}\n"


def lipschitz(body: str) -> str:
    return prop("lipschitz", body)


def monotone(body: str) -> str:
    return prop("monotonicity", body)


def robust(body: str) -> str:
    return prop("robustness", body)


BAD = [
    # kinds
    Bad(
        "vnnlib",
        HEAD + "properties:\n  - kind: vnnlib\n    file: a\n",
        "file: a",
        ("properties[0].file", "a does not exist"),
    ),
    Bad(
        "vnnlib number",
        HEAD + "properties:\n  - kind: vnnlib\n    file: 3\n",
        "file: 3",
        ("found 3",),
    ),
    Bad(
        "vnnlib and a region",
        HEAD + REGION + "properties:\n  - kind: vnnlib\n    file: spec.yaml\n",
        "region",
        ("regions of their own",),
    ),
    Bad(
        "vnnlib and others",
        HEAD + "properties:\n  - kind: lipschitz\n  - kind: vnnlib\n    file: spec.yaml\n",
        "lipverify",
        ("'region' is missing",),
    ),
    Bad(
        "kind",
        GOOD.replace("kind: lipschitz", "kind: lipshitz"),
        "lipshitz",
        ("not supported", "did you mean 'lipschitz'?", "lipschitz, monotonicity, robustness"),
    ),
    Bad("no kind", HEAD + REGION + "properties:\n  - gap: 1\n", "- gap", ("'kind' is missing",)),
    Bad("kind number", GOOD.replace("kind: lipschitz", "kind: 3"), "kind: 3", ("found 3",)),
    Bad("kind list", GOOD.replace("kind: lipschitz", "kind: [a]"), "kind: [a]", ("a list of 1",)),
    Bad("property text", HEAD + REGION + "properties:\n  - lipschitz\n", "- lips", ("'kind'",)),
    # lipschitz
    Bad(
        "key",
        lipschitz("at_mots: 3"),
        "at_mots",
        ("properties[0].at_mots", "did you mean 'at_most'?"),
    ),
    Bad("at_most text", lipschitz("at_most: '40'"), "at_most", ("properties[0].at_most", "quotes")),
    Bad("at_most < 0", lipschitz("at_most: -1"), "at_most", (">= 0, found -1",)),
    Bad("at_most nothing", lipschitz("at_most:"), "at_most", ("found nothing",)),
    Bad("at_most inf", lipschitz("at_most: .inf"), "at_most", ("finite",)),
    Bad("gap < 0", lipschitz("gap: -0.01"), "gap", ("properties[0].gap: expected a number >= 0",)),
    Bad("gap nan", lipschitz("gap: .nan"), "gap", ("finite",)),
    Bad("gap true", lipschitz("gap: true"), "gap", ("found true",)),
    Bad("input norm", lipschitz("input_norm: 4"), "input_norm", ("1, 2, inf",)),
    Bad("output norm", lipschitz("output_norm: [1]"), "output_norm", ("1, 2, inf",)),
    Bad("outputs word", lipschitz("outputs: every"), "outputs", ("expected all, a list",)),
    Bad("outputs empty", lipschitz("outputs: []"), "outputs", ("a list of 0",)),
    Bad("outputs twice", lipschitz("outputs: [1, 0, 1]"), "outputs", ("output 1 is named twice",)),
    Bad("outputs bool", lipschitz("outputs: [0, true]"), "outputs", ("outputs[1]", "found true")),
    Bad("outputs float", lipschitz("outputs: [0.0]"), "outputs", ("found 0.0",)),
    Bad(
        "outputs key",
        lipschitz("outputs: {weigths: [[1]]}"),
        "outputs",
        ("did you mean 'weights'?",),
    ),
    Bad("outputs none", lipschitz("outputs: {}"), "outputs", ("an empty mapping",)),
    Bad(
        "weights flat",
        lipschitz("outputs: {weights: [1, -1]}"),
        "outputs",
        ("such as [[1, -1, 0]]",),
    ),
    Bad("weights empty", lipschitz("outputs: {weights: []}"), "outputs", ("a list of rows",)),
    Bad("weights row", lipschitz("outputs: {weights: [[1], 2]}"), "outputs", ("weights[1]",)),
    Bad("weights nan", lipschitz("outputs: {weights: [[1, .nan]]}"), "outputs", ("weights[0][1]",)),
    Bad(
        "weights array",
        lipschitz("outputs: {weights: {file: arrays.npz, array: x0}}"),
        "outputs",
        ("array of rows", "(3,)"),
    ),
    # monotonicity
    Bad("features word", monotone("increasing: age"), "increasing", ("a list such as [age, 3]",)),
    Bad("features bool", monotone("increasing: [true]"), "increasing", ("increasing[0]", "true")),
    Bad("features float", monotone("decreasing: [1.5]"), "decreasing", ("found 1.5",)),
    Bad("margin", monotone("margin: .inf"), "margin", ("properties[0].margin", "finite")),
    Bad("output", monotone("output: [0]"), "output", ("properties[0].output",)),
    Bad("output bool", monotone("output: false"), "output", ("found false",)),
    Bad("output weights", monotone("output: {weights: 3}"), "output", ("output.weights",)),
    Bad("at_most here", monotone("at_most: 3"), "at_most", ("known: kind, requirement, output",)),
    # robustness
    Bad("no label", robust("margin: 1"), "- kind", ("'label' is missing", "predicted")),
    Bad(
        "label word",
        robust("label: seven"),
        "label",
        ("expected an output's position or predicted",),
    ),
    Bad("label bool", robust("label: true"), "label", ("found true",)),
    Bad("label float", robust("label: 1.0"), "label", ("found 1.0",)),
    Bad(
        "label array",
        robust("label: {file: arrays.npz, array: labels}"),
        "label",
        ("whole number", "'index'"),
    ),
    Bad(
        "label of floats",
        robust("label: {file: arrays.npz, array: x0, index: 0}"),
        "label",
        ("whole number", "float64"),
    ),
    Bad("margin bool", robust("label: 0\n    margin: false"), "margin", ("found false",)),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_refused(bad: Bad, folder: Path) -> None:
    check_refused(bad, folder)


def test_names_differ() -> None:
    check_table(BAD)
