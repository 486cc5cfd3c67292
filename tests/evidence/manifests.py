"""Manifests of certificates that state what a spec asks, written by hand from the format."""

import base64
from pathlib import Path
from typing import Any

import numpy as np

from lipverify.network import Network, load_network
from lipverify.region import Ball
from lipverify.spec import Spec, bind, read_spec
from lipverify.spec.property import Lipschitz, Monotonicity, Radius, Robustness


def load(path: Path) -> tuple[Network, Spec]:
    file = read_spec(path)
    network = load_network(file.network, reading=file.reading)
    return network, bind(file, network.graph.input_size, network.graph.output_size)


def floats(values: Any) -> str:
    array = np.asarray(values, dtype="<f8").reshape(-1)
    return base64.b64encode(array.tobytes()).decode()


def stating(network: Network, spec: Spec, index: int = 0) -> dict[str, Any]:
    box = spec.region.bounding
    region: dict[str, Any] = {"lower": floats(box.lower), "upper": floats(box.upper)}
    if isinstance(spec.region, Ball):
        ball = {"norm": spec.region.norm.name}
        ball |= {"center": floats(spec.region.middle), "radius": floats(spec.region.radius)}
        region = {"ball": ball}
    return {
        "lipcert": 1,
        "kind": "proof",
        "claim": "real",
        "precision": 128,
        "network": {"sha256": network.sha256},
        "region": region,
        "property": _property(network, spec, index),
    }


def _property(network: Network, spec: Spec, index: int) -> dict[str, Any]:
    prop, size = spec.properties[index], network.graph.output_size
    match prop:
        case Robustness() | Radius():
            label = prop.label
            margin = prop.margin if isinstance(prop, Robustness) else 0.0
            if label is None:
                label = int(network.original(spec.region.center.unsqueeze(0))[0].argmax())
            unit = np.eye(size)
            clauses = [
                {"coefficients": floats(unit[label] - unit[j]), "offsets": floats([-margin])}
                for j in range(size)
                if j != label
            ]
            return {"kind": "robustness", "unsafe": clauses}
        case Lipschitz():
            assert prop.at_most is not None
            norms = {"input_norm": prop.input_norm.name, "output_norm": prop.output_norm.name}
            rows = floats(prop.rows)
            return {"kind": "lipschitz", **norms, "rows": rows, "at_most": prop.at_most.hex()}
        case Monotonicity():
            return {
                "kind": "monotonicity",
                "weights": floats(prop.weights),
                "increasing": list(prop.increasing),
                "decreasing": list(prop.decreasing),
                "margin": prop.margin.hex(),
            }
    raise AssertionError(prop)
