"""Spec files read, networks loaded, one held against the other: all before any long work."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lipverify.cli.messages import failure
from lipverify.errors import SpecError
from lipverify.evidence.report_json import SpecFailure
from lipverify.network import Network, load_network
from lipverify.reading import Reading
from lipverify.spec import Spec, SpecFile, bind, find_specs, read_spec


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


@dataclass(frozen=True, eq=False)
class Prepared:
    """Specs that can be worked on and those that cannot, each in the order given."""

    tasks: tuple[Task, ...]
    failures: tuple[SpecFailure, ...]


def prepare(paths: Iterable[str]) -> Prepared:
    """Read all specs, and each network once, however many specs name it."""
    tasks: list[Task] = []
    failures: list[SpecFailure] = []
    networks: Known = {}
    for found in _specs(paths):
        if isinstance(found, SpecFailure):
            failures.append(found)
            continue
        name = str(found)
        try:
            file = read_spec(found)
            network = _network(file, networks)
            if isinstance(network, SpecFailure):
                failures.append(SpecFailure(name, network.message))
                continue
            spec = bind(file, network.graph.input_size, network.graph.output_size)
        except Exception as error:  # an unforeseen one must not keep other specs from running
            failures.append(SpecFailure(name, failure(error).message))
            continue
        tasks.append(Task(name, spec, network, str(file.network)))
    return Prepared(tuple(tasks), tuple(failures))


def _specs(paths: Iterable[str]) -> Iterator[Path | SpecFailure]:
    """Every spec file once, and a failure for each path without any."""
    seen: set[Path] = set()
    for path in paths:
        try:
            found = find_specs([path])
        except SpecError as error:
            yield SpecFailure(path, str(error))
            continue
        for file in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


Known = dict[tuple[Path, Reading], Network | SpecFailure]


def _network(file: SpecFile, known: Known) -> Network | SpecFailure:
    key = (file.network.resolve(), file.reading)
    if key not in known:
        try:
            known[key] = load_network(file.network, reading=file.reading)
        except Exception as error:
            known[key] = SpecFailure(str(file.network), failure(error).message)
    return known[key]
