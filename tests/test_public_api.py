"""Importing has no effect; the public names exist, are documented, and do what they say."""

import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import lipverify
from tests.oracles import boxes, networks, originals

ROOT = Path(__file__).resolve().parents[1]

SNAPSHOT = """
import logging, os, sys, warnings
before = (list(warnings.filters), list(sys.path), dict(os.environ), logging.getLogger().level,
          list(logging.getLogger().handlers))
import lipverify
after = (list(warnings.filters), list(sys.path), dict(os.environ), logging.getLogger().level,
         list(logging.getLogger().handlers))
assert before == after, "importing lipverify changes the process"
assert "torch" not in sys.modules, "importing lipverify alone loads torch"
assert "auto_LiRPA" not in sys.modules
import torch
dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
grad = torch.is_grad_enabled()
filters = list(warnings.filters)  # torch has its own
for name in lipverify.__all__:
    getattr(lipverify, name)
assert torch.get_default_dtype() == dtype and torch.get_num_threads() == threads
assert torch.is_grad_enabled() == grad
assert list(sys.path) == before[1]
assert list(logging.getLogger().handlers) == before[4]
assert "auto_LiRPA" not in sys.modules, "it is heavy and optional: loaded at its first use only"
print("unchanged")
"""


def test_importing_changes_nothing() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SNAPSHOT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "unchanged"


def test_every_public_name_exists() -> None:
    for name in lipverify.__all__:
        assert getattr(lipverify, name) is not None
    assert set(dir(lipverify)) >= set(lipverify.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'verifi'"):
        _ = lipverify.verifi  # type: ignore[attr-defined]


def test_every_public_name_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [
        name
        for name in lipverify.__all__
        if not name.startswith("__") and not re.search(rf"\b{name}\b", text)
    ]
    assert not missing, f"public, but not in README.md: {missing}"


def test_the_version_is_that_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{lipverify.__version__}"' in text


def test_auto_lirpa_leaves_the_process_as_it_was() -> None:
    """Its import resets warning filters and adds a log handler; its use wants another dtype."""
    from lipverify.bounds.lirpa.engine import LirpaEngine
    from lipverify.bounds.preactivation import crown
    from lipverify.operators.gate import relax_chords

    tiny = networks.dense((2, 4, 3, 2), 0)
    filters = list(warnings.filters)
    dtype = torch.get_default_dtype()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    path = list(sys.path)
    state = torch.random.get_rng_state()
    setting = lipverify_setting(tiny)
    engine = LirpaEngine(setting.backward, setting.region, relax_chords, iterations=3)
    crown(setting.forward_problem, engine, setting.crown_preactivations)
    assert list(warnings.filters) == filters
    assert torch.get_default_dtype() == dtype
    assert list(root.handlers) == handlers and root.level == level
    assert list(sys.path) == path
    assert torch.equal(torch.random.get_rng_state(), state), "the user's random numbers are used up"
    assert torch.is_grad_enabled()


def lipverify_setting(tiny: networks.Tiny):
    from lipverify.bounds.methods import Setting
    from lipverify.config import PreactivationConfig

    config = PreactivationConfig(alpha_iterations=3)
    return Setting(originals.network(tiny), boxes.offset(2), config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_default_dtype_of_the_user_does_not_matter(dtype: torch.dtype) -> None:
    """Bounds are float64 whatever torch's default is; a new tensor in it would lose digits."""
    from lipverify.spec.property import Lipschitz
    from tests.search.questions import ask, lipschitz, monotonicity, robustness

    for tiny in (networks.dense((2, 4, 3, 2), 0), networks.fan_out(0), networks.mixed(0)):
        claims = (lipschitz(tiny), monotonicity(tiny, (0, 1)), robustness(0, -10.0))
        expected = [ask(tiny, boxes.offset(2), claim).as_json() for claim in claims]
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            found = [ask(tiny, boxes.offset(2), claim).as_json() for claim in claims]
        finally:
            torch.set_default_dtype(before)
        for claim, mine, theirs in zip(claims, expected, found, strict=True):
            mine["seconds"] = theirs["seconds"] = 0.0
            assert mine["verdict"] == theirs["verdict"]
            if isinstance(claim, Lipschitz):
                for end in ("lower", "upper"):
                    assert mine["bound"][end] == pytest.approx(theirs["bound"][end], rel=1e-9)


def test_an_error_inside_leaves_the_default_dtype() -> None:
    from lipverify.bounds.lirpa.engine import LirpaEngine
    from lipverify.errors import NumericalFailure
    from lipverify.operators.gate import relax_chords

    setting = lipverify_setting(networks.dense((2, 4, 3, 2), 0))
    engine = LirpaEngine(setting.backward, setting.region, relax_chords)
    before = torch.get_default_dtype()
    with pytest.raises(NumericalFailure):
        engine.forward_upper("dense1", torch.zeros(1, 1, 77, dtype=torch.float64), {})
    assert torch.get_default_dtype() == before


def test_the_shortest_question() -> None:
    """As in the README: a module, a centre, a radius."""
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    network = lipverify.load_network(module, torch.zeros(1, 2))
    result = lipverify.lipschitz(network, [0.1, -0.2], 0.5)
    assert result.bound is not None
    assert 0 <= result.bound.lower <= result.bound.upper < float("inf")
