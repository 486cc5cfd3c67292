"""What lipverify makes of every ONNX network below some folders.

    uv run python scripts/survey.py FOLDER... [--timeout SECONDS] [--memory GB] [--out PREFIX]

For each: a two-sided linf Lipschitz interval and a robustness verdict on a small ball around a real
image of the right size (from `images/*.npz` below a folder), the centre of its input box (from a
`domains.json` beside it), or 0. Each network has a process of its own, which is ended when it takes
too long or too much memory. Writes PREFIX.md and PREFIX.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = (".onnx", ".onnx.gz")
COLUMNS = ("network", "operators", "point", "lower", "upper", "robust", "seconds", "peak_gb", "why")


def main() -> int:
    options = _arguments()
    if options.one is not None:
        print(json.dumps(_examine(options)))  # noqa: T201 (its way to the process that reads it)
        return 0
    rows = []
    for network in _networks(options.folders):
        row = _in_process(network, options)
        rows.append(row)
        print(" | ".join(_cells(row)), flush=True)  # noqa: T201
        _write(rows, options)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per question")
    parser.add_argument("--memory", type=float, default=6.0, help="GB that a process may take")
    parser.add_argument("--radius", type=float, default=0.005, help="relative to the data's range")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--out", type=Path, default=Path("out/survey"), metavar="PREFIX")
    parser.add_argument("--one", type=Path, default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


def _networks(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name.lower().endswith(SUFFIXES):
                yield path


def _in_process(network: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one network; its `why` is set where there is no answer."""
    command = [sys.executable, __file__, *map(str, options.folders), "--one", str(network)]
    for name in ("timeout", "memory", "radius", "method"):
        command += [f"--{name}", str(getattr(options, name))]
    started = time.monotonic()
    # Twice the two questions' time: loading, and steps that end a little late.
    limit = 4 * options.timeout + 30
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    why = ""
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=environment
        )
    except subprocess.TimeoutExpired:
        why = f"ended after {limit:.0f} s"
    else:
        if ran.returncode == 0:
            return json.loads(ran.stdout.splitlines()[-1])
        last = (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
        why = f"process failed: {last}"
    return {"network": str(network), "why": why, "seconds": time.monotonic() - started}


def _examine(options: argparse.Namespace) -> dict[str, Any]:
    """In the process of one network."""
    import torch

    from lipverify.api import verify_spec
    from lipverify.config import VerifyConfig
    from lipverify.errors import LipverifyError
    from lipverify.network import load_network
    from lipverify.norms import norm_named
    from lipverify.region import ball_region
    from lipverify.spec import Lipschitz, Robustness, Spec

    most = int(options.memory * 1e9)
    # Beyond what is counted as memory, libraries reserve addresses.
    resource.setrlimit(resource.RLIMIT_AS, (2 * most, 2 * most))
    torch.set_num_threads(1)
    started = time.monotonic()
    row: dict[str, Any] = {"network": str(options.one), "why": ""}
    try:
        network = load_network(options.one)
        graph = network.graph
        row["operators"] = dict(Counter(node.operator for node in network.nodes))
        point, spread, row["point"] = _point(options, graph.input_size)
        center = torch.from_numpy(point)
        norm = norm_named("inf")
        region = ball_region(center, torch.tensor(options.radius * spread).double(), norm)
        units = tuple(tuple(unit) for unit in torch.eye(graph.output_size).tolist())
        questions: list[Any] = [Lipschitz(norm, norm, units)]
        if graph.output_size > 1:
            questions.append(Robustness(None))
        names = tuple(f"x{index}" for index in range(graph.input_size))
        spec = Spec(options.one.name, region, tuple(questions), names)
        # Half of it: beside the largest arrays there are others, and the libraries themselves.
        config = VerifyConfig(
            method=options.method, timeout=options.timeout, memory=options.memory * 1e9 / 2
        )
        constant, *robust = verify_spec(network, spec, config)
        if constant.bound is not None:
            row["lower"], row["upper"] = constant.bound.lower, constant.bound.upper
        row["verdict"] = constant.verdict.word
        row["lipschitz_seconds"] = constant.seconds
        row["stages"] = [stage.as_json() for stage in constant.stages]
        row["robust"] = robust[0].verdict.word if robust else "one output"
        results = (constant, *robust)
        row["why"] = "; ".join(_reasons(results))
    except (LipverifyError, MemoryError) as error:
        row["why"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    row["seconds"] = time.monotonic() - started
    row["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return row


def _reasons(results: Sequence[Any]) -> Iterator[str]:
    for result in results:
        if hasattr(result.verdict, "detail"):
            yield f"{result.kind}: {result.verdict.detail}"
        for stage in result.stages:
            if stage.detail.startswith("left out"):
                yield f"{stage.stage}: {stage.detail}"


def _point(options: argparse.Namespace, size: int) -> tuple[np.ndarray, float, str]:
    """A point of the network's input, the range of the data it is from, and where that is."""
    beside = options.one.parent / "domains.json"
    if beside.is_file():
        box = json.loads(beside.read_text()).get(options.one.name)
        if box is not None and len(box["low"]) == size:
            low, high = np.array(box["low"], float), np.array(box["high"], float)
            return (low + high) / 2, float((high - low).max()), beside.name
    for folder in options.folders:
        for path in sorted(folder.rglob("images/*.npz")):
            with np.load(path) as archive:
                images = archive["images"].astype(float) if "images" in archive.files else None
            if images is not None and images[0].size == size:
                spread = float(images.max() - images.min())
                return images[0].reshape(-1), spread, f"{path.name}:images:0"
    return np.zeros(size), 1.0, "0"


def _cells(row: dict[str, Any]) -> list[str]:
    cells = []
    for column in COLUMNS:
        value = row.get(column, "")
        if isinstance(value, dict):
            value = " ".join(f"{name}:{count}" for name, count in value.items())
        cells.append(f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/"))
    return cells


def _write(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    options.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    options.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
