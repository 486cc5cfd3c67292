"""Settings of every test: one thread, fixed seeds, hypothesis profiles, the count of checks."""

import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).resolve().parents[2] / "shared"
FEWEST_CHECKS = 10_000
"""A whole run that makes fewer randomised checks of rules has failed."""

COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "report_multiple_bugs": False,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("quick", max_examples=20, **COMMON)
settings.register_profile("thorough", max_examples=1000, **COMMON)
settings.load_profile("quick")  # --hypothesis-profile=thorough overrules it


@dataclass
class Checks:
    """How many single comparisons the randomised sweeps have made."""

    total: int = 0

    def count(self, checks: int) -> None:
        assert checks > 0, "a sweep that compares nothing proves nothing"
        self.total += checks


CHECKS = pytest.StashKey[Checks]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CHECKS] = Checks()
    torch.set_num_threads(1)
    # Started in the background, we ignore Ctrl-C, and so would the programs that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What one of several processes has counted."""
    found = getattr(node, "workeroutput", {})  # none where the process was ended
    node.config.stash[CHECKS].total += found.get("checks", 0)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    total = config.stash[CHECKS].total
    if hasattr(config, "workeroutput"):
        config.workeroutput["checks"] = total
    elif _is_whole(config) and total < FEWEST_CHECKS and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    total = config.stash[CHECKS].total
    if total:
        terminalreporter.write_line(f"{total} randomised checks of rules")
    if _is_whole(config) and total < FEWEST_CHECKS:
        terminalreporter.write_line(f"error: expected {FEWEST_CHECKS} of them or more", red=True)


def _is_whole(config: pytest.Config) -> bool:
    """Whether all tests but the slow ones were asked for."""
    options = config.option
    return (
        config.args == config.getini("testpaths")
        and not (options.keyword or options.collectonly)
        and options.markexpr == "not slow"
    )


@pytest.fixture(scope="session")
def checks(pytestconfig: pytest.Config) -> Checks:
    return pytestconfig.stash[CHECKS]


@pytest.fixture(autouse=True)
def fixed_seeds() -> Iterator[None]:
    """Every test starts from the same seeds, and leaves torch's default dtype as it was."""
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    yield
    assert torch.get_default_dtype() == before, "a test has left another default dtype behind"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The collection of real networks beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the collection of real networks (../shared) is not here")
    return SHARED
