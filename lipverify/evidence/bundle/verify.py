"""A bundle is verified: every file's hash, every certificate, every counterexample, the signature.

Nothing outside of the folder is read, but the public key that the caller names.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from lipverify.errors import InputError, LipverifyError, MissingDependency
from lipverify.evidence.bundle import certificates, signature
from lipverify.evidence.bundle.claims import compare
from lipverify.evidence.bundle.record import Certificate, Property, Record
from lipverify.evidence.bundle.replay import replay_counterexample, replay_witness
from lipverify.evidence.bundle.sources import Source, Sources
from lipverify.evidence.bundle.statement import (
    KEY,
    PREDICATE_TYPE,
    SIGNATURE,
    STATEMENT,
    STATEMENT_TYPE,
    SUMS,
    UNLISTED,
    files_of,
    statement_text,
    sums_text,
)
from lipverify.files import file_sha256

PLURALS = {
    "certificate": "certificates",
    "counterexample": "counterexamples",
    "witness": "witnesses",
}
"""What is looked at again, and how several are called."""

UNSIGNED = "signature: none; hashes show damage, not who made the bundle"

Kind = Literal["wrong", "not checked"]


@dataclass(frozen=True)
class Finding:
    """Something wrong, or something that could not be checked; `file` is where."""

    kind: Kind
    file: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}: {self.detail}"


@dataclass(frozen=True)
class Verification:
    """What was found, and what was checked, in words."""

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    record: Record | None

    @property
    def wrong(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind == "wrong")

    @property
    def open(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind == "not checked")


def verify_bundle(folder: str | Path, key_file: str | Path | None = None) -> Verification:
    """Check the bundle in `folder`; with `key_file` (a public key in PEM), also who signed it.

    Certificates and points are looked at only if every file is what it was. Raises `InputError`
    for a folder that is no bundle and for a key that cannot be read.
    """
    place = Path(folder)
    if not (place / STATEMENT).is_file() and not (place / SUMS).is_file():
        raise InputError(f"{folder}: holds no {STATEMENT}; expected a folder that evidence made")
    found = list(_hashes(place))
    checked = [f"{len(files_of(place))} files: compared with their SHA-256"]
    signed, said = _signature(place, key_file)
    found += signed
    checked += [said or UNSIGNED]
    record = None
    if not any(finding.kind == "wrong" for finding in found):
        record = _record(place)
        if isinstance(record, Finding):
            return Verification((*found, record), tuple(checked), None)
        again, words = _again(place, record)
        found += again
        checked += words
    return Verification(tuple(found), tuple(checked), record)


def _hashes(folder: Path) -> Iterator[Finding]:
    """Files that were changed, added or taken away.

    The statement knows all files; `SHA256SUMS` knows the statement. Where these two do not fit
    together, files are held against the one that is left, and the other is reported.
    """
    present = files_of(folder)
    for name in present:
        if (folder / name).is_symlink() or not (folder / name).is_file():
            yield Finding("wrong", name, "is no plain file; a bundle holds nothing else")
            return
    actual = {name: file_sha256(folder / name) for name in present}
    for name in (STATEMENT, SUMS):
        if name not in actual:
            yield Finding("wrong", name, "is missing")
    listed = _listed(folder) if SUMS in actual else {}
    stated = _subjects(folder) if STATEMENT in actual else None
    whole = stated is not None and listed.get(STATEMENT, actual[STATEMENT]) == actual[STATEMENT]
    expected = listed
    if stated is not None and (whole or _as_rendered(folder, actual)):
        kept = {name: listed[name] for name in UNLISTED if name in listed}
        expected = {**kept, STATEMENT: actual[STATEMENT], **stated}
        if SUMS in actual:
            kept = {name: digest for name, digest in expected.items() if name != SUMS}
            if (folder / SUMS).read_bytes() != sums_text(kept).encode():
                yield Finding("wrong", SUMS, f"was changed: it does not follow from {STATEMENT}")
                # Of the signature, only that list knows the hash; its own check is to follow.
                expected = {**stated, **{n: actual[n] for n in UNLISTED if n in actual}}
    elif STATEMENT in actual:
        yield Finding("wrong", STATEMENT, f"was changed, or its line in {SUMS} was")
    for name in sorted({*expected, *actual} - {STATEMENT, SUMS}):
        if name not in expected:
            yield Finding("wrong", name, f"was added: {STATEMENT} does not know it")
        elif name not in actual:
            yield Finding("wrong", name, "is missing")
        elif actual[name] != expected[name]:
            who = f", or its line in {SUMS} was" if name == SIGNATURE else ""
            detail = f"was changed{who}: its SHA-256 is {actual[name]}, expected {expected[name]}"
            yield Finding("wrong", name, detail)


def _as_rendered(folder: Path, actual: dict[str, str]) -> bool:
    """Whether the statement is what this version makes of record and files, to the byte."""
    try:
        record = Record.model_validate_json((folder / "record.json").read_bytes())
    except (OSError, ValidationError):
        return False
    return (folder / STATEMENT).read_bytes() == statement_text(record, actual).encode()


def _subjects(folder: Path) -> dict[str, str] | None:
    """Digests by name; None where the file is no statement of ours."""
    try:
        document = json.loads((folder / STATEMENT).read_bytes())
        if document["_type"] != STATEMENT_TYPE or document["predicateType"] != PREDICATE_TYPE:
            return None
        return {str(s["name"]): str(s["digest"]["sha256"]) for s in document["subject"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _listed(folder: Path) -> dict[str, str]:
    """Digests by name, as far as the lines can be read."""
    found: dict[str, str] = {}
    text = (folder / SUMS).read_bytes().decode("utf-8", errors="replace")
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match:
            found[match[2]] = match[1]
    return found


def _signature(folder: Path, key_file: str | Path | None) -> tuple[list[Finding], str]:
    """What is wrong with the signature, and what was checked of it."""
    given = None if key_file is None else _key(key_file)
    file, own = folder / SIGNATURE, folder / KEY
    if not file.is_file() or not (folder / STATEMENT).is_file():
        if given is not None:
            return [Finding("wrong", SIGNATURE, "is missing: the bundle is not signed")], ""
        return ([Finding("wrong", SIGNATURE, "is missing")] if own.is_file() else []), ""
    if given is None and not own.is_file():
        return [Finding("wrong", KEY, "is missing")], ""
    content = (folder / STATEMENT).read_bytes()
    try:
        if given is not None:
            key, where = given, f"--verify-key {key_file}"
        else:
            key, where = own.read_bytes(), KEY
        if not signature.is_signed_by(content, file.read_bytes(), key, where):
            text = f"is no signature of {STATEMENT} by {where}"
            return [Finding("wrong", SIGNATURE, text)], ""
    except MissingDependency as error:
        if given is not None:
            raise
        return [Finding("not checked", SIGNATURE, str(error))], ""
    except InputError as error:
        if given is not None:
            raise
        return [Finding("wrong", KEY, str(error))], ""
    if given is not None:
        return [], f"signature: by {key_file}"
    return [], f"signature: by the key in {KEY}; whose that is, only --verify-key tells"


def _key(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"--verify-key {path}: cannot be read: {error.strerror}") from error


def _record(folder: Path) -> Record | Finding:
    try:
        return Record.model_validate_json((folder / "record.json").read_bytes(), strict=False)
    except (OSError, ValidationError) as error:
        text = str(error).splitlines()[0]
        return Finding("wrong", "record.json", f"is no record of format 1: {text}")


def _again(folder: Path, record: Record) -> tuple[list[Finding], list[str]]:
    """Specs and networks read, certificates checked, points replayed."""
    found: list[Finding] = []
    sources: dict[str, Source] = {}
    reader = Sources()
    for spec in record.specs:
        try:
            inside = [_inside(folder, name) for name in (spec.path, spec.network)]
            linked = "--network" not in spec.verify
            source = reader.read(inside[0], None if linked else inside[1])
        except LipverifyError as error:
            found.append(Finding("wrong", spec.path, f"cannot be read: {error}"))
            continue
        sources[spec.path] = source
        if source.spec.sha256 != spec.sha256:
            found.append(Finding("wrong", spec.path, "is not the spec that record.json is about"))
        network = record.network(spec.network)
        same = source.network.sha256 == network.sha256
        if not same or source.onnx.parameters_sha256 != network.parameters_sha256:
            found.append(
                Finding("wrong", network.path, "is not the network that record.json is about")
            )
    counts = dict.fromkeys(PLURALS, 0)
    for prop in record.properties:
        if prop.spec in sources:
            for what, finding in _property(folder, record, prop, sources[prop.spec]):
                counts[what] += 1
                found += [] if finding is None else [finding]
    bare = sum(p.status == "established" and p.certificate is None for p in record.properties)
    said = [f"{len(sources)} specs and their networks: compared with record.json"]
    said += [f"{count} {PLURALS[what]}: looked at again" for what, count in counts.items() if count]
    said += [f"{bare} verified properties: no certificate to check"] if bare else []
    return found, said


def _property(
    folder: Path, record: Record, prop: Property, source: Source
) -> Iterator[tuple[str, Finding | None]]:
    """What was looked at, with what is wrong."""
    first = [] if prop.certificate is None else [prop.certificate]
    for certificate in (*first, *prop.more_certificates):
        network = _inside(folder, record.spec(prop.spec).network)
        yield "certificate", _certificate(folder, prop, source, certificate, network)
    replayed, what = None, "counterexample"
    if prop.counterexample is not None:
        recorded: dict[str, Any] = prop.counterexample.model_dump()
        replayed = replay_counterexample(source.network, source.spec, prop.index, recorded)
    elif prop.witness is not None and prop.bound is not None:
        what = "witness"
        replayed = replay_witness(
            source.network, source.spec, prop.index, prop.witness.input, prop.bound.lower
        )
    if replayed is not None:
        expected = prop.replay is None or prop.replay.confirmed
        text = f"the {what} of {prop.id} is not confirmed: {replayed.detail}"
        wrong = expected and not replayed.confirmed
        yield what, Finding("wrong", "record.json", text) if wrong else None


def _certificate(
    folder: Path, prop: Property, source: Source, certificate: Certificate, network: Path
) -> Finding | None:
    path = _inside(folder, certificate.path)
    ends = (None, None) if prop.bound is None else (prop.bound.lower, prop.bound.upper)
    stated = compare(path, source.network, source.spec, prop.index, ends)
    if stated.claim != certificate.claim:
        text = f"its claim {stated.claim} ({stated.detail}); record.json: {certificate.claim}"
        return Finding("wrong", certificate.path, text)
    said = certificates.check(path, network)
    if said.verdict == "not checked":
        return Finding("not checked", certificate.path, said.detail)
    if said.verdict != certificate.checker and certificate.checker != "not checked":
        text = f"{said.verdict} by the checker, {certificate.checker} in record.json"
        return Finding("wrong", certificate.path, f"{text}: {said.detail}")
    if prop.status == "established" and (said.verdict == "rejected" or stated.claim == "differs"):
        text = f"{prop.id} is claimed, but this is {said.verdict}, its claim {stated.claim}"
        return Finding("wrong", certificate.path, f"{text}: {said.detail} {stated.detail}".strip())
    return None


def _inside(folder: Path, name: str) -> Path:
    """A file of the bundle; `InputError` for a name that leads out of it."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{name} leads out of the bundle")
    return folder / path
