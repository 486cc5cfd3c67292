"""Jacobians of networks that multiply branches: every method, against autograd at many points."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lipverify.api import lipschitz
from lipverify.bounds.batched import BatchSetting, Boxes, Entries, Outputs, RowNorms, bound_boxes
from lipverify.bounds.line import walk_line
from lipverify.bounds.methods import METHODS, STAGES, Setting
from lipverify.bounds.preactivation import ForwardProblem, crown, interval_values
from lipverify.config import PreactivationConfig, VerifyConfig
from lipverify.errors import UnsupportedOperator
from lipverify.graph import ForwardGraph, evaluate, output, row_jacobian
from lipverify.milp.size import unsupported
from lipverify.network import Network, load_network
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.region import Ball, Box
from lipverify.verdict import Unknown, Verified
from tests.oracles.budget import quickly

ROUNDING = 1e-11
"""Relative: what torch's own float64 results may be off by."""


class Attention(nn.Module):
    """Self-attention of two or three tokens, each one number of the input."""

    def __init__(self, mask: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 2)
        self.q, self.k, self.v = (nn.Linear(2, 2) for _ in range(3))
        self.causal = mask

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.unsqueeze(-1))
        q, k, v = self.q(h), self.k(h), self.v(h)
        if self.causal:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True).flatten(1)
        return (torch.softmax(q @ k.transpose(1, 2), -1) @ v).flatten(1)


class Gated(nn.Module):
    """SwiGLU (or GLU), with ReLUs around, so that alpha-CROWN has something to choose."""

    def __init__(self, gate: Callable[[Tensor], Tensor], relu: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 4), nn.Linear(2, 4), nn.Linear(4, 2)
        self.gate, self.relu = gate, relu

    def forward(self, x: Tensor) -> Tensor:
        y = self.gate(self.a(x)) * self.b(torch.relu(x) if self.relu else x)
        return self.c(torch.relu(y) if self.relu else y)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.layer, self.last = kind(1, 2, batch_first=True), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(x.unsqueeze(-1))[0][:, -1])


class Quotient(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1) / (1 + (x * x).sum(-1, keepdim=True))


class SignedProducts(nn.Module):
    """Products whose factors are positive, negative and of both signs; and one with a constant."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x[:, :1], x[:, 1:]
        fixed = 0.0 * a + 2.0
        return torch.cat([a * b, (a + 5) * (b + 5), (a - 5) * b, (a - 5) * (b - 5), fixed * b], 1)


MAKES: dict[str, Callable[[], nn.Module]] = {
    "attention": Attention,
    "causal attention": lambda: Attention(mask=True),
    "glu": lambda: Gated(torch.sigmoid),
    "swiglu": lambda: Gated(functional.silu),
    "swiglu with relu": lambda: Gated(functional.silu, relu=True),
    "layer norm": lambda: nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3, eps=0.1)),
    "softmax": lambda: nn.Sequential(nn.Linear(2, 4), nn.Softmax(-1)),
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "rnn": lambda: Recurrent(nn.RNN),
    "quotient": Quotient,
    "signs": SignedProducts,
}
each = pytest.mark.parametrize("name", MAKES)
some = pytest.mark.parametrize("name", quickly(list(MAKES), 4))
HALF = 0.4


@cache
def network(name: str) -> Network:
    torch.manual_seed(1)
    return load_network(MAKES[name]().double(), torch.zeros(2, 2, dtype=DTYPE))


def _box(half: float) -> Box:
    center = torch.tensor([0.2, -0.3], dtype=DTYPE)
    return Box(center - half, center + half)


def _points(region: Box | Ball, count: int = 30) -> Tensor:
    """Corners, centre, and random points of the region: [p, n]."""
    box = region.bounding
    corners = torch.cartesian_prod(*torch.stack([box.lower, box.upper], 1))
    random = region.sample(count, torch.Generator().manual_seed(0))
    points = torch.cat([region.center.unsqueeze(0), random])
    return torch.cat([corners, points]) if isinstance(region, Box) else points


@cache
def _jacobians(name: str, half: float) -> Tensor:
    """By torch alone, from the original module's graph: [p, m, n]."""
    graph = network(name).graph
    found = [
        torch.autograd.functional.jacobian(lambda x: output(graph, x[None])[0], point)
        for point in _points(_box(half))
    ]
    return torch.stack(found)  # type: ignore[arg-type]


