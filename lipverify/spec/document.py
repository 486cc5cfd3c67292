"""YAML files as plain values, with the line of each."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lipverify.errors import SpecError
from lipverify.spec.problem import Location, dotted

MAX_VALUES = 2_000_000
"""More values than this in one file are refused: aliases can expand without end."""

_TAG = "tag:yaml.org,2002:"

_PyYAML: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class _CoreLoader(_PyYAML):
    """YAML 1.2's core schema: 1e-3 is a number, `no` is a text and 1:30 is no 90.

    PyYAML by itself follows YAML 1.1. The C parser is taken where there is one: it is ten times as
    fast on long lists.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own interface)


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _CoreLoader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first)


@dataclass(frozen=True, eq=False)
class Document:
    """One file: `data` is made of dict, list, str, int, float, bool and None."""

    path: Path
    data: Any
    root: yaml.Node
    sha256: str = ""
    """Of the file's bytes."""

    def line(self, at: Location = ()) -> int:
        """The line (from 1) of the value that `at` leads to, or of the nearest one above it."""
        node, line = self.root, _line(self.root)
        for part in at:
            step = _step(node, part)
            if step is None:
                break
            node, line = step
        return line

    def error(self, message: str, *at: str | int) -> SpecError:
        """The error to raise for the value that `at` leads to; one line, whatever names hold."""
        where = dotted(at)
        text = f"{where}: {message}" if where else message
        return SpecError(" ".join(text.splitlines()), self.path, self.line(at))


def read_document(path: Path) -> Document:
    """The YAML file at `path`; `SpecError` where it is missing, empty or no YAML."""
    content = _content(path)
    text = _text(path, content)
    try:
        root = yaml.compose(text, Loader=_CoreLoader)
    except yaml.YAMLError as error:
        raise _yaml_error(path, error) from error
    except RecursionError as error:
        raise SpecError("is nested too deeply to be read", path) from error
    if root is None:
        raise SpecError("is empty; expected a spec that starts with 'lipverify: 1'", path)
    try:
        data = _Builder(path).value(root)
    except RecursionError as error:
        raise SpecError("is nested too deeply to be read", path) from error
    return Document(path, data, root, hashlib.sha256(content).hexdigest())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SpecError("does not exist; expected a spec file", path) from error
    except IsADirectoryError as error:
        raise SpecError("is a folder; expected a spec file", path) from error
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", path) from error


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError("is no text in UTF-8; expected a spec file in YAML", path) from error


def _yaml_error(path: Path, error: yaml.YAMLError) -> SpecError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    if mark is None:
        return SpecError(f"is not YAML: {problem}", path)
    line, column = mark.line + 1, mark.column + 1
    return SpecError(f"is not YAML: {problem} (column {column})", path, line)


class _Builder:
    """Turns composed nodes into plain values, once; counts them as it goes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise SpecError(
                f"holds more than {MAX_VALUES} values; put long lists into an npz file and write "
                "{file: x.npz, array: name}",
                self._path,
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            raise self._error("a value contains itself (alias '*')", node)
        self._open.add(id(node))
        built = self._mapping(node) if isinstance(node, yaml.MappingNode) else self._list(node)
        self._open.discard(id(node))
        return built

    def _list(self, node: yaml.Node) -> list[Any]:
        self._check_tag(node, "seq")
        return [self.value(item) for item in node.value]

    def _mapping(self, node: yaml.Node) -> dict[str, Any]:
        self._check_tag(node, "map")
        built: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self.value(key_node)
            if not isinstance(key, str):
                raise self._error("a key must be a text; put it in quotes", key_node)
            if key in built:
                message = f"key {key!r} is given twice (first in line {lines[key]}); remove one"
                raise self._error(message, key_node)
            built[key] = self.value(value_node)
            lines[key] = _line(key_node)
        return built

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        try:
            match kind:
                case "str":
                    return node.value
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[node.value.lower()]
                case "int":
                    return int(node.value, 0) if node.value[:2] in ("0o", "0x") else int(node.value)
                case "float":
                    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
                case _:
                    raise self._error(f"tag {node.tag!r} is not supported; remove it", node)
        except (ValueError, KeyError) as error:
            raise self._error(f"{node.value[:40]!r} is no {kind}", node) from error

    def _check_tag(self, node: yaml.Node, expected: str) -> None:
        if node.tag != _TAG + expected:
            raise self._error(f"tag {node.tag!r} is not supported; remove it", node)

    def _error(self, message: str, node: yaml.Node) -> SpecError:
        return SpecError(message, self._path, _line(node))


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _step(node: yaml.Node, part: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], _line(node.value[part])
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return value, _line(key)
    return None
