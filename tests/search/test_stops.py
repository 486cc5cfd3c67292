"""Forced stops: Unknown with its reason, or the interval proved so far; never a verdict more."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
import torch

from lipverify.api import verify_spec
from lipverify.bounds import methods
from lipverify.bounds.methods import METHODS
from lipverify.config import VerifyConfig
from lipverify.errors import NumericalFailure, UnknownMethod
from lipverify.numerics import DTYPE
from lipverify.search import ladder
from lipverify.search.budget import Clock, Progress
from lipverify.spec import Spec
from lipverify.spec.property import Property
from lipverify.verdict import Falsified, Reason, Unknown, Verified
from tests.oracles import boxes, networks, originals
from tests.oracles.regions import Regions
from tests.search.questions import LIGHT, ask, check_norm, lipschitz, monotonicity, robustness

TINY = networks.dense((2, 4, 3, 2), 0)
REGIONS = Regions(TINY, boxes.offset(2))
REGION = REGIONS.box
EXACT = REGIONS.norm("inf", "inf")
MONOTONE = networks.monotone((2, 4, 1), 0)


def true_claims() -> dict[str, Property]:
    row = torch.tensor([-1.0, 1.0], dtype=DTYPE)
    return {
        "interval": lipschitz(TINY),
        "lipschitz": lipschitz(TINY, at_most=1.2 * EXACT),
        "monotonicity": monotonicity(TINY, (0,), margin=float(REGIONS.entries()[0][0, 0]) - 0.5),
        "robustness": robustness(0, -REGIONS.maximum(row) - 0.5),
    }


def false_claims() -> dict[str, Property]:
    row = torch.tensor([-1.0, 1.0], dtype=DTYPE)
    return {
        "lipschitz": lipschitz(TINY, at_most=0.8 * EXACT),
        "monotonicity": monotonicity(TINY, (0,), margin=float(REGIONS.entries()[0][0, 0]) + 0.5),
        "robustness": robustness(0, -REGIONS.maximum(row) + 0.5),
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", true_claims())
def test_no_time_at_all_is_unknown(kind: str, method: str) -> None:
    for claims in (true_claims(), false_claims()):
        if kind in claims:
            result = ask(TINY, REGION, claims[kind], method=method, timeout=0.0)
            assert isinstance(result.verdict, Unknown)
            assert result.verdict.reason is Reason.TIMEOUT


@pytest.fixture(params=[*range(1, 12), 15, 20, 30])
def expiring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A clock that expires when it is looked at for the n-th time."""
    looks = count()
    monkeypatch.setattr(Clock, "expired", lambda self: next(looks) >= request.param)
    yield request.param


@pytest.mark.parametrize("method", ["linear", "auto"])
def test_time_may_end_at_any_moment(expiring: int, method: str) -> None:
    """A true claim is not falsified, a false one not verified, bounds stay on their sides."""
    for at_most in (None, 1.05 * EXACT, 0.8 * EXACT):
        result = ask(TINY, REGION, lipschitz(TINY, at_most=at_most), method=method)
        if result.bound is not None:
            check_norm(result, EXACT, at_most)
        if isinstance(result.verdict, Unknown):
            assert result.verdict.reason in (Reason.TIMEOUT, Reason.BOUND, Reason.SUBPROBLEMS)
    for kind in ("monotonicity", "robustness"):
        true = ask(TINY, REGION, true_claims()[kind], method=method)
        assert not isinstance(true.verdict, Falsified)
        false = ask(TINY, REGION, false_claims()[kind], method=method)
        assert not isinstance(false.verdict, Verified)


