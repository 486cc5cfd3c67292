"""Audits of ReLU networks on the tables of a data folder: what is decided, and how fast.

    python scripts/audit_benchmark.py DATA TABLE [--widths 64 64] [--sample N] [--jobs 2]
        [--regions line neighbourhood joint] [--methods auto] [--out DIR]

TABLE is auto_mpg, compas or adult; DATA is a folder with `monotone/auto_mpg.csv` and the like.
A network is trained (seed 0, one thread) and every numeric feature of every record is asked to be
increasing, then decreasing, as far as one direction goes per audit. At the end one table has the
methods side by side: `--methods mean-split linear-chords auto` compares with the relaxation of
Shi et al. 2022. Lines are walked whatever the method. Nothing is written but to DIR.
Needs pandas, scikit-learn and onnx besides lipverify.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import pandas
import torch
from torch import nn
from torch.nn import functional
from train_networks import Training, mlp, onnx_model, train

from lipverify import METHODS
from lipverify.audit import AuditConfig, AuditResult, run_audit
from lipverify.audit.answer import Found


@dataclass(frozen=True)
class Table:
    """`numeric` columns are asked about; `coded` ones are one-hot."""

    file: str
    target: str
    numeric: list[str]
    coded: list[str]
    integers: bool = False


TABLES = {
    "auto_mpg": Table(
        "auto_mpg.csv",
        "mpg",
        ["cylinders", "displacement", "horsepower", "weight", "acceleration", "model year"],
        ["origin"],
    ),
    "compas": Table(
        "compas_features.csv",
        "two_year_recid",
        ["priors_count", "juv_fel_count", "juv_misd_count", "juv_other_count", "age"],
        ["race", "sex"],
    ),
    "adult": Table(
        "adult_train.csv",
        "income",
        ["age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"],
        ["workclass", "marital-status", "occupation", "relationship", "race", "sex"],
    ),
}


def prepared(data: Path, table: Table, out: Path) -> tuple[pandas.DataFrame, dict, torch.Tensor]:
    """The used columns, what an audit file says of them, and the targets [rows, 1] in [0, 1]."""
    frame = pandas.read_csv(data / "monotone" / table.file, skipinitialspace=True)
    columns: dict[str, dict] = {}
    for name in table.numeric:
        low, high = float(frame[name].min()), float(frame[name].max())
        columns[name] = {"range": [low, high], "min-max": {"min": low, "max": high}}
    for name in table.coded:
        frame[name] = frame[name].astype(str)
        columns[name] = {"type": "one-hot", "categories": sorted(frame[name].unique())}
    target = frame[table.target]
    if target.dtype == object or str(target.dtype).startswith("str"):
        target = (target.astype(str).str.strip() == sorted(target.unique())[-1]).astype(float)
    scaled = (target - target.min()) / (target.max() - target.min())
    used = frame[[*table.numeric, *table.coded]]
    used.to_csv(out / "table.csv", index=False)
    return used, columns, torch.tensor(scaled.to_numpy(np.float32))[:, None]


def encoded(frame: pandas.DataFrame, columns: dict) -> torch.Tensor:
    parts = []
    for name, said in columns.items():
        if said.get("type") == "one-hot":
            place = frame[name].map({word: k for k, word in enumerate(said["categories"])})
            parts.append(np.eye(len(said["categories"]))[place.to_numpy()])
        else:
            ends = said["min-max"]
            scaled = (frame[name] - ends["min"]) / (ends["max"] - ends["min"])
            parts.append(scaled.to_numpy()[:, None])
    return torch.tensor(np.concatenate(parts, axis=1), dtype=torch.float32)


def trained(inputs: torch.Tensor, targets: torch.Tensor, widths: list[int]) -> nn.Sequential:
    torch.manual_seed(0)
    network = mlp([inputs.shape[1], *widths, 1], nn.ReLU)
    epochs = 3 if len(inputs) > 10_000 else 30
    loss = functional.binary_cross_entropy_with_logits
    train(network, inputs, targets, Training(seed=0, loss=loss, epochs=epochs, batch=128))
    with torch.no_grad():
        fit = float(loss(network(inputs), targets))
    sys.stdout.write(f"trained {widths} on {list(inputs.shape)}: loss {fit:.4f}\n")
    return network


def write_audit(out: Path, table: Table, columns: dict, direction: str, regions: list[str]) -> Path:
    said = {
        "line": "line",
        "neighbourhood": {"kind": "neighbourhood", "share": 0.02},
        "joint": {"kind": "joint", "features": table.numeric[:2]},
    }
    document = {
        "lipverify": 1,
        "kind": "audit",
        "network": "network.onnx",
        "table": "table.csv",
        "columns": columns,
        direction: table.numeric,
        "regions": [said[name] for name in regions],
    }
    path = out / f"{direction}.yaml"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")  # JSON is YAML
    return path


@dataclass(frozen=True)
class Outcome:
    """Of one region, asked by one method: how many answers of each kind, and seconds of each."""

    count: dict[Found, int]
    seconds: list[float]

    @property
    def shares(self) -> str:
        total = max(1, sum(self.count.values()))
        proved, wrong = (100 * self.count[k] / total for k in (Found.VERIFIED, Found.FALSIFIED))
        return f"{proved:.1f} + {wrong:.1f} of {total}, {1000 * median(self.seconds):.1f} ms"

    def __add__(self, other: Outcome) -> Outcome:
        count = {found: self.count[found] + other.count[found] for found in Found}
        return Outcome(count, self.seconds + other.seconds)


def outcomes(result: AuditResult) -> dict[str, Outcome]:
    """By region. A falsified answer without a pair would be a bug: it ends the script."""
    found: dict[str, Outcome] = {}
    for answer in result.answers():
        if answer.found is Found.FALSIFIED and answer.pair is None:
            raise AssertionError(f"record {answer.record} is falsified without a pair")
        region = result.context.audit.questions[answer.question].region.name
        known = found.setdefault(region, Outcome(dict.fromkeys(Found, 0), []))
        known.seconds.append(answer.seconds)
        known.count[answer.found] += 1
    return found


def told(found: dict[str, Outcome], seconds: float, jobs: int) -> str:
    """What one audit found, and in which time."""
    lines = [
        f"  {region}: {one.count[Found.VERIFIED]} verified, {one.count[Found.FALSIFIED]} "
        f"falsified, {one.count[Found.UNKNOWN]} unknown; median "
        f"{1000 * median(one.seconds):.2f} ms per query, most {1000 * max(one.seconds):.1f} ms"
        for region, one in sorted(found.items())
    ]
    lines.append(f"  {seconds:.1f} s, {jobs} process{'es' if jobs > 1 else ''}")
    return "\n".join(lines) + "\n"


def side_by_side(found: dict[str, dict[str, Outcome]]) -> str:
    """Methods as columns, regions as rows: % proved + % falsified of all, median time."""
    methods = list(found)
    lines = [f"| region | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for region in sorted({name for one in found.values() for name in one}):
        cells = [one[region].shares if region in one else "" for one in found.values()]
        lines.append(f"| {region} | {' | '.join(cells)} |")
    return "% proved + % falsified, median time:\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--sample", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--regions", nargs="+", default=["line"])
    parser.add_argument("--directions", nargs="+", default=["increasing", "decreasing"])
    parser.add_argument("--methods", nargs="+", default=["auto"], choices=METHODS)
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path("audit-benchmark"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    table, out = TABLES[given.table], given.out
    out.mkdir(parents=True, exist_ok=True)
    frame, columns, targets = prepared(given.data, table, out)
    network = trained(encoded(frame, columns), targets, given.widths)
    inputs = sum(len(said.get("categories", "x")) for said in columns.values())
    model = onnx_model("network", network, (inputs,))
    (out / "network.onnx").write_bytes(model.SerializeToString())
    label = f"{given.table}-{'x'.join(map(str, given.widths))}"
    together: dict[str, dict[str, Outcome]] = {method: {} for method in given.methods}
    for direction, method in product(given.directions, given.methods):
        path = write_audit(out, table, columns, direction, given.regions)
        config = AuditConfig(
            jobs=given.jobs, sample=given.sample, method=method, timeout=given.timeout
        )
        name = f"{label}-{direction}-{method}"
        begun = time.monotonic()
        result = run_audit(path, out / f"{name}-{time.time():.0f}", config)
        with result.store:
            found = outcomes(result)
        sys.stdout.write(f"{name}\n{told(found, time.monotonic() - begun, given.jobs)}")
        sys.stdout.flush()
        for region, one in found.items():
            known = together[method].get(region)
            together[method][region] = one if known is None else known + one
    sys.stdout.write(side_by_side(together))


if __name__ == "__main__":
    main()
