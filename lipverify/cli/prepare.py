"""Spec files read, networks loaded, one held against the other: all before any long work."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lipverify.cli.instances import BadInstance, Instance, is_instances, read_instances
from lipverify.cli.messages import failure
from lipverify.cli.network_names import named_network
from lipverify.errors import SpecError
from lipverify.evidence.report_json import SpecFailure
from lipverify.network import Network, load_network
from lipverify.reading import AS_IT_IS, Reading
from lipverify.spec import Spec, bind, find_specs, read_spec
from lipverify.spec.vnnlib import is_vnnlib, read_vnnlib
from lipverify.spec.vnnlib.property import spec_of


@dataclass(frozen=True, eq=False)
class Task:
    """One spec with its network. `name` is its path as given; `file` is the network's."""

    name: str
    spec: Spec
    network: Network
    file: str

    def describe(self, index: int) -> str:
        """Property number `index` in a few words."""
        return self.spec.properties[index].describe(self.spec.features)


@dataclass(frozen=True)
class Entry:
    """A line of an instances file: what its task, or its failure, is called."""

    name: str
    written: tuple[str, str]
    family: str


@dataclass(frozen=True, eq=False)
class Prepared:
    """Specs that can be worked on and those that cannot, each in the order given."""

    tasks: tuple[Task, ...]
    failures: tuple[SpecFailure, ...]
    entries: tuple[Entry, ...] = ()
    """Lines of instances files, those among the failures as well."""


def prepare(
    paths: Iterable[str], networks: Sequence[str] = (), timeout: float | None = None
) -> Prepared:
    """Read all specs, and each network once, however many specs name it.

    `networks` are those given for VNN-LIB files, as FILE or NAME=FILE. `timeout` is the most
    seconds that an instance may have, whatever its file allows.
    """
    tasks: list[Task] = []
    failures: list[SpecFailure] = []
    entries: list[Entry] = []
    known: Known = {}
    for found in _specs(paths):
        if isinstance(found, BadInstance):
            failures.append(found.failure)
            entries.append(Entry(found.failure.spec, found.written, found.family))
            continue
        if isinstance(found, SpecFailure):
            failures.append(found)
            continue
        name = found.name if isinstance(found, Instance) else str(found)
        if isinstance(found, Instance):
            if any(entry.name == name for entry in entries):
                name = f"{name}, line {found.line}"
            entries.append(Entry(name, found.written, found.family))
        try:
            task = _task(found, name, networks, timeout, known)
        except Exception as error:  # an unforeseen one must not keep other specs from running
            failures.append(SpecFailure(name, failure(error).message))
            continue
        if isinstance(task, SpecFailure):
            failures.append(SpecFailure(name, task.message))
        else:
            tasks.append(task)
    return Prepared(tuple(tasks), tuple(failures), tuple(entries))


def _task(
    found: Path | Instance, name: str, networks: Sequence[str], most: float | None, known: "Known"
) -> Task | SpecFailure:
    """`SpecError` for a spec that cannot be used; a failure that is the network's, known before."""
    if isinstance(found, Path) and not is_vnnlib(found):
        file = read_spec(found)
        network = _network(file.network, file.reading, known)
        if isinstance(network, SpecFailure):
            return network
        spec = bind(file, network.graph.input_size, network.graph.output_size)
        return Task(name, spec, network, str(file.network))
    path = found if isinstance(found, Path) else found.vnnlib
    prop = read_vnnlib(path)
    model = named_network(prop, networks) if isinstance(found, Path) else found.network
    network = _network(model, AS_IT_IS, known)
    if isinstance(network, SpecFailure):
        return network
    prop.check_sizes(network.graph.input_size, network.graph.output_size)
    own = None if isinstance(found, Path) else found.timeout
    limit = min((value for value in (own, most) if value is not None), default=None)
    title = "" if isinstance(found, Path) else f"{model.name}, {path.name}"
    return Task(name, spec_of(prop, model, limit, title), network, str(model))


def _specs(paths: Iterable[str]) -> Iterator[Path | Instance | BadInstance | SpecFailure]:
    """Every spec file once, every instance, and a failure for each path without any."""
    seen: set[Path] = set()
    for path in paths:
        try:
            if is_instances(path):
                yield from read_instances(Path(path))
                continue
            found = [Path(path)] if is_vnnlib(path) else find_specs([path])
        except SpecError as error:
            yield SpecFailure(path, str(error))
            continue
        for file in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


Known = dict[tuple[Path, Reading], Network | SpecFailure]


def _network(path: Path, reading: Reading, known: Known) -> Network | SpecFailure:
    key = (path.resolve(), reading)
    if key not in known:
        try:
            known[key] = load_network(path, reading=reading)
        except Exception as error:
            known[key] = SpecFailure(str(path), failure(error).message)
    return known[key]
