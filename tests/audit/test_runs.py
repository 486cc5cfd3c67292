"""Runs that are killed, resumed and shared among processes give one report."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from lipverify.audit import REPORTS, AuditConfig, AuditProgress, run_audit
from tests.audit.cases import plain_audit, ran, weights

ROOT = Path(__file__).resolve().parents[2]
TIMED = ("seconds", "Times:")
"""What reports say about time; no other byte may differ."""


def big_audit(folder: Path) -> Path:
    layers = weights([4, 16, 16, 1], 2)
    return plain_audit(folder, layers, 256, increasing=["a", "b"], decreasing=["c", "d"])


def without_times(name: str, text: str) -> str:
    if name == "audit.json":
        document = json.loads(text)
        document.pop("seconds")
        return json.dumps(document)
    if name == "records.csv":
        return "\n".join(line.rpartition(",")[0] for line in text.splitlines())
    return "\n".join(line for line in text.splitlines() if not line.startswith(TIMED))


def reports(path: Path, out: str, **config: object) -> dict[str, str]:
    result = run_audit(path, path.parent / out, AuditConfig(timeout=None, **config))  # type: ignore[arg-type]
    with result.store:
        return {name: without_times(name, report(result)) for name, report in REPORTS.items()}


def stored(database: Path) -> int:
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as base:
            return base.execute("SELECT COUNT(*) FROM units").fetchone()[0]
    except sqlite3.Error:
        return 0


def test_killed_runs_resume_to_the_same_bytes(tmp_path: Path) -> None:
    path = big_audit(tmp_path)
    expected = reports(path, "whole")
    database = tmp_path / "killed" / "audit.sqlite"
    command = [sys.executable, "-m", "lipverify.cli", "audit", str(path), "--timeout", "inf"]
    command += ["--out", str(tmp_path / "killed"), "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + 60
    while stored(database) < 4 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = stored(database)
    assert 4 <= done < stored(tmp_path / "whole" / "audit.sqlite"), "killed too late, or too early"
    seen: list[AuditProgress] = []
    config = AuditConfig(timeout=None, resume=True)
    result = run_audit(path, tmp_path / "killed", config, seen.append)
    with result.store:
        found = {name: without_times(name, report(result)) for name, report in REPORTS.items()}
    assert found == expected
    assert len(seen) == stored(database) - done, "what was stored is not repeated"


def test_processes_share_the_work_to_the_same_bytes(tmp_path: Path) -> None:
    layers = weights([3, 6, 1], 2)
    regions = ["line", {"kind": "neighbourhood", "share": 0.01}]
    path = plain_audit(tmp_path, layers, 20, increasing=["a"], decreasing=["c"], regions=regions)
    assert reports(path, "two", jobs=2) == reports(path, "one")


def test_samples_are_drawn_by_the_seed(tmp_path: Path) -> None:
    path = plain_audit(tmp_path, weights([2, 4, 1], 0), 30, increasing=["a"])
    found: dict[int, list[int]] = {}
    for place, seed in enumerate((0, 0, 1)):
        result = run_audit(path, tmp_path / str(place), AuditConfig(sample=8, seed=seed))
        numbers = [answer.record for answer in result.answers()]
        assert len(numbers) == 8 and numbers == sorted(set(numbers))
        assert found.setdefault(seed, numbers) == numbers
        result.store.close()
    assert found[0] != found[1]


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    path = plain_audit(tmp_path, weights([2, 4, 1], 0), 40, increasing=["a"], decreasing=["b"])
    seen: list[AuditProgress] = []
    result = run_audit(path, tmp_path / "out", AuditConfig(), seen.append)
    last = seen[-1]
    assert last.total == 80 == last.decided + last.unknown
    assert sum(row["verified"] for row in result.totals) == last.verified
    assert sum(row["falsified"] for row in result.totals) == last.falsified
    result.store.close()


def test_the_table_of_answers_is_a_frame(tmp_path: Path) -> None:
    path = plain_audit(tmp_path, weights([2, 4, 1], 0), 5, increasing=["a"], decreasing=["b"])
    result = ran(path)
    frame = result.frame()
    assert len(frame) == 10 and set(frame["verdict"]) <= {"verified", "falsified"}
    assert (frame["lower"] <= frame["upper"]).all()
    result.store.close()
