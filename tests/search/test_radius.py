"""Radii of tiny networks, against all activation patterns, one linear program each."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import lipverify
from lipverify import VerifyConfig, load_network
from lipverify.evidence import PropertyResult
from lipverify.network import Network
from lipverify.norms import NORMS, norm_named
from lipverify.region import ball_region
from lipverify.spec import Spec
from lipverify.spec.radius import Radius
from lipverify.spec.sizes import Around
from lipverify.verdict import Falsified, Unknown, Verified
from tests.conftest import Checks
from tests.oracles.budget import quickly

INPUTS, HIDDEN, OUTPUTS = 2, 4, 3
LARGEST = 4.0


@dataclass(frozen=True, eq=False)
class Case:
    network: Network
    first: tuple[np.ndarray, np.ndarray]
    second: tuple[np.ndarray, np.ndarray]
    center: torch.Tensor

    def outputs(self, x: np.ndarray) -> np.ndarray:
        (w, b), (v, c) = self.first, self.second
        return np.maximum(x @ w.T + b, 0) @ v.T + c


def case(seed: int) -> Case:
    """Weights are multiples of 1/8, so float32 holds them and ties are possible."""
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, OUTPUTS)
    ).double()
    with torch.no_grad():
        for part in layers.parameters():
            part.copy_((torch.randn_like(part) * 8).round() / 8)
    first, second = layers[0], layers[2]
    center = (torch.randn(INPUTS, dtype=torch.float64) * 8).round() / 8
    return Case(
        load_network(layers, torch.zeros(1, INPUTS, dtype=torch.float64)),
        (first.weight.detach().numpy(), first.bias.detach().numpy()),
        (second.weight.detach().numpy(), second.bias.detach().numpy()),
        center,
    )


def truth(given: Case, norm: str, clip: tuple[float, float] | None) -> float:
    """The distance of the nearest input at which another output is as large as the label's."""
    (w, b), (v, c) = given.first, given.second
    center = given.center.numpy()
    label = int(given.outputs(center).argmax())
    n, best = INPUTS, np.inf
    for pattern in product((0.0, 1.0), repeat=HIDDEN):
        gate = np.diag(pattern)
        slope, offset = v @ gate @ w, v @ gate @ b + c
        sign = np.diag([1.0 if on else -1.0 for on in pattern])
        for other in set(range(OUTPUTS)) - {label}:
            # Variables: x, and t with |x - center| <= t (entry by entry, or one for all).
            t = np.eye(n) if norm == "1" else np.ones((n, 1))
            k = t.shape[1]
            rows = [
                np.hstack([-sign @ w, np.zeros((HIDDEN, k))]),
                np.hstack([slope[label] - slope[other], np.zeros(k)])[None],
                np.hstack([np.eye(n), -t]),
                np.hstack([-np.eye(n), -t]),
            ]
            ends = [sign @ b, [offset[other] - offset[label]], center, -center]
            limits = [clip or (None, None)] * n + [(0, None)] * k
            found = linprog(
                [0.0] * n + [1.0] * k, np.vstack(rows), np.concatenate(ends), bounds=limits
            )
            if found.status == 0:
                best = min(best, float(found.fun))
    return best


def asked(given: Case, norm: str, clip: tuple[float, float] | None) -> Radius:
    ends = None
    if clip is not None:
        ends = tuple(torch.full((INPUTS,), end, dtype=torch.float64) for end in clip)
    around = Around(given.center, norm_named(norm), LARGEST, ends)  # type: ignore[arg-type]
    return Radius(around, norm_named(norm), LARGEST)


def answer(given: Case, prop: Radius, timeout: float = 30.0) -> PropertyResult:
    clip = prop.around.clip
    largest = torch.tensor(LARGEST, dtype=torch.float64)
    region = ball_region(given.center, largest, prop.norm, clip)
    spec = Spec("radius", region, (prop,), ("a", "b"))
    (result,) = lipverify.verify(spec, given.network, VerifyConfig(timeout=timeout))
    return result


