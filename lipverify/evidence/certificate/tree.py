"""The tree of a proof, depth first, each node written as soon as its split is known."""

from collections.abc import Callable
from dataclasses import dataclass

from lipverify.evidence.certificate.bounding import EmptyAfter, bound_steps
from lipverify.evidence.certificate.encode import CertificateFile, Json
from lipverify.evidence.certificate.exact import exact_steps
from lipverify.evidence.certificate.model import Empty, Model, State
from lipverify.evidence.certificate.node import (
    Attempt,
    InputSplit,
    NeuronSplit,
    ObjectiveSplit,
    Prover,
    empty_proof,
)
from lipverify.region import AbstractRegion
from lipverify.search.split import Split


class NotProved(Exception):
    """The claim could not be proved; the message says why."""


@dataclass(frozen=True, eq=False)
class _Task:
    """A node to come: its parent's state, the edge from there, the objectives that are left."""

    parent: State
    edge: Split | tuple[int, float, int] | None
    objectives: tuple[int, ...]
    hint: object


def write_tree(
    model: Model,
    prover: Prover,
    region: AbstractRegion,
    objectives: int,
    file: CertificateFile,
    expired: Callable[[], bool],
) -> None:
    """Raises `NotProved` where the claim is not proved, or not in time."""
    waiting = [_Task(State(region, model.intervals(region)), None, tuple(range(objectives)), None)]
    while waiting:
        if expired():
            raise NotProved(f"no time left after {file.nodes} nodes, {len(waiting)} are open")
        task = waiting.pop()
        node, children = (_root if not file.nodes else _node)(model, prover, task)
        file.write(node)
        waiting.extend(reversed(children))


def _root(model: Model, prover: Prover, task: _Task) -> tuple[Json, list[_Task]]:
    """Bounds by default slopes; by optimised ones as well if something is left then."""
    names = list(model.layers)
    plain, state = bound_steps(model, task.parent, names, optimise=False, gain=0.0)
    node, children = _tried(model, prover, task, plain, state)
    if not children:
        return node, []
    better, state = bound_steps(model, state, names[1:], optimise=True)
    if not better:
        return node, children
    return _tried(model, prover, task, [*plain, *better], state)


def _node(model: Model, prover: Prover, task: _Task) -> tuple[Json, list[_Task]]:
    try:
        steps, state = _entered(model, task)
    except Empty:
        return {}, []
    except EmptyAfter as found:
        return _json(found.steps, []), []
    except _Refuted as found:
        return _json([], [found.proof]), []
    return _tried(model, prover, task, steps, state)


def _tried(
    model: Model, prover: Prover, task: _Task, steps: list[Json], state: State
) -> tuple[Json, list[_Task]]:
    attempt = prover.attempt(state, task.objectives, task.hint)
    node = _json([*steps, *attempt.steps], attempt.proofs)
    if not attempt.left:
        return node, []
    if attempt.split is None:
        raise NotProved(
            f"{len(attempt.left)} objectives stay open behind {len(state.splits)} splits with "
            "nothing left to split"
        )
    node["split"] = attempt.split.json(model)
    return node, _children(attempt.state or state, attempt)


def _children(state: State, attempt: Attempt) -> list[_Task]:
    match attempt.split:
        case NeuronSplit() as split:
            return [_Task(state, side, attempt.left, attempt.hint) for side in split.sides()]
        case InputSplit(index, at):
            return [_Task(state, (index, at, side), attempt.left, attempt.hint) for side in (-1, 1)]
        case ObjectiveSplit(parts):
            return [_Task(state, None, part, attempt.hint) for part in parts]
        case None:
            return []


class _Refuted(Exception):
    def __init__(self, proof: Json) -> None:
        super().__init__()
        self.proof = proof


def _entered(model: Model, task: _Task) -> tuple[list[Json], State]:
    """The child's state after its own steps."""
    edge = task.edge
    if edge is None:
        return [], task.parent
    names = list(model.layers)
    if isinstance(edge, Split):
        state = model.halved(task.parent, edge)
        proof = empty_proof(model, state)
        if proof is not None:
            raise _Refuted(proof)
        steps, state = bound_steps(model, state, names, optimise=False)
        more, state = exact_steps(model, model.exact, state)
        return [*steps, *more], state
    index, at, side = edge
    state = model.input_half(task.parent, index, at, side)
    steps, state = bound_steps(model, state, names, optimise=False)
    return [{"step": "intervals"}, *steps], state


def _json(steps: list[Json], proofs: list[Json]) -> Json:
    node: Json = {}
    if steps:
        node["steps"] = steps
    if proofs:
        node["proofs"] = proofs
    return node


__all__ = ["NotProved", "write_tree"]
