"""Products of l2 norms: above every sample, and 1 for networks that are made to have that."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lipverify.api import verify_spec
from lipverify.bounds.methods import STAGES, Setting
from lipverify.config import PreactivationConfig, VerifyConfig
from lipverify.graph import jacobian, output
from lipverify.network import Network, load_network
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.region import Box
from lipverify.spec import Spec
from lipverify.spec.property import Lipschitz
from lipverify.verdict import Verified
from tests.oracles.budget import quickly
from tests.selection_modules import (
    GroupSort,
    HouseholderOfAngles,
    HouseholderOfPairs,
    HouseholderOfVector,
    MaxMin,
)

SIZE = 8
ALMOST_ONE = 1 + 1e-6
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "max-min": MaxMin,
    "group-sort-4": lambda: GroupSort(4),
    "group-sort-8": lambda: GroupSort(8),
    "householder-angles": lambda: HouseholderOfAngles(SIZE // 2),
    "householder-vector": lambda: HouseholderOfVector(SIZE),
    "householder-pairs": lambda: HouseholderOfPairs(SIZE // 2),
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}


def orthogonal(inputs: int, outputs: int, dtype: torch.dtype = DTYPE) -> nn.Linear:
    layer = nn.Linear(inputs, outputs).to(dtype).requires_grad_(False)
    size = max(inputs, outputs)
    square = torch.linalg.qr(torch.randn(size, size, dtype=DTYPE))[0]
    layer.weight.copy_(square[:outputs, :inputs])
    return layer


def read(module: nn.Module, *shape: int, dtype: torch.dtype = DTYPE) -> Network:
    return load_network(module.to(dtype), torch.zeros(1, *shape, dtype=dtype))


def setting(network: Network, radius: float, center: Tensor | None = None) -> Setting:
    x = torch.zeros(network.graph.input_size, dtype=DTYPE) if center is None else center
    return Setting(network, Box(x - radius, x + radius), PreactivationConfig())


def product(found: Setting, norm: str = "2", rows: Tensor | None = None):
    size = found.network.graph.output_size
    rows = torch.eye(size, dtype=DTYPE) if rows is None else rows
    return STAGES["norm product"](found, rows, norm_named(norm), None)


def sampled(found: Setting, rows: Tensor, count: int = 300) -> Tensor:
    """rows J at random points, many of them near the centre, where kinks of these tests meet."""
    box = found.region.bounding
    share = torch.rand(count, box.lower.numel(), dtype=DTYPE)
    share = 0.5 + (share - 0.5) * torch.logspace(-6, 0, count, dtype=DTYPE).unsqueeze(1)
    return rows @ jacobian(found.backward, box.lower + share * box.width)


def check(found: Setting, rows: Tensor | None = None) -> float:
    """All that the stage says is above what is sampled; its bound of the l2 norm."""
    size = found.network.graph.output_size
    rows = torch.eye(size, dtype=DTYPE) if rows is None else rows
    truth = sampled(found, rows)
    for norm in ("1", "2", "inf"):
        bounds = product(found, norm, rows)
        assert bounds.joint is not None
        assert float(torch.linalg.matrix_norm(truth, ord=2).max()) <= bounds.joint * (1 + 1e-12)
        dual = norm_named(norm).dual
        assert bool((dual.of(truth).amax(0) <= bounds.row_norm(dual) * (1 + 1e-12)).all())
    return product(found, "2", rows).joint or 0.0


DTYPES = {"float64": torch.float64, "float32": torch.float32}


@pytest.mark.parametrize(
    ("name", "kind"), quickly([(name, kind) for name in ACTIVATIONS for kind in DTYPES], 8)
)
def test_orthogonal_networks_have_norm_one(name: str, kind: str) -> None:
    dtype = DTYPES[kind]
    torch.manual_seed(1)
    make = ACTIVATIONS[name]
    module = nn.Sequential(
        orthogonal(SIZE, SIZE), make(), orthogonal(SIZE, SIZE), make(), orthogonal(SIZE, 3)
    )
    for part in module:
        for parameter in part.parameters():  # ties at the centre, in the first layer
            if parameter.shape == (SIZE,) and isinstance(part, nn.Linear):
                parameter.data.mul_(0.0 if part is module[0] else 1.0)
    assert check(setting(read(module, SIZE, dtype=dtype), 1.0)) <= ALMOST_ONE


@pytest.mark.parametrize("name", quickly(list(ACTIVATIONS), 4))
def test_any_weights(name: str) -> None:
    torch.manual_seed(2)
    make = ACTIVATIONS[name]
    module = nn.Sequential(
        nn.Linear(3, SIZE), make(), nn.Linear(SIZE, SIZE), make(), nn.Linear(SIZE, 4)
    )
    network = read(module, 3)
    for radius in (0.0, 0.1, 2.0) if name != "group-sort-8" else (0.1,):
        check(setting(network, radius, torch.tensor([0.3, -0.2, 0.5], dtype=DTYPE)))
    rows = torch.tensor([[1.0, -1.0, 0.0, 2.0], [0.5, 0.0, 0.0, -1.0]], dtype=DTYPE)
    check(setting(network, 0.5), rows)


class Residual(nn.Module):
    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Tied(nn.Module):
    """x - W^T relu(W x) with orthogonal rows of length sqrt(2): a product of reflections."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(2**0.5 * torch.linalg.qr(torch.randn(6, 6).double())[0][:3])

    def forward(self, x: Tensor) -> Tensor:
        return x - torch.relu(x @ self.weight.T) @ self.weight


