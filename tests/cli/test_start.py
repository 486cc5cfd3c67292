"""The command line answers quickly, and wrong arguments have the exit code of bad input."""

import subprocess
import sys

import pytest

from lipverify import __version__
from tests.cli.conftest import Cli

HEAVY = ("torch", "onnx", "onnxruntime", "numpy", "networkx", "yaml", "rich")
COMMANDS = ("verify", "lipschitz", "graph", "inspect", "check", "supports")


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.partition("MODULES")[2].split())


@pytest.mark.parametrize(
    "statement",
    [
        "import lipverify.cli",
        "from lipverify.cli import main; main(['--version'])",
        "from lipverify.cli import main; main(['--help'])",
        "from lipverify.cli import main; main(['verify', '--help'])",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    loaded = loaded_after(statement)
    assert "lipverify.cli" in loaded
    assert not loaded & set(HEAVY)


def test_version(cli: Cli) -> None:
    ran = cli("--version")
    assert (ran.code, ran.out) == (0, f"lipverify {__version__}\n")


def test_help_names_the_commands(cli: Cli) -> None:
    ran = cli("--help")
    assert ran.code == 0
    assert all(command in ran.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_help(command: str, cli: Cli) -> None:
    ran = cli(command, "--help")
    assert ran.code == 0
    assert f"lipverify {command}" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("verfy", "x"),
        ("verify",),
        ("verify", "x", "--no-such-option"),
        ("verify", "x", "--jobs", "0"),
        ("verify", "x", "--jobs", "two"),
        ("verify", "x", "--max-subproblems", "0"),
        ("verify", "x", "--threads", "0"),
        ("verify", "x", "--timeout", "-1"),
        ("verify", "x", "--timeout", "nan"),
        ("verify", "x", "--memory", "-1"),
        ("lipschitz", "net.onnx"),
        ("lipschitz", "net.onnx", "--center", "0", "--radius", "x"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], cli: Cli) -> None:
    ran = cli(*arguments)
    assert ran.code == 3
    assert "Error: " in ran.err
    assert ran.out == ""


def test_module_entry() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lipverify.cli", "nonsense"], capture_output=True, text=True
    )
    assert done.returncode == 3
    assert "nonsense" in done.stderr
