"""Run spec files with named methods and compare: bounds, seconds, peak memory.

    python scripts/benchmark.py FOLDER [--methods linear mean-split] [--repeats 3]
                                [--reference results.json] [--out out/benchmark]

One process, one thread. Writes OUT.json and OUT.md. Seconds are the median over the repeats of
the whole answer to a property (witness search, preactivation bounds, method), after import and
loading. Peak memory is the process's largest resident size while the case ran. With --reference,
the numbers that other tools reached on the same cases are printed beside ours.
"""

import argparse
import json
import resource
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lipverify.api import METHODS, verify_spec
from lipverify.config import VerifyConfig
from lipverify.errors import InputError
from lipverify.evidence import PropertyResult
from lipverify.network import Network, load_network
from lipverify.reading import Reading
from lipverify.spec import bind, find_specs, read_spec


@dataclass(frozen=True)
class Row:
    """One property by one method."""

    case: str
    property: int
    kind: str
    method: str
    stage: str
    verdict: str
    lower: float | None
    upper: float | None
    subproblems: int
    seconds: float
    peak_mib: float


def main() -> int:
    options = _options()
    torch.set_num_threads(1)
    reference = [] if options.reference is None else json.loads(options.reference.read_text())
    networks: dict[tuple[Path, Reading], Network] = {}
    rows: list[Row] = []
    for path in find_specs([options.folder]):
        for method in options.methods:
            try:
                rows.extend(_run(path, method, options, networks))
            except InputError as error:
                print(f"skipped: {error}", file=sys.stderr)
                break
    text = _markdown(rows, reference)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    options.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="a spec file, or a folder of them")
    parser.add_argument("--methods", nargs="+", default=["mean-split", "linear"], choices=METHODS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=None, help="seconds per property")
    parser.add_argument("--max-subproblems", type=int, default=None, help="1: the root alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", type=Path, default=None, help="other tools' results.json")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark"))
    return parser.parse_args()


def _run(
    path: Path,
    method: str,
    options: argparse.Namespace,
    networks: dict[tuple[Path, Reading], Network],
) -> list[Row]:
    file = read_spec(path)
    key = (file.network, file.reading)
    if key not in networks:
        networks[key] = load_network(file.network, reading=file.reading)
    network = networks[key]
    spec = bind(file, network.graph.input_size, network.graph.output_size)
    config = VerifyConfig(
        method=method,
        timeout=options.timeout,
        max_subproblems=options.max_subproblems,
        seed=options.seed,
    )
    runs: list[list[PropertyResult]] = []
    _reset_peak()
    for _ in range(options.repeats):
        runs.append(list(verify_spec(network, spec, config)))
    peak = _peak_mib()
    rows = []
    for results in zip(*runs, strict=True):
        first = results[0]
        rows.append(
            Row(
                case=path.stem,
                property=first.property,
                kind=first.kind,
                method=method,
                stage=first.method,
                verdict=first.verdict.word,
                lower=None if first.bound is None else first.bound.lower,
                upper=None if first.bound is None else first.bound.upper,
                subproblems=first.subproblems,
                seconds=statistics.median(result.seconds for result in results),
                peak_mib=peak,
            )
        )
    return rows


def _reset_peak() -> None:
    """Linux can start the high-water mark of the resident size anew; elsewhere it only grows."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def _peak_mib() -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _markdown(rows: list[Row], reference: list[dict]) -> str:
    lines = [
        "| case | property | method | verdict | lower | upper | subproblems | seconds | peak MiB |",
        "|---|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.case} | {row.property} {row.kind} | {row.stage} | {row.verdict} "
            f"| {_number(row.lower)} | {_number(row.upper)} | {row.subproblems} "
            f"| {row.seconds:.3f} | {row.peak_mib:.0f} |"
        )
    if reference:
        lines += ["", "Other tools on the same cases:", ""]
        lines += [
            "| case | method | bound | seconds | our best upper / theirs |",
            "|---|---|--:|--:|--:|",
        ]
        lines += _reference_lines(rows, reference)
    return "\n".join(lines) + "\n"


def _reference_lines(rows: list[Row], reference: list[dict]) -> list[str]:
    ours: dict[str, float] = {}
    for row in rows:
        if row.kind == "lipschitz" and row.upper is not None:
            ours[row.case] = min(row.upper, ours.get(row.case, float("inf")))
    lines = []
    for entry in reference:
        case, bound = entry["case"], entry["bound"]
        if case not in ours or bound is None:
            continue
        ratio = ours[case] / bound
        # Methods that attain a value bound the constant from below: ours may not be under them.
        attained = "lower bound" in entry["method"]
        mark = " UNSOUND" if attained and ratio < 1.0 else ""
        seconds = entry.get("seconds")
        lines.append(
            f"| {case} | {entry['method']} | {bound:.6g} "
            f"| {'' if seconds is None else f'{seconds:.3g}'} | {ratio:.6g}{mark} |"
        )
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


if __name__ == "__main__":
    sys.exit(main())
