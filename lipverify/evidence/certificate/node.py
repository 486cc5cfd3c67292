"""What the two kinds of proofs share: an attempt at a node, its split, and proofs of emptiness."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lipverify.evidence.certificate.bounding import (
    Choice,
    cuts_of,
    multipliers_json,
)
from lipverify.evidence.certificate.encode import Json, scalar
from lipverify.evidence.certificate.model import Model, State
from lipverify.search.split import Split

READ = 1e-11
"""A float result decides only beyond this share of the numbers that it came from."""


@dataclass(frozen=True)
class NeuronSplit:
    node: str
    index: int
    position: float = 0.0

    def sides(self) -> tuple[Split, Split]:
        return (
            Split(self.node, self.index, -1, self.position),
            Split(self.node, self.index, 1, self.position),
        )

    def json(self, model: Model) -> Json:
        layer = model.layers[self.node][0]
        return {"layer": layer, "neuron": self.index, "at": scalar(self.position)}


@dataclass(frozen=True)
class InputSplit:
    index: int
    position: float

    def json(self, model: Model) -> Json:
        return {"input": self.index, "at": scalar(self.position)}


@dataclass(frozen=True)
class ObjectiveSplit:
    parts: tuple[tuple[int, ...], ...]

    def json(self, model: Model) -> Json:
        return {"objectives": [list(part) for part in self.parts]}


NodeSplit = NeuronSplit | InputSplit | ObjectiveSplit


@dataclass(frozen=True, eq=False)
class Attempt:
    """Proofs, the objectives that they leave open, and where to go on: None is the end.

    `steps` come before the proofs, and lead to `state`, if given; `hint` goes to the children.
    """

    proofs: list[Json]
    left: tuple[int, ...]
    split: NodeSplit | None = None
    hint: object = None
    steps: tuple[Json, ...] = ()
    state: State | None = None


class Prover(Protocol):
    """Tries to close objectives at a node."""

    def attempt(self, state: State, objectives: tuple[int, ...], hint: object) -> Attempt: ...


def empty_proof(model: Model, state: State) -> Json | None:
    """Farkas multipliers of the splits on the path, if the float model believes them."""
    lines = model.lines(state.known)
    cuts = cuts_of(model, state, lines)
    amounts = cuts.region.farkas() if len(cuts) else None
    if amounts is None:
        return None
    amounts = amounts.unsqueeze(0)
    output = model.forward.output
    start = {output: torch.zeros(1, *model.forward[output].shape, dtype=torch.float64)}
    slope, constant, seen = model.substitute(state, start, lines, cuts.betas(model, amounts))
    value = constant + state.region.support(slope)
    reach = slope.abs() @ state.region.bounding.magnitude + constant.abs()
    if not bool(value < -READ * reach):
        return None
    choice = Choice(value, amounts, {}, seen)
    return {"rule": "empty", "multipliers": multipliers_json(model, state, lines, cuts, choice)}


def middle(state: State, index: int) -> float:
    box = state.region.bounding
    return float(box.lower[index] / 2 + box.upper[index] / 2)


def moving(state: State) -> Tensor:
    return (state.region.bounding.width > 0).nonzero().flatten()
