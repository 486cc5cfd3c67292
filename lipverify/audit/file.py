"""Audit files: read and checked as far as that goes without network and table."""

import hashlib
import json
from pathlib import Path
from typing import Any

from lipverify.audit.columns import Column, ColumnType, Layout
from lipverify.audit.conditions import read_condition
from lipverify.audit.entries import (
    AuditEntry,
    ColumnEntry,
    InsensitiveEntry,
    MinMaxEntry,
    OutputEntry,
    RegionEntry,
    StandardEntry,
    TableEntry,
)
from lipverify.audit.question import (
    Audit,
    Direction,
    Output,
    Question,
    Region,
    RegionKind,
    TableFile,
)
from lipverify.spec.document import Document, read_document
from lipverify.spec.fields import read_entry
from lipverify.spec.problem import Misfit, shown
from lipverify.spec.read import AUDIT, VERSION


def read_audit(path: str | Path) -> Audit:
    """The audit file at `path`; `SpecError`, naming file and line, where it cannot be used."""
    document = read_document(Path(path))
    _check_head(document)
    entry = read_entry(AuditEntry, document, document.data)
    layout, extra = _layout(document, entry)
    network = document.path.parent / entry.network
    if not network.is_file():
        raise document.error(f"{entry.network} does not exist in {network.parent}", "network")
    table = _table(document, entry.table)
    regions = _regions(document, layout)
    questions = _questions(document, entry, layout, regions)
    content = document.path.read_bytes() + b"".join(file.read_bytes() for file in extra)
    return Audit(
        path=document.path,
        name=entry.name or document.path.stem,
        network=network,
        table=table,
        layout=layout,
        output=_output(document, entry.output),
        questions=questions,
        margin=entry.margin,
        document=document,
        sha256=hashlib.sha256(content).hexdigest(),
        extra=extra,
    )


def _check_head(document: Document) -> None:
    data = document.data
    if not isinstance(data, dict):
        raise document.error(f"expected a mapping with 'kind: audit', found {shown(data)}")
    if data.get("kind") != AUDIT:
        raise document.error(
            "is no audit file; expected 'kind: audit' (specs with 'properties' are for "
            "`lipverify verify`)",
            *(["kind"] if "kind" in data else []),
        )
    if data.get("lipverify") != VERSION or isinstance(data.get("lipverify"), bool):
        raise document.error(
            f"expected 'lipverify: {VERSION}', the version of the file format",
            *(["lipverify"] if "lipverify" in data else []),
        )


def _table(document: Document, data: object) -> TableFile:
    given = {"file": data} if isinstance(data, str) else data
    entry = read_entry(TableEntry, document, given, "table")
    path = document.path.parent / entry.file
    if not path.is_file():
        raise document.error(f"{entry.file} does not exist in {path.parent}", "table")
    return TableFile(path, entry.separator, entry.missing)


def _layout(document: Document, entry: AuditEntry) -> tuple[Layout, tuple[Path, ...]]:
    extra: tuple[Path, ...] = ()
    data, source, at = entry.columns, document, ("columns",)
    if isinstance(data, str):
        path = document.path.parent / data
        source, at = read_document(path), ()
        data, extra = _exported(source), (path,)
        at = ("columns",)
    if not isinstance(data, dict) or not data:
        raise source.error(f"expected a mapping from columns to types, found {shown(data)}", *at)
    columns: list[Column] = []
    for name, given in data.items():
        columns.append(_column(source, name, {} if given is None else given, *at, name))
    groups = _groups(document, entry.groups, columns)
    return Layout(tuple(columns), groups), extra


def _column(document: Document, name: str, data: Any, *at: str | int) -> Column:
    entry = read_entry(ColumnEntry, document, data, *at)
    if entry.standard is not None:
        standard = read_entry(StandardEntry, document, entry.standard, *at, "standard")
        return entry.column(name, standard.mean, standard.std)
    if entry.min_max is not None:
        ends = read_entry(MinMaxEntry, document, entry.min_max, *at, "min-max")
        return entry.column(name, ends.min, ends.max - ends.min)
    return entry.column(name, 0.0, 1.0)


def _exported(document: Document) -> Any:
    """The columns of a file that `export_columns` wrote."""
    if not isinstance(document.data, dict) or "columns" not in document.data:
        raise document.error("expected the key 'columns', as lipverify.audit.export_columns writes")
    return document.data["columns"]


