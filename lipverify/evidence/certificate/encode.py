"""The certificate's file: numbers, regions and networks as its manifest says them, and the zip."""

import base64
import json
import os
import zipfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from torch import Tensor

from lipverify.errors import UnsupportedCertificate
from lipverify.network import Network
from lipverify.region import AbstractRegion, Ball, BallInBox, Box

Json = dict[str, Any]

EPOCH = (1980, 1, 1, 0, 0, 0)
PRECISION, MOST_PRECISION = 128, 1024
"""Fraction bits of the checker's rounded numbers, and the most that the format allows."""


def floats(values: Tensor | Iterable[float]) -> str:
    """An array, row by row: base64 of little-endian float64."""
    array = values.detach().numpy() if isinstance(values, Tensor) else np.array(list(values))
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode("ascii")


def scalar(value: float) -> str:
    return float(value).hex()


def network_json(network: Network) -> Json:
    """Which file, how it is read, and which of its outputs is asked about."""
    if not Path(network.source).is_file():
        raise UnsupportedCertificate(
            f"{network.source} is no file: certificates are about the ONNX file that holds the "
            "network; export it and verify that"
        )
    reading = network.reading
    found: Json = {"sha256": network.sha256}
    if reading.output:
        found["output"] = reading.output
    if reading.inputs:
        found["fixed"] = {name: floats(values) for name, values in reading.inputs}
    if reading.preprocessing is not None:
        parts = {name: floats(values) for name, values in reading.preprocessing if values}
        found["preprocessing"] = parts
    return found


def region_json(region: AbstractRegion) -> Json:
    match region:
        case Box():
            return {"lower": floats(region.lower), "upper": floats(region.upper)}
        case Ball():
            ball = {
                "norm": region.norm.name,
                "center": floats(region.middle),
                "radius": floats(region.radius),
            }
            return {"ball": ball}
        case BallInBox():
            return {**region_json(region.box), **region_json(region.ball)}
        case _:
            raise UnsupportedCertificate(f"no form for a region of type {type(region).__name__}")


def tool_json() -> dict[str, str]:
    found = {}
    for name in ("lipverify", "onnx", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def precision_for(numbers: Iterable[Tensor]) -> int:
    """Enough bits for the smallest numbers that the claim is about."""
    least = 1.0
    for values in numbers:
        size = values.abs()
        size = size[size > 0]
        if size.numel():
            least = min(least, float(size.min()))
    extra = max(0, -int(np.floor(np.log2(max(least, 2.0**-1000)))) - 40)
    return int(min(MOST_PRECISION, PRECISION + 64 * (-(-extra // 64))))


def _member(name: str) -> zipfile.ZipInfo:
    """Without a date, so that the same proof is the same file."""
    found = zipfile.ZipInfo(name, EPOCH)
    found.compress_type = zipfile.ZIP_DEFLATED
    return found


class CertificateFile:
    """Writes nodes as they come; the manifest last. What is not finished leaves no file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes = self.leaves = 0
        self._part = path.with_name(path.name + ".part")
        self._zip = zipfile.ZipFile(self._part, "w", zipfile.ZIP_DEFLATED)
        self._tree = self._zip.open(_member("tree.jsonl"), "w", force_zip64=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._tree.closed:
            self._tree.close()
        self._zip.close()
        self._part.unlink(missing_ok=True)

    def write(self, node: Json) -> None:
        self._tree.write(json.dumps(node, separators=(",", ":")).encode("ascii") + b"\n")
        self.nodes += 1
        self.leaves += "split" not in node

    def finish(self, manifest: Json) -> None:
        self._tree.close()
        self._zip.writestr(_member("manifest.json"), json.dumps(manifest, indent=1))
        self._zip.close()
        os.replace(self._part, self.path)


def write_witness(path: Path, manifest: Json) -> None:
    """A certificate without a tree."""
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_member("manifest.json"), json.dumps(manifest, indent=1))
    os.replace(part, path)
