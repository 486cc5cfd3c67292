"""torch modules, functions and methods, against torch itself."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from onnx_models import assert_equals_original, assert_jacobian_is_autograd, points
from torch import Tensor, nn
from torch.nn import functional

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.graph import output
from lipverify.network import Network, load_network
from lipverify.network import torch_module as reader
from lipverify.operators import Conv, Dense

VECTOR = (4,)
IMAGE = (2, 6, 5)
SIGNAL = (2, 9)


class Calls(nn.Module):
    """Whatever `call` does, with a weight `w`, a buffer `b` and two layers at hand."""

    def __init__(self, call: Callable[["Calls", Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.call = call
        self.w = nn.Parameter(torch.randn(4, 3))
        self.register_buffer("b", torch.randn(4))
        self.linear = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def _with_statistics(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    for tensor in (norm.running_mean, norm.weight, norm.bias):
        if tensor is not None:
            nn.init.normal_(tensor)
    assert norm.running_var is not None
    nn.init.uniform_(norm.running_var, 0.1, 2.0)
    return norm


Case = tuple[Callable[[], nn.Module], tuple[int, ...]]

MODULES: dict[str, Case] = {
    "linear": (lambda: nn.Linear(4, 3), VECTOR),
    "linear-on-images": (lambda: nn.Linear(5, 3, bias=False), IMAGE),
    "activations": (
        lambda: nn.Sequential(
            nn.Linear(4, 3),
            nn.ReLU(),
            nn.Linear(3, 5, bias=False),
            nn.Identity(),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.9),
            nn.Tanh(),
            nn.Sigmoid(),
        ),
        VECTOR,
    ),
    "shapes": (lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (15, 4))), IMAGE),
    "batch-norm-1d": (lambda: _with_statistics(nn.BatchNorm1d(4)), VECTOR),
    "batch-norm-plain": (lambda: _with_statistics(nn.BatchNorm1d(2, affine=False)), SIGNAL),
    "signal": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 3, 4, stride=2, padding=1), nn.AvgPool1d(3, 1, padding=1)
        ),
        SIGNAL,
    ),
    "conv-1d-same": (lambda: nn.Conv1d(2, 3, 4, padding="same", dilation=2), SIGNAL),
    "conv-2d": (lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)), IMAGE),
    "conv-2d-dilated": (lambda: nn.Conv2d(2, 3, 2, dilation=(2, 3), bias=False), IMAGE),
    "conv-2d-groups": (lambda: nn.Conv2d(2, 4, 3, groups=2, padding="valid"), IMAGE),
    "conv-2d-same": (lambda: nn.Conv2d(2, 3, (2, 3), padding="same"), IMAGE),
    "pool-2d": (
        lambda: nn.Sequential(
            nn.AvgPool2d((3, 2), stride=(2, 1), padding=1),
            nn.AvgPool2d(3, 1, padding=1, count_include_pad=False),
        ),
        IMAGE,
    ),
    "zero-pad": (lambda: nn.ZeroPad2d((1, 0, 2, 3)), IMAGE),
    "parametrised": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 3, 3)),
            nn.Flatten(),
            nn.utils.parametrizations.weight_norm(nn.Linear(36, 4)),
            nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)),
        ),
        IMAGE,
    ),
    "in-place": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 2)),
        VECTOR,
    ),
    "double": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double(), VECTOR),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            _with_statistics(nn.BatchNorm2d(3)),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Dropout2d(),
            nn.Flatten(),
            nn.Linear(18, 4),
        ),
        IMAGE,
    ),
}

CALLS: dict[str, tuple[Callable[[Calls, Tensor], Tensor], tuple[int, ...]]] = {
    "functions": (
        lambda m, x: functional.leaky_relu(
            torch.tanh(functional.relu(m.linear(x))) - 0.5
        ).sigmoid(),
        VECTOR,
    ),
    "functional-linear": (lambda m, x: functional.linear(x, m.w.T, m.b[:3]), VECTOR),
    "products": (
        lambda m, x: (x @ m.w + 1.0) @ m.w.T + torch.mm(torch.addmm(m.b[:3], x, m.w), m.w.T),
        VECTOR,
    ),
    "products-left": (
        lambda m, x: (
            (m.w.T @ x.unsqueeze(2)).relu() - torch.bmm(m.w.T[None], x.unsqueeze(2))
        ).squeeze(2),
        VECTOR,
    ),
    "convolution": (
        lambda m, x: torch.convolution(
            x, m.w.reshape(3, 2, 2, 1), None, [2, 1], [1, 0], [1, 1], False, [0, 0], 1
        ),
        IMAGE,
    ),
    "arithmetic": (lambda m, x: (2 - (x * m.b - 1) / 3.0) * 2 + m.b, VECTOR),
    "arithmetic-2": (lambda m, x: m.b - (-torch.sub(x, m.b, alpha=0.3)), VECTOR),
    "residual": (lambda m, x: x + m.second(torch.relu(m.linear(x))) - m.linear(x), VECTOR),
    "in-place-residual": (lambda m, x: (lambda h: h + torch.relu_(h))(m.linear(x)), VECTOR),
    "augmented": (lambda m, x: m.linear(x).add_(1.0).mul_(m.b).div_(2), VECTOR),
    "shapes": (
        lambda m, x: (
            m.linear(x.unsqueeze(1).tanh().squeeze(1)).view(x.size(0), 2, 2).reshape(-1, 4)
        ),
        VECTOR,
    ),
    "permute": (
        lambda m, x: x.permute(0, 2, 3, 1).relu().transpose(1, -1).contiguous().flatten(1),
        IMAGE,
    ),
    "copies": (
        lambda m, x: functional.dropout(x, 0.5, m.training).double().float().detach().clone() * 2,
        VECTOR,
    ),
    "one-sample-conv": (
        lambda m, x: functional.conv2d(x.squeeze(0), m.w.reshape(3, 2, 2, 1)),
        IMAGE,
    ),
    "shape-dependent": (lambda m, x: x / len(x) if x.shape[1] == 4 else x, VECTOR),
    "unused": (lambda m, x: (torch.softmax(x, 1), m.linear(x))[1], VECTOR),
    "twice": (lambda m, x: m.linear(torch.relu(m.linear(x))), VECTOR),
    "shared-preactivation": (
        lambda m, x: (lambda h: torch.relu(h) - torch.tanh(h))(m.linear(x)),
        VECTOR,
    ),
}

CASES: dict[str, Case] = MODULES | {
    f"call-{name}": ((lambda call=call: Calls(call)), shape)
    for name, (call, shape) in CALLS.items()
}


COMPOSITE = (
    "activations",
    "batch-norm-plain",
    "cnn",
    "conv-1d-same",
    "shapes",
    "signal",
    "zero-pad",
    "call-copies",
    "call-permute",
    "call-products-left",
    "call-shapes",
)
"""Cases with calls that torch breaks up into others before we see them."""


def _load(name: str, batch: int = 2) -> tuple[nn.Module, Network]:
    make, shape = CASES[name]
    module = _seeded(make)
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    return module, load_network(module, torch.zeros(batch, *shape, dtype=dtype))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", CASES)
def test_equals_torch(name: str) -> None:
    module, network = _load(name)
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)
    x = points(network)
    shaped = x.to(network.dtype).reshape(len(x), *CASES[name][1])
    with torch.no_grad():
        own = torch.stack([module.eval()(point[None]).reshape(-1) for point in shaped])
    ours = output(network.graph, x)
    assert float((ours - own).abs().max()) <= 1e-5 * max(1.0, float(own.abs().max()))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", COMPOSITE)
def test_graphs_that_keep_composite_calls(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is broken up differs by version of torch: both ways are read."""

    def whole(source: str, module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
        return torch.export.export(module, (example,), strict=False)

    monkeypatch.setattr(reader, "_export", whole)
    _, network = _load(name)
    assert_equals_original(network)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_old_style_weight_norm() -> None:
    module = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)), nn.ReLU())
    assert_equals_original(load_network(module, torch.zeros(1, 4)))


