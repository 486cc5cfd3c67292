"""Regions, units, kinds of feature and output: what exactly is asked."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from lipverify.audit import AuditResult
from lipverify.audit.answer import Found
from tests.audit.cases import (
    module_of,
    numbers,
    plain_audit,
    ran,
    weights,
    write_audit,
    write_network,
    write_table,
)


def verdicts(result: AuditResult) -> dict[tuple[str, str, int], Found]:
    """By feature, region and record; closes the database."""
    with result.store:
        return {
            (
                result.context.audit.questions[answer.question].feature,
                result.context.audit.questions[answer.question].region.name,
                answer.record,
            ): answer.found
            for answer in result.answers()
        }


def values(layers: list[np.ndarray], points: Any) -> np.ndarray:
    with torch.no_grad():
        return module_of(layers)(torch.tensor(np.asarray(points))).numpy()[:, 0]


def test_scaling_keeps_the_tables_units(tmp_path: Path) -> None:
    """The same records in other units: the same verdicts, slopes divided by the unit."""
    layers = weights([2, 8, 8, 1], 4)
    first = ran(plain_audit(tmp_path, layers, increasing=["a"], decreasing=["b"]))
    other = tmp_path / "other"
    other.mkdir()
    write_network(other / "net.onnx", layers)
    table = numbers(12, 2, 3)
    write_table(other / "table.csv", ["a", "b"], (table * [8, 4] + [16, 2]).tolist())
    columns = {
        "a": {"range": [8.0, 24.0], "standard": {"mean": 16.0, "std": 8.0}},
        "b": {"range": [-2.0, 6.0], "min-max": {"min": 2.0, "max": 6.0}},
    }
    second = ran(write_audit(other, columns, increasing=["a"], decreasing=["b"]))
    pairs = list(zip(first.answers(), second.answers(), strict=True))
    assert len(pairs) == 24
    for one, scaled in pairs:
        assert one.found is scaled.found
        unit = (8.0, 4.0)[one.question]
        assert scaled.lower * unit == pytest.approx(one.lower, rel=1e-6, abs=1e-9)
        assert scaled.upper * unit == pytest.approx(one.upper, rel=1e-6, abs=1e-9)
        if scaled.pair is not None:
            row = table[scaled.record - 1] * [8, 4] + [16, 2]
            kept = 1 - scaled.question
            assert scaled.pair.before[kept] == scaled.pair.after[kept] == row[kept]
    first.store.close()
    second.store.close()


def test_whole_numbers_and_codes_are_compared_at_their_values(tmp_path: Path) -> None:
    """A dip between two whole numbers breaks nothing; one at them does."""
    rows = [[value, code, 0.25] for value, code in product((0, 2, 4), ("low", "mid", "high"))]
    decided = {Found.VERIFIED: 0, Found.FALSIFIED: 0}
    for seed in range(12):
        folder = tmp_path / str(seed)
        folder.mkdir()
        layers = weights([3, 12, 8, 1], seed)
        write_network(folder / "net.onnx", layers)
        write_table(folder / "table.csv", ["count", "code", "rest"], rows)
        columns = {
            "count": {"type": "integer", "range": [0, 4]},
            "code": {"type": "ordinal", "categories": ["low", "mid", "high"], "codes": [-1, 0, 2]},
            "rest": {"range": [0.0, 1.0]},
        }
        result = ran(write_audit(folder, columns, increasing=["count"], decreasing=["code"]))
        for answer in result.answers():
            x = result.context.records.inputs[answer.record - 1].numpy()
            index = answer.question
            places = [[0, 1, 2, 3, 4], [-1, 0, 2]][index]
            points = np.repeat(x[None], len(places), axis=0)
            points[:, index] = places
            steps = np.diff(values(layers, points)) * (1, -1)[index]
            assert (answer.found is Found.VERIFIED) == bool((steps >= 0).all())
            decided[answer.found] += 1
            if answer.pair is not None:
                assert answer.pair.before[index] in places and answer.pair.after[index] in places
        result.store.close()
    assert min(decided.values()) > 10


def test_conditions_choose_records_and_cut_ranges(tmp_path: Path) -> None:
    """relu(a) - relu(-a): rises for a >= 0 only if the other side is cut off; here |a|."""
    layers = [
        np.array([[1, 0], [-1, 0]], np.float32),
        np.zeros(2, np.float32),
        np.array([[1, 1]], np.float32),
        np.zeros(1, np.float32),
    ]
    regions = [
        "line",
        {"kind": "conditional", "name": "cut", "of": "line", "where": ["a >= 0"]},
        {"kind": "conditional", "name": "all", "where": ["a >= 0", "b <= 0.5"]},
    ]
    path = plain_audit(tmp_path, layers, 10, increasing=["a"], regions=regions)
    result = ran(path)
    table = result.context.records.inputs.numpy()
    found = verdicts(result)
    assert found["a", "all", 0] is Found.VERIFIED
    for record in range(1, 11):
        assert found["a", "line", record] is Found.FALSIFIED
        asked = ("a", "cut", record) in found
        assert asked == (table[record - 1, 0] >= 0)
        assert not asked or found["a", "cut", record] is Found.VERIFIED


def grouped_audit(folder: Path, layers: list[np.ndarray], **keys: Any) -> Path:
    write_network(folder / "net.onnx", layers)
    rows = [[0.5, "x"], [-0.25, "y"], [0.75, "z"], [0.0, "x"]]
    write_table(folder / "table.csv", ["rate", "kind"], rows)
    columns = {
        "rate": {"range": [-1.0, 1.0]},
        "kind": {"type": "one-hot", "categories": ["x", "y", "z"]},
    }
    return write_audit(folder, columns, **keys)


@pytest.mark.parametrize("seed", range(4))
def test_insensitive_groups_against_enumeration(tmp_path: Path, seed: int) -> None:
    layers = weights([4, 8, 1], seed)
    at_most = 0.8
    result = ran(grouped_audit(tmp_path, layers, insensitive=["kind"], delta=at_most))
    for answer in result.answers():
        x = result.context.records.inputs[answer.record - 1].numpy()
        points = np.hstack([np.repeat(x[None, :1], 3, axis=0), np.eye(3)])
        found = values(layers, points)
        change = found.max() - found.min()
        assert answer.lower <= change <= answer.upper
        assert (answer.found is Found.VERIFIED) == (change <= at_most)
        if answer.pair is not None:
            assert abs(answer.pair.output_after - answer.pair.output_before) > at_most
            assert answer.pair.before[0] == answer.pair.after[0] == x[0]
    result.store.close()


def test_insensitive_neighbourhoods_and_all_inputs(tmp_path: Path) -> None:
    """Bounds hold for samples; and a network that does not read the feature is insensitive."""
    layers = weights([4, 8, 1], 3)
    layers[0][:, 1:] = 0.0
    regions = ["line", {"kind": "neighbourhood", "radius": {"rate": 0.0}}, "global"]
    keys = {"insensitive": ["kind"], "delta": 1e-6, "regions": regions}
    found = verdicts(ran(grouped_audit(tmp_path, layers, **keys)))
    assert set(found.values()) == {Found.VERIFIED} and len(found) == 9
    folder = tmp_path / "read"
    folder.mkdir()
    layers = weights([4, 8, 1], 3)
    regions = [{"kind": "neighbourhood", "radius": {"rate": 0.1}}, "global"]
    keys = {"insensitive": ["kind"], "delta": 0.05, "regions": regions}
    result = ran(grouped_audit(folder, layers, **keys))
    answers = list(result.answers())
    assert Found.FALSIFIED in {answer.found for answer in answers}
    for answer in answers:
        if answer.pair is not None:
            assert abs(answer.pair.output_after - answer.pair.output_before) > 0.05
            for end in (answer.pair.before, answer.pair.after):
                assert sorted(end[1:]) == [0.0, 0.0, 1.0], "one category"
    result.store.close()


def test_sigmoids_and_softmax_of_two_classes_change_no_verdict(tmp_path: Path) -> None:
    logit = weights([3, 4, 1], 2)
    two = [*logit[:-2], np.vstack([0 * logit[-2], logit[-2]]), np.append([0], logit[-1])]
    two = [part.astype(np.float32) for part in two]
    found = {}
    for name, layers, end, output in (
        ("logit", logit, "", 0),
        ("sigmoid", logit, "Sigmoid", {"probability": 1}),
        ("odds", logit, "Sigmoid", {"log_odds": 1}),
        ("link", logit, "", {"probability": 1, "link": "sigmoid"}),
        ("softmax", two, "Softmax", {"probability": 1}),
        ("difference", two, "", {"weights": [-1, 1]}),
        ("two", two, "", {"probability": 1, "link": "softmax"}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        keys = {"increasing": ["a"], "decreasing": ["b"], "output": output, "end": end}
        result = ran(plain_audit(folder, layers, 8, **keys))
        session = onnxruntime.InferenceSession(folder / "net.onnx")
        for answer in result.answers():
            if answer.pair is not None and name in ("sigmoid", "softmax"):
                points = np.array([answer.pair.before, answer.pair.after], np.float32)
                outputs = np.asarray(session.run(None, {"x": points})[0])[:, -1]
                assert answer.pair.output_before == pytest.approx(outputs[0], abs=1e-6)
                assert answer.pair.output_after == pytest.approx(outputs[1], abs=1e-6)
        found[name] = verdicts(result)
    assert len(set(found["logit"].values())) == 2, "both verdicts occur"
    assert all(one == found["logit"] for one in found.values())


def test_probabilities_are_insensitive_by_their_own_change(tmp_path: Path) -> None:
    layers = weights([4, 8, 1], 1)
    keys = {"insensitive": ["kind"], "output": {"probability": 1, "link": "sigmoid"}}
    result = ran(grouped_audit(tmp_path, layers, delta=0.05, **keys))
    for answer in result.answers():
        x = result.context.records.inputs[answer.record - 1].numpy()
        points = np.hstack([np.repeat(x[None, :1], 3, axis=0), np.eye(3)])
        chance = 1 / (1 + np.exp(-values(layers, points)))
        assert answer.lower - 1e-12 <= chance.max() - chance.min() <= answer.upper + 1e-12
    result.store.close()


@pytest.mark.parametrize("end", ["Tanh", "Exp"])
def test_links_are_applied_to_what_the_network_gives(tmp_path: Path, end: str) -> None:
    """The sigmoid of a tanh, or of an exponential, is not that of what enters them."""
    layers = weights([4, 8, 1], 1)
    path = grouped_audit(
        tmp_path,
        layers,
        insensitive=["kind"],
        delta=0.05,
        output={"probability": 1, "link": "sigmoid"},
    )
    write_network(tmp_path / "net.onnx", layers, end)
    result = ran(path)
    for answer in result.answers():
        x = result.context.records.inputs[answer.record - 1].numpy()
        points = np.hstack([np.repeat(x[None, :1], 3, axis=0), np.eye(3)])
        given = {"Tanh": np.tanh, "Exp": np.exp}[end](values(layers, points))
        chance = 1 / (1 + np.exp(-given))
        assert answer.lower - 1e-9 <= chance.max() - chance.min() <= answer.upper + 1e-9
    result.store.close()


def test_smooth_networks_are_decided_by_bounds(tmp_path: Path) -> None:
    layers = weights([2, 4, 1], 0, positive=True)
    path = plain_audit(tmp_path, layers, 2, increasing=["a"], decreasing=["b"])
    model = (tmp_path / "net.onnx").read_bytes()
    import onnx

    graph = onnx.load_from_string(model)
    for node in graph.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Tanh"
    onnx.save(graph, tmp_path / "net.onnx")
    found = verdicts(ran(path))
    assert {found["a", "line", record] for record in (1, 2)} == {Found.VERIFIED}
    assert {found["b", "line", record] for record in (1, 2)} == {Found.FALSIFIED}


def test_a_fall_that_float32_hides_is_shown_in_double(tmp_path: Path) -> None:
    """1000 + a - b with a slope of 1e-6 in a: float32 sees no step of it."""
    layers = [
        np.array([[-1e-6, 0.0]], np.float32),
        np.array([1000.0], np.float32),
        np.array([[1.0]], np.float32),
        np.zeros(1, np.float32),
    ]
    result = ran(plain_audit(tmp_path, layers, 3, increasing=["a"]))
    answers = list(result.answers())
    assert {answer.found for answer in answers} == {Found.FALSIFIED}
    assert {answer.pair.engine for answer in answers if answer.pair} == {"float64"}
    result.store.close()


def test_margins_are_rates_per_unit(tmp_path: Path) -> None:
    layers = [np.array([[0.5, 0.0]], np.float32), np.zeros(1, np.float32)]
    for margin, word in ((0.5, Found.VERIFIED), (0.5001, Found.FALSIFIED)):
        folder = tmp_path / str(margin)
        folder.mkdir()
        found = verdicts(ran(plain_audit(folder, layers, 2, increasing=["a"], margin=margin)))
        assert set(found.values()) == {word}
