"""The specs and networks that results are about: found, read, held against the results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os.path import commonpath, normpath
from pathlib import Path
from typing import Any

from lipverify.errors import InputError
from lipverify.evidence.bundle.results import ResultFile
from lipverify.network import Network, load_network
from lipverify.network.onnx_file import OnnxFile, read_file
from lipverify.reading import AS_IT_IS, Reading
from lipverify.spec import Spec, bind, read_spec
from lipverify.spec.digest import question_digest
from lipverify.spec.vnnlib import is_vnnlib, read_vnnlib
from lipverify.spec.vnnlib.property import spec_of

INPUTS = "inputs"
"""The folder of a bundle that specs and networks are copied into."""


@dataclass(frozen=True, eq=False)
class Source:
    """One spec with its network, and the files of both (absolute, without `..`)."""

    path: Path
    spec: Spec
    network: Network
    onnx: OnnxFile
    network_path: Path
    network_files: tuple[Path, ...]
    spec_files: tuple[Path, ...]
    linked: bool
    """Whether the spec finds its other files by relative paths, which have to stay the same."""


@dataclass(eq=False)
class Sources:
    """Reads each spec and each network once."""

    _networks: dict[tuple[Path, Reading], Network] = field(default_factory=dict)
    _files: dict[Path, OnnxFile] = field(default_factory=dict)
    _sources: dict[Path, Source] = field(default_factory=dict)

    def of(self, file: ResultFile, result: dict[str, Any]) -> Source:
        """What a result is about; `InputError` where it has changed since."""
        path = file.find(result["spec"])
        key = _plain(path)
        model = file.find(result["network"]) if is_vnnlib(path) else None
        if key not in self._sources:
            self._sources[key] = self.read(path, model)
        source = self._sources[key]
        if model is not None and _plain(model) != source.network_path:
            raise InputError(
                f"{file.path}: {path} is asked of two networks, {source.network_path} and {model}; "
                "make a bundle for each"
            )
        _check_same(file, result, source)
        return source

    def read(self, path: Path, model: Path | None = None) -> Source:
        """The spec at `path`; a VNN-LIB file comes with its network."""
        if model is not None:
            found = read_vnnlib(path)
            network = self._network(model, AS_IT_IS)
            spec = spec_of(found, model)
            return self._source(path, spec, network, model, (_plain(path),), linked=False)
        file = read_spec(path)
        network = self._network(file.network, file.reading)
        spec = bind(file, network.graph.input_size, network.graph.output_size)
        names = [file.document.data["network"], *_referenced(file.document.data)]
        for name in names:
            if Path(name).is_absolute():
                raise InputError(
                    f"{path}: names {name}; write it relative to the spec, so that it can be filed"
                )
        files = [path, *(path.parent / name for name in names[1:])]
        plain = tuple(dict.fromkeys(_plain(name) for name in files))
        return self._source(path, spec, network, file.network, plain, linked=True)

    def _source(
        self,
        path: Path,
        spec: Spec,
        network: Network,
        model: Path,
        files: tuple[Path, ...],
        *,
        linked: bool,
    ) -> Source:
        if not model.name.lower().endswith((".onnx", ".onnx.gz")):
            raise InputError(f"{model}: only ONNX networks can be filed")
        key = _plain(model)
        if key not in self._files:
            self._files[key] = read_file(model)
        onnx = self._files[key]
        parts = (key, *(_plain(part) for part in onnx.external))
        return Source(_plain(path), spec, network, onnx, key, parts, files, linked)

    def _network(self, path: Path, reading: Reading) -> Network:
        key = (_plain(path), reading)
        if key not in self._networks:
            self._networks[key] = load_network(path, reading=reading)
        return self._networks[key]


def _check_same(file: ResultFile, result: dict[str, Any], source: Source) -> None:
    spec, index = source.spec, int(result["property"])
    where = f"{file.path}: property {index} of {result['spec']}"
    again = "has changed since it was verified; run `lipverify verify` again"
    if spec.sha256 != result["spec_sha256"]:
        raise InputError(f"{where}: the spec file {again}")
    if source.network.sha256 != result["network_sha256"]:
        raise InputError(f"{where}: the network {again}")
    if not 0 <= index < len(spec.properties):
        raise InputError(f"{where}: the spec has {len(spec.properties)} properties")
    prop = spec.properties[index]
    if question_digest(spec.region, prop, spec.features, spec.reading) != result["question_sha256"]:
        raise InputError(f"{where}: a file that the spec refers to {again}")


def _plain(path: Path) -> Path:
    """Absolute, without `..`; links are kept, so that relative paths stay what they are."""
    return Path(normpath(path.absolute()))


def _referenced(data: object) -> Iterator[str]:
    """Every {file: name} of a spec."""
    if isinstance(data, dict):
        if isinstance(data.get("file"), str):
            yield data["file"]
        for value in data.values():
            yield from _referenced(value)
    elif isinstance(data, list):
        for value in data:
            yield from _referenced(value)


def placed(sources: Sequence[Source]) -> dict[Path, str]:
    """Where each file goes in the bundle: files that name each other stay as they lie.

    Of the folders above them, nothing is kept.
    """
    groups: list[list[Path]] = []
    for source in sources:
        parts = [*source.network_files]
        if source.linked:
            groups.append([*source.spec_files, *parts])
        else:
            groups += [[*source.spec_files], parts]
    roots = _outermost([_root(group) for group in groups])
    names = {root: f"{INPUTS}/{k + 1}" if len(roots) > 1 else INPUTS for k, root in roots.items()}
    found: dict[Path, str] = {}
    for path in (path for group in groups for path in group):
        root = next(root for root in names if path.is_relative_to(root))
        found[path] = f"{names[root]}/{path.relative_to(root).as_posix()}"
    return found


def _root(group: Sequence[Path]) -> Path:
    return Path(commonpath([path.parent for path in group]))


def _outermost(roots: Sequence[Path]) -> dict[int, Path]:
    """Those that lie in no other, numbered in order."""
    kept = [
        r for r in dict.fromkeys(roots) if not any(r != o and r.is_relative_to(o) for o in roots)
    ]
    return dict(enumerate(kept))