def test_hooks_are_read_as_they_act() -> None:
    module = nn.Sequential(nn.Linear(4, 3))
    module[0].register_forward_hook(lambda layer, args, result: result * 3)
    assert_equals_original(load_network(module, torch.zeros(1, 4)))


def test_the_module_is_left_alone() -> None:
    module = _seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout()))
    module.train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    network = load_network(module, torch.randn(3, 4))
    assert all(part.training for part in module.modules())
    assert all(p.requires_grad for p in module.parameters())
    after = module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    # Later training does not reach the network that was read.
    x = points(network)
    original = network.original(x)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert torch.equal(network.original(x), original)
    assert_equals_original(network)


def test_names_and_hash() -> None:
    network = _load("cnn")[1]
    assert network.source == "Sequential" and network.dtype == torch.float32
    assert network.graph.input_shape == IMAGE and network.graph.output_shape == (4,)
    assert [n.origin.split("/")[0] for n in network.graph][1:4] == ["0", "1", "1"]
    assert any(n.operator.startswith("aten.conv") for n in network.nodes)
    assert sum(n.parameters for n in network.nodes) == 57 + 12 + 76
    conv = network.graph["Conv_1"].operator
    assert isinstance(conv, Conv) and conv.weight.dtype == torch.float64
    same, other = _load("cnn")[1], _load("linear")[1]
    assert network.sha256 == same.sha256 != other.sha256
    module = _seeded(CASES["cnn"][0])
    with torch.no_grad():
        module[6].bias[0] += 1e-3  # pyright: ignore[reportIndexIssue]
    assert load_network(module, torch.zeros(1, *IMAGE)).sha256 != network.sha256