def _setting(name: str, region: Box | Ball) -> Setting:
    return Setting(network(name), region, PreactivationConfig(alpha_iterations=3))


def _rows(name: str) -> Tensor:
    return torch.eye(network(name).graph.output_size, dtype=DTYPE)


@pytest.mark.parametrize(
    ("name", "stage"), quickly([(name, stage) for name in MAKES for stage in STAGES], 13)
)
def test_contains_sampled_jacobians(name: str, stage: str) -> None:
    for half in (HALF, 0.02):
        truth = _jacobians(name, half)
        setting = _setting(name, _box(half))
        for norm in ("inf", "2"):
            bounds = STAGES[stage](setting, _rows(name), norm_named(norm), None)
            room = ROUNDING * truth.abs().amax()
            assert bool((bounds.elements.lower <= truth + room).all())
            assert bool((bounds.elements.upper >= truth - room).all())
            dual = norm_named(norm).dual
            assert bool((bounds.row_norm(dual) >= dual.of(truth) - room).all())


@some
def test_shrinks_to_the_point_with_the_region(name: str) -> None:
    """The width falls at least as fast as the region's, and is rounding alone on a point."""
    setting = [_setting(name, _box(half)) for half in (1e-3, 1e-6, 0.0)]
    for stage in ("interval", "mean-split", "linear (CROWN)"):
        widths = [
            float(STAGES[stage](one, _rows(name), norm_named("inf"), None).elements.width.max())
            for one in setting
        ]
        assert widths[0] < 0.5
        assert widths[1] <= 2e-3 * widths[0] + 1e-12
        assert widths[2] <= 1e-12


@each
def test_values_and_factors_are_inside(name: str) -> None:
    """Intervals and CROWN, of every node that is bounded."""
    graph = network(name).graph
    for region in (_box(HALF), Ball(_box(0).center, torch.full((2,), HALF), norm_named("2"))):
        setting = _setting(name, region)
        points = _points(region)
        values = evaluate(graph, {ForwardGraph.INPUT: points.reshape(-1, *graph.input_shape)})
        problem = ForwardProblem(graph, region)
        start = interval_values(problem)
        for known in (start, setting.crown_preactivations, setting.alpha_preactivations):
            for node, _ in graph.gated:
                room = ROUNDING * (1 + values[node].abs().amax())
                assert bool((known[node].lower <= values[node] + room).all()), node
                assert bool((known[node].upper >= values[node] - room).all()), node


@some
def test_engines_agree(name: str) -> None:
    """auto_LiRPA and our own substitution, on all bounded nodes of the forward graph."""
    from lipverify.bounds.lirpa.engine import LirpaEngine
    from lipverify.operators.gate import relax_chords

    setting = _setting(name, _box(HALF))
    problem = setting.forward_problem
    engine = LirpaEngine(setting.backward, setting.region, relax_chords)
    theirs = crown(problem, engine, interval_values(problem))
    for node, mine in setting.crown_preactivations.items():
        assert torch.allclose(mine.lower, theirs[node].lower, rtol=1e-9, atol=1e-9), node
        assert torch.allclose(mine.upper, theirs[node].upper, rtol=1e-9, atol=1e-9), node


