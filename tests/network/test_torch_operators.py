"""torch's activations, layout calls and parametrised layers, against torch itself."""

from collections.abc import Callable

import pytest
import torch
from onnx_models import assert_equals_original, assert_jacobian_is_autograd
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from lipverify.network import load_network
from lipverify.network.torch_convert import CONVERTERS
from lipverify.operators import Activation, Gelu, GeluTanh, HardSwish, Mish, Silu, Softsign

VECTOR = (4,)
IMAGE = (4, 6, 5)
SIGNAL = (4, 9)
VOLUME = (2, 3, 4, 3)


class Then(nn.Module):
    """A linear layer (for vectors), then a call."""

    def __init__(self, call: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4) if shape == VECTOR else nn.Identity()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.linear(x))


def _positive(call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: call(x.abs() + 0.5)


ENTRYWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "celu": nn.CELU(0.7),
    "clamp": lambda x: x.clamp(-0.5, 1.2),
    "clamp-min": lambda x: x.clamp(min=-0.25),
    "clamp-max": lambda x: torch.clamp_max(x, 0.25),
    "clamp-tensors": lambda x: torch.clamp(x, torch.full((4,), -0.3), torch.full((4,), 0.6)),
    "cos": torch.cos,
    "div-by": _positive(lambda x: 2.0 / x),
    "elu": nn.ELU(1.5),
    "erf": torch.erf,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "gelu": nn.GELU(),
    "gelu-tanh": nn.GELU("tanh"),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(),
    "hardtanh": nn.Hardtanh(-0.7, 0.4),
    "log": _positive(torch.log),
    "log1p": _positive(torch.log1p),
    "logsigmoid": nn.LogSigmoid(),
    "mish": nn.Mish(),
    "pow": _positive(lambda x: x**1.5),
    "pow-3": lambda x: x**3,
    "pow-of": lambda x: 1.5**x,
    "reciprocal": _positive(torch.reciprocal),
    "relu6": nn.ReLU6(),
    "rsqrt": _positive(torch.rsqrt),
    "selu": nn.SELU(),
    "silu": nn.SiLU(),
    "sin": torch.sin,
    "softplus": nn.Softplus(beta=2.0),
    "softsign": nn.Softsign(),
    "sqrt": _positive(torch.sqrt),
    "square": torch.square,
    "tanhshrink": nn.Tanhshrink(),
    "where": lambda x: torch.where(torch.tensor([True, False, True, True]), x, torch.tanh(x)),
    "masked-fill": lambda x: x.masked_fill(torch.tensor([True, False, True, True]), 0.5),
}

SPELLED: dict[str, tuple[Callable[[Tensor], Tensor], type[Activation]]] = {
    "gelu": (lambda x: x * 0.5 * (1.0 + torch.erf(x / 2**0.5)), Gelu),
    "gelu-tanh": (
        lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        GeluTanh,
    ),
    "hard-swish": (lambda x: x * functional.relu6(x + 3) / 6, HardSwish),
    "mish": (lambda x: x * torch.tanh(functional.softplus(x)), Mish),
    "silu": (lambda x: x * torch.sigmoid(x), Silu),
    "silu-scaled": (lambda x: x * torch.sigmoid(1.702 * x), Silu),
    "softsign": (lambda x: x / (1 + x.abs()), Softsign),
}

