"""The networks and variables that a VNN-LIB file declares, in version 1 and in version 2."""

import re
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from lipverify.errors import SpecError
from lipverify.spec.vnnlib.syntax import Expression, Group, Word
from lipverify.spec.vnnlib.tree import Layout

FLOATS = ("float16", "float32", "float64", "bfloat16")
REAL = "real"
"""Types that values of networks may have here; others are refused."""

VERSION_1 = ("declare-const", "declare-fun")
VERSION_2 = ("declare-network", "vnnlib-version")

_INDEXED = re.compile(r"([XY])_([0-9]+)")
_SHAPE = re.compile(r"\[\s*(?:[0-9]+\s*(?:[,\s]\s*[0-9]+\s*)*)?\]")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Tensor:
    """A declared input or output; in version 1, `X` or `Y`, flat."""

    name: str
    type: str
    shape: tuple[int, ...]
    line: int

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Declared:
    """A declared network. `same_as` names the one it is `equal-to`, or `isomorphic-to`."""

    name: str
    input: Tensor
    output: Tensor
    line: int
    same_as: str | None = None
    equal: bool = True
    """False where the file says `isomorphic-to`: weights may differ, unless the files do not."""


@dataclass(frozen=True)
class Declarations:
    """All of a file. `variables` leads from each variable's name to its number in version 1."""

    version: int
    networks: tuple[Declared, ...]
    variables: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def layout(self) -> Layout:
        first = self.networks[0]
        return Layout(first.input.size, first.output.size, len(self.networks))

    @property
    def float_type(self) -> str | None:
        """The first type declared that is not `real`; None where all are."""
        tensors = [part for net in self.networks for part in (net.input, net.output)]
        return next((tensor.type for tensor in tensors if tensor.type != REAL), None)


def read_declarations(groups: list[Group], path: Path) -> Declarations:
    """`SpecError` for declarations that do not fit together, or that are not supported."""
    heads = {group.head for group in groups}
    if heads & set(VERSION_2):
        return _version_2(groups, path)
    if not heads & set(VERSION_1):
        raise SpecError(
            "declares no variables; expected (declare-const X_0 Real) ... (version 1) or "
            "(declare-network ...) (version 2)",
            path,
        )
    return _version_1(groups, path)


def _version_1(groups: list[Group], path: Path) -> Declarations:
    lines: dict[str, dict[int, int]] = {"X": {}, "Y": {}}
    for group in groups:
        if group.head not in VERSION_1:
            continue
        words = [item.text for item in group.items if isinstance(item, Word)]
        if len(words) != 3:
            raise SpecError("expected (declare-const X_0 Real)", path, group.line)
        _, name, kind = words
        match = _INDEXED.fullmatch(name)
        if match is None:
            raise SpecError(
                f"variable {name!r} is neither an input X_0, X_1, ... nor an output Y_0, Y_1, ...",
                path,
                group.line,
            )
        if kind.lower() != REAL:
            raise SpecError(
                f"type {kind!r} of {name} is not supported; expected Real", path, group.line
            )
        letter, index = match.group(1), int(match.group(2))
        if index in lines[letter]:
            first = lines[letter][index]
            raise SpecError(
                f"variable {name!r} is declared twice, first in line {first}", path, group.line
            )
        lines[letter][index] = group.line
    for letter, what in (("X", "input"), ("Y", "output")):
        if not lines[letter]:
            raise SpecError(f"declares no {what}; expected {letter}_0, {letter}_1, ...", path)
        gap = next(i for i in range(len(lines[letter]) + 1) if i not in lines[letter])
        if gap < len(lines[letter]):
            raise SpecError(
                f"{letter}_{gap} is not declared, but later ones are; declare all of them", path
            )
    sizes = {letter: len(found) for letter, found in lines.items()}
    layout = Layout(sizes["X"], sizes["Y"])
    variables = {f"X_{i}": layout.input(0, i) for i in range(sizes["X"])}
    variables.update({f"Y_{i}": layout.output(0, i) for i in range(sizes["Y"])})
    tensors = [Tensor(k, REAL, (n,), min(lines[k].values())) for k, n in sizes.items()]
    network = Declared("network", tensors[0], tensors[1], tensors[0].line)
    return Declarations(1, (network,), variables)