def _groups(
    document: Document, data: object, columns: list[Column]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if data is None:
        return ()
    if not isinstance(data, dict):
        raise document.error(
            f"expected a mapping from names to columns, found {shown(data)}", "groups"
        )
    by_name = {column.name: column for column in columns}
    seen: dict[str, str] = {}
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, members in data.items():
        at = ("groups", name)
        if name in by_name:
            raise document.error("is also the name of a column; choose another", *at)
        if not isinstance(members, list) or len(members) < 2:
            raise document.error("expected two or more columns of zeros and ones", *at)
        for position, member in enumerate(members):
            column = by_name.get(member) if isinstance(member, str) else None
            if column is None:
                raise document.error(f"no column is named {member!r}", *at, position)
            if column.type is not ColumnType.NUMBER or (column.mean, column.std) != (0.0, 1.0):
                message = f"column {member!r} must be a number without scaling, 0 or 1"
                raise document.error(message, *at, position)
            if member in seen:
                raise document.error(f"{member!r} is in group {seen[member]!r} too", *at, position)
            seen[member] = name
        found.append((name, tuple(members)))
    return tuple(found)


def _output(document: Document, data: object) -> Output:
    if isinstance(data, int) and not isinstance(data, bool):
        data = {"index": data}
    entry = read_entry(OutputEntry, document, data, "output")
    chosen = entry.probability if entry.log_odds is None else entry.log_odds
    return Output(
        weights=entry.weights or None,
        index=entry.index,
        probability=chosen,
        link=entry.link,
        log_odds=entry.log_odds is not None,
        label=entry.label,
    )


def _regions(document: Document, layout: Layout) -> tuple[Region, ...]:
    data = document.data.get("regions", ["line"])
    if not isinstance(data, list) or not data:
        raise document.error(f"expected a list of regions, found {shown(data)}", "regions")
    found: list[Region] = []
    for position, given in enumerate(data):
        at = ("regions", position)
        entry = read_entry(
            RegionEntry, document, {"kind": given} if isinstance(given, str) else given, *at
        )
        try:
            region = _region(entry, layout, {other.name for other in found})
        except Misfit as misfit:
            raise document.error(str(misfit), *at, *misfit.at) from misfit
        found.append(region)
    return tuple(found)


def _region(entry: RegionEntry, layout: Layout, taken: set[str]) -> Region:
    kind = RegionKind(entry.of if entry.kind == "conditional" else entry.kind)
    radius: dict[str, float] = {}
    if isinstance(entry.radius, dict):
        radius = entry.radius
        for name in radius:
            try:
                layout.known(name)
            except Misfit as misfit:
                raise misfit.under("radius", name) from None
    elif entry.radius is not None:
        radius = dict.fromkeys(layout.feature_names, entry.radius)
    features = []
    for position, name in enumerate(entry.features):
        try:
            features.append(layout.known(name))
        except Misfit as misfit:
            raise misfit.under("features", position) from None
    where = []
    for position, text in enumerate(entry.where):
        try:
            where.append(read_condition(text, layout))
        except Misfit as misfit:
            raise misfit.under("where", position) from None
    name = entry.name or _name(entry.kind, taken)
    if name in taken:
        raise Misfit(f"another region is called {name!r}; choose another name", "name")
    return Region(
        name, kind, tuple(radius.items()), entry.share or 0.0, tuple(features), tuple(where)
    )


def _name(kind: str, taken: set[str]) -> str:
    number = 1
    while (name := kind if number == 1 else f"{kind} {number}") in taken:
        number += 1
    return name


def _questions(
    document: Document, entry: AuditEntry, layout: Layout, regions: tuple[Region, ...]
) -> tuple[Question, ...]:
    asked: list[tuple[str, Direction, float | None]] = []
    for direction in (Direction.INCREASING, Direction.DECREASING):
        key = direction.value
        for position, name in enumerate(getattr(entry, key)):
            _ordered(document, layout, name, key, position)
            asked.append((name, direction, None))
    asked += _insensitive(document, entry, layout)
    names = [name for name, _, _ in asked]
    for name in names:
        if names.count(name) > 1:
            raise document.error(f"feature {name!r} is asked about twice; remove one")
    if not asked:
        raise document.error(
            "asks nothing; list features under increasing, decreasing, insensitive"
        )
    return tuple(
        Question(name, direction, region, at_most)
        for name, direction, at_most in asked
        for region in regions
        if region.kind is not RegionKind.JOINT or name in region.features
    )


def _ordered(document: Document, layout: Layout, name: str, key: str, position: int) -> None:
    """`SpecError` unless the feature is known and has an order."""
    try:
        layout.known(name)
    except Misfit as misfit:
        raise document.error(str(misfit), key, position) from misfit
    group = any(name == group for group, _ in layout.groups)
    if group or layout.column(name).type is ColumnType.ONE_HOT:
        raise document.error(
            f"{name!r} is one-hot: its categories have no order. Make it ordinal, or list it under "
            "'insensitive'",
            key,
            position,
        )


def _insensitive(
    document: Document, entry: AuditEntry, layout: Layout
) -> list[tuple[str, Direction, float | None]]:
    data = entry.insensitive
    if data is None:
        return []
    if not isinstance(data, list):
        raise document.error(f"expected a list such as [sex], found {shown(data)}", "insensitive")
    found: list[tuple[str, Direction, float | None]] = []
    for position, given in enumerate(data):
        at = ("insensitive", position)
        item = read_entry(
            InsensitiveEntry, document, {"feature": given} if isinstance(given, str) else given, *at
        )
        at_most = entry.delta if item.at_most is None else item.at_most
        if at_most is None:
            raise document.error("by how much may the output move? Give at_most, or delta", *at)
        try:
            layout.known(item.feature)
        except Misfit as misfit:
            raise document.error(str(misfit), *at) from misfit
        found.append((item.feature, Direction.INSENSITIVE, at_most))
    return found


def dump_columns(columns: dict[str, dict[str, Any]]) -> str:
    """The text of a file of columns."""
    return json.dumps({"columns": columns}, indent=1) + "\n"
