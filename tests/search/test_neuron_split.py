"""Neuron splits: killed at any write and resumed, and left on time."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lipverify.bounds.methods import Setting
from lipverify.bounds.neurons import check_parts, clause_target, tightened_network
from lipverify.config import VerifyConfig
from lipverify.graph import output
from lipverify.numerics import DTYPE
from lipverify.query_output import OutputQuery, clause
from lipverify.search import neuron_loop, neuron_split
from lipverify.search.budget import Clock
from lipverify.search.checkpoint import file
from lipverify.search.checkpoint.codec import Packed, pack, unpack
from lipverify.search.neuron_loop import NeuronLoop, StoredNeurons
from lipverify.search.neuron_split import NeuronResult, neuron_search
from lipverify.search.output_search import silent
from lipverify.search.slot import AbstractSlot
from lipverify.search.unsafe_goal import UnsafeGoal
from lipverify.verdict import Reason
from lipverify.witness import clause_depths
from tests.oracles import boxes, networks, originals
from tests.oracles.networks import Tiny

SETTINGS = VerifyConfig(timeout=None)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron_split, "PILOT", 12)
    monkeypatch.setattr(neuron_loop, "PARENTS", 4)
    # Parts that gain nothing get more effort in small trees, too.
    monkeypatch.setattr(neuron_loop, "DEEP", 0.0)


class Killed(BaseException):
    """Stands for kill -9."""


class Kept:
    """What a checkpoint would hold, as bytes; dies instead of the k-th write."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, dict[str, bytes]]] = {}
        self.left = 10**9

    def __call__(self, key: str) -> AbstractSlot:
        return _Slot(self, key)


class _Slot(AbstractSlot):
    def __init__(self, owner: Kept, key: str) -> None:
        self.owner = owner
        self.key = key

    def load(self, kind: type, check: Callable[[Any], Any]) -> Any:
        if self.key not in self.owner.values:
            return None
        tree, arrays = self.owner.values[self.key]
        numbers = {name: file.read_array(data) for name, data in arrays.items()}
        value = unpack(Packed(json.loads(tree), numbers))
        assert isinstance(value, kind)
        return check(value)

    def keep(self, value: object) -> None:
        if self.owner.left == 0:
            raise Killed
        self.owner.left -= 1
        packed = pack(value)
        arrays = {name: file.array_bytes(part) for name, part in packed.numbers.items()}
        self.owner.values[self.key] = file.text_bytes(packed.tree), arrays


def asked(off: float = 1.0) -> tuple[Tiny, OutputQuery]:
    """Three clauses, one of two rows, a little out of the reach of all points met."""
    tiny = networks.dense((5, 30, 30, 2), 3)
    box = boxes.centered(5, 0.6)
    generator = torch.Generator().manual_seed(0)
    seen = output(tiny.graph, box.sample(4000, generator))
    parts = []
    for rows in ([[-1.0, 0.5]], [[0.3, -1.0]], [[-1.0, 0.0], [0.0, 1.0]]):
        here = clause(rows, [0.0] * len(rows), 2)
        most = float(clause_depths((here,), seen).max())
        parts.append(clause(rows, [most + off] * len(rows), 2))
    return tiny, OutputQuery(box, tuple(parts))


def search(
    tiny: Tiny, query: OutputQuery, kept: Kept | None = None, clock: Clock | None = None
) -> NeuronResult:
    network = originals.network(tiny)
    setting = Setting(network, query.region, SETTINGS.preactivation)
    infinite = torch.full((len(query.unsafe),), torch.inf, dtype=DTYPE)
    return neuron_search(
        setting,
        query.unsafe,
        UnsafeGoal(network, query),
        infinite,
        clock or Clock(None),
        silent,
        120,
        slots=kept or Kept(),
    )


def test_killed_at_any_write_a_search_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers as of the whole run, and no step is taken twice but the one that was cut."""
    steps = [0]
    step = NeuronLoop.step

    def counted(self: Any, state: Any) -> Any:
        steps[0] += 1
        return step(self, state)

    monkeypatch.setattr(NeuronLoop, "step", counted)
    tiny, query = asked()
    kept = Kept()
    whole = search(tiny, query, kept)
    alone, writes = steps[0], 10**9 - kept.left
    assert whole.subproblems > 20 and writes > 5
    for last in sorted({1, 2, writes // 2}):
        kept, steps[0] = Kept(), 0
        kept.left = last
        with pytest.raises(Killed):
            search(tiny, query, kept)
        before = steps[0]
        kept.left = 10**9
        found = search(tiny, query, kept)
        assert torch.equal(found.upper, whole.upper)
        assert found.subproblems == whole.subproblems
        pilot = alone - (writes - 1)  # steps before the first write of a state
        assert steps[0] <= alone + 1 + (pilot if last <= 1 else 0), (before, last)


def test_states_that_cannot_be_meant_are_refused() -> None:
    tiny, query = asked()
    kept = Kept()
    search(tiny, query, kept)
    network = originals.network(tiny)
    net = tightened_network(network.graph, query.region)
    target = clause_target(net, query.unsafe)
    states: list[StoredNeurons] = []
    first = Kept()
    first.left = 2
    with pytest.raises(Killed):
        search(tiny, query, first)
    _Slot(first, "neuron splits").load(StoredNeurons, states.append)
    parts = states[0].parts
    assert len(parts)
    check_parts(net, target, parts)
    for name, value in (
        ("sides", parts.sides + 3),
        ("sides", parts.sides[:, 1:]),
        ("least", parts.most + 1.0),
        ("upper", parts.upper * float("nan")),
        ("slopes", parts.slopes + 2.0),
        ("multipliers", parts.multipliers - 1.0),
        ("number", parts.number + 3),
        ("logits", parts.logits.double()),
    ):
        changed = parts.pick(torch.arange(len(parts)))
        object.__setattr__(changed, name, value)
        with pytest.raises(ValueError):
            check_parts(net, target, changed)


def test_every_long_step_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the time is up, nothing wrong is claimed, and no more steps are taken."""
    tiny, query = asked()
    deepest = clause_depths(
        query.unsafe, output(tiny.graph, boxes.points(query.region, 4000, 1))
    ).amax(0)
    looks = [0]
    for last in (1, 2, 4, 8, 20, 60, 150):
        looks[0] = 0

        def expired(self: Clock, last: int = last) -> bool:
            looks[0] += 1
            return looks[0] >= last

        with monkeypatch.context() as patch:
            patch.setattr(Clock, "expired", expired)
            found = search(tiny, query, clock=Clock(100.0))
        assert bool((found.upper >= deepest).all())
        if found.stop is not None:
            assert found.stop.reason is Reason.TIMEOUT


def test_a_large_network_is_left_on_time() -> None:
    tiny = networks.dense((400, 700, 700, 700, 3), 1)
    box = boxes.centered(400, 1.0)
    query = OutputQuery(box, (clause([[-1.0, 1.0, 0.0]], [1e3], 3),))
    started = time.process_time()
    found = search(tiny, query, clock=Clock(0.5))
    assert found.stop is not None and found.stop.reason is Reason.TIMEOUT
    assert time.process_time() - started < 4.0
