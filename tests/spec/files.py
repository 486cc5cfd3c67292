"""Spec files for tests, and a folder to put them in."""

from pathlib import Path

import numpy as np

HEAD = "lipverify: 1\nnetwork: net.onnx\n"
REGION = "region:\n  center: [0.1, 0.2, 0.3]\n  radius: 0.5\n"
LIPSCHITZ = "properties:\n  - kind: lipschitz\n"
GOOD = HEAD + REGION + LIPSCHITZ

INPUTS, OUTPUTS = 3, 2
"""Sizes of the network that the specs here are about."""


def fill(folder: Path) -> Path:
    """A network (only its name is looked at) and arrays."""
    (folder / "net.onnx").write_bytes(b"not read by the tests of specs")
    np.savez(
        folder / "arrays.npz",
        x0=np.array([0.1, 0.2, 0.3]),
        images=np.arange(12.0).reshape(2, 2, 3) / 10,
        rows=np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),
        range=np.array([0.0, 1.0]),
        labels=np.array([1, 0], dtype=np.int64),
        half=np.float64(0.5),
        weights=np.array([[1.0, -1.0]]),
        bad=np.array([0.0, np.nan, 1.0]),
        flags=np.array([True, False, True]),
        words=np.array(["a", "b", "c"]),
        objects=np.array([{}, None, "x"], dtype=object),
        complex=np.array([1j, 2j, 3j]),
    )
    (folder / "fake.npz").write_text("this is no archive")
    (folder / "text.onnx").write_text("\x00")
    return folder


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def line_of(text: str, fragment: str) -> int:
    """The number of the first line that holds `fragment`."""
    lines = text.splitlines()
    return 1 + next(i for i, line in enumerate(lines) if fragment in line)
