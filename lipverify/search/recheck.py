"""What was read from a checkpoint, held against the network again wherever that is cheap.

Attained values are: they are recomputed at their points. Proved upper ends are not: a resumed
bound is only as good as the file.
"""

import torch
from torch import Tensor

from lipverify.bounds.methods import Setting
from lipverify.evidence import PropertyResult
from lipverify.graph import BackwardGraph
from lipverify.network import Network
from lipverify.query import NormQuery, norm_query
from lipverify.region import AbstractRegion
from lipverify.spec.property import Lipschitz, Property, VnnLib
from lipverify.verdict import Counterexample, Falsified
from lipverify.witness import NormWitness, prove_norm

AGREEMENT = 1e-6
"""Relative difference that another machine's rounding may make."""


def check_point(region: AbstractRegion, point: Tensor) -> None:
    if point.shape != (region.size,) or not bool(region.contains(point)):
        raise ValueError("a point is not in the region")


def recheck_witness(
    backward: BackwardGraph, region: AbstractRegion, query: NormQuery, witness: NormWitness
) -> NormWitness:
    """The witness as it is proved now."""
    check_point(region, witness.point)
    found = prove_norm(backward, query, witness.point)
    if not abs(found.value - witness.value) <= AGREEMENT * abs(found.value):
        raise ValueError(f"a witness attains {found.value!r}, not {witness.value!r}")
    return found


def recheck_counterexample(
    network: Network, region: AbstractRegion, found: Counterexample
) -> Counterexample:
    """Its inputs lie in the region, its outputs are the original network's at them."""
    for point in found.inputs:
        check_point(region, point)
    outputs, again = torch.stack(found.outputs), network.original(torch.stack(found.inputs))
    if outputs.shape != again.shape:
        raise ValueError("a counterexample's outputs are not the network's")
    apart = float((outputs - again).abs().max())
    if not apart <= AGREEMENT * (1.0 + float(again.abs().max())):
        raise ValueError("a counterexample's outputs are not the network's")
    return found


def recheck_satisfying(network: Network, prop: VnnLib, found: Counterexample) -> None:
    """Its outputs are the original network's, and the file holds of them."""
    outputs, again = torch.stack(found.outputs), network.original(torch.stack(found.inputs))
    if outputs.shape != again.shape or not bool((outputs == again).all()):
        raise ValueError("a counterexample's outputs are not the network's")
    inputs = [value for point in found.inputs for value in point.tolist()]
    if not prop.file.holds(inputs, outputs.flatten().tolist()):
        raise ValueError("a counterexample does not satisfy the file")


def recheck_answer(setting: Setting, prop: Property, found: PropertyResult) -> PropertyResult:
    """An answer of an earlier run: what it attains is attained, what it refutes is refuted."""
    network, region = setting.network, setting.region
    if (found.kind, found.network_sha256) != (prop.kind, network.sha256):
        raise ValueError(f"an answer about {found.kind}, expected {prop.kind}")
    for bound in (found.bound, *(feature.bound for feature in found.features)):
        if bound is not None and not bound.lower <= bound.upper:
            raise ValueError(f"an interval with ends {bound.lower!r}, {bound.upper!r}")
    for verdict in (found.verdict, *(feature.verdict for feature in found.features)):
        if isinstance(verdict, Falsified) and isinstance(prop, VnnLib):
            recheck_satisfying(network, prop, verdict.counterexample)
        elif isinstance(verdict, Falsified):
            recheck_counterexample(network, region, verdict.counterexample)
    if isinstance(prop, Lipschitz) and found.witness is not None and found.bound is not None:
        point = torch.tensor(found.witness.input, dtype=torch.float64)
        claimed = NormWitness(point, point, found.witness.output, found.bound.lower)
        recheck_witness(setting.backward, region, norm_query(prop), claimed)
    return found
