"""Train the networks of the shipped audits, and write their tables, under specs/audits.

    python scripts/train_audits.py [--out specs/audits]

Two tables that come with scikit-learn, diabetes and breast cancer; for each, one network trained
plainly and one whose weights are kept such that it is monotone in the features that the audit
names. Trained on one thread from fixed seeds. Needs numpy, torch, onnx, pandas and scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional
from train_networks import Training, mlp, no_projection, onnx_model, train

from lipverify.audit import export_columns

WIDTHS = [32, 32]
BREAST_CANCER = [
    "mean radius",
    "mean texture",
    "mean smoothness",
    "mean concave points",
    "mean symmetry",
    "worst radius",
    "worst texture",
    "worst smoothness",
    "worst concave points",
    "worst symmetry",
]


@dataclass(frozen=True)
class Task:
    """A table [rows, columns], its targets, and what is expected of the features."""

    name: str
    table: pandas.DataFrame
    targets: Tensor
    increasing: list[str]
    decreasing: list[str]
    loss: Callable[[Tensor, Tensor], Tensor]
    types: dict[str, dict]
    # Of the output: what a trained 1 is in the target's units, and what 0 is.
    unit: float = 1.0
    zero: float = 0.0


def diabetes() -> Task:
    """Disease progression after a year, from ten measurements in their own units."""
    data = load_diabetes(as_frame=True, scaled=False)
    target = data.target.to_numpy(np.float64)
    scaled = (target - target.mean()) / target.std()
    return Task(
        "diabetes",
        data.data,
        torch.tensor(scaled, dtype=torch.float32)[:, None],
        ["bmi", "bp", "s5"],
        ["s3"],
        functional.mse_loss,
        {
            "age": {"type": "integer", "unit": "years"},
            "sex": {"type": "ordinal", "categories": ["1.0", "2.0"], "codes": [1, 2]},
            "bmi": {"unit": "kg/m2"},
            "bp": {"unit": "mmHg"},
        },
        float(target.std()),
        float(target.mean()),
    )


def breast_cancer() -> Task:
    """Whether a tumour is malignant, from ten of the thirty measurements."""
    data = load_breast_cancer(as_frame=True)
    malignant = (data.target.to_numpy() == 0).astype(np.float32)
    return Task(
        "breast_cancer",
        data.data[BREAST_CANCER],
        torch.tensor(malignant)[:, None],
        ["mean concave points", "worst radius", "worst texture", "worst concave points"],
        [],
        functional.binary_cross_entropy_with_logits,
        {},
    )


def keep_monotone(task: Task) -> Callable[[nn.Module], None]:
    """Weights >= 0 behind the first layer; in it, the expected sign for the expected features."""
    names = list(task.table.columns)
    up = [names.index(name) for name in task.increasing]
    down = [names.index(name) for name in task.decreasing]

    def project(network: nn.Module) -> None:
        first, *later = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            first.weight[:, up] = first.weight[:, up].clamp(min=0.0)
            first.weight[:, down] = first.weight[:, down].clamp(max=0.0)
            for layer in later:
                layer.weight.clamp_(min=0.0)

    return project


def trained(task: Task, inputs: Tensor, seed: int, *, monotone: bool) -> nn.Sequential:
    """The network from scaled inputs to the target's units."""
    torch.manual_seed(seed)
    network = mlp([inputs.shape[1], *WIDTHS, 1], nn.ReLU)
    project = keep_monotone(task) if monotone else no_projection
    project(network)
    training = Training(seed=seed, loss=task.loss, epochs=60, weight_decay=3e-4, project=project)
    train(network, inputs, task.targets, training)
    last = network[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():  # in the target's units, without another layer
        last.weight *= task.unit
        last.bias.copy_(last.bias * task.unit + task.zero)
    return network


def score(task: Task, outputs: Tensor) -> str:
    if task.unit == 1.0:
        return f"accuracy {float(((outputs > 0) == (task.targets > 0.5)).float().mean()):.3f}"
    rest = ((outputs - task.zero) / task.unit - task.targets).var()
    return f"R2 {1 - float(rest / task.targets.var()):.3f}"


def write(task: Task, out: Path) -> list[str]:
    """Table, columns and both networks; a line about each network."""
    task.table.to_csv(out / "data" / f"{task.name}.csv", index=False)
    scaler = StandardScaler().fit(task.table)
    columns = export_columns(scaler)
    for name, more in task.types.items():
        columns[name] = {**more, **columns[name]}
    path = out / "data" / f"{task.name}_columns.json"
    path.write_text(json.dumps({"columns": columns}, indent=1) + "\n", encoding="utf-8")
    inputs = torch.tensor(scaler.transform(task.table), dtype=torch.float32)
    lines = []
    for kind in ("plain", "monotone"):
        network = trained(task, inputs, 7, monotone=kind == "monotone")
        name = f"{task.name}_{kind}"
        content = onnx_model(name, network, (inputs.shape[1],)).SerializeToString(
            deterministic=True
        )
        (out / "networks" / f"{name}.onnx").write_bytes(content)
        with torch.no_grad():
            lines.append(f"{name:28}{len(content):8} bytes  {score(task, network(inputs))}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "specs" / "audits")
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for folder in ("networks", "data"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    lines = [line for task in (diabetes(), breast_cancer()) for line in write(task, out)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