def test_one_look_at_the_clock_before_anything_is_proved_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock allows the start and nothing else."""
    for kind, claim in true_claims().items():
        looks = count()
        monkeypatch.setattr(Clock, "expired", lambda self, looks=looks: next(looks) >= 1)
        verdict = ask(TINY, REGION, claim).verdict
        assert isinstance(verdict, Unknown), kind
        assert verdict.reason is Reason.TIMEOUT, kind


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_few_subproblems_keep_what_is_proved(limit: int) -> None:
    for at_most in (None, 1.01 * EXACT, 0.99 * EXACT):
        result = ask(TINY, REGION, lipschitz(TINY, at_most=at_most), max_subproblems=limit)
        check_norm(result, EXACT, at_most)
        assert result.subproblems <= limit + 1


@pytest.mark.parametrize("memory", [1.0, 1e4])
def test_little_memory_changes_no_truth(memory: float) -> None:
    for at_most in (None, 1.01 * EXACT, 0.99 * EXACT):
        result = ask(TINY, REGION, lipschitz(TINY, at_most=at_most), memory=memory)
        check_norm(result, EXACT, at_most)


@pytest.mark.parametrize("stage", ["mean_split", "linear"])
def test_a_breakdown_in_a_later_stage_keeps_the_earlier_bound(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise NumericalFailure("planted")

    ladder_alone = replace(METHODS["auto"], searches=(), late=())
    monkeypatch.setitem(METHODS, "auto", ladder_alone)  # type: ignore[arg-type]
    monkeypatch.setattr(methods, stage, broken)
    result = ask(TINY, REGION, lipschitz(TINY, at_most=1.0001 * EXACT))
    check_norm(result, EXACT, 1.0001 * EXACT)
    assert isinstance(result.verdict, Unknown) and result.verdict.reason is Reason.NUMERICS
    assert result.bound is not None and result.bound.upper < float("inf")
    open_ = ask(TINY, REGION, lipschitz(TINY))
    assert isinstance(open_.verdict, Verified), "the interval of the earlier stage is an answer"


def test_a_breakdown_in_the_first_stage_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise NumericalFailure("planted")

    monkeypatch.setattr(methods, "interval", broken)
    result = ask(TINY, REGION, lipschitz(TINY), method="interval")
    assert isinstance(result.verdict, Unknown) and result.verdict.reason is Reason.NUMERICS


def test_nan_bounds_prove_nothing() -> None:
    """Written so that NaN fails: `satisfied` is what earns Verified for robustness."""
    from lipverify.query import OutputQuery

    query = OutputQuery(torch.eye(2, dtype=DTYPE), 0.0, strict=False)
    nan = torch.tensor([-1.0, torch.nan], dtype=DTYPE)
    assert not ladder.satisfied(nan, query)
    assert ladder.satisfied(torch.tensor([-1.0, 0.0], dtype=DTYPE), query)
    strict = OutputQuery(torch.eye(2, dtype=DTYPE), 0.0, strict=True)
    assert not ladder.satisfied(torch.tensor([-1.0, 0.0], dtype=DTYPE), strict)


def test_progress_never_contradicts_itself() -> None:
    """The lower end rises, the upper end falls, and both hold the exact constant."""
    seen: list[Progress] = []
    spec = Spec("progress", REGION, (lipschitz(TINY),), ("x0", "x1"))
    config = VerifyConfig(**LIGHT)  # type: ignore[arg-type]
    list(verify_spec(originals.network(TINY), spec, config, seen.append))
    assert len(seen) >= 3
    uppers = [note.upper for note in seen if note.upper is not None]
    lowers = [note.lower for note in seen if note.lower is not None]
    assert uppers == sorted(uppers, reverse=True) and min(uppers) >= EXACT * (1 - 1e-9)
    assert lowers == sorted(lowers) and max(lowers) <= EXACT * (1 + 1e-9)


def test_an_unknown_method_is_an_error_before_any_work() -> None:
    with pytest.raises(UnknownMethod, match="auto"):
        ask(TINY, REGION, lipschitz(TINY), method="automatic")


def test_the_same_seed_gives_the_same_answer() -> None:
    for claim in true_claims().values():
        first, second = (ask(TINY, REGION, claim, seed=3).as_json() for _ in range(2))
        for record in (first, second, *first["stages"], *second["stages"]):
            record["seconds"] = 0.0
        for record in (first, second):
            record["timeline"] = [known for _, *known in record["timeline"]]
        assert first == second