def _version_2(groups: list[Group], path: Path) -> Declarations:
    for group in groups:
        if group.head == "vnnlib-version":
            _check_version(group, path)
    networks = tuple(_network(g, path) for g in groups if g.head == "declare-network")
    if not networks:
        raise SpecError("declares no network; expected (declare-network ...)", path)
    seen: dict[str, int] = {}
    for network in networks:
        for name, line in (
            (network.name, network.line),
            (network.input.name, network.input.line),
            (network.output.name, network.output.line),
        ):
            if name in seen:
                raise SpecError(
                    f"{name!r} is declared twice, first in line {seen[name]}", path, line
                )
            seen[name] = line
    _check_copies(networks, path)
    return Declarations(2, networks)


def _check_version(group: Group, path: Path) -> None:
    written = "".join(item.text for item in group.items[1:] if isinstance(item, Word))
    number = written.strip("<>")
    if not number.split(".")[0] == "2":
        raise SpecError(f"version {number!r} is not supported; 1 and 2 are", path, group.line)


def _check_copies(networks: tuple[Declared, ...], path: Path) -> None:
    """All but the first are the first's copies: nothing else can be compared here."""
    first = networks[0]
    if first.same_as is not None:
        raise SpecError(
            f"network {first.name!r} is to be as {first.same_as!r}, which is not declared before "
            "it",
            path,
            first.line,
        )
    known = {first.name}
    for network in networks[1:]:
        if network.same_as is None:
            raise SpecError(
                f"network {network.name!r} is another than {first.name!r}; properties over several "
                f"networks are supported where they are one file: (equal-to {first.name})",
                path,
                network.line,
            )
        if network.same_as not in known:
            raise SpecError(
                f"network {network.name!r} is to be as {network.same_as!r}, which is not declared "
                "before it",
                path,
                network.line,
            )
        known.add(network.name)
        for mine, other in ((network.input, first.input), (network.output, first.output)):
            if (mine.shape, mine.type) != (other.shape, other.type):
                raise SpecError(
                    f"{mine.name!r} has type and shape {mine.type} {list(mine.shape)}, but "
                    f"{other.name!r} of the network that it is a copy of has {other.type} "
                    f"{list(other.shape)}",
                    path,
                    mine.line,
                )


def _network(group: Group, path: Path) -> Declared:
    items = group.items
    if len(items) < 2 or not isinstance(items[1], Word) or not _NAME.fullmatch(items[1].text):
        raise SpecError("expected (declare-network NAME ...)", path, group.line)
    name = items[1].text
    inputs, outputs, same_as, equal = [], [], None, True
    for item in items[2:]:
        if not isinstance(item, Group):
            raise SpecError(
                f"expected (declare-input ...) or (declare-output ...), found {item.text[:40]!r}",
                path,
                item.line,
            )
        match item.head:
            case "declare-input":
                inputs.append(_tensor(item, path))
            case "declare-output":
                outputs.append(_tensor(item, path))
            case "equal-to" | "isomorphic-to":
                same_as, equal = _named(item, path), item.head == "equal-to"
            case "declare-hidden":
                raise SpecError(
                    "constraints on hidden values (declare-hidden) are not supported; inputs and "
                    "outputs are",
                    path,
                    item.line,
                )
            case other:
                raise SpecError(f"{other!r} is not supported in a network", path, item.line)
    for what, found in (("input", inputs), ("output", outputs)):
        if len(found) != 1:
            raise SpecError(
                f"network {name!r} declares {len(found)} {what}s; one is supported",
                path,
                found[1].line if found else group.line,
            )
    return Declared(name, inputs[0], outputs[0], group.line, same_as, equal)


def _named(group: Group, path: Path) -> str:
    if len(group.items) != 2 or not isinstance(group.items[1], Word):
        raise SpecError(f"expected ({group.head} NAME)", path, group.line)
    return group.items[1].text


def _tensor(group: Group, path: Path) -> Tensor:
    expected = f"expected ({group.head} NAME TYPE [SHAPE])"
    words = [item for item in group.items if isinstance(item, Word)]
    if len(words) != len(group.items) or len(words) not in (4, 5):
        raise SpecError(expected, path, group.line)
    name, kind, shape = (word.text for word in words[1:4])
    if not _NAME.fullmatch(name) or not _SHAPE.fullmatch(shape):
        raise SpecError(expected, path, group.line)
    if kind.lower() not in (REAL, *FLOATS):
        raise SpecError(
            f"type {kind!r} of {name!r} is not supported; expected {REAL} or one of "
            f"{', '.join(FLOATS)}",
            path,
            group.line,
        )
    sizes = tuple(int(size) for size in re.findall(r"[0-9]+", shape))
    if not all(sizes):
        raise SpecError(f"{name!r} of shape {list(sizes)} is empty", path, group.line)
    return Tensor(name, kind.lower(), sizes, group.line)


__all__ = ["Declarations", "Declared", "Expression", "Tensor", "read_declarations"]