IMAGES: dict[str, Callable[[], nn.Module]] = {
    "max-pool": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "overlapping": lambda: nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(1, 2, 2)),
    "batch-norm": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), MaxMin(), nn.AvgPool2d(2)
    ),
    "channels": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), MaxMin(), nn.Conv2d(4, 2, 3)),
    "clipped": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU6(), nn.LeakyReLU(-2.0)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str) -> None:
    torch.manual_seed(3)
    check(setting(read(nn.Sequential(IMAGES[name](), nn.Flatten()), 1, 6, 6), 0.5))


def test_residual_blocks() -> None:
    torch.manual_seed(4)
    block = Residual(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 5))
    check(setting(read(nn.Sequential(block, MaxMinOfFive(), block), 5), 0.5))
    check(setting(read(Residual(nn.Linear(5, 5), Residual(nn.Tanh())), 5), 0.5))
    check(setting(read(Tied(), 6), 1.0))
    small = Residual(orthogonal(4, 4))
    small.inner[0].weight.mul_(1e-12)
    assert check(setting(read(small, 4), 1.0)) <= ALMOST_ONE


class MaxMinOfFive(nn.Module):
    """An entry beside two pairs; one of the smaller ones is not used."""

    def forward(self, x: Tensor) -> Tensor:
        a, b, rest = x[:, :2], x[:, 2:4], x[:, 4:]
        return torch.cat([torch.max(a, b), torch.min(a, b)[:, :1], rest, rest], 1)


def test_overlapping_windows_are_counted() -> None:
    """max(x0, x1), max(x1, x2): the middle entry can be both."""

    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.maximum(x[:, :2], x[:, 1:])

    bound = check(setting(read(Windows(), 3), 1.0))
    assert 2**0.5 <= bound <= 2**0.5 * ALMOST_ONE


def test_known_gates_count() -> None:
    """Where the order of both is known, the other branch has no share."""
    module = MaxMin()
    weight = nn.Linear(2, 2, dtype=DTYPE).requires_grad_(False)
    weight.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 10.0]]))
    weight.bias.copy_(torch.tensor([100.0, 0.0]))
    last = nn.Linear(2, 1, bias=False, dtype=DTYPE).requires_grad_(False)
    last.weight.copy_(torch.tensor([[1.0, 0.0]]))
    network = read(nn.Sequential(weight, module, last), 2)
    assert check(setting(network, 1.0)) <= ALMOST_ONE
    assert check(setting(network, 20.0)) >= 10.0


@pytest.mark.parametrize("name", quickly(["max-min", "group-sort-4", "householder-angles"], 2))
def test_verify_uses_it(name: str) -> None:
    """l2 to l2 by the default method; the lower end is attained."""
    torch.manual_seed(5)
    make = ACTIVATIONS[name]
    network = read(nn.Sequential(orthogonal(SIZE, SIZE), make(), orthogonal(SIZE, SIZE)), SIZE)
    rows = tuple(tuple(row) for row in torch.eye(SIZE).tolist())
    prop = Lipschitz(norm_named("2"), norm_named("2"), rows, 1.0 + 1e-6, None)
    x = torch.full((SIZE,), 0.1, dtype=DTYPE)
    names = tuple(f"x{index}" for index in range(SIZE))
    spec = Spec("orthogonal", Box(x - 0.5, x + 0.5), (prop,), names)
    (result,) = verify_spec(network, spec, VerifyConfig(timeout=60.0))
    assert isinstance(result.verdict, Verified) and result.bound is not None
    assert 1 - 1e-6 <= result.bound.lower <= result.bound.upper <= ALMOST_ONE


def test_the_graph_is_the_module() -> None:
    """At exact ties as well: values are continuous there."""
    x = torch.zeros(3, SIZE, dtype=DTYPE)
    x[1] = 1.0
    for make in ACTIVATIONS.values():
        module = make().to(DTYPE)
        network = read(module, SIZE)
        torch.testing.assert_close(output(network.graph, x), module(x), rtol=0, atol=1e-15)


def test_the_worse_side_of_an_open_gate_counts() -> None:
    """Small networks whose norm is exact: neither branch may be left out."""

    class Weighted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b = x[:, :1], x[:, 1:]
            return torch.cat([3 * torch.max(a, b), torch.min(a, b)], 1)

    class Switched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, 3 * x, x)

    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x < 0, 3 * x, x)

    for module in (Weighted(), Switched(), Turned()):
        found = setting(read(module, 2), 1.0)
        assert 3.0 <= check(found) <= 3.0 * ALMOST_ONE


class Multiplied(nn.Module):
    """A product of a branch with itself, of two branches, and a quotient."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), torch.tanh(self.b(x))
        return a * b + a * a / (2 + b)


@pytest.mark.parametrize("radius", [0.0, 0.1, 1.0])
def test_products_of_branches(radius: float) -> None:
    torch.manual_seed(2)
    found = setting(read(Multiplied(), 3), radius, torch.tensor([0.3, -0.2, 0.5], dtype=DTYPE))
    rows = torch.eye(4, dtype=DTYPE)
    truth = sampled(found, rows)
    joint = product(found).joint
    assert joint is not None
    assert float(torch.linalg.matrix_norm(truth, 2).max()) <= joint * (1 + 1e-12)
    if radius == 0:
        assert joint < 10 * float(torch.linalg.matrix_norm(truth, 2).max())
