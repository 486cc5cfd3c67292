"""Where bounds would take longer than there is time, they are left out, with a reason."""

import pytest
import torch

from lipverify.api import verify_spec
from lipverify.bounds.methods import Setting
from lipverify.config import PreactivationConfig, VerifyConfig
from lipverify.network import Network, load_network
from lipverify.norms import norm_named
from lipverify.region import ball_region
from lipverify.search import estimates
from lipverify.search.estimates import crown_cost, linear_cost, mean_split_cost, open_gates
from lipverify.spec import Lipschitz, Monotonicity, Robustness, Spec
from lipverify.verdict import Reason, Unknown, Verified


def network() -> Network:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 8),
        torch.nn.ReLU(), torch.nn.Linear(8, 3),
    )  # fmt: skip
    return load_network(module, torch.zeros(1, 1, 6, 6))


INF = norm_named("inf")
REGION = ball_region(torch.full((36,), 0.5).double(), torch.tensor(0.3).double(), INF)
LIPSCHITZ = Lipschitz(INF, INF, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
SLOW = {"CROWN": {"DENSE": 1e9, "CONVOLUTION": 1e9}, "alpha-CROWN": {"ALPHA_LAYER": 1e9}}


@pytest.mark.parametrize("slow", SLOW)
@pytest.mark.parametrize("method", ["auto", "linear", "quadratic"])
def test_an_interval_is_given_all_the_same(
    slow: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in SLOW[slow].items():
        monkeypatch.setattr(estimates, name, seconds)
    config = VerifyConfig(method=method, timeout=30.0, max_subproblems=4)
    spec = Spec("s", REGION, (LIPSCHITZ,), tuple(f"x{i}" for i in range(36)))
    (result,) = verify_spec(network(), spec, config)
    left_out = [stage for stage in result.stages if stage.detail.startswith("left out")]
    assert left_out and f"{slow} would take about" in left_out[0].detail
    if method == "auto":
        assert isinstance(result.verdict, Verified) and result.bound is not None
        assert 0 < result.bound.lower <= result.bound.upper < 1e3
    elif slow == "CROWN":  # nothing else is tried by these methods
        assert isinstance(result.verdict, Unknown) and result.verdict.reason is Reason.TIMEOUT


@pytest.mark.parametrize(
    "prop",
    [
        Monotonicity((1.0, 0.0, 0.0), (0, 7), (), 0.0),
        Robustness(None),
    ],
)
def test_other_questions_end_with_the_reason(
    prop: Monotonicity | Robustness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in SLOW["CROWN"].items():
        monkeypatch.setattr(estimates, name, seconds)
    spec = Spec("s", REGION, (prop,), tuple(f"x{i}" for i in range(36)))
    (result,) = verify_spec(network(), spec, VerifyConfig(timeout=30.0, max_subproblems=4))
    if isinstance(result.verdict, Unknown):
        assert "CROWN would take about" in result.verdict.detail


def test_estimates_grow_with_open_gates_and_rows() -> None:
    setting = Setting(network(), REGION, PreactivationConfig())
    none = dict.fromkeys(open_gates(setting, setting.crown_preactivations), 0)
    some = open_gates(setting, setting.crown_preactivations)
    every = open_gates(setting, setting.interval_preactivations)
    assert sum(some.values()) <= sum(every.values()) <= 56
    assert crown_cost(setting, none).seconds == 0
    assert 0 < crown_cost(setting, some).seconds <= crown_cost(setting, every).seconds
    assert mean_split_cost(setting, 1, none).seconds < mean_split_cost(setting, 1, some).seconds
    assert linear_cost(setting, 1, some).seconds < linear_cost(setting, 2, some).seconds