CASES = [(seed, norm, clip) for seed in range(40) for norm in ("inf", "1") for clip in (None, 3.0)]


@pytest.mark.parametrize(("seed", "norm", "half"), quickly(CASES, 6))
def test_the_interval_holds_the_radius(
    seed: int, norm: str, half: float | None, checks: Checks
) -> None:
    given = case(seed)
    clip = None if half is None else (-half, half)
    if clip is not None and not bool((given.center.abs() <= half).all()):
        pytest.skip("the centre is outside of the clip")
    exact = truth(given, norm, clip)
    result = answer(given, asked(given, norm, clip))
    assert result.bound is not None and result.bound.lower <= min(exact, LARGEST) * (1 + 1e-9)
    assert result.bound.upper >= exact * (1 - 1e-9)
    checks.count(2)
    if exact > 1e-6:
        assert isinstance(result.verdict, Verified)
        top = min(result.bound.upper, LARGEST)
        # Boxes are decided exactly; other balls by bounds alone.
        assert top / result.bound.lower <= (1.06 if norm == "inf" else 2.0)
        assert norm != "inf" or (result.bound.upper == np.inf) == (exact > LARGEST)
    if result.witness is not None:
        x = torch.tensor(result.witness.input, dtype=torch.float64)
        values = given.network.original(x.unsqueeze(0))[0]
        label = int(given.network.original(given.center.unsqueeze(0))[0].argmax())
        assert int(values.argmax()) == result.witness.output != label
        assert float(norm_named(norm).of(x - given.center)) <= result.bound.upper


@pytest.mark.parametrize("seed", range(3))
def test_the_euclidean_radius_lies_between_the_others(seed: int) -> None:
    given = case(seed)
    low, high = truth(given, "inf", None), truth(given, "1", None)
    bound = answer(given, asked(given, "2", None)).bound
    assert bound is not None
    assert bound.lower <= high * (1 + 1e-9) and bound.upper >= low * (1 - 1e-9)


@pytest.mark.parametrize("share", [0.5, 0.99, 1.01, 2.0])
def test_a_threshold(share: float) -> None:
    given = case(1)
    exact = truth(given, "inf", None)
    assert 1e-3 < exact * share < LARGEST
    prop = replace(asked(given, "inf", None), at_least=exact * share)
    verdict = answer(given, prop).verdict
    assert isinstance(verdict, Verified if share < 1 else Falsified)


def test_a_centre_of_another_class_is_falsified() -> None:
    given = case(1)
    label = int(given.outputs(given.center.numpy()).argmin())
    prop = replace(asked(given, "inf", None), label=label)
    result = answer(given, prop)
    assert isinstance(result.verdict, Falsified)
    assert result.bound is not None and (result.bound.lower, result.bound.upper) == (0.0, 0.0)


def test_no_time_is_unknown() -> None:
    given = case(1)
    verdict = answer(given, asked(given, "inf", None), timeout=0.0).verdict
    assert isinstance(verdict, Unknown)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_cheapest_steps(name: str, checks: Checks) -> None:
    """Within the room, with the gain, and not longer than random steps that gain as much."""
    norm = norm_named(name)
    generator = torch.Generator().manual_seed(0)
    worth = torch.rand(20, 5, generator=generator, dtype=torch.float64)
    room = torch.rand(20, 5, generator=generator, dtype=torch.float64)
    gain = 0.5 * (worth * room).sum(1)
    step = norm.cheapest(worth, room, gain)
    assert bool((step >= 0).all() and (step <= room).all())
    assert torch.allclose((worth * step).sum(1), gain)
    for _ in range(200):
        other = room * torch.rand(20, 5, generator=generator, dtype=torch.float64)
        gained = (worth * other).sum(1)
        enough = gained >= gain
        assert bool((norm.of(step) <= norm.of(other) * (1 + 1e-9))[enough].all())
        checks.count(1 + int(enough.sum()))
