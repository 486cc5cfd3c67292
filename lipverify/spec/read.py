"""Spec files, read in two steps: by themselves, then against their network's sizes.

The first step needs no network, so that a folder of specs is checked before any long work starts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from lipverify.errors import EmptyRegion, RegionError, SpecError
from lipverify.reading import AS_IT_IS, Reading
from lipverify.region import AbstractRegion
from lipverify.spec.document import Document, read_document
from lipverify.spec.entry import PropertyEntry
from lipverify.spec.fields import Entry, Requirements, Text, Texts, read_entry
from lipverify.spec.problem import Misfit, hint, shown
from lipverify.spec.property import KINDS
from lipverify.spec.reading_entry import FixedInputs, read_preprocessing
from lipverify.spec.region_entry import RegionEntry, read_region
from lipverify.spec.sizes import Sizes
from lipverify.spec.spec import Spec
from lipverify.spec.vnnlib.property import VnnLib, around

VERSION = 1
"""The version of the file format that is read, the value of the key `lipverify`."""

AUDIT = "audit"
"""The `kind` of audit files, which live beside specs."""

Anything = Annotated[Any, PlainValidator(lambda value: value)]


class _Header(Entry):
    """The top level; region and properties are read on their own."""

    lipverify: Anything
    name: Text = ""
    network: Text = Field(description="the network's file, relative to this one")
    region: Anything = Field(description="center and radius, or lower and upper")
    features: Texts = None
    preprocessing: Anything = None
    inputs: FixedInputs = ()
    output: Text = ""
    requirement: Requirements = ()
    properties: Anything = Field(description="a list of properties")


@dataclass(frozen=True, eq=False)
class SpecFile:
    """A spec file that is sound by itself. `network` is found relative to the file's folder;
    `reading` says how it is to be read."""

    path: Path
    name: str
    network: Path
    region: RegionEntry | None
    """None: the properties have regions of their own."""
    features: tuple[str, ...] | None
    properties: tuple[PropertyEntry, ...]
    document: Document
    reading: Reading = AS_IT_IS
    requirements: tuple[str, ...] = ()
    """Of all properties; each may have more."""


def read_spec(path: str | Path) -> SpecFile:
    """The spec file at `path`, checked as far as it can be without its network.

    Raises `SpecError`, which names the file, the line, what was expected and what to do.
    """
    document = read_document(Path(path))
    _check_version(document)
    entries = _property_data(document)
    own = bool(entries) and all(entry["kind"] == VnnLib.kind for entry in entries)
    # Those bring their regions: the key may be left out.
    header = read_entry(_Header, document, {**({"region": None} if own else {}), **document.data})
    network = document.path.parent / header.network
    if not network.is_file():
        raise document.error(f"{header.network} does not exist in {network.parent}", "network")
    return SpecFile(
        path=document.path,
        name=header.name or document.path.stem,
        network=network,
        region=None if own and "region" not in document.data else _region(document, entries),
        features=header.features,
        properties=tuple(
            read_entry(KINDS[entry["kind"]], document, entry, "properties", position)
            for position, entry in enumerate(entries)
        ),
        document=document,
        reading=Reading(read_preprocessing(document), header.inputs, header.output),
        requirements=header.requirement,
    )


def _region(document: Document, entries: list[dict[str, Any]]) -> RegionEntry:
    if any(entry["kind"] == VnnLib.kind for entry in entries):
        raise document.error(
            "properties of kind vnnlib bring regions of their own; put them into a spec that has "
            "no other properties, and no 'region'",
            "region",
        )
    return read_region(document)


def bind(spec_file: SpecFile, input_size: int, output_size: int) -> Spec:
    """The spec, held against its network's numbers of inputs and outputs.

    Raises `SpecError` for lengths, positions and names that do not fit, and for an empty region.
    """
    document = spec_file.document
    sizes = Sizes(input_size, output_size, _feature_names(spec_file, input_size))
    region = None
    if spec_file.region is not None:
        region = _bound_region(spec_file, sizes)
        sizes = replace(sizes, around=spec_file.region.around(sizes))
    properties: list[Any] = []
    for position, entry in enumerate(spec_file.properties):
        try:
            properties.append(entry.bind(sizes))
        except Misfit as misfit:
            raise document.error(str(misfit), "properties", position, *misfit.at) from misfit
    return Spec(
        name=spec_file.name,
        region=around(properties) if region is None else region,
        properties=tuple(properties),
        features=sizes.features,
        path=spec_file.path,
        network=spec_file.network,
        reading=spec_file.reading,
        requirements=tuple(
            tuple(dict.fromkeys((*spec_file.requirements, *entry.requirement)))
            for entry in spec_file.properties
        ),
        sha256=document.sha256,
    )


def _bound_region(spec_file: SpecFile, sizes: Sizes) -> AbstractRegion:
    assert spec_file.region is not None
    document = spec_file.document
    try:
        return spec_file.region.bind(sizes)
    except Misfit as misfit:
        raise document.error(str(misfit), "region", *misfit.at) from misfit
    except EmptyRegion as error:
        message = f"{error}; widen the radius or the clip"
        raise document.error(message, "region", "clip") from error
    except RegionError as error:
        raise document.error(str(error), "region") from error


def find_specs(paths: Iterable[str | Path]) -> list[Path]:
    """Spec files: files as given; of folders every *.yaml below them, sorted, but audit files.

    Each file once. Raises `SpecError` for a folder without any.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        for file in _in_folder(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _in_folder(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*.yaml") if file.is_file())
    specs = [file for file in files if not _is_audit(file)]
    if not specs:
        audits = f" (only {len(files)} audit files)" if files else ""
        raise SpecError(f"holds no spec file *.yaml{audits}; name a file or another folder", folder)
    return specs


def _is_audit(path: Path) -> bool:
    """Whether the file is marked `kind: audit` on top; a broken file is not, and read later."""
    try:
        if AUDIT.encode() not in path.read_bytes():  # spares most files the parsing
            return False
        data = read_document(path).data
    except (OSError, SpecError):
        return False
    return isinstance(data, dict) and data.get("kind") == AUDIT


def _check_version(document: Document) -> None:
    data = document.data
    if not isinstance(data, dict):
        raise document.error(
            f"expected a mapping that starts with 'lipverify: {VERSION}', found {shown(data)}"
        )
    if data.get("kind") == AUDIT:
        raise document.error("is an audit file; expected a spec with 'properties'", "kind")
    if "lipverify" not in data:
        raise document.error(f"the key 'lipverify' is missing; add 'lipverify: {VERSION}' on top")
    version = data["lipverify"]
    if isinstance(version, bool) or not isinstance(version, int) or version != VERSION:
        raise document.error(
            f"expected version {VERSION} of the file format, found {shown(version)}", "lipverify"
        )


def _property_data(document: Document) -> list[dict[str, Any]]:
    """The properties as written, each of a known kind.

    Looked at before all else: files of a kind that is not offered lack other keys too.
    """
    if "properties" not in document.data:
        return []  # reported with the other missing keys
    entries = document.data["properties"]
    if not isinstance(entries, list) or not entries:
        found = "an empty list" if entries == [] else shown(entries)
        raise document.error(f"expected a list of properties, found {found}", "properties")
    for position, entry in enumerate(entries):
        at = ("properties", position)
        if not isinstance(entry, dict):
            raise document.error(f"expected a mapping with 'kind', found {shown(entry)}", *at)
        kind = entry.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise document.error(_unknown_kind(entry), *at, *(["kind"] if "kind" in entry else []))
    return entries


def _unknown_kind(entry: dict[str, Any]) -> str:
    supported = f"supported: {', '.join(KINDS)}"
    if "kind" not in entry:
        return f"the key 'kind' is missing; {supported}"
    kind = entry["kind"]
    if not isinstance(kind, str):
        return f"expected a kind of property, found {shown(kind)}; {supported}"
    near = hint(kind, KINDS)
    guess = f"{near} " if near.startswith("did") else ""
    return f"kind {kind!r} is not supported in this version; {guess}{supported}"


def _feature_names(spec_file: SpecFile, input_size: int) -> tuple[str, ...]:
    names = spec_file.features
    if names is None:
        return tuple(f"x{i}" for i in range(input_size))
    if len(names) != input_size:
        raise spec_file.document.error(
            f"expected {input_size} names, one per input of the network, found {len(names)}",
            "features",
        )
    return names
