"""The points of a witness in onnxruntime, beside their exact values: no part of the verdict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lipverify.checker.archive import Archive
from lipverify.checker.check import Report
from lipverify.checker.exact import floats
from lipverify.checker.network import exact, prepared

KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
MOST = 8
"""Outputs that are shown."""


def replay(certificate: Path, network: Path) -> list[list[float]] | str:
    """The outputs at each point, by onnxruntime; or why there are none."""
    try:
        import onnxruntime
    except ImportError:
        return "is not installed"
    manifest = Archive(certificate).manifest()
    asked, found = manifest["network"], []
    wanted = [asked["output"]] if asked.get("output") else None
    try:
        session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
        for text in manifest["witness"]["points"]:
            feeds: dict[str, Any] = {}
            for item in session.get_inputs():
                shape = [n if isinstance(n, int) and n > 0 else 1 for n in item.shape]
                fixed = asked.get("fixed", {}).get(item.name)
                x = exact(np.resize(floats(fixed or text, item.name), shape))
                x = x if fixed else prepared(x, asked.get("preprocessing", {}))
                feeds[item.name] = x.astype(np.float64).astype(KINDS[item.type])
            values: Any = session.run(wanted, feeds)
            found.append(np.concatenate([np.ravel(y) for y in values]).astype(float).tolist())
    except Exception as error:  # of whatever kind: onnxruntime has its own
        return f"failed: {str(error)[:200]}"
    return found


def shown(report: Report, replayed: list[list[float]] | str) -> list[str]:
    """A line per point."""
    lines = []
    for number, values in enumerate(report.outputs):
        other = replayed if isinstance(replayed, str) else _listed(replayed[number])
        lines.append(f"outputs at point {number}: exact {_listed(values)}; onnxruntime {other}")
    return lines


def _listed(values: Sequence[float]) -> str:
    more = ", ..." if len(values) > MOST else ""
    return ", ".join(f"{value:.9g}" for value in values[:MOST]) + more
