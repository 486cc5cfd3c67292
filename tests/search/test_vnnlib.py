"""Random files about tiny networks: what is verified has no point that satisfies the file, what is
falsified has one; points are drawn where comparisons tie as well."""

import random
from pathlib import Path

import pytest
import torch

import lipverify
from lipverify import VerifyConfig, load_network
from lipverify.network import Network
from lipverify.spec.vnnlib import VnnLibFile, read_vnnlib
from lipverify.spec.vnnlib.property import spec_of
from lipverify.verdict import Falsified, Reason, Unknown, Verified
from tests.conftest import Checks
from tests.oracles.budget import quickly
from tests.spec.vnnlib.writing import GRID, bounds, condition, version_1, version_2

INPUTS, OUTPUTS = 2, 2
EVERY = ["<=", ">=", "<", ">", "=="]


def network(draw: random.Random) -> Network:
    layers = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, 3), torch.nn.ReLU(), torch.nn.Linear(3, OUTPUTS)
    ).double()
    with torch.no_grad():
        for part in layers.parameters():
            shape = part.numel()
            values = [draw.choice(range(-8, 9)) / 8 for _ in range(shape)]
            part.copy_(torch.tensor(values, dtype=torch.float64).reshape(part.shape))
    return load_network(layers, torch.zeros(1, INPUTS, dtype=torch.float64))


def drawn(seed: int, folder: Path) -> tuple[VnnLibFile, Network]:
    draw = random.Random(seed)
    head, names = draw.choice([version_1, version_2])(INPUTS, OUTPUTS)
    parts = [bounds(draw, names)]
    joined = 0.4 if seed % 2 else 0.0  # some constraints about several inputs, inputs and outputs
    count = draw.choice([1, 2, 3])
    parts += [condition(draw, names, 2, EVERY, 0.7, joined) for _ in range(count)]
    path = folder / "p.vnnlib"
    path.write_text(head + "\n".join(f"(assert {part.text})" for part in parts))
    return read_vnnlib(path), network(draw)


def some_points(file: VnnLibFile) -> torch.Tensor:
    grid = torch.tensor([float(value) for value in GRID], dtype=torch.float64)
    corners = torch.cartesian_prod(grid, grid)
    return torch.cat([corners, 2 * torch.rand(400, INPUTS, dtype=torch.float64) - 1])


def test_a_triangle_of_inputs(tmp_path: Path) -> None:
    """y = relu(x0 + x1 - 1) on x0 + x1 <= 1 in the unit box is 0, and 1 at the box's corner."""
    head, _ = version_1(2, 1)
    box = "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1)))"
    layers = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.ReLU()).double()
    with torch.no_grad():
        layers[0].weight.fill_(1.0)
        layers[0].bias.fill_(-1.0)
    net = load_network(layers, torch.zeros(1, 2, dtype=torch.float64))
    path = tmp_path / "p.vnnlib"
    for below, outputs, kind in (
        ("(<= (+ X_0 X_1) 1)", "(>= Y_0 0.0625)", Verified),
        ("(<= (+ X_0 X_1) 1)", "(> Y_0 0)", Verified),
        ("(<= (+ X_0 X_1) 1.5)", "(>= Y_0 0.4375)", Falsified),
        ("(<= (+ X_0 X_1) 1.5)", "(>= Y_0 0.5625)", Verified),
        ("(>= X_0 (+ X_1 0.5))", "(>= Y_0 0.4375)", Falsified),
        ("(>= X_0 (+ X_1 0.5))", "(> Y_0 0.5)", Verified),
        ("(<= Y_0 (- X_0 0.25))", "(> Y_0 0.75)", Verified),
        ("(<= Y_0 (- X_0 0.25))", "(>= Y_0 0.6875)", Falsified),
    ):
        path.write_text(f"{head}{box}\n(assert {below})\n(assert {outputs})\n")
        (result,) = lipverify.verify(spec_of(read_vnnlib(path)), net, VerifyConfig(timeout=20.0))
        assert isinstance(result.verdict, kind), (below, outputs, result.verdict)


@pytest.mark.parametrize("seed", quickly(range(200), 12))
def test_verdicts_are_true(seed: int, tmp_path: Path, checks: Checks) -> None:
    file, net = drawn(seed, tmp_path)
    (result,) = lipverify.verify(spec_of(file), net, VerifyConfig(timeout=10.0))
    points = some_points(file)
    satisfied = [
        file.holds(x, y)
        for x, y in zip(points.tolist(), net.original(points).tolist(), strict=True)
    ]
    match result.verdict:
        case Verified():
            assert not any(satisfied)
        case Falsified(found):
            (x,), (y,) = found.inputs, found.outputs
            assert torch.equal(net.original(x.unsqueeze(0))[0], y)
            assert file.holds(x.tolist(), y.tolist())
        case Unknown(reason):
            # A set of outputs without an interior, or one that is only touched.
            assert reason is Reason.CANDIDATE
    checks.count(len(points))
