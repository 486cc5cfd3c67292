"""What a record says of a spec and of its network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lipverify.evidence.bundle import record as r
from lipverify.evidence.bundle.sources import Source
from lipverify.network import Network
from lipverify.region import AbstractRegion, Ball, BallInBox
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Radius, Robustness

RAW = "regions, witnesses and counterexamples are in the units before the preprocessing"
AS_IT_IS = "the network's own input units; no preprocessing"


def network_facts(source: Source, places: Mapping[Path, str], graph: str | None) -> r.Network:
    """Of the network; `graph` is where its drawing is."""
    dag = source.network.graph
    return r.Network(
        path=places[source.network_path],
        files=[places[path] for path in source.network_files],
        sha256=source.network.sha256,
        opset=source.onnx.opset,
        parameters=dag.parameters,
        parameters_sha256=source.onnx.parameters_sha256,
        inputs=dag.input_size,
        outputs=dag.output_size,
        graph=graph,
    )


def spec_facts(source: Source, places: Mapping[Path, str]) -> r.SpecFile:
    path, network = places[source.path], places[source.network_path]
    spec = source.spec
    arguments = ["verify", path] + ([] if source.linked else ["--network", network])
    packed = source.path.suffix == ".gz"
    return r.SpecFile(
        path=path,
        files=[places[file] for file in source.spec_files],
        name=spec.name,
        sha256=spec.sha256,
        text="(packed)" if packed else source.path.read_text(encoding="utf-8-sig"),
        network=network,
        units=_units(source),
        features=list(spec.features),
        region=region_facts(spec.region, source.network),
        verify=arguments,
    )


def _units(source: Source) -> r.Units:
    reading = source.spec.reading
    parts = {} if reading.preprocessing is None else dict(reading.preprocessing)
    return r.Units(
        statement=RAW if parts else AS_IT_IS,
        preprocessing={name: list(values) for name, values in parts.items() if values},
        fixed_inputs={name: list(values) for name, values in reading.inputs},
        output=reading.output,
    )


def region_facts(region: AbstractRegion, network: Network) -> r.Region:
    """The region and the smallest box around it, before and behind the preprocessing."""
    ball = region.ball if isinstance(region, BallInBox) else region
    is_ball = isinstance(ball, Ball)
    box = region.bounding
    low, high = (_normalised(end, network) for end in (box.lower, box.upper))
    moving = int((box.width > 0).sum())
    return r.Region(
        shape="ball in box" if isinstance(region, BallInBox) else "ball" if is_ball else "box",
        norm=ball.norm.name if is_ball else None,
        center=ball.middle.tolist() if is_ball else None,
        radius=ball.radius.tolist() if is_ball else None,
        raw=r.Ends(lower=box.lower.tolist(), upper=box.upper.tolist()),
        normalised=r.Ends(
            lower=torch.minimum(low, high).tolist(), upper=torch.maximum(low, high).tolist()
        ),
        volume_note=f"{moving} of {region.size} inputs move; widths up to {box.width.max():.6g}",
    )


def _normalised(x: Tensor, network: Network) -> Tensor:
    """Behind the preprocessing; float64, not rounded outward."""
    preprocessing = network.reading.preprocessing
    if preprocessing is None:
        return x
    shape = next(node.shape for node in network.graph if node.operator is None)
    y = x.reshape(shape)
    mean, std, scale, offset = (
        preprocessing.spread(name, tuple(shape)) for name, _ in preprocessing
    )
    y = y if mean is None else y - mean
    y = y if std is None else y / std
    y = y if scale is None else y * scale
    y = y if offset is None else y + offset
    return y.reshape(-1)


def norms_of(prop: Property) -> dict[str, str]:
    match prop:
        case Lipschitz():
            return {"input": prop.input_norm.name, "output": prop.output_norm.name}
        case Radius():
            return {"distance": prop.norm.name}
        case _:
            return {}


def threshold_of(prop: Property) -> float | None:
    """What the interval is held against; None where only the interval was asked for."""
    match prop:
        case Lipschitz():
            return prop.at_most
        case Monotonicity() | Robustness():
            return prop.margin
        case Radius():
            return prop.at_least
        case _:
            return None


def gap_of(bound: r.Interval | None) -> float | None:
    """upper / lower - 1 where both ends are positive."""
    if bound is None or bound.lower is None or bound.upper is None or not bound.lower > 0:
        return None
    return bound.upper / bound.lower - 1


def unanswered(sources: Sequence[Source], places: Mapping[Path, str], known: set[str]) -> list[str]:
    """Properties of the specs that no result answers."""
    names = [
        f"{places[source.path]}[{index}]"
        for source in sources
        for index in range(len(source.spec.properties))
    ]
    return [name for name in names if name not in known]
