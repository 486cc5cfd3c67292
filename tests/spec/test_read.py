"""Good spec files give the specs that they say."""

import json
from pathlib import Path

import pytest
import torch

from lipverify.region import Ball, BallInBox, Box
from lipverify.spec import Lipschitz, Monotonicity, Robustness, Spec, bind, read_spec
from tests.spec.files import GOOD, HEAD, INPUTS, LIPSCHITZ, OUTPUTS, REGION, write


def spec_of(folder: Path, text: str, outputs: int = OUTPUTS) -> Spec:
    return bind(read_spec(write(folder, text)), INPUTS, outputs)


def with_region(body: str) -> str:
    return HEAD + f"region: {{{body}}}\n" + LIPSCHITZ


def with_property(body: str) -> str:
    return HEAD + "features: [age, income, debt]\n" + REGION + f"properties:\n  - {{{body}}}\n"


def test_smallest(folder: Path) -> None:
    spec = spec_of(folder, GOOD)
    assert spec.name == "spec"
    assert spec.path == folder / "spec.yaml"
    assert spec.network == folder / "net.onnx"
    assert spec.features == ("x0", "x1", "x2")
    (asked,) = spec.properties
    assert isinstance(asked, Lipschitz)
    assert asked.input_norm.name == asked.output_norm.name == "inf"
    assert asked.rows == ((1.0, 0.0), (0.0, 1.0))
    assert asked.at_most is None and asked.gap is None
    assert isinstance(spec.region, Box)
    assert spec.region.contains(torch.tensor([0.1, 0.7, -0.2], dtype=torch.float64))


def test_every_key(folder: Path) -> None:
    text = """
lipverify: 1
name: all of it
network: net.onnx
region:
  center: {file: arrays.npz, array: x0}
  radius: [0.5, 0, 1e-1]
  norm: 2
  clip: [0.0, {file: arrays.npz, array: rows, index: 1}]
features: [age, "no", on]
properties:
  - {kind: lipschitz, input_norm: 2, output_norm: 1, outputs: [1], at_most: 40, gap: 1e-2}
  - {kind: lipschitz, outputs: {weights: [[1, -1], [0.5, 2]]}}
  - {kind: lipschitz, outputs: {weights: {file: arrays.npz, array: weights}}}
  - {kind: monotonicity, output: 1, increasing: [age], decreasing: [2], margin: 0.25}
  - {kind: monotonicity, output: {weights: [1, -1]}, increasing: ["no", on]}
  - {kind: robustness, label: 1, margin: 0.5}
  - {kind: robustness, label: predicted}
  - {kind: robustness, label: {file: arrays.npz, array: labels, index: 0}}
"""
    spec = spec_of(folder, text)
    assert spec.name == "all of it"
    assert spec.features == ("age", "no", "on")
    region = spec.region
    assert isinstance(region, BallInBox)
    assert region.ball.norm.name == "2"
    assert region.ball.middle.tolist() == [0.1, 0.2, 0.3]
    assert region.ball.radius.tolist() == [0.5, 0.0, 0.1]
    assert region.box.lower.tolist() == [0.0, 0.0, 0.0]
    assert region.box.upper.tolist() == [3.0, 4.0, 5.0]
    first, weighted, stored, slope, sums, label, predicted, looked_up = spec.properties
    assert isinstance(first, Lipschitz)
    assert (first.input_norm.name, first.output_norm.name) == ("2", "1")
    assert (first.rows, first.at_most, first.gap) == (((0.0, 1.0),), 40.0, 0.01)
    assert isinstance(weighted, Lipschitz) and weighted.rows == ((1.0, -1.0), (0.5, 2.0))
    assert isinstance(stored, Lipschitz) and stored.rows == ((1.0, -1.0),)
    assert isinstance(slope, Monotonicity)
    assert (slope.weights, slope.increasing, slope.decreasing) == ((0.0, 1.0), (0,), (2,))
    assert slope.margin == 0.25
    assert isinstance(sums, Monotonicity)
    assert (sums.weights, sums.increasing, sums.decreasing) == ((1.0, -1.0), (1, 2), ())
    assert isinstance(label, Robustness) and (label.label, label.margin) == (1, 0.5)
    assert isinstance(predicted, Robustness) and predicted.label is None
    assert isinstance(looked_up, Robustness) and looked_up.label == 1


def test_json_is_yaml(folder: Path) -> None:
    data = {
        "lipverify": 1,
        "network": "net.onnx",
        "region": {"lower": [0, 1e-3, -2.5e2], "upper": [1, 1, 1]},
        "properties": [{"kind": "robustness", "label": 0}],
    }
    for indent in (None, 2):
        region = spec_of(folder, json.dumps(data, indent=indent)).region
        assert isinstance(region, Box)
        assert region.lower.tolist() == [0.0, 1e-3, -250.0]


@pytest.mark.parametrize(
    ("written", "kind"),
    [("inf", Box), (".inf", Box), ("2", Ball), ("l2", Ball), ("1", Ball), ("'1'", Ball)],
)
def test_norms(written: str, kind: type, folder: Path) -> None:
    text = with_region(f"center: [0, 0, 0], radius: 1, norm: {written}")
    assert isinstance(spec_of(folder, text).region, kind)


