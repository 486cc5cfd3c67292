"""Changes of a fully connected network that leave its function as it is, or change it simply."""

import torch
from torch import Tensor

from tests.oracles import networks
from tests.oracles.networks import Builder, Tiny

Layers = list[tuple[Tensor, Tensor]]


def layers_of(seed: int, sizes: tuple[int, ...] = (3, 5, 4, 2)) -> Layers:
    make = networks.Weights(seed)
    return [(make(m, n), make(m, scale=0.5)) for n, m in zip(sizes, sizes[1:], strict=False)]


def built(layers: Layers, name: str, kind: str = "relu") -> Tiny:
    return networks.from_weights(list(layers), name, kind)


def permuted(layers: Layers, layer: int) -> Layers:
    """The neurons of a hidden layer in another order."""
    (weight, bias), (after, shift) = layers[layer], layers[layer + 1]
    order = torch.randperm(len(weight), generator=torch.Generator().manual_seed(1))
    changed = list(layers)
    changed[layer] = (weight[order], bias[order])
    changed[layer + 1] = (after[:, order], shift)
    return changed


def with_dead_neuron(layers: Layers, layer: int) -> Layers:
    """One neuron more, whose output nobody uses."""
    (weight, bias), (after, shift) = layers[layer], layers[layer + 1]
    changed = list(layers)
    changed[layer] = (
        torch.cat([weight, 2 * weight[:1] - weight[1:2]]),
        torch.cat([bias, bias[:1]]),
    )
    changed[layer + 1] = (torch.cat([after, torch.zeros_like(after[:, :1])], 1), shift)
    return changed


def with_twin(layers: Layers, layer: int) -> Layers:
    """The first neuron twice, each with half of its outgoing weights."""
    (weight, bias), (after, shift) = layers[layer], layers[layer + 1]
    half = after[:, :1] / 2
    changed = list(layers)
    changed[layer] = (torch.cat([weight, weight[:1]]), torch.cat([bias, bias[:1]]))
    changed[layer + 1] = (torch.cat([half, after[:, 1:], half], 1), shift)
    return changed


def rescaled(layers: Layers, layer: int, factor: float) -> Layers:
    """A ReLU layer times `factor`, the next one divided by it (a power of two: exactly)."""
    (weight, bias), (after, shift) = layers[layer], layers[layer + 1]
    changed = list(layers)
    changed[layer] = (factor * weight, factor * bias)
    changed[layer + 1] = (after / factor, shift)
    return changed


def scaled_output(layers: Layers, factor: float) -> Layers:
    weight, bias = layers[-1]
    return [*layers[:-1], (factor * weight, factor * bias)]


def translated(layers: Layers, shift: Tensor) -> Layers:
    """g(x) = f(x - shift); shift [n] on the grid of 1/8, so that nothing is rounded."""
    weight, bias = layers[0]
    return [(weight, bias - weight @ shift), *layers[1:]]


def with_identity_layers(layers: Layers, name: str, kind: str = "relu") -> Tiny:
    """W = I W: every affine layer followed by another one that does nothing."""
    builder = Builder(layers[0][0].shape[1])
    last = builder.INPUT
    for layer, (weight, bias) in enumerate(layers):
        if layer:
            last = builder.activate(last, kind)
        last = builder.dense(last, weight, bias)
        last = builder.dense(last, torch.eye(len(weight), dtype=weight.dtype))
    return builder.finish(name, last)
