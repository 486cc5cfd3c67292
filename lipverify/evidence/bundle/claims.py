"""Whether a certificate states what its property asks: the checker proves what the file says.

Read from the manifest of the certificate's published format, and held against the spec.
"""

import base64
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.network import Network
from lipverify.query_output import OutputQuery
from lipverify.region import AbstractRegion, Ball, BallInBox, ball_region
from lipverify.spec import Spec
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Radius, Robustness, VnnLib

Claim = Literal["matches", "differs", "not compared"]

MANIFEST = "manifest.json"
LARGEST = 1 << 28
SLACK = 1e-6
"""Without a threshold, a certificate may prove an upper end this much above the solver's."""


@dataclass(frozen=True)
class Comparison:
    """`detail` is what differs, or why it was not compared, or the number that is proved."""

    claim: Claim
    detail: str = ""


Ends = tuple[float | None, float | None]


class _Differs(Exception):
    """The certificate is about something else, or claims less."""


def compare(certificate: Path, network: Network, spec: Spec, index: int, ends: Ends) -> Comparison:
    """A proof against property number `index`; `ends` are those that the solver reported."""
    prop = spec.properties[index]
    if isinstance(prop, VnnLib) and len(_queries(prop)) != 1:
        return Comparison("not compared", "the file has several boxes of inputs, or two copies")
    try:
        manifest = _manifest(certificate)
        if manifest["kind"] != "proof":
            return Comparison("not compared", f"it is of kind {manifest['kind']}, no proof")
        _reading(manifest["network"], spec)
        _region(manifest["region"], _asked_region(spec, prop, ends))
        return Comparison("matches", _property(manifest["property"], network, spec, prop, ends))
    except _Differs as error:
        return Comparison("differs", str(error))
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        return Comparison("differs", f"its manifest cannot be read ({type(error).__name__})")


def _manifest(certificate: Path) -> dict[str, Any]:
    with zipfile.ZipFile(certificate) as archive, archive.open(MANIFEST) as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError("too large")
    return json.loads(content)


def _floats(text: str) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8")


def _need(condition: object, what: str) -> None:
    """Written so that NaN differs."""
    if not bool(condition):
        raise _Differs(what)


def _reading(found: dict[str, Any], spec: Spec) -> None:
    reading = spec.reading
    parts = {} if reading.preprocessing is None else dict(reading.preprocessing)
    expected = {name: list(values) for name, values in parts.items() if values}
    given = {name: _floats(v).tolist() for name, v in found.get("preprocessing", {}).items()}
    _need(given == expected, "another preprocessing")
    fixed = {name: list(values) for name, values in reading.inputs}
    given = {name: _floats(values).tolist() for name, values in found.get("fixed", {}).items()}
    _need(given == fixed, "other fixed inputs")
    _need(found.get("output", "") == reading.output, "another output")


def _region(found: dict[str, Any], region: AbstractRegion) -> None:
    """Every point of the spec's region has to lie in the certificate's."""
    box = region.bounding
    if "lower" in found or "upper" in found:
        lower, upper = _floats(found["lower"]), _floats(found["upper"])
        _need(lower.size == upper.size == region.size, "another number of inputs")
        inside = (lower <= box.lower.numpy()).all() and (upper >= box.upper.numpy()).all()
        _need(inside, "a box that does not cover the region")
    else:
        _need("ball" in found, "no region")
    if "ball" in found:
        ball = region.ball if isinstance(region, BallInBox) else region
        _need(isinstance(ball, Ball), "a ball, where the region is a box")
        assert isinstance(ball, Ball)
        given = found["ball"]
        center, radius = _floats(given["center"]), _floats(given["radius"])
        _need(given["norm"] == ball.norm.name, "a ball of another norm")
        same = center.size == region.size and (center == ball.middle.numpy()).all()
        _need(same, "a ball around another point")
        _need(radius.size in (1, region.size), "another number of radii")
        _need((radius >= ball.radius.numpy()).all(), "a smaller ball")


def _queries(prop: VnnLib) -> list[OutputQuery]:
    """The first two boxes of a file about one copy of the network."""
    return [] if prop.file.layout.copies != 1 else list(islice(prop.file.queries(), 2))


def _asked_region(spec: Spec, prop: Property, ends: Ends) -> AbstractRegion:
    """Where the property has to hold; a radius without a threshold: on the ball that is reported
    as proved."""
    match prop:
        case Radius():
            radius = ends[0] if prop.at_least is None else prop.at_least
            _need(radius is not None, "no radius is proved")
            size = torch.tensor(radius, dtype=torch.float64)
            return ball_region(prop.around.center, size, prop.norm, prop.around.clip)
        case VnnLib():
            return _queries(prop)[0].region
        case _:
            return spec.region


