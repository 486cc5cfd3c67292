"""Certificates: the only place that knows how they are checked and what is inside them.

The checker is run as a program of its own (`python -m lipverify.checker CERT NETWORK`, exit code 0
accepted, 1 rejected, 3 unreadable), so that it shares nothing with what it judges.
"""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lipverify.errors import InputError

CHECKER = "lipverify.checker"
PACKAGE = Path(__file__).resolve().parents[2]
ACCEPTED, REJECTED = 0, 1
TREE_MEMBER = "tree.jsonl"
DRAWN_NODES = 2000
"""Trees with more nodes are not drawn."""
LONGEST_LINE = 1 << 24

Verdict = Literal["accepted", "rejected", "not checked"]


@dataclass(frozen=True)
class Check:
    """What the checker said; "not checked" where it could not say anything."""

    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Split:
    """One node of a tree of splits, in depth-first order; `label` "" for a leaf."""

    depth: int
    label: str


def is_available() -> bool:
    """Whether the checker is installed."""
    return find_spec(CHECKER) is not None and find_spec(f"{CHECKER}.__main__") is not None


def check(certificate: Path, network: Path, seconds: float | None = None) -> Check:
    """The checker's verdict on a certificate of a network."""
    if not is_available():
        return Check("not checked", "the checker is not available in this installation")
    certificate, network = certificate.absolute(), network.absolute()
    command = [sys.executable, "-m", CHECKER, str(certificate), str(network)]
    try:
        # Python looks for modules in the working folder first: never in a bundle's.
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, cwd=PACKAGE.parent
        )
    except subprocess.TimeoutExpired:
        return Check("not checked", f"the checker did not end within {seconds:g} s")
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    detail = said[0] if said else ""  # more lines may follow, about a witness's points
    # What the checker says names files of this machine, which have no place in a bundle.
    for path in (certificate, network):
        detail = detail.replace(str(path), path.name)
    if done.returncode == ACCEPTED:
        return Check("accepted", detail)
    if done.returncode == REJECTED:
        return Check("rejected", detail)
    return Check("not checked", f"the checker failed (exit code {done.returncode}): {detail}")


def filed(entry: object) -> str | None:
    """The path of a result's certificate; None where it has none."""
    if entry is None:
        return None
    path = entry.get("path") if isinstance(entry, dict) else entry
    if not isinstance(path, str):
        raise InputError("a result's certificate has no path; verify again with --certify DIR")
    return path


def split_tree(certificate: Path) -> list[Split] | None:
    """The tree of splits in a certificate; None where it holds none, or too large a one."""
    try:
        with zipfile.ZipFile(certificate) as archive, archive.open(TREE_MEMBER) as stream:
            return list(_nodes(stream))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, _TooLarge):
        return None


class _TooLarge(Exception):
    """More than can be drawn."""


def _nodes(stream: Any) -> Iterator[Split]:
    waiting = [0]
    for count, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b"")):
        if count >= DRAWN_NODES:
            raise _TooLarge
        if not waiting:
            raise ValueError("more nodes than the splits make")
        depth = waiting.pop()
        split = json.loads(line).get("split")
        yield Split(depth, "" if split is None else _label(split))
        if split is not None:
            waiting += [depth + 1] * len(split.get("objectives", (0, 0)))


def _label(split: dict[str, Any]) -> str:
    if "objectives" in split:
        return "objectives"
    at = float.fromhex(split["at"])
    if "layer" in split:
        return f"z[{split['layer']},{split['neuron']}] at {at:.4g}"
    return f"x[{split['input']}] at {at:.4g}"
