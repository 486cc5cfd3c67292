"""What `lipverify inspect` adds where a region is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any

from lipverify.cli.console import new_table
from lipverify.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from lipverify.network import Network
    from lipverify.reading import Reading
    from lipverify.region import AbstractRegion
    from lipverify.search.estimates import Cost
    from lipverify.spec import SpecFile


@dataclass(frozen=True)
class Share:
    """How many of an activation's neurons are open."""

    opened: int
    neurons: int

    def __str__(self) -> str:
        return f"{self.opened}/{self.neurons} ({self.opened / self.neurons:.0%})"

    def as_json(self) -> dict[str, int]:
        return {"neurons": self.neurons, "unstable": self.opened}


@dataclass(frozen=True, eq=False)
class Estimates:
    """By the original's nodes the neurons that are open; by method cost and remark."""

    by: str
    shares: Mapping[str, Share]
    costs: Mapping[str, tuple[Cost, str]]

    def as_json(self) -> dict[str, Any]:
        return {
            "open_by": self.by,
            "methods": {
                name: {
                    "seconds": cost.seconds if isfinite(cost.seconds) else None,
                    "bytes": cost.bytes if isfinite(cost.bytes) else None,
                    "note": note or None,
                }
                for name, (cost, note) in self.costs.items()
            },
        }


@dataclass(frozen=True)
class Where:
    """The region as given on the command line: a spec file, or a ball."""

    spec: str | None
    center: str | None
    radius: float | None
    norm: str
    clip: tuple[float, float] | None

    def __post_init__(self) -> None:
        if self.spec is not None and (self.center is not None or self.radius is not None):
            raise InputError("expected --region, or --center and --radius, not both")
        if (self.center is None) != (self.radius is None):
            missing = "--center" if self.center is None else "--radius"
            raise InputError(f"{missing} is missing: a ball has a center and a radius")

    @property
    def given(self) -> bool:
        return self.spec is not None or self.center is not None

    @cached_property
    def _file(self) -> SpecFile | None:
        from lipverify.spec import read_spec

        return None if self.spec is None else read_spec(self.spec)

    @property
    def reading(self) -> Reading:
        from lipverify.reading import AS_IT_IS

        return AS_IT_IS if self._file is None else self._file.reading

    def on(self, network: Network) -> AbstractRegion:
        """The region; `InputError` where it does not fit the network."""
        import torch

        from lipverify.cli.center import read_center
        from lipverify.norms import norm_named
        from lipverify.region import ball_region
        from lipverify.spec import bind

        graph = network.graph
        if self._file is not None:
            return bind(self._file, graph.input_size, graph.output_size).region
        assert self.center is not None and self.radius is not None
        center = torch.from_numpy(read_center(self.center, graph.input_size))
        ends = None
        if self.clip is not None:
            ends = (torch.full_like(center, self.clip[0]), torch.full_like(center, self.clip[1]))
        radius = torch.tensor(self.radius, dtype=torch.float64)
        return ball_region(center, radius, norm_named(self.norm), ends)


def estimate_on(model: str, where: Where, memory: float) -> Estimates:
    """Load the network and estimate; `InputError` where something does not fit."""
    import torch

    from lipverify.bounds.methods import Setting
    from lipverify.config import PreactivationConfig
    from lipverify.network import load_network
    from lipverify.search.estimates import estimate

    torch.set_num_threads(1)  # as `verify` by itself
    network = load_network(model, reading=where.reading)
    found = estimate(Setting(network, where.on(network), PreactivationConfig(), memory))
    shares = {
        node.origin: Share(found.opened[node.name], node.size) for node in network.graph.activations
    }
    return Estimates(found.by, shares, found.costs)


def costs_table(estimates: Estimates) -> Table:
    from rich.text import Text

    title = f"estimates, from sizes alone (neurons open by {estimates.by})"
    table = new_table("method", "about seconds", "about MB", "remark", title=title)
    for name, (cost, note) in estimates.costs.items():
        possible = isfinite(cost.seconds)
        table.add_row(
            Text(name),
            f"{cost.seconds:.2g}" if possible else "-",
            f"{cost.bytes / 1e6:.0f}" if possible else "-",
            Text(note),
        )
    return table
