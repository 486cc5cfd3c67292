"""torch modules and calls that multiply branches, and recurrent ones, against torch itself."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from onnx_models import assert_equals_original, assert_jacobian_is_autograd
from torch import Tensor, nn
from torch.nn import functional

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.network import Network, load_network
from lipverify.network.torch_products import PRODUCT_CONVERTERS

ROWS = (3, 4)


class Then(nn.Module):
    """A call with a module of its own."""

    def __init__(self, own: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.own, self.call = own, call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.own, x)


class Attention(nn.Module):
    """softmax(q k^T) v with a linear layer for each."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(-1, -2)
        return functional.softmax(scores / 2, dim=-1) @ self.v(x)


class SwiGlu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(functional.silu(self.a(x)) * self.b(x))


class Cells(nn.Module):
    """A cell by hand, over the rows."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return state[0] if isinstance(state, tuple) else state  # type: ignore[return-value]


def _call(call: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Then(nn.Linear(4, 4), lambda own, x: call(own(x)))


def _sequence(kind: type[nn.Module], which: int = 0, **options: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        layer = kind(4, 2, batch_first=True, **options)
        return Then(layer, lambda own, x: own(x)[which])

    return make


def _last_states(own: nn.Module, x: Tensor) -> Tensor:
    hidden, cell = own(x)[1]
    return hidden.transpose(0, 1) + cell.transpose(0, 1)


def _started(own: nn.Module, x: Tensor) -> Tensor:
    return own(x, torch.full((1, x.shape[0], 2), 0.3))[0]


MASK = torch.tensor([[True, False, True], [True, True, True], [False, True, False]])

CASES: dict[str, Callable[[], nn.Module]] = {
    "attention": Attention,
    "baddbmm": _call(lambda x: torch.baddbmm(torch.ones(1, 3, 3), x, x.transpose(1, 2))),
    "bmm": _call(lambda x: torch.bmm(x, torch.tanh(x).transpose(1, 2))),
    "einsum": _call(lambda x: torch.einsum("bij,bkj->bik", x, torch.tanh(x))),
    "einsum-ellipsis": _call(lambda x: torch.einsum("...ij,...kj->...ik", x, torch.tanh(x))),
    "encoder": lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True),
    "glu": lambda: nn.Sequential(nn.Linear(4, 6), nn.GLU()),
    "group-norm": lambda: nn.GroupNorm(3, 3),
    "gru": _sequence(nn.GRU),
    "gru-cell": lambda: Cells(nn.GRUCell(4, 2)),
    "gru-deep": _sequence(nn.GRU, num_layers=2, bidirectional=True),
    "gru-no-bias": _sequence(nn.GRU, bias=False),
    "gru-started": lambda: Then(nn.GRU(4, 2, batch_first=True), _started),
    "instance-norm": lambda: nn.InstanceNorm1d(3, affine=True),
    "layer-norm": lambda: nn.LayerNorm(4, eps=0.01),
    "layer-norm-rows": lambda: nn.LayerNorm([3, 4], eps=0.01, elementwise_affine=False),
    "log-softmax": lambda: nn.LogSoftmax(1),
    "logsumexp": _call(lambda x: torch.logsumexp(x, (1, 2))),
    "lstm": _sequence(nn.LSTM),
    "lstm-cell": lambda: Cells(nn.LSTMCell(4, 2)),
    "lstm-last": lambda: Then(nn.LSTM(4, 2, 2, batch_first=True), _last_states),
    "multihead": lambda: Then(
        nn.MultiheadAttention(4, 2, batch_first=True), lambda own, x: own(x, x, x)[0]
    ),
    "norm": _call(lambda x: functional.normalize(x, dim=-1)),
    "norm-1": _call(lambda x: torch.linalg.vector_norm(x, 1, dim=(1, 2))),
    "product": _call(lambda x: x * x.sum(-1, keepdim=True)),
    "quotient": _call(lambda x: x / (1 + x.abs().sum(1, keepdim=True))),
    "rms-norm": lambda: nn.RMSNorm(4, eps=0.01),
    "rnn": _sequence(nn.RNN),
    "rnn-cell": lambda: Cells(nn.RNNCell(4, 2)),
    "rnn-relu": _sequence(nn.RNN, nonlinearity="relu"),
    "rnn-relu-cell": lambda: Cells(nn.RNNCell(4, 2, nonlinearity="relu")),
    "sdpa-causal": _call(
        lambda x: functional.scaled_dot_product_attention(x, x, torch.tanh(x), is_causal=True)
    ),
    "sdpa-mask": _call(lambda x: functional.scaled_dot_product_attention(x, x, x, attn_mask=MASK)),
    "sdpa-shift": _call(
        lambda x: functional.scaled_dot_product_attention(
            x, x, x, attn_mask=torch.where(MASK, 0.25, -torch.inf), scale=0.7
        )
    ),
    "softmax": lambda: nn.Softmax(-1),
    "softmax-middle": lambda: nn.Softmax(1),
    "softmax-two": lambda: nn.Sequential(nn.Linear(4, 2), nn.Softmax(-1)),
    "std": _call(lambda x: x.std(-1, keepdim=True) * x),
    "swiglu": SwiGlu,
    "var": _call(lambda x: torch.var(x, dim=(1, 2), correction=0)),
}


@cache
def _network(name: str) -> Network:
    torch.manual_seed(0)
    return load_network(CASES[name](), torch.zeros(2, *ROWS))


@pytest.mark.parametrize("name", CASES)
def test_equals_torch(name: str) -> None:
    network = _network(name)
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)


def test_numbers_in_calls_are_taken_as_they_are() -> None:
    network = load_network(_call(lambda x: x * 0.1)().double(), torch.zeros(2, *ROWS).double())
    assert_equals_original(network, 1e-14)


def test_one_entry_has_the_whole_share() -> None:
    call = _call(lambda x: torch.cat([x[..., :1].softmax(-1), x[..., :1].log_softmax(-1), x], -1))
    assert_equals_original(load_network(call(), torch.zeros(2, *ROWS)))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "projected": (_sequence(nn.LSTM, proj_size=1), "projections (proj_size) are not supported"),
    "third-norm": (
        _call(lambda x: torch.linalg.vector_norm(x, 3, dim=-1)),
        "the norm 3 is not supported",
    ),
    "mask-by-value": (
        _call(lambda x: functional.scaled_dot_product_attention(x, x, x, attn_mask=x @ x.mT)),
        "its mask must be a constant",
    ),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    make, expected = REFUSED[name]
    with pytest.raises(UnsupportedOperator) as caught:
        load_network(make(), torch.zeros(2, *ROWS))
    assert expected in str(caught.value)


def test_matrices_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(NetworkError):
        load_network(_call(lambda x: x @ torch.tanh(x))(), torch.zeros(2, *ROWS))


def test_every_call_is_covered() -> None:
    inner = {"aten._softmax", "aten._log_softmax", "aten.native_layer_norm"}  # of older torch
    seen = set(inner)
    for name in CASES:
        seen.update(node.operator for node in _network(name).nodes)
    assert not set(PRODUCT_CONVERTERS) - seen
