"""Specs of the bundle under test: shipped ones, with requirements written into them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[2] / "specs"


@dataclass(frozen=True)
class Asked:
    """Spec files of one run, its options, and the exit code it has to have."""

    specs: tuple[str, ...]
    options: tuple[str, ...]
    code: int


SPECS = {
    "decided": Asked(("wine_sigmoid_robust.yaml", "diabetes_tanh_not_monotone.yaml"), (), 1),
    "more": Asked(
        ("digits_mlp_not_lipschitz.yaml", "digits_mlp_vnnlib.yaml"), ("--method", "interval"), 1
    ),
}
REQUIREMENTS = {
    "wine_sigmoid_robust.yaml": "[SR-12, SR-14]",
    "diabetes_tanh_not_monotone.yaml": "SR-13",
    "digits_mlp_not_lipschitz.yaml": "SR-12",
}
NETWORKS = ("wine_sigmoid", "diabetes_tanh", "digits_mlp")
DATA = ("wine", "diabetes", "digits")
VNNLIB = ("digits_mlp_image_14_holds", "digits_mlp_image_9_broken")

FILES = (
    "README.md",
    "SHA256SUMS",
    "argument.sacm.xml",
    *(f"figures/graph-{k}.svg" for k in (1, 2, 3)),
    "gsn.svg",
    "gsn.yaml",
    *(f"inputs/{spec}" for asked in SPECS.values() for spec in asked.specs),
    *(f"inputs/data/{name}.npz" for name in DATA),
    *(f"inputs/networks/{name}.onnx" for name in NETWORKS),
    *(f"inputs/vnnlib/{name}.vnnlib" for name in VNNLIB),
    "junit.xml",
    "record.json",
    "record.schema.json",
    "report.html",
    "statement.json",
    "traceability.csv",
)
"""All that the bundle holds."""


def write_specs(folder: Path) -> None:
    """Copies of the specs in `SPECS`, with their networks and data.

    The bound of the Lipschitz property that is refuted is raised: intervals leave it open.
    """
    for sub, names in (
        ("networks", [f"{name}.onnx" for name in NETWORKS]),
        ("data", [f"{name}.npz" for name in DATA]),
        ("vnnlib", [f"{name}.vnnlib" for name in VNNLIB]),
    ):
        (folder / sub).mkdir(parents=True)
        for name in names:
            shutil.copy(SHIPPED / sub / name, folder / sub / name)
    for spec in (name for asked in SPECS.values() for name in asked.specs):
        text = (SHIPPED / spec).read_text()
        if spec in REQUIREMENTS:
            before, name, after = text.partition("\nnetwork:")
            assert name
            text = f"{before}\nrequirement: {REQUIREMENTS[spec]}{name}{after}"
        if spec == "digits_mlp_not_lipschitz.yaml":
            assert "at_most: 45.0" in text
            text = text.replace("at_most: 45.0", "at_most: 75.0")
        (folder / spec).write_text(text)
