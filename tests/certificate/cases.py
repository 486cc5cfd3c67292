"""Tiny random networks as ONNX files, beside the judge's list of their linear regions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from lipverify.bounds.methods import Setting
from lipverify.config import PreactivationConfig, VerifyConfig
from lipverify.network import Network, load_network
from lipverify.region import Box
from tests.checker import handmade
from tests.oracles.networks import Tiny, Weights, from_weights
from tests.oracles.regions import Regions

SIZES = ((2, 4, 2), (1, 3, 2), (3, 4, 1), (2, 3, 3, 2), (2, 4, 3, 1), (3, 3, 3, 2))
CONFIG = VerifyConfig()
SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Case:
    """Weights are multiples of 1/64: small integers at a power of two, exact in float32."""

    path: Path
    tiny: Tiny
    box: Box

    @cached_property
    def network(self) -> Network:
        return load_network(self.path)

    @property
    def setting(self) -> Setting:
        return Setting(self.network, self.box, PreactivationConfig())

    @cached_property
    def regions(self) -> Regions:
        return Regions(self.tiny, self.box)


Layers = list[tuple[Tensor, Tensor | None]]


def make(folder: Path, layers: Layers, box: Box, kind: str = "relu") -> Case:
    operator = {"relu": "Relu", "abs": "Abs"}[kind]
    weights = [weight.numpy() for weight, _ in layers]
    biases = [
        (torch.zeros(len(weight)) if bias is None else bias).numpy() for weight, bias in layers
    ]
    path = handmade.mlp(folder / "tiny.onnx", weights, biases, operator)
    return Case(path, from_weights(layers, "tiny", kind), box)


def random_case(folder: Path, seed: int) -> Case:
    """Of one of the sizes, on a box with dyadic ends; some are degenerate on purpose."""
    draw = Weights(seed)
    sizes = SIZES[seed % len(SIZES)]
    layers: Layers = [
        (draw(b, a, scale=1.5 / a**0.5), draw(b, scale=0.5))
        for a, b in zip(sizes, sizes[1:], strict=False)
    ]
    twist = TWISTS[(seed // len(SIZES)) % len(TWISTS)]
    center = draw(sizes[0], scale=0.5)
    box = Box(center - 0.75, center + 0.75)
    return make(folder, twist(layers), box)


def _plain(layers: Layers) -> Layers:
    return layers


def _without_biases(layers: Layers) -> Layers:
    return [(weight, None) for weight, _ in layers]


def _duplicated(layers: Layers) -> Layers:
    (weight, bias), *rest = layers
    assert bias is not None
    weight, bias = weight.clone(), bias.clone()
    weight[1], bias[1] = weight[0], bias[0]
    weight[2], bias[2] = -weight[0], -bias[0]
    return [(weight, bias), *rest]


def _dead(layers: Layers) -> Layers:
    (weight, bias), *rest = layers
    assert bias is not None
    weight, bias = weight.clone(), bias.clone()
    weight[0], bias[0] = 0.0, 0.0
    bias[1] = -16.0
    return [(weight, bias), *rest]


TWISTS: tuple[Callable[[Layers], Layers], ...] = (
    _plain,
    _plain,
    _without_biases,
    _duplicated,
    _dead,
)
