"""`preprocessing` and `inputs` in spec files: from the file to answers in the user's units."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lipverify import verify
from lipverify.cli.prepare import prepare
from lipverify.config import VerifyConfig
from lipverify.errors import SpecError
from lipverify.network import load_network
from lipverify.reading import Preprocessing, Reading
from lipverify.spec import read_spec
from lipverify.verdict import Falsified, Verified

QUICK = VerifyConfig(timeout=20, max_subproblems=20)


def write(folder: Path, extra: str, properties: str, region: str = "") -> Path:
    """y = relu(2 x0 - x1 + side) of x [1, 2] and side [1, 1]."""
    node = helper.make_node
    stored = {"w": np.array([[2.0], [-1.0]], np.float32)}
    graph = helper.make_graph(
        [
            node("MatMul", ["x", "w"], ["h"]),
            node("Add", ["h", "side"], ["s"]),
            node("Relu", ["s"], ["y"]),
        ],
        "two",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info("side", TensorProto.FLOAT, [1, 1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, folder / "two.onnx")
    np.savez(folder / "numbers.npz", mean=np.array([100.0, 10.0]), side=np.array([[1.0]]))
    path = folder / "spec.yaml"
    region = region or "{center: [100, 10], radius: 30}"
    path.write_text(
        f"lipverify: 1\nnetwork: two.onnx\nregion: {region}\n{extra}\nproperties:\n  {properties}\n"
    )
    return path


BOTH = (
    "preprocessing: {mean: {file: numbers.npz, array: mean}, std: [50, 5]}\n"
    "inputs: {side: {file: numbers.npz, array: side}}"
)


def test_what_a_spec_says(tmp_path: Path) -> None:
    path = write(tmp_path, BOTH, "- kind: lipschitz")
    expected = Reading(Preprocessing(mean=(100.0, 10.0), std=(50.0, 5.0)), (("side", (1.0,)),))
    assert read_spec(path).reading == expected
    (task,) = prepare([str(path)]).tasks
    assert task.spec.reading == task.network.reading == expected


def test_lipschitz_constant_in_raw_units(tmp_path: Path) -> None:
    """Rows: 2/50 and -1/5, so 0.24 from linf to linf; where the ReLU is on."""
    (result,) = verify(write(tmp_path, BOTH, "- kind: lipschitz"), config=QUICK)
    assert isinstance(result.verdict, Verified) and result.bound is not None
    assert result.bound.lower <= 0.24 * (1 + 1e-12) and 0.24 <= result.bound.upper <= 0.24 + 1e-6
    assert result.bound.lower > 0.24 - 1e-6
    assert result.witness is not None
    assert all(abs(x - c) <= 30 for x, c in zip(result.witness.input, (100, 10), strict=True))


def test_counterexample_in_raw_units(tmp_path: Path) -> None:
    property = "- {kind: lipschitz, at_most: 0.2}"
    (result,) = verify(write(tmp_path, BOTH, property), config=QUICK)
    assert isinstance(result.verdict, Falsified)
    found = result.verdict.counterexample
    side, mean, std = 1.0, np.array([100.0, 10.0]), np.array([50.0, 5.0])
    for point, value in zip(found.inputs, found.outputs, strict=True):
        z = (point.numpy() - mean) / std
        assert float(value[0]) == pytest.approx(max(0.0, 2 * z[0] - z[1] + side), abs=1e-4)


def test_fixed_input_decides_monotonicity(tmp_path: Path) -> None:
    """With side = -100 the ReLU is off everywhere."""
    property = "- {kind: monotonicity, output: 0, decreasing: [0]}"
    scale = "preprocessing: {scale: [0.02, 0.2], offset: [-2, -2]}"
    on = write(tmp_path, f"{scale}\ninputs: {{side: 1}}", property)
    assert isinstance(verify(on, config=QUICK)[0].verdict, Falsified)
    off = write(tmp_path, f"{scale}\ninputs: {{side: -100}}", property)
    assert isinstance(verify(off, config=QUICK)[0].verdict, Verified)


def test_a_network_that_was_read_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path, BOTH, "- kind: lipschitz")
    other = load_network(tmp_path / "two.onnx", reading=Reading(inputs=(("side", (1.0,)),)))
    with pytest.raises(ValueError, match="another preprocessing"):
        verify(path, other)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("preprocessing: 3", r"preprocessing: expected a mapping"),
        ("preprocessing: {}", r"preprocessing: expected mean, std or scale, offset"),
        ("preprocessing: {means: 1}", r"preprocessing\.means: unknown key; did you mean 'mean'"),
        ("preprocessing: {mean: 1, scale: 2}", r"expected mean and std, or scale and offset"),
        ("preprocessing: {std: 0}", r"expected std > 0"),
        ("preprocessing: {std: []}", r"preprocessing\.std: .*empty list"),
        ("preprocessing: {mean: red}", r"preprocessing\.mean: expected a number"),
        ("inputs: [1]", r"inputs: expected a mapping from names"),
        ("inputs: {side: much}", r"inputs\.side: expected a number"),
        ("inputs: {side: {file: none.npz, array: a}}", r"none\.npz does not exist"),
    ],
)
def test_what_cannot_be_meant(extra: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=expected) as caught:
        read_spec(write(tmp_path, extra, "- kind: lipschitz"))
    assert caught.value.line == 4
