"""Processes of an audit that are killed on the way: nothing that was decided is lost."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from lipverify.audit import AuditProgress, pool, run_audit
from lipverify.audit.run import AuditConfig
from lipverify.cli.exits import ExitCode
from lipverify.cli.run_audit import execute
from tests.audit.cases import plain_audit, weights
from tests.audit.test_runs import reports, stored

SERVE = pool._serve
FATAL = 1
"""The unit that kills whatever process works on it."""


class _Deadly:
    """A connection over which one unit is deadly."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def recv_bytes(self) -> bytes:
        content = self._connection.recv_bytes()
        if getattr(pool.pickle.loads(content), "number", None) == FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def deadly_serve(connection: Any, source: pool.Source) -> None:
    SERVE(_Deadly(connection), source)  # type: ignore[arg-type]


def audit(folder: Path) -> Path:
    return plain_audit(folder, weights([3, 6, 1], 2), 80, increasing=["a"], decreasing=["c"])


@pytest.mark.slow
def test_the_unit_of_a_killed_process_is_done_by_another(tmp_path: Path) -> None:
    path = audit(tmp_path)
    killed: list[int] = []

    def kill_one(progress: AuditProgress) -> None:
        if not killed:
            process = multiprocessing.active_children()[0]
            assert process.pid is not None
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)

    config = AuditConfig(timeout=None, jobs=2)
    result = run_audit(path, tmp_path / "killed", config, kill_one)
    with result.store:
        assert len(list(result.answers())) == 160
    assert killed
    assert reports(path, "killed", resume=True) == reports(path, "whole")


def test_a_unit_that_kills_every_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All units that were begun are stored; the exit code is that of an error; resuming works."""
    path = audit(tmp_path)
    monkeypatch.setattr(pool, "_serve", deadly_serve)
    code = execute(str(path), str(tmp_path / "out"), AuditConfig(timeout=None, jobs=2), quiet=True)
    assert code is ExitCode.ERROR
    told = capfd.readouterr().err
    assert "a process ended (exit code -9)" in told and "--resume" in told
    done = stored(tmp_path / "out" / "audit.sqlite")
    assert 1 <= done < 5
    monkeypatch.setattr(pool, "_serve", SERVE)
    assert reports(path, "out", resume=True) == reports(path, "whole")
