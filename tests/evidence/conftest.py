"""A bundle of some of the shipped specs, with requirements, made once; copies of it to damage."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lipverify.cli import main
from tests.evidence.sources import SPECS, write_specs

Copy = Callable[[], Path]


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with specs, and two result files of theirs."""
    folder = tmp_path_factory.mktemp("work")
    write_specs(folder / "specs")
    with inside(folder):
        for name, options in SPECS.items():
            paths = [f"specs/{spec}" for spec in options.specs]
            code = main(["verify", *paths, "--json", f"{name}.json", "--quiet", *options.options])
            assert code == options.code, name
    return folder


@pytest.fixture(scope="session")
def made(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, not to be changed."""
    out = tmp_path_factory.mktemp("made") / "bundle"
    with inside(work):
        assert main(["evidence", *(f"{name}.json" for name in SPECS), "--out", str(out)]) == 0
    return out


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """The bundle, moved to another folder."""
    return Path(shutil.copytree(made, tmp_path / "elsewhere"))