@some
def test_many_boxes_at_once(name: str) -> None:
    """Norms, entries and outputs on a box and its parts; boxes of no width too."""
    net = network(name)
    whole = _box(HALF)
    level = Boxes(whole.lower.unsqueeze(0), whole.upper.unsqueeze(0))
    found = [level]
    for depth in range(3):
        level = level.halves(torch.full((len(level),), depth % 2))
        found.append(level)
    lower, upper = (torch.cat([getattr(b, end) for b in found]) for end in ("lower", "upper"))
    boxes = Boxes(torch.cat([lower, lower[-1:]]), torch.cat([upper, lower[-1:]]))
    setting = BatchSetting(_setting(name, whole).backward)
    signs = torch.tensor([1.0, -1.0], dtype=DTYPE)
    objectives = (
        RowNorms(setting.backward, _rows(name), norm_named("1")),
        RowNorms(setting.backward, _rows(name), norm_named("2")),
        Entries(setting.backward, _rows(name)[:1], torch.tensor([0, 1]), signs),
        Outputs(net.graph, _rows(name)),
    )
    for objective in objectives:
        nothing = torch.full((len(boxes), objective.size), torch.inf, dtype=DTYPE)
        enough = torch.full((objective.size,), -torch.inf, dtype=DTYPE)
        expected = torch.zeros(len(boxes))
        bounds = bound_boxes(setting, objective, boxes, nothing, enough, expected)
        for box in range(len(boxes)):
            points = _points(Box(boxes.lower[box], boxes.upper[box]), 20)
            attained = objective.attained(points)
            room = ROUNDING * (1 + attained.abs().amax())
            assert bool((bounds.upper[box] >= attained - room).all())
        point = objective.attained(boxes.lower[-1:])[0]
        assert torch.allclose(bounds.upper[-1], point, rtol=1e-9, atol=1e-9)


@each
def test_graph_jacobian_is_autograd(name: str) -> None:
    points = _points(_box(HALF))
    ours = row_jacobian(_setting(name, _box(HALF)).backward, points, _rows(name))
    assert torch.allclose(ours, _jacobians(name, HALF), rtol=1e-10, atol=1e-12)


def test_softmax_has_small_slopes_everywhere() -> None:
    """Also on a huge region, where nothing is known of the logits: nothing overflows."""
    own = load_network(nn.Softmax(-1).double(), torch.zeros(2, 4, dtype=DTYPE))
    ends = torch.full((4,), 1e4, dtype=DTYPE)
    setting = Setting(own, Box(-ends, ends), PreactivationConfig())
    values = interval_values(setting.forward_problem)[own.graph.output]
    assert bool((values.lower >= 0).all() and (values.upper <= 1).all())
    bounds = STAGES["mean-split"](setting, torch.eye(4, dtype=DTYPE), norm_named("inf"), None)
    assert float(bounds.elements.magnitude.max()) <= 0.5


@pytest.mark.parametrize("name", ["attention", "swiglu", "lstm"])
def test_exact_methods_refuse_by_name(name: str) -> None:
    graph = network(name).graph
    assert "multiplies two branches" in (unsupported(graph) or "")
    with pytest.raises(UnsupportedOperator, match="multiplies two branches"):
        walk_line(graph, _box(0).center, 0, -1.0, 1.0)


@pytest.mark.parametrize("name", quickly(["attention", "swiglu", "gru", "layer norm"], 2))
def test_input_splitting_closes_the_gap(name: str) -> None:
    result = lipschitz(network(name), _box(0.2).center, 0.1, gap=0.03)
    assert isinstance(result.verdict, Verified) and result.bound is not None
    lower, upper = result.bound.lower, result.bound.upper
    assert upper <= 1.03 * lower
    jacobians = _jacobians(name, 0.1)
    assert float(jacobians.abs().sum(-1).amax()) <= upper * (1 + ROUNDING)


@pytest.mark.parametrize("name", quickly(["swiglu", "glu", "softmax", "signs", "layer norm"], 2))
def test_splits_of_factors_narrow_the_interval(name: str) -> None:
    sampled = float(_jacobians(name, HALF).abs().sum(2).max())
    uppers = []
    for most in (1, 12):
        config = VerifyConfig(method="quadratic", max_subproblems=most, timeout=None)
        found = lipschitz(network(name), _box(HALF).center, HALF, config=config)
        assert found.bound.upper >= sampled * (1 - ROUNDING)
        uppers.append(found.bound.upper)
    assert uppers[1] - sampled < 0.9 * (uppers[0] - sampled) or uppers[0] <= sampled * (1 + 1e-6)


@pytest.mark.parametrize("method", quickly(list(METHODS), 4))
def test_every_method_answers_or_refuses(method: str) -> None:
    config = VerifyConfig(method=method, max_subproblems=1)
    result = lipschitz(network("attention"), _box(0.2).center, 0.1, config=config)
    if method == "milp":
        assert isinstance(result.verdict, Unknown)
        assert "multiplies two branches" in result.verdict.detail
    else:
        assert result.bound is not None and result.bound.upper < float("inf")