MOVED: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "adaptive-1d": (nn.AdaptiveAvgPool1d(4), SIGNAL),
    "adaptive-2d": (nn.AdaptiveAvgPool2d((4, 1)), IMAGE),
    "adaptive-3d": (nn.AdaptiveAvgPool3d(2), VOLUME),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "bilinear-corners": (nn.Upsample(size=(9, 3), mode="bilinear", align_corners=True), IMAGE),
    "bilinear-1.5": (lambda x: functional.interpolate(x, scale_factor=1.5, mode="bilinear"), IMAGE),
    "broadcast": (lambda x: x + x.mean(-1, keepdim=True), IMAGE),
    "cat": (lambda x: torch.cat([x, torch.relu(x), torch.ones(1, 2, 6, 5)], 1), IMAGE),
    "cat-in-one": (lambda x: torch.cat([x.abs(), x], -1), VECTOR),
    "chunk": (lambda x: x.chunk(2, 1)[1] - 2 * x.chunk(2, 1)[0], IMAGE),
    "cumsum": (lambda x: x.cumsum(1), SIGNAL),
    "diagonal": (lambda x: x.diagonal(0, 1, 2), IMAGE),
    "einsum-ellipsis": (lambda x: torch.einsum("...j,jk->k...", x, _weight(9, 3)), SIGNAL),
    "einsum-ellipsis-summed": (lambda x: torch.einsum("b...,j...->bj", x, _weight(5, 9)), SIGNAL),
    "einsum": (lambda x: torch.einsum("bij,jk->bki", x, _weight(9, 3)), SIGNAL),
    "expand": (lambda x: x.unsqueeze(-1).expand(-1, -1, -1, 3), SIGNAL),
    "flip-roll": (lambda x: x.flip(1).roll(2, -1), SIGNAL),
    "index": (lambda x: x[:, [2, 0, 0]], SIGNAL),
    "index-select": (lambda x: x.index_select(1, torch.tensor([3, 1])), IMAGE),
    "linear-upsample": (nn.Upsample(scale_factor=3, mode="linear"), SIGNAL),
    "matmul-stack": (lambda x: x @ _weight(4, 5, 2), IMAGE),
    "matmul-stack-left": (lambda x: _weight(4, 3, 6) @ x, IMAGE),
    "mean": (lambda x: x.mean((2, 3)), IMAGE),
    "mean-everything": (lambda x: x.mean().reshape(1, 1), SIGNAL),
    "narrow": (lambda x: x.narrow(2, 1, 3), SIGNAL),
    "nearest": (nn.Upsample(scale_factor=2), IMAGE),
    "nearest-1d": (nn.Upsample(size=5), SIGNAL),
    "nearest-3d": (nn.Upsample(scale_factor=2), VOLUME),
    "pad-value": (lambda x: functional.pad(x, (1, 2, 0, 1), value=0.3), IMAGE),
    "pad-crop": (lambda x: functional.pad(x, (-1, 2)), SIGNAL),
    "pad-reflect": (nn.ReflectionPad2d(2), IMAGE),
    "pad-replicate": (nn.ReplicationPad1d((1, 3)), SIGNAL),
    "pixel-shuffle": (nn.PixelShuffle(2), IMAGE),
    "pixel-unshuffle": (nn.PixelUnshuffle(2), (2, 4, 6)),
    "repeat": (lambda x: x.repeat(1, 2, 3), SIGNAL),
    "select": (lambda x: x[:, 1], IMAGE),
    "slice": (lambda x: x[:, 1:3, ::2, -3:], IMAGE),
    "split": (lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1), IMAGE),
    "stack": (lambda x: torch.stack([x, x.sin(), torch.ones(1, 4)], 1), VECTOR),
    "sum": (lambda x: x.sum(1), IMAGE),
    "trilinear": (nn.Upsample(scale_factor=2, mode="trilinear"), VOLUME),
    "unbind": (lambda x: x.unbind(1)[0] * 2 + x.unbind(1)[2], IMAGE),
    "unfold": (nn.Unfold(2), IMAGE),
    "conv-3d": (lambda x: functional.conv3d(x, _weight(3, 2, 2, 2, 2), padding=1), VOLUME),
    "pool-3d": (nn.AvgPool3d(2, 1), VOLUME),
    "pool-ceil": (nn.AvgPool2d(2, 3, ceil_mode=True), IMAGE),
    "pool-ceil-pads": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    "pool-ceil-in-padding": (
        nn.AvgPool1d(2, 3, 1, ceil_mode=True, count_include_pad=False),
        SIGNAL,
    ),
    "conv-transpose-1d": (
        lambda x: functional.conv_transpose1d(x, _weight(4, 2, 3), stride=2, output_padding=1),
        SIGNAL,
    ),
    "conv-transpose-2d": (
        lambda x: functional.conv_transpose2d(
            x, _weight(4, 2, 3, 2), _weight(4), stride=(2, 1), padding=1, groups=2, dilation=(1, 2)
        ),
        IMAGE,
    ),
    "conv-transpose-3d": (
        lambda x: functional.conv_transpose3d(x, _weight(2, 1, 2, 2, 2)),
        VOLUME,
    ),
}


def _weight(*shape: int) -> Tensor:
    """Uneven numbers without a random call, which would be part of the network."""
    return torch.sin(1.7 * torch.arange(torch.Size(shape).numel()) + 0.3).reshape(shape)


def _check(module: nn.Module, shape: tuple[int, ...]) -> list[type[Activation]]:
    network = load_network(module, torch.zeros(2, *shape) + 0.1)
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)
    return [type(node.operator) for node in network.graph.activations]


@pytest.mark.parametrize("name", ENTRYWISE)
def test_entrywise(name: str) -> None:
    torch.manual_seed(0)
    _check(Then(ENTRYWISE[name], VECTOR), VECTOR)


@pytest.mark.parametrize("name", SPELLED)
def test_spelled_out(name: str) -> None:
    torch.manual_seed(0)
    call, expected = SPELLED[name]
    assert _check(Then(call, VECTOR), VECTOR) == [expected]


@pytest.mark.parametrize("name", MOVED)
def test_moved_and_summed(name: str) -> None:
    call, shape = MOVED[name]
    _check(Then(call, shape), shape)


@pytest.mark.parametrize(("count", "shape"), [(1, VECTOR), (4, VECTOR), (4, IMAGE)])
def test_prelu(count: int, shape: tuple[int, ...]) -> None:
    layer = nn.PReLU(count)
    with torch.no_grad():
        layer.weight.copy_(_weight(count))
    _check(nn.Sequential(layer, nn.Flatten()), shape)


PARAMETRISED: dict[str, Callable[[], nn.Module]] = {
    "spectral-norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 3)),
    "weight-norm": lambda: parametrizations.weight_norm(nn.Linear(4, 3)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
    "old-spectral-norm": lambda: nn.utils.spectral_norm(nn.Linear(4, 3)),
    "spectral-conv": lambda: parametrizations.spectral_norm(nn.Conv1d(4, 2, 3)),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", PARAMETRISED)
def test_parametrised_layers_are_their_weights(name: str) -> None:
    torch.manual_seed(0)
    layer = PARAMETRISED[name]()
    shape = SIGNAL if name == "spectral-conv" else VECTOR
    network = load_network(nn.Sequential(layer, nn.SiLU()), torch.zeros(1, *shape))
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)
    assert [node.operator.name for node in network.graph if node.operator is not None] in (
        ["Gemm", "Silu"],
        ["Conv", "Silu"],
    )


def test_every_call_is_a_name_of_torch() -> None:
    """A misspelt name in the table would never be met."""
    for name in CONVERTERS:
        namespace, call = name.split(".")
        assert hasattr(getattr(torch.ops, namespace), call), name
