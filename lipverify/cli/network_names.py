"""The networks that `--network` names, held against what a VNN-LIB file declares."""

from collections.abc import Sequence
from pathlib import Path

from lipverify.errors import SpecError
from lipverify.network import load_network
from lipverify.spec.problem import hint
from lipverify.spec.vnnlib import VnnLibFile


def named_network(file: VnnLibFile, given: Sequence[str]) -> Path:
    """The one network that the file is about.

    `SpecError` if none is given, if a name is not declared, or if the networks are not one file.
    """
    path = file.path
    if not given:
        raise SpecError("needs a network: give it with --network FILE", path)
    declared = {network.name: network for network in file.declared.networks}
    chosen: dict[str, Path] = {}
    for text in given:
        name, model = _split(text)
        if not model.is_file():
            raise SpecError(f"--network {text}: {model} does not exist", path)
        if name is not None and name not in declared:
            raise SpecError(f"--network {text}: no such network; {hint(name, declared)}", path)
        if name is None and len(given) > 1 and file.declared.version == 1:
            raise SpecError(f"is about one network, {len(given)} are given with --network", path)
        if name is None and len(given) > 1:
            raise SpecError(
                f"--network {text}: of several networks, each needs a name: --network NAME=FILE "
                f"({', '.join(declared)})",
                path,
            )
        for key in [name] if name is not None else list(declared):
            if key in chosen:
                raise SpecError(f"--network {text}: {key!r} is given twice", path)
            chosen[key] = model
    return _one(file, chosen)


def _split(text: str) -> tuple[str | None, Path]:
    """NAME=FILE, or FILE."""
    name, equals, rest = text.partition("=")
    if equals and name.isidentifier() and not Path(text).is_file():
        return name, Path(rest)
    return None, Path(text)


def _one(file: VnnLibFile, chosen: dict[str, Path]) -> Path:
    """The file that all declared networks share."""
    first = next(iter(chosen.values()))
    for network in file.declared.networks:
        model = chosen.get(network.name)
        if model is None:
            if network.same_as is not None and network.equal:
                continue
            raise SpecError(
                f"network {network.name!r} has no file; give it with --network {network.name}=FILE",
                file.path,
                network.line,
            )
        if model.resolve() != first.resolve() and _digest(model) != _digest(first):
            raise SpecError(
                f"network {network.name!r} is {model}, another than {first}; properties over "
                "several networks are supported where these are the same file",
                file.path,
                network.line,
            )
    return first


def _digest(path: Path) -> str:
    """Of the network with all weights, wherever they are stored."""
    return load_network(path).sha256
