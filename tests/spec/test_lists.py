"""Lists of numbers survive every way of writing them."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lipverify.spec import read_spec
from lipverify.spec.region_entry import BoxEntry
from tests.spec.files import fill

numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**17), 10**17),
    st.sampled_from([0.0, -0.0, 5e-324, 1e308, 1e-3, 1e22]),
)
nested = st.recursive(numbers, lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=30)
lists = st.lists(nested, min_size=1, max_size=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("lists"))


def flat(value: object) -> list[float]:
    if isinstance(value, list):
        return [number for item in value for number in flat(item)]
    assert isinstance(value, int | float)
    return [float(value)]


def read_box(folder: Path, text: str) -> BoxEntry:
    path = folder / "lists.yaml"
    path.write_text(text)
    region = read_spec(path).region
    assert isinstance(region, BoxEntry)
    return region


def document(values: object) -> dict[str, object]:
    return {
        "lipverify": 1,
        "network": "net.onnx",
        "region": {"lower": values, "upper": values},
        "properties": [{"kind": "lipschitz"}],
    }


@given(lists)
def test_json(folder: Path, values: list[object]) -> None:
    region = read_box(folder, json.dumps(document(values)))
    assert region.lower.tolist() == flat(values)
    assert np.array_equal(np.signbit(region.lower), np.signbit(flat(values)))


@given(lists, st.booleans())
def test_yaml(folder: Path, values: list[object], flow: bool) -> None:
    text = yaml.safe_dump(document(values), default_flow_style=flow)
    assert read_box(folder, text).upper.tolist() == flat(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.sampled_from("egf"))
def test_number_formats(folder: Path, values: list[float], form: str) -> None:
    """Among them 1e-3 without a point, which YAML 1.1 takes for a text."""
    written = [f"{value:.0{form}}" if form == "e" else f"{value:{form}}" for value in values]
    text = json.dumps(document("HERE")).replace('"HERE"', f"[{', '.join(written)}]")
    assert read_box(folder, text).lower.tolist() == [float(number) for number in written]


@given(
    st.integers(1, 3).flatmap(lambda dims: st.tuples(*[st.integers(1, 4)] * dims)),
    st.sampled_from(["float64", "float32", "float16", "int64", "uint8"]),
    st.booleans(),
)
def test_arrays(folder: Path, shape: tuple[int, ...], dtype: str, indexed: bool) -> None:
    values = (np.random.default_rng(0).random(shape) * 100).astype(dtype)
    stack = np.stack([np.zeros_like(values), values]) if indexed else values
    np.savez(folder / "drawn.npz", other=np.zeros(2), values=stack)
    reference: dict[str, object] = {"file": "drawn.npz", "array": "values"}
    if indexed:
        reference["index"] = 1
    region = read_box(folder, json.dumps(document(reference)))
    assert region.lower.tolist() == [float(value) for value in values.reshape(-1)]
