"""Everything that answering needs: made once per process from an audit file."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lipverify.audit.columns import Feature
from lipverify.audit.confirm import Judge
from lipverify.audit.file import read_audit
from lipverify.audit.output import Target, target_of
from lipverify.audit.question import Audit, Direction, Question, RegionKind
from lipverify.audit.regions import moving_categories, moving_range
from lipverify.audit.table import Records, read_records
from lipverify.bounds.lines import check_walkable
from lipverify.config import VerifyConfig
from lipverify.errors import SpecError, UnsupportedOperator
from lipverify.graph import BackwardGraph, backward_graph
from lipverify.network import Network, load_network


@dataclass(frozen=True, eq=False)
class Context:
    """An audit, held against its network and its table."""

    audit: Audit
    records: Records
    target: Target
    config: VerifyConfig

    @property
    def features(self) -> Mapping[str, Feature]:
        return self.records.features

    @cached_property
    def judge(self) -> Judge:
        return Judge(self.target)

    @cached_property
    def widths(self) -> Tensor:
        """How far each input can move at all, [n], > 0."""
        found = torch.ones(self.target.graph.input_size, dtype=torch.float64)
        for feature in self.features.values():
            if not feature.is_group and feature.upper > feature.lower:
                found[feature.index] = feature.upper - feature.lower
        return found

    @cached_property
    def backward(self) -> BackwardGraph:
        return backward_graph(self.target.graph)

    @cached_property
    def walkable(self) -> bool:
        """Whether lines are decided by the walk, exactly."""
        try:
            check_walkable(self.target.graph)
        except UnsupportedOperator:
            return False
        return True

    def by_walk(self, question: Question) -> bool:
        return self.walkable and question.region.kind is RegionKind.LINE


def prepare(
    path: str, config: VerifyConfig, *, skip_bad_rows: bool, network: Network | None = None
) -> Context:
    """Read the audit file, its table and its network, and hold them against each other.

    Raises `SpecError`, `NetworkError` or `MissingDependency` for what cannot be used.
    """
    audit = read_audit(path)
    records = read_records(audit, skip_bad_rows=skip_bad_rows)
    loaded = network or load_network(audit.network, reading=audit.layout.reading)
    _check_width(audit, loaded.graph.input_size)
    target = target_of(loaded, audit.output, audit.path)
    if audit.margin and not target.is_direct:
        raise SpecError(
            f"margin: slopes are those of {target.moved_name}, not of the network's own output; "
            "leave it out, or export the network with the logit as output",
            audit.path,
        )
    _check_ranges(audit, records)
    return Context(audit, records, target, config)


def _check_width(audit: Audit, size: int) -> None:
    layout = audit.layout
    if layout.width != size:
        raise SpecError(
            f"columns: {len(layout.columns)} columns make {layout.width} inputs; the network "
            f"{audit.network.name} takes {size}. List its inputs' columns, in order",
            audit.path,
            audit.document.line(("columns",)),
        )


def _check_ranges(audit: Audit, records: Records) -> None:
    """`SpecError` for a condition that leaves nothing of a feature."""
    for question in audit.questions:
        for condition in question.region.where:
            feature = records.features[condition.feature]
            low, high = moving_range(question.region, feature)
            if low > high or not moving_categories(question.region, feature):
                raise SpecError(
                    f"region {question.region.name!r}: {condition.text!r} leaves nothing of "
                    f"{feature.name!r}, which runs from {feature.lower:g} to {feature.upper:g}",
                    audit.path,
                )
        feature = records.features[question.feature]
        if not feature.lower < feature.upper:
            raise SpecError(
                f"feature {feature.name!r} is {feature.lower:g} in every record; give its range "
                "in the audit file",
                audit.path,
            )
        wants_order = question.direction is not Direction.INSENSITIVE
        assert not (wants_order and feature.is_group), "refused when the file was read"
