"""Sampled truth about small networks, in float64, for tests of rules."""

from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]

ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "Relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "Abs": (np.abs, np.sign),
    "LeakyRelu": (
        lambda z: np.where(z > 0, z, float(np.float32(0.01)) * z),
        lambda z: np.where(z > 0, 1.0, float(np.float32(0.01))),
    ),
    "Tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "Sigmoid": (
        lambda z: 1 / (1 + np.exp(-z)),
        lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    ),
}


def points(lower: np.ndarray, upper: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Corners and inner points."""
    generator = np.random.default_rng(seed)
    share = generator.random((count, len(lower)))
    share[: count // 2] = share[: count // 2].round()
    return lower + share * (upper - lower)


def values(
    weights: list[np.ndarray], biases: list[np.ndarray], name: str, x: np.ndarray
) -> list[np.ndarray]:
    """Preactivations of all layers, and the outputs: [count, size] each."""
    function, found = ACTIVATIONS[name][0], []
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = (function(x) if k else x) @ weight.astype(np.float64).T + bias
        found.append(x)
    return found


def jacobian(
    weights: list[np.ndarray], biases: list[np.ndarray], name: str, x: np.ndarray
) -> np.ndarray:
    """At points [count, n]: [count, outputs, n]."""
    found = np.broadcast_to(weights[0].astype(np.float64), (len(x), *weights[0].shape))
    for weight, z in zip(weights[1:], values(weights, biases, name, x), strict=False):
        found = weight.astype(np.float64) @ (ACTIVATIONS[name][1](z)[:, :, None] * found)
    return found