def test_weights_are_exact() -> None:
    module, network = _load("linear")
    dense = network.graph[network.graph.output].operator
    assert isinstance(dense, Dense) and dense.bias is not None
    assert isinstance(module, nn.Linear)
    assert torch.equal(dense.weight, module.weight.detach().double())
    assert torch.equal(dense.bias, module.bias.detach().double())


def test_pickle() -> None:
    _, network = _load("cnn")
    again = pickle.loads(pickle.dumps(network))
    x = points(network)
    assert torch.equal(again.original(x), network.original(x))
    assert torch.equal(output(again.graph, x), output(network.graph, x))


def test_a_module_that_mixes_its_batch_is_run_point_by_point() -> None:
    for call in (lambda m, x: m.linear(x) * len(x), lambda m, x: m.linear(x.reshape(1, -1))):
        network = load_network(Calls(call), torch.zeros(3, 4))
        assert not network.evaluator.batched
        assert_equals_original(network)
    assert load_network(nn.Linear(4, 4), torch.zeros(3, 4)).evaluator.batched


def _nan() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 4))
    with torch.no_grad():
        module[0].weight[1, 2] = torch.nan  # pyright: ignore[reportIndexIssue]
    return module


def _branch(module: Calls, x: Tensor) -> Tensor:
    return module.linear(x) if x.sum() > 0 else x


REFUSED: dict[str, tuple[Callable[[], nn.Module], type[NetworkError], str]] = {
    "sign": (
        lambda: Calls(lambda m, x: torch.sign(m.linear(x))),
        UnsupportedOperator,
        "sign': this operator is not supported",
    ),
    "soft-threshold": (
        lambda: Calls(lambda m, x: functional.softplus(x, threshold=1.0)),
        UnsupportedOperator,
        "its threshold is below 20",
    ),
    "second-list": (
        lambda: Calls(lambda m, x: torch.gather(x, 1, x.argsort(1))),
        UnsupportedOperator,
        "aten.gather",
    ),
    "random": (
        lambda: Calls(lambda m, x: x + torch.randn(4)),
        UnsupportedOperator,
        "it is random",
    ),
    "random-like": (
        lambda: Calls(lambda m, x: x + torch.randn_like(x)),
        UnsupportedOperator,
        "aten.randn_like",
    ),
    "live-dropout": (
        lambda: Calls(lambda m, x: functional.dropout(m.linear(x))),
        UnsupportedOperator,
        "at node",
    ),
    "no-statistics": (
        lambda: nn.BatchNorm1d(4, track_running_stats=False),
        NetworkError,
        "",
    ),
    "rounded": (
        lambda: Calls(lambda m, x: torch.div(x, 2.0, rounding_mode="floor")),
        UnsupportedOperator,
        "it rounds the quotient",
    ),
    "integers": (lambda: Calls(lambda m, x: x.long().float()), UnsupportedOperator, "it rounds to"),
    "nan": (_nan, NetworkError, "'0.weight' holds 1 entries that are NaN or infinite"),
    "tuple": (
        lambda: Calls(lambda m, x: (x, m.linear(x))),  # pyright: ignore[reportArgumentType]
        NetworkError,
        "Calls returns a tuple; expected one tensor",
    ),
    "control-flow": (lambda: Calls(_branch), NetworkError, "control flow must not depend"),
    "constant": (
        lambda: Calls(lambda m, x: m.b[None] * 2),
        NetworkError,
        "Calls: the output does not depend on the input",
    ),
    "wrong-shape": (lambda: nn.Linear(5, 2), NetworkError, "Linear cannot be run on shape [1, 4]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    make, kind, expected = REFUSED[name]
    with pytest.raises(kind) as caught:
        load_network(make(), torch.zeros(2, 4))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (None, "pass example_input"),
        (torch.zeros(()), "example_input has shape []"),
        (torch.zeros(0, 4), "example_input has shape [0, 4]"),
        (torch.zeros(1, 4, dtype=torch.int64), "expected float32 or float64"),
    ],
)
def test_bad_examples(example: Tensor | None, expected: str) -> None:
    with pytest.raises(NetworkError) as caught:
        load_network(nn.Linear(4, 2), example)
    assert expected in str(caught.value)


def test_a_module_that_cannot_be_copied() -> None:
    module = nn.Linear(4, 2)
    module.handle = open(Path(__file__))  # noqa: SIM115
    try:
        with pytest.raises(NetworkError, match="cannot be copied"):
            load_network(module, torch.zeros(1, 4))
    finally:
        module.handle.close()