def test_ball_is_cut_by_clip(folder: Path) -> None:
    region = spec_of(folder, with_region("center: [0, 0.5, 1], radius: 0.25, clip: [0, 1]")).region
    assert isinstance(region, Box)
    assert region.lower.tolist() == [0.0, 0.25, 0.75]
    assert region.upper.tolist() == [0.25, 0.75, 1.0]


@pytest.mark.parametrize("clip", ["[0, 1]", "{file: arrays.npz, array: range}"])
def test_clip_forms(clip: str, folder: Path) -> None:
    text = with_region(f"center: [0, 0.5, 1], radius: 0.25, norm: 1, clip: {clip}")
    region = spec_of(folder, text).region
    assert isinstance(region, BallInBox)
    assert region.box.upper.tolist() == [1.0, 1.0, 1.0]


def test_clip_of_rows(folder: Path) -> None:
    clip = "{file: arrays.npz, array: rows}"
    region = spec_of(folder, with_region(f"center: [1, 2, 3], radius: 0.5, clip: {clip}")).region
    assert isinstance(region, Box)
    assert region.upper.tolist() == [1.5, 2.5, 3.5]


def test_zero_radius_is_a_point(folder: Path) -> None:
    region = spec_of(folder, with_region("center: [1, 2, 3], radius: 0")).region
    assert isinstance(region, Box)
    assert torch.equal(region.lower, region.upper)


def test_arrays_are_read_row_by_row(folder: Path) -> None:
    text = with_region("center: {file: arrays.npz, array: images, index: 1}, radius: 0")
    region = bind(read_spec(write(folder, text)), 6, OUTPUTS).region
    assert region.center.tolist() == [0.6, 0.7, 0.8, 0.9, 1.0, 1.1]


def test_nested_lists_are_read_row_by_row(folder: Path) -> None:
    text = with_region("lower: [[[1], [2]], [3]], upper: [4, [5, 6]]")
    region = spec_of(folder, text).region
    assert isinstance(region, Box)
    assert region.lower.tolist() == [1.0, 2.0, 3.0]
    assert region.upper.tolist() == [4.0, 5.0, 6.0]


def test_paths_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = folder / "specs"
    inner.mkdir()
    text = GOOD.replace("net.onnx", "../net.onnx").replace(
        "[0.1, 0.2, 0.3]", "{file: ../arrays.npz, array: x0}"
    )
    write(inner, text)
    monkeypatch.chdir(folder)
    file = read_spec("specs/spec.yaml")
    assert file.path == Path("specs/spec.yaml")  # as given: reports name it so
    assert file.network.resolve() == (folder / "net.onnx").resolve()


def test_alias(folder: Path) -> None:
    text = HEAD + "region:\n  lower: &zero [0, 0, 0]\n  upper: *zero\n" + LIPSCHITZ
    assert spec_of(folder, text).region.center.tolist() == [0.0, 0.0, 0.0]


def test_byte_order_mark(folder: Path) -> None:
    path = folder / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert read_spec(path).name == "spec"


def test_only_output_needs_no_name(folder: Path) -> None:
    spec = spec_of(folder, with_property("kind: monotonicity, increasing: [0]"), outputs=1)
    (asked,) = spec.properties
    assert isinstance(asked, Monotonicity) and asked.weights == (1.0,)


def test_default_feature_names(folder: Path) -> None:
    text = HEAD + REGION + "properties: [{kind: monotonicity, output: 0, increasing: [x2, 0]}]\n"
    (asked,) = spec_of(folder, text).properties
    assert isinstance(asked, Monotonicity) and asked.increasing == (2, 0)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("kind: lipschitz", "lipschitz inf->inf all"),
        ("kind: lipschitz, at_most: 40", "lipschitz inf->inf all <= 40"),
        ("kind: lipschitz, outputs: [1], input_norm: 2", "lipschitz 2->inf output 1"),
        ("kind: lipschitz, outputs: [1, 0]", "lipschitz inf->inf outputs 1, 0"),
        ("kind: lipschitz, outputs: {weights: [[1, -1]]}", "lipschitz inf->inf 1 weighted sum"),
        (
            "kind: monotonicity, output: 1, increasing: [age], decreasing: [2]",
            "monotonicity output 1: +age -debt",
        ),
        (
            "kind: monotonicity, output: {weights: [2, 1]}, increasing: [0], margin: 0.5",
            "monotonicity 1 weighted sum: +age, margin 0.5",
        ),
        ("kind: robustness, label: 1", "robustness label 1"),
        ("kind: robustness, label: predicted, margin: 1", "robustness label predicted, margin 1"),
    ],
)
def test_descriptions(body: str, text: str, folder: Path) -> None:
    spec = spec_of(folder, with_property(body))
    assert spec.properties[0].describe(spec.features) == text


def test_long_descriptions_are_cut() -> None:
    rows = tuple(tuple(float(i == j) for j in range(9)) for i in range(7))
    from lipverify.norms import LInf

    asked = Lipschitz(LInf(), LInf(), rows)
    assert asked.describe(()) == "lipschitz inf->inf outputs 0, 1, 2, 3 and 3 more"
    slopes = Monotonicity((1.0,), (0, 1, 2), (3, 4, 5))
    names = tuple("abcdef")
    assert slopes.describe(names) == "monotonicity: +a +b +c -d and 2 more"
