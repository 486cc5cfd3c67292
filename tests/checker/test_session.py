"""A proof offered node by node: refusals leave everything as it was."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipverify.checker import Rejected, Session, check
from lipverify.checker.archive import Clock
from tests.checker import handmade

LEAF: dict[str, Any] = {
    "steps": [{"step": "intervals"}],
    "proofs": [{"rule": "mean-split", "objectives": "all"}],
}
SPLIT = {"split": {"layer": 0, "neuron": 0, "at": handmade.scalar(0.0)}}


def absolute(path: Path) -> tuple[Path, dict[str, Any]]:
    """|x| as relu(x) + relu(-x), and 3 x: constants 1 and 3, after a split."""
    weights = [np.array([[1.0], [-1.0]]), np.array([[1.0, 1.0], [3.0, -3.0]])]
    network = handmade.mlp(path / "n.onnx", weights, [np.zeros(2), np.zeros(2)])
    asked = handmade.lipschitz(3.0)
    return network, handmade.manifest(network, handmade.box([-1], [1]), asked)


def state(session: Session) -> Any:
    nodes = [
        (deepcopy(known.ends), known.conflicts, known.empty, set(left))
        for known, left in session.waiting
    ]
    return nodes, session.nodes, session.leaves, dict(session.rules)


REFUSED: dict[str, dict[str, Any]] = {
    "a leaf that is not proved": LEAF,
    "no proof": {},
    "a neuron that is not there": {"split": {"layer": 0, "neuron": 2, "at": SPLIT["split"]["at"]}},
    "objectives left out": {"split": {"objectives": [[0], [0]]}},
    "a rule of another property": {"proofs": [{"rule": "linear", "objective": 0}]},
    "an unproved conflict": {
        "steps": [
            {"step": "bound", "layer": 0, "neurons": "all"},
            {
                "step": "conflicts",
                "pairs": [[0, 0, 1, 0, 1, 1]],
                "weights": handmade.floats([0.5]),
            },
        ]
    },
}


def offer(session: Session, record: dict[str, Any]) -> None:
    session.settle(record, session.examine(record))


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_record_changes_nothing(tmp_path: Path, name: str) -> None:
    network, manifest = absolute(tmp_path)
    session = Session(manifest, network, Clock(60))
    step = {"step": "bound", "layer": 0, "neurons": [1], "multipliers": []}
    step["multipliers"] = [{"layer": 0, "neurons": [0], "beta": handmade.floats([-1.0, 1.0])}]
    half = {"steps": [step], "proofs": LEAF["proofs"]}
    for record in (SPLIT, half, half):
        before = state(session)
        with pytest.raises(Rejected):
            offer(session, REFUSED[name] if record is SPLIT else {"proofs": [{"rule": "empty"}]})
        assert state(session) == before
        offer(session, record)
    assert not session.waiting and (session.nodes, session.leaves) == (3, 2)
    path = handmade.write(tmp_path / "c.lipcert", manifest, [SPLIT, half, half])
    report = check(path, network)
    assert report.accepted and (report.nodes, report.rules) == (session.nodes, session.rules)


def test_what_is_left_open(tmp_path: Path) -> None:
    """The row 3 x is closed at the root only after a split; |x| is below 3 at once."""
    network, manifest = absolute(tmp_path)
    session = Session(manifest, network, Clock(60))
    assert session.waiting[-1][1] == {0, 1}
    node = session.examine(LEAF)
    assert node.left == {1} and "objective 1" in node.failures[0]
    assert session.waiting[-1][1] == {0, 1}  # examined, not settled
    record = {**LEAF, **SPLIT}
    session.settle(record, node := session.examine(record))
    assert node.left == {1} and [left for _, left in session.waiting] == [{1}, {1}]
    offer(session, {"split": {"objectives": [[1], [1]]}})
    assert len(session.waiting) == 3
