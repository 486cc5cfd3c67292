"""How a run was made: command, settings, versions, machine. No paths but those of the command."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "auto-LiRPA",
    "gurobipy",
    "highspy",
    "networkx",
    "numpy",
    "onnx",
    "onnxruntime",
    "python-flint",
    "scipy",
    "torch",
)
"""What takes part in bounds, replays and checks; those that are not installed are left out."""

CPU_FILE = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class RunRecord:
    """`command` as the user gave it, without the program's name; `started` in UTC, ISO 8601."""

    command: tuple[str, ...]
    started: str
    seconds: float
    settings: Mapping[str, Any]
    threads: int
    jobs: int

    def as_json(self) -> dict[str, Any]:
        return {
            "command": ["lipverify", *self.command],
            "started": self.started,
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "threads": self.threads,
            "jobs": self.jobs,
            **environment(),
        }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Versions and processor of this machine."""
    return {
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "system": f"{platform.system()} {platform.machine()}".strip(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The model's name: Python knows it on some systems, Linux says it in a file."""
    try:
        lines = CPU_FILE.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next((name for name in (*names, platform.processor()) if name), "unknown")
