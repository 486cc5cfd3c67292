"""Questions about networks with every kind of activation, against samples."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lipverify.api import lipschitz
from lipverify.config import VerifyConfig
from lipverify.network import load_network
from lipverify.numerics import DTYPE
from lipverify.verdict import Reason, Unknown, Verified


class Call(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "abs": lambda: Call(torch.abs),
    "clip": lambda: nn.Hardtanh(-0.2, 0.3),
    "elu": nn.ELU,
    "exp": lambda: Call(torch.exp),
    "gelu": nn.GELU,
    "gelu-tanh": lambda: nn.GELU("tanh"),
    # Not nn.Hardsigmoid, whose gradient in torch has a factor 1/6 rounded to float32.
    "hard-sigmoid": lambda: Call(lambda x: nn.functional.relu6(x + 3) / 6),
    "hard-swish": nn.Hardswish,
    "log": lambda: Call(lambda x: torch.log(x.abs() + 0.5)),
    "mish": nn.Mish,
    "prelu": lambda: nn.PReLU(5),
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "sin": lambda: Call(torch.sin),
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "sqrt": lambda: Call(lambda x: torch.sqrt(x * x + 0.3)),
}


def _module(name: str) -> nn.Module:
    torch.manual_seed(1)
    first, second = ACTIVATIONS[name](), ACTIVATIONS[name]()
    for part in (first, second):
        if isinstance(part, nn.PReLU):
            nn.init.uniform_(part.weight, -0.3, 1.5)
    layers = [nn.Linear(2, 5), first, nn.Linear(5, 5), second, nn.Linear(5, 2)]
    return nn.Sequential(*layers).double()


def _attained(module: nn.Module, center: Tensor, radius: float) -> float:
    """The largest row norm of J at points of the box; none of them is on a kink."""
    x = center + radius * (2 * torch.rand(2000, 2, dtype=DTYPE) - 1)
    x.requires_grad_()
    y = module(x)
    rows = [torch.autograd.grad(y[:, k].sum(), x, retain_graph=True)[0] for k in range(y.shape[1])]
    return float(torch.stack(rows).abs().sum(-1).max())


@pytest.mark.parametrize("method", ["interval", "linear", "quadratic", "auto"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_interval_holds_what_is_attained(name: str, method: str) -> None:
    module, center, radius = _module(name), torch.tensor([0.2, -0.4], dtype=DTYPE), 0.5
    network = load_network(module, torch.zeros(1, 2, dtype=DTYPE))
    config = VerifyConfig(method=method, timeout=None, max_subproblems=15)
    result = lipschitz(network, center, radius, config=config)
    assert isinstance(result.verdict, Verified)
    attained = _attained(module, center, radius)
    assert result.bound.upper >= attained
    assert result.bound.lower <= result.bound.upper
    assert result.bound.lower >= 0.98 * attained, "the search for a witness misses the samples"
    if method == "auto":
        assert result.bound.upper <= 2.5 * attained


@pytest.mark.parametrize("method", ["interval", "mean-split", "linear", "quadratic", "auto"])
@pytest.mark.parametrize("call", [torch.log, torch.sqrt, torch.reciprocal])
def test_outside_the_domain_there_is_no_verdict(call, method: str) -> None:
    """The region reaches where the network has no value: unknown, and why."""
    module = nn.Sequential(Call(lambda x: call(x + 1.0))).double()
    network = load_network(module, torch.zeros(1, 1, dtype=DTYPE))
    config = VerifyConfig(method=method, max_subproblems=5, timeout=None)
    outside = lipschitz(network, [0.0], 1.5, config=config, at_most=100.0)
    if isinstance(outside.verdict, Unknown):
        assert outside.verdict.reason is Reason.NUMERICS
        assert "on the region" in str(outside.verdict)
    else:
        assert not isinstance(outside.verdict, Verified)
    inside = lipschitz(network, [0.0], 0.5, config=config, at_most=100.0)
    assert isinstance(inside.verdict, Verified)
