"""Bundles are made here: files copied, looked at again, reported on, hashed, signed."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lipverify.errors import InputError
from lipverify.evidence.bundle import certificates
from lipverify.evidence.bundle.build import build_record
from lipverify.evidence.bundle.certificates import Split
from lipverify.evidence.bundle.claims import compare
from lipverify.evidence.bundle.gsn_svg import gsn_svg
from lipverify.evidence.bundle.record import SCHEMA_FILE, Certificate, Record, published_schema
from lipverify.evidence.bundle.report_gsn import gsn_yaml
from lipverify.evidence.bundle.report_html import html_report
from lipverify.evidence.bundle.report_junit import junit_xml
from lipverify.evidence.bundle.report_readme import readme
from lipverify.evidence.bundle.report_sacm import sacm_xml
from lipverify.evidence.bundle.report_traceability import traceability_csv
from lipverify.evidence.bundle.results import ResultFile, read_results
from lipverify.evidence.bundle.signature import sign
from lipverify.evidence.bundle.sources import Source, Sources, placed
from lipverify.evidence.bundle.statement import (
    KEY,
    SIGNATURE,
    STATEMENT,
    SUMS,
    files_of,
    statement_text,
    sums_text,
)
from lipverify.files import file_sha256
from lipverify.graph import backward_graph
from lipverify.graph.picture import picture
from lipverify.graph.svg import svg

CERTIFICATES, FIGURES = "certificates", "figures"
MOST_BLOCKS = 400
"""Graphs with more operators are not drawn: nobody could read them."""

REPORTS = {
    "README.md": readme,
    "argument.sacm.xml": sacm_xml,
    "gsn.svg": gsn_svg,
    "gsn.yaml": gsn_yaml,
    "junit.xml": junit_xml,
    "record.json": Record.as_text,
    "traceability.csv": traceability_csv,
}
"""What is written of a record, by file name; a new report is one function and one line here."""


@dataclass(frozen=True)
class Made:
    """A bundle that was written."""

    folder: Path
    record: Record
    files: int
    signed: bool


def make_bundle(
    results: Sequence[str | Path], out: str | Path, key_file: str | Path | None = None
) -> Made:
    """Write the bundle of these result files into the folder `out`, which may not hold anything.

    `key_file` holds an Ed25519 private key in PEM. Raises `InputError` for files that are missing,
    or have changed since they were verified, and for a folder in the way.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--out {out}: exists and is not empty; name a new folder")
    found = read_results(results)
    reader = Sources()
    sources = {
        (i, j): reader.of(file, result)
        for i, file in enumerate(found)
        for j, result in enumerate(file.results)
    }
    if key_file is not None:
        sign(b"", key_file)  # a key that cannot be used is reported before any work
    part = folder.with_name(folder.name + ".part")
    if part.exists():
        raise InputError(f"{part}: is in the way, left by a run that was killed; remove it")
    try:
        part.mkdir(parents=True)
        record = _write(part, found, sources)
        _seal(part, record, key_file)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Made(folder, record, len(files_of(folder)), key_file is not None)


def _write(
    folder: Path, results: Sequence[ResultFile], sources: Mapping[tuple[int, int], Source]
) -> Record:
    places = placed(list(sources.values()))
    for path, place in places.items():
        _copy(path, folder / place)
    _check_readable(folder, list(sources.values()), places)
    graphs = _draw(folder, list(sources.values()), places)
    filed = _file_certificates(folder, results, sources, places)
    drawings = {place: path for place, (path, _) in graphs.items()}
    record = build_record(results, sources, places, filed, drawings)
    for name, report in REPORTS.items():
        _put(folder / name, report(record))
    _put(folder / SCHEMA_FILE, published_schema())
    texts = {path: text for path, text in graphs.values() if path is not None}
    _put(folder / "report.html", html_report(record, texts, _trees(folder, record)))
    return record


def _seal(folder: Path, record: Record, key_file: str | Path | None) -> None:
    """Hashes of all files; the statement and, if there is a key, its signature."""
    if key_file is not None:
        (folder / KEY).write_bytes(sign(b"", key_file)[1])
    digests = {name: file_sha256(folder / name) for name in files_of(folder)}
    _put(folder / STATEMENT, statement_text(record, digests))
    if key_file is not None:
        signature, _ = sign((folder / STATEMENT).read_bytes(), key_file)
        (folder / SIGNATURE).write_bytes(signature)
    digests = {name: file_sha256(folder / name) for name in files_of(folder)}
    _put(folder / SUMS, sums_text(digests))


def _check_readable(folder: Path, sources: Sequence[Source], places: Mapping[Path, str]) -> None:
    """The copies have to be what the originals are: read again, where they lie now."""
    reader = Sources()
    for source in {source.path: source for source in sources}.values():
        model = None if source.linked else folder / places[source.network_path]
        copy = reader.read(folder / places[source.path], model)
        same = copy.spec.sha256 == source.spec.sha256
        if not (same and copy.network.sha256 == source.network.sha256):
            raise InputError(f"{source.path}: its copy is not the same; a file changed meanwhile")


def _draw(
    folder: Path, sources: Sequence[Source], places: Mapping[Path, str]
) -> dict[str, tuple[str | None, str]]:
    """Of each network, by its place: where the drawing of its graphs is (None: too large)."""
    found: dict[str, tuple[str | None, str]] = {}
    for source in sources:
        place = places[source.network_path]
        if place in found:
            continue
        shown = picture(source.network.graph, backward_graph(source.network.graph))
        if len(shown.blocks) > MOST_BLOCKS:
            found[place] = (None, "")
            continue
        path = f"{FIGURES}/graph-{len(found) + 1}.svg"
        found[place] = (path, svg(shown))
        _put(folder / path, found[place][1])
    return found


def _file_certificates(
    folder: Path,
    results: Sequence[ResultFile],
    sources: Mapping[tuple[int, int], Source],
    places: Mapping[Path, str],
) -> dict[tuple[int, int], list[Certificate]]:
    """Copied, checked and held against their properties, those that the results have."""
    found: dict[tuple[int, int], list[Certificate]] = {}
    for number, ((i, j), source) in enumerate(sources.items()):
        result = results[i].results[j]
        entries = [result.get("certificate"), *result.get("more_certificates", ())]
        for entry in entries:
            name = certificates.filed(entry)
            if name is None:
                continue
            mine = found.setdefault((i, j), [])
            place = f"{CERTIFICATES}/P{number + 1}-{len(mine) + 1}-{Path(name).name}"
            _copy(results[i].find(name), folder / place)
            digest = file_sha256(folder / place)
            said = entry.get("sha256") if isinstance(entry, dict) else None
            if said is not None and said != digest:
                raise InputError(f"{name}: has changed since it was written; verify again")
            checked = certificates.check(folder / place, folder / places[source.network_path])
            bound = result["bound"] or {"lower": None, "upper": None}
            ends = (bound["lower"], bound["upper"])
            stated = compare(
                folder / place, source.network, source.spec, int(result["property"]), ends
            )
            mine.append(
                Certificate(
                    path=place,
                    sha256=digest,
                    checker=checked.verdict,
                    detail=checked.detail,
                    claim=stated.claim,
                    claim_detail=stated.detail,
                )
            )
    return found


def _trees(folder: Path, record: Record) -> dict[str, list[Split]]:
    found: dict[str, list[Split]] = {}
    for prop in record.properties:
        tree = None
        if prop.certificate is not None:
            tree = certificates.split_tree(folder / prop.certificate.path)
        if tree is not None:
            found[prop.id] = tree
    return found


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
