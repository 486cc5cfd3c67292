"""Writes the VNN-LIB examples of `specs/vnnlib` anew, from the images in `specs/data`.

The images are scikit-learn's digits. Each property asks whether some image within a radius of the
given one, with pixels from 0 to 1, is read as another digit by `specs/networks/digits_mlp.onnx`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLASSES = 10
NETWORK = "../networks/digits_mlp.onnx"
TIMEOUT = 60


@dataclass(frozen=True)
class Example:
    """`index` is the image's in `digits.npz`, and its label half of that."""

    name: str
    index: int
    radius: float
    version: int

    @property
    def label(self) -> int:
        return self.index // 2


EXAMPLES = (
    Example("digits_mlp_image_14_holds", 14, 0.03, 1),
    Example("digits_mlp_image_9_broken", 9, 0.3, 1),
    Example("digits_mlp_image_4_holds_version_2", 4, 0.02, 2),
)


def property_text(example: Example, image: Sequence[float]) -> str:
    """One box of inputs; unsafe where any other output is as large as the label's."""
    if example.version == 1:
        inputs = [f"X_{i}" for i in range(len(image))]
        outputs = [f"Y_{j}" for j in range(CLASSES)]
        head = [f"(declare-const {name} Real)" for name in (*inputs, *outputs)]
    else:
        inputs = [f"image[0,{i}]" for i in range(len(image))]
        outputs = [f"logits[0,{j}]" for j in range(CLASSES)]
        head = [
            "(vnnlib-version <2.0>)",
            "(declare-network digits_mlp",
            f"  (declare-input image float32 [1,{len(image)}])",
            f"  (declare-output logits float32 [1,{CLASSES}]))",
        ]
    bounds = [
        f"(assert (and (>= {name} {max(value - example.radius, 0.0):.6f}) "
        f"(<= {name} {min(value + example.radius, 1.0):.6f})))"
        for name, value in zip(inputs, image, strict=True)
    ]
    label = outputs[example.label]
    others = " ".join(f"(>= {name} {label})" for name in outputs if name != label)
    lines = [
        f"; Is some image within {example.radius} of image {example.index} of the digits not read "
        f"as a {example.label}?",
        *head,
        "; pixels",
        *bounds,
        "; another digit",
        f"(assert (or {others}))",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--specs", type=Path, default=Path(__file__).parents[1] / "specs")
    specs: Path = parser.parse_args().specs
    images = np.load(specs / "data" / "digits.npz")["images"].astype(np.float64)
    folder = specs / "vnnlib"
    folder.mkdir(exist_ok=True)
    lines = []
    for example in EXAMPLES:
        text = property_text(example, images[example.index].tolist())
        (folder / f"{example.name}.vnnlib").write_text(text, encoding="utf-8")
        lines.append(f"{NETWORK},{example.name}.vnnlib,{TIMEOUT}\n")
    (folder / "instances.csv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