def _property(
    found: dict[str, Any], network: Network, spec: Spec, prop: Property, ends: Ends
) -> str:
    """What is proved, in words; raises for less than is asked."""
    kind = Robustness.kind if isinstance(prop, Radius | VnnLib) else prop.kind
    _need(found["kind"] == kind, "another kind of property")
    match prop:
        case Lipschitz():
            return _lipschitz(found, prop, ends[1])
        case Monotonicity():
            _need(_floats(found["weights"]).tolist() == list(prop.weights), "other weights")
            for name in ("increasing", "decreasing"):
                covers = set(getattr(prop, name)) <= set(found.get(name, ()))
                _need(covers, f"not all of {name}")
            margin = float.fromhex(found.get("margin", "0x0p+0"))
            _need(margin >= prop.margin, "a smaller margin")
            return "all inputs that are asked about"
        case Robustness():
            label = _label(network, spec.region.center, prop.label)
            _classes(found["unsafe"], label, network.graph.output_size, prop.margin)
            return f"output {label} against every other"
        case Radius():
            label = _label(network, prop.around.center, prop.label)
            _classes(found["unsafe"], label, network.graph.output_size, 0.0)
            radius = ends[0] if prop.at_least is None else prop.at_least
            return f"output {label} against every other, up to radius {radius:.9g}"
        case VnnLib():
            _clauses(found["unsafe"], _queries(prop)[0])
            return "all that the file asks about"


def _label(network: Network, center: Tensor, label: int | None) -> int:
    """As asked, or the class that the original network predicts."""
    if label is not None:
        return label
    return int(network.original(center.unsqueeze(0))[0].argmax())


def _clauses(found: Sequence[dict[str, Any]], query: OutputQuery) -> None:
    """Each of the file's unsafe sets has to be among those that are excluded."""
    given = []
    for clause in found:
        offsets = _floats(clause["offsets"])
        strict = np.array(clause.get("strict", [False] * offsets.size))
        given.append((_floats(clause["coefficients"]), offsets, strict))
    for number, clause in enumerate(query.unsafe):
        rows, offsets = clause.coefficients.numpy().reshape(-1), clause.offsets.numpy()
        strict = clause.is_strict.numpy()
        covered = any(
            o.shape == offsets.shape
            and s.shape == strict.shape
            and c.shape == rows.shape
            and (c == rows).all()
            and (o == offsets).all()
            and (s <= strict).all()
            for c, o, s in given
        )
        _need(covered, f"nothing about unsafe set {number}")


def _lipschitz(found: dict[str, Any], prop: Lipschitz, upper: float | None) -> str:
    for side, norm in (("input_norm", prop.input_norm), ("output_norm", prop.output_norm)):
        _need(found[side] == norm.name, f"another {side.replace('_', ' ')}")
    rows = torch.tensor(prop.rows, dtype=torch.float64)
    given = _floats(found["rows"]) if "rows" in found else np.eye(rows.shape[1]).reshape(-1)
    same = given.size == rows.numel() and (given == rows.numpy().reshape(-1)).all()
    _need(same, "other outputs")
    at_most = float.fromhex(found["at_most"])
    limit = prop.at_most
    if limit is None:
        limit = float("nan") if upper is None else upper * (1 + SLACK)
    _need(at_most <= limit, f"a larger constant, {at_most:.9g}")
    return f"at most {at_most:.9g}"


def _classes(clauses: Sequence[dict[str, Any]], label: int, outputs: int, margin: float) -> None:
    """For every other class a clause of one row that no output below the margin escapes."""
    covered: set[int] = set()
    for clause in clauses:
        row, offsets = _floats(clause["coefficients"]), _floats(clause["offsets"])
        if row.size != outputs or offsets.size != 1 or row[label] != 1.0:
            continue
        (others,) = np.nonzero(np.where(np.arange(outputs) == label, 0.0, row))
        if others.size != 1 or row[others[0]] != -1.0:
            continue
        strict = bool(clause.get("strict", [False])[0])
        # Unsafe are label - other <= -offset, all below the margin have to be.
        enough = -offsets[0] >= margin and (margin != 0 or not strict or offsets[0] < 0)
        if enough:
            covered.add(int(others[0]))
    missing = sorted(set(range(outputs)) - {label} - covered)
    _need(not missing, f"nothing about output {label} against {missing}")
