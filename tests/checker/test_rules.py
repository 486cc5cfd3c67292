"""Every rule against sampled truth: what is accepted is true, bounds are worth something."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipverify.checker import Report, check
from tests.checker import handmade, truth

BOUNDS = [{"step": "bound", "layer": k} for k in range(2)]
ACTIVATIONS = sorted(truth.ACTIVATIONS)
SIZES = [3, 6, 5, 2]
LOWER, UPPER = np.full(3, -0.4), np.full(3, 0.5)


def ask(
    path: Path, network: Path, asked: Mapping[str, Any], nodes: Any, region: Any = None, **more: Any
) -> Report:
    region = region or handmade.box(LOWER, UPPER)
    return check(
        handmade.write(
            path / "x.lipcert", handmade.manifest(network, region, asked, **more), nodes
        ),
        network,
    )


def least(
    path: Path, network: Path, asked: Any, nodes: Any, low: float, high: float, region: Any = None
) -> float:
    """The smallest threshold that is accepted, to a few parts in a hundred."""
    assert ask(path, network, asked(high), nodes, region).accepted
    for _ in range(12):
        middle = (low + high) / 2
        if ask(path, network, asked(middle), nodes, region).accepted:
            high = middle
        else:
            low = middle
    return high


DUAL = {"inf": 1, "2": 2, "1": np.inf}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("rule", ["mean-split", "backward"])
def test_lipschitz(tmp_path: Path, name: str, rule: str) -> None:
    for seed, norm in enumerate(("inf", "2", "1")):
        network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", seed, SIZES, name)
        found = truth.jacobian(weights, biases, name, truth.points(LOWER, UPPER, 2000))
        best = np.linalg.norm(found, DUAL[norm], axis=2).max()
        nodes = [{"steps": BOUNDS, "proofs": [{"rule": rule, "objectives": "all"}]}]
        bound = least(
            tmp_path, network, partial(handmade.lipschitz, norm=norm), nodes, 0.0, 30 * best
        )
        assert best <= bound <= 8 * best


@pytest.mark.parametrize(
    "norms", [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"), ("inf", "1"), ("inf", "2")]
)
def test_joint_norms(tmp_path: Path, norms: tuple[str, str]) -> None:
    """Differences of outputs at pairs of near and far points never exceed an accepted constant."""
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 7, SIZES)
    x = truth.points(LOWER, UPPER, 1000)
    y = (
        x
        + 1e-3
        * np.random.default_rng(1).standard_normal(x.shape)
        * np.repeat([1, 100], 500)[:, None]
    )
    y = y.clip(LOWER, UPPER)
    x, y = x[(x != y).any(1)], y[(x != y).any(1)]
    change = (
        truth.values(weights, biases, "Relu", x)[-1] - truth.values(weights, biases, "Relu", y)[-1]
    )
    order = {"1": 1, "2": 2, "inf": np.inf}
    best = (
        np.linalg.norm(change, order[norms[1]], axis=1)
        / np.linalg.norm(x - y, order[norms[0]], axis=1)
    ).max()
    nodes = [{"steps": BOUNDS, "proofs": [{"rule": "mean-split", "objective": 0}]}]
    bound = least(
        tmp_path, network, lambda L: handmade.lipschitz(L, *norms), nodes, 0.0, 100 * best
    )
    assert best <= bound <= 12 * best


def test_joint_norms_of_constant_matrices(tmp_path: Path) -> None:
    """Linear networks: the operator norm itself, from both sides."""
    weight = np.array([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0]])
    network = handmade.mlp(tmp_path / "n.onnx", [weight], [np.zeros(2)])
    vertices = np.array([[a, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)], dtype=float)
    exact = {
        ("1", "1"): np.abs(weight).sum(0).max(),
        ("1", "2"): np.linalg.norm(weight, axis=0).max(),
        ("2", "2"): np.linalg.norm(weight, 2),
        ("inf", "1"): np.abs(vertices @ weight.T).sum(1).max(),
        ("2", "1"): max(np.linalg.norm(weight[0] + s * weight[1]) for s in (1, -1)),
    }
    nodes = [{"proofs": [{"rule": "mean-split", "objectives": "all"}]}]
    for norms, value in exact.items():
        assert ask(
            tmp_path, network, handmade.lipschitz(value * (1 + 1e-9), *norms), nodes
        ).accepted
        assert not ask(
            tmp_path, network, handmade.lipschitz(value * (1 - 1e-9), *norms), nodes
        ).accepted


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_monotonicity(tmp_path: Path, name: str) -> None:
    for seed in range(3):
        network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", seed, SIZES, name)
        found = truth.jacobian(weights, biases, name, truth.points(LOWER, UPPER, 2000))[:, 1, 2]
        nodes = [{"steps": BOUNDS, "proofs": [{"rule": "backward", "objectives": "all"}]}]

        def asked(margin: float, way: str) -> dict[str, Any]:
            weights = handmade.floats([0, 1])
            return {
                "kind": "monotonicity",
                "weights": weights,
                way: [2],
                "margin": handmade.scalar(margin),
            }

        low = -least(tmp_path, network, lambda x: asked(-x, "increasing"), nodes, -50, 50)
        high = least(tmp_path, network, lambda x: asked(-x, "decreasing"), nodes, -50, 50)
        assert low <= found.min() and found.max() <= high


REGIONS: dict[str, dict[str, Any]] = {
    "box": handmade.box(LOWER, UPPER),
    "flat box": handmade.box([-0.4, 0.1, -0.4], [0.5, 0.1, 0.5]),
    "2": {
        "ball": {
            "norm": "2",
            "center": handmade.floats([0.1, 0, 0.2]),
            "radius": handmade.floats([0.5]),
        }
    },
    "1": {
        "ball": {
            "norm": "1",
            "center": handmade.floats([0.1, 0, 0.2]),
            "radius": handmade.floats([0.5]),
        }
    },
}
REGIONS["cut 2"] = {**handmade.box([-0.1, -0.4, 0.25], [0.5, 0.2, 0.5]), **REGIONS["2"]}
REGIONS["cut 1"] = {**handmade.box([-0.1, -0.4, 0.25], [0.5, 0.2, 0.5]), **REGIONS["1"]}
REGIONS["stretched"] = {
    "ball": {
        "norm": "2",
        "center": handmade.floats([0.1, 0, 0.2]),
        "radius": handmade.floats([0.5, 0, 0.1]),
    }
}


def inside(region: str) -> np.ndarray:
    x = truth.points(np.full(3, -0.5), np.full(3, 0.8), 60000)
    center, radius = np.array([0.1, 0, 0.2]), np.full(3, 0.5)
    if region == "stretched":
        radius, x[:, 1] = np.array([0.5, 1.0, 0.1]), 0.0
        x[:, 2] = 0.2 + 0.2 * (x[:, 2] - 0.2)
    keep = np.ones(len(x), dtype=bool)
    if region == "flat box":
        x[:, 1] = 0.1
    if "box" in region:
        return x.clip(LOWER, UPPER)
    keep &= np.linalg.norm((x - center) / radius, 1 if region.endswith("1") else 2, axis=1) <= 1
    if "cut" in region:
        keep &= ((x >= [-0.1, -0.4, 0.25]) & (x <= [0.5, 0.2, 0.5])).all(1)
    return x[keep]


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_outputs(tmp_path: Path, name: str, region: str) -> None:
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 3, SIZES, name)
    best = truth.values(weights, biases, name, inside(region))[-1] @ [1.0, -2.0]

    def asked(x: float) -> dict[str, Any]:
        """y0 - 2 y1 >= x is unsafe."""
        clause = {"coefficients": handmade.floats([-1, 2]), "offsets": handmade.floats([x])}
        return {"kind": "robustness", "unsafe": [clause]}

    nodes = [{"steps": BOUNDS, "proofs": [{"rule": "linear", "objective": 0}]}]
    bound = least(tmp_path, network, asked, nodes, -50, 50, REGIONS[region])
    assert best.max() <= bound <= best.max() + 3 * (best.max() - best.min()) + 0.1


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_any_multipliers_are_sound(tmp_path: Path, name: str) -> None:
    """Random slopes and betas on random halves: never below an attained value."""
    generator = np.random.default_rng(5)
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 4, SIZES, name)
    x = truth.points(LOWER, UPPER, 4000)
    first, _, out = truth.values(weights, biases, name, x)
    for _ in range(4):
        at = float(np.median(first[:, 2]))
        multipliers = [
            {
                "layer": k,
                "lower": handmade.floats(generator.normal(0.5, 0.6, size)),
                "upper": handmade.floats(generator.normal(0.5, 0.6, 2 * size if k else size)),
                "beta": handmade.floats(generator.normal(0, 0.3, size)),
            }
            for k, size in enumerate(SIZES[1:3])
        ]
        for k in (0, 1):
            multipliers[k]["upper"] = handmade.floats(generator.normal(0.5, 0.6, SIZES[k + 1]))
        half = [
            {
                "steps": BOUNDS,
                "proofs": [{"rule": "linear", "objective": 0, "multipliers": multipliers}],
            }
        ]
        ok = {"proofs": [{"rule": "linear", "objective": 0}]}
        for below, nodes in ((True, [*half, ok]), (False, [ok, *half])):
            side = first[:, 2] <= at if below else first[:, 2] >= at
            best = (out[side] @ [1.0, -2.0]).max()
            clause = {
                "coefficients": handmade.floats([-1, 2]),
                "offsets": handmade.floats([best - 1e-9]),
            }
            split = {"split": {"layer": 0, "neuron": 2, "at": handmade.scalar(at)}}
            report = ask(
                tmp_path, network, {"kind": "robustness", "unsafe": [clause]}, [split, *nodes]
            )
            assert not report.accepted


def test_betas_prove_what_a_split_implies(tmp_path: Path) -> None:
    """z1 = 3 z0 / 7: on the half z0 >= 0, z1 >= 0 exactly; z2 = -z0 - 0.5 is then negative."""
    weight = np.array([[7.0, -1.75], [3.0, -0.75], [-7.0, 1.75]])
    network = handmade.mlp(tmp_path / "n.onnx", [weight, [[1.0, -1.0, 1.0]]], [[0, 0, -0.5], [0.0]])
    step = {
        "step": "bound",
        "layer": 0,
        "neurons": [1],
        "sides": "lower",
        "scale": handmade.floats([7.0]),
        "multipliers": [{"layer": 0, "neurons": [0], "beta": handmade.floats([-3.0])}],
    }
    empty = {
        "rule": "empty",
        "multipliers": [{"layer": 0, "neurons": [0, 2], "beta": handmade.floats([-1.0, -1.0])}],
    }
    region = handmade.box([-1, -1], [1, 1])

    def report(steps: list[Any], asked: float, last: Any) -> Report:
        nodes = [
            {"split": {"layer": 0, "neuron": 0, "at": handmade.scalar(0.0)}},
            {"proofs": [{"rule": "mean-split", "objectives": "all"}]},
            {"steps": steps, "split": {"layer": 0, "neuron": 2, "at": handmade.scalar(0.0)}},
            {"proofs": [{"rule": "mean-split", "objectives": "all"}]},
            {"proofs": [last]},
        ]
        return ask(tmp_path, network, handmade.lipschitz(asked), nodes, region)

    # z0 <= 0: at most 3.75 (gate 1 open) + 8.75; z0 >= 0: 7 - 3 with gate 1 closed.
    assert report([step], 12.6, empty).accepted
    assert not report([step], 12.6, {"rule": "empty"}).accepted
    assert not report([step], 12.4, empty).accepted


def test_conflicts(tmp_path: Path) -> None:
    """relu(x - 1) and relu(-x - 1) are never on at once; |x| + 2 and x stay below."""
    network = handmade.mlp(
        tmp_path / "n.onnx", [[[1.0], [-1.0]], [[1.0, -1.0]]], [[-1.0, -1.0], [0.0]]
    )
    region = handmade.box([-3], [3])

    def nodes(pair: list[int], weight: float) -> list[Any]:
        step = {"step": "conflicts", "pairs": [pair], "weights": handmade.floats([weight])}
        proof = {"rule": "mean-split", "objectives": "all"}
        return [
            {"steps": [step], "split": {"layer": 0, "neuron": 0, "at": handmade.scalar(0.0)}},
            {"proofs": [{"rule": "mean-split", "objectives": "all"}]},
            {"proofs": [proof]},
        ]

    asked = handmade.lipschitz(1.0)
    assert ask(tmp_path, network, asked, nodes([0, 0, 1, 0, 1, 1], 0.5), region).accepted
    assert (
        "not proved"
        in ask(tmp_path, network, asked, nodes([0, 0, 1, 0, 1, -1], 0.5), region).reason
    )
    assert (
        "not proved" in ask(tmp_path, network, asked, nodes([0, 0, 1, 0, 1, 1], 0.9), region).reason
    )
    assert not ask(
        tmp_path,
        network,
        asked,
        [{"proofs": [{"rule": "mean-split", "objectives": "all"}]}],
        region,
    ).accepted


def test_kinks_and_shared_boundaries(tmp_path: Path) -> None:
    """relu(x) - relu(-x) = x: the gate-product set reaches 2, both halves prove 1."""
    network = handmade.mlp(
        tmp_path / "n.onnx", [[[1.0], [-1.0]], [[1.0, -1.0]]], [[0.0, 0.0], [0.0]]
    )
    leaf = {"proofs": [{"rule": "mean-split", "objectives": "all"}]}
    region = handmade.box([-1], [1])
    assert not ask(tmp_path, network, handmade.lipschitz(1.0), [leaf], region).accepted
    split = [
        {"split": {"input": 0, "at": handmade.scalar(0.0)}},
        {"steps": [{"step": "intervals"}], **leaf},
    ]
    assert ask(tmp_path, network, handmade.lipschitz(1.0), [*split, split[1]], region).accepted
    below = handmade.lipschitz(np.nextafter(1.0, 0.0))
    assert not ask(tmp_path, network, below, [*split, split[1]], region).accepted


def test_no_gap_between_halves(tmp_path: Path) -> None:
    """Slope 5 only on (0, 2^-22): the half above 0 holds it, whatever number splits it off."""
    width = 2.0**-22
    weights = [[[1.0], [1.0]], [[5.0, -5.0]]]
    network = handmade.mlp(tmp_path / "n.onnx", weights, [[0.0, -width], [0.0]])
    leaf = {
        "steps": [{"step": "intervals"}],
        "proofs": [{"rule": "mean-split", "objectives": "all"}],
    }
    region = handmade.box([-1], [1])
    for at in (0.0, 1e-300, -1e-300):
        for split in ({"input": 0}, {"layer": 0, "neuron": 0}):
            nodes = [{"split": {**split, "at": handmade.scalar(at)}}, leaf, leaf]
            assert not ask(tmp_path, network, handmade.lipschitz(4.9), nodes, region).accepted
            assert ask(tmp_path, network, handmade.lipschitz(5.0), nodes, region).accepted


def test_strict_and_closed_unsafe_sets(tmp_path: Path) -> None:
    """relu(x) touches 0: it is never < 0, but it is <= 0 somewhere."""
    network = handmade.mlp(tmp_path / "n.onnx", [[[1.0]], [[1.0]]], [[0.0], [0.0]])
    clause = {"coefficients": handmade.floats([1]), "offsets": handmade.floats([0])}
    nodes = [{"proofs": [{"rule": "linear", "objective": 0}]}]
    for strict in (True, False, None):  # closed, where nothing is said
        given = {} if strict is None else {"strict": [strict]}
        asked = {"kind": "robustness", "unsafe": [{**clause, **given}]}
        region = handmade.box([-2], [1])
        assert ask(tmp_path, network, asked, nodes, region).accepted is bool(strict)


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "Tanh"])
def test_slopes_of_gates(tmp_path: Path, name: str) -> None:
    """Chords by number prove what chords by default prove; other slopes never prove more, and
    never what is false. (Chords are the best lines at every point of a gate's interval.)"""
    generator = np.random.default_rng(3)
    network, weights, biases = handmade.random_mlp(tmp_path / "n.onnx", 2, SIZES, name)
    found = truth.jacobian(weights, biases, name, truth.points(LOWER, UPPER, 2000))[:, 0]
    best = np.abs(found).sum(1).max()
    rows = handmade.floats([1, 0])

    def bound(slopes: Mapping[str, Any]) -> float:
        proof = {"rule": "backward", "objective": 0, "multipliers": [{"layer": 0, **slopes}]}
        nodes = [{"steps": BOUNDS, "proofs": [proof]}]
        return least(
            tmp_path, network, lambda L: handmade.lipschitz(L, rows=rows), nodes, 0.0, 40 * best
        )

    chords = bound({})
    worse = []
    for _ in range(3):
        lower, upper = generator.uniform(-0.5, 1.5, (2, SIZES[1]))
        worse.append(bound({"lower": handmade.floats(lower), "upper": handmade.floats(upper)}))
    assert best <= chords <= min(worse)
    assert chords < max(worse)
    betas = generator.uniform(-0.2, 0.2, SIZES[1])
    assert best <= bound({"beta": handmade.floats(betas)})
    for entry, reason in (
        ({"layer": 2}, "a layer that does not exist"),
        ({"layer": 0, "lower": handmade.floats([0.0])}, "1 numbers"),
    ):
        proof = {"rule": "backward", "objective": 0, "multipliers": [entry]}
        asked = handmade.lipschitz(0.999 * best, rows=rows)
        report = ask(tmp_path, network, asked, [{"steps": BOUNDS, "proofs": [proof]}])
        assert reason in report.reason
