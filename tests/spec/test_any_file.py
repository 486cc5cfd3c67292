"""Whatever stands in a spec file: it is read, or refused with a `SpecError`; nothing else."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lipverify.errors import SpecError
from lipverify.spec import Spec, bind, read_spec
from tests.spec.files import fill

ARRAYS = ["x0", "images", "rows", "range", "labels", "half", "weights", "bad", "flags", "gone"]

GOOD: dict[str, Any] = {
    "lipverify": 1,
    "name": "n",
    "network": "net.onnx",
    "region": {"center": [0.1, 0.2, 0.3], "radius": 0.5, "norm": 2, "clip": [0.0, 1.0]},
    "features": ["a", "b", "c"],
    "properties": [
        {"kind": "lipschitz", "outputs": [0], "at_most": 3.0, "gap": 0.1, "input_norm": 1},
        {"kind": "lipschitz", "outputs": {"weights": [[1.0, -1.0]]}},
        {"kind": "monotonicity", "output": 1, "increasing": ["a"], "decreasing": [1]},
        {"kind": "monotonicity", "output": {"weights": [1.0, 2.0]}, "increasing": [0]},
        {"kind": "robustness", "label": 1, "margin": 0.0},
    ],
}

junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.sampled_from([10**400, 0.5, -0.5, float("nan"), float("inf"), 1e308]),
        st.sampled_from(["", "inf", "all", "predicted", "a", "1", "lipschitz", "x\ny", "\u2028"]),
        st.fixed_dictionaries(
            {"file": st.sampled_from(["arrays.npz", "fake.npz", "no.npz"])},
            optional={"array": st.sampled_from(ARRAYS), "index": st.integers(-1, 3)},
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["weights", "file", "kind", "lower", "zzz"]), inner),
    ),
    max_leaves=5,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything in a document."""
    found = [at] if at else []
    if isinstance(value, dict):
        found += [place for key in value for place in places(value[key], (*at, key))]
    if isinstance(value, list):
        found += [place for i, item in enumerate(value) for place in places(item, (*at, i))]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("any"))


@settings(max_examples=150)
@given(st.data())
def test_changed_files(folder: Path, data: st.DataObject) -> None:
    document = copy.deepcopy(GOOD)
    for _ in range(data.draw(st.integers(1, 2))):
        *way, last = data.draw(st.sampled_from(places(document)))
        parent: Any = document
        for part in way:
            parent = parent[part]
        if data.draw(st.integers(0, 4)) == 0:
            del parent[last]
        else:
            parent[last] = data.draw(junk)
    path = folder / "any.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    read_or_refuse(path)


@given(st.text(max_size=60) | st.text(alphabet="lipverify: 1\n\t[]{}&*!|>-#'\"", max_size=60))
def test_any_text(folder: Path, text: str) -> None:
    path = folder / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read_or_refuse(path)


@given(st.binary(max_size=60))
def test_any_bytes(folder: Path, content: bytes) -> None:
    path = folder / "any.yaml"
    path.write_bytes(content)
    read_or_refuse(path)


def read_or_refuse(path: Path) -> None:
    try:
        spec = bind(read_spec(path), 3, 2)
    except SpecError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)
    else:
        assert isinstance(spec, Spec)
        assert all(asked.describe(spec.features) for asked in spec.properties)
        assert spec.region.contains(spec.region.center)
