"""Folders of specs with fake networks, and the command line run in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lipverify.cli import main
from tests.cli import fakes


@dataclass(frozen=True)
class Ran:
    """What one call of the command line left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]
Write = Callable[..., Path]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: object) -> Ran:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> fakes.Loads:
    """Networks and verification are fakes from here on; counts how often networks are loaded."""
    fake = fakes.Loads()
    monkeypatch.setattr("lipverify.cli.prepare.load_network", fake)
    monkeypatch.setattr("lipverify.cli.messages.verify_spec", fakes.verify_spec)
    return fake


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a spec that asks for lipschitz constants, one property per code of `fakes`."""

    def make(name: str, *codes: int, network: str = "net.onnx", extra: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / network).write_bytes(b"fake")
        asked = "".join(f"  - {{kind: lipschitz, at_most: {code}}}\n" for code in codes)
        path.write_text(
            f"lipverify: 1\nnetwork: {network}\n"
            f"region: {{center: [0, 0, 0], radius: 1}}\nproperties:\n{asked}{extra}"
        )
        return path

    return make
