"""The certificate's file, which may be hostile: a zip with limits, JSON with limits, a schema."""

import json
import re
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lipverify.checker.errors import Rejected

MANIFEST, TREE = "manifest.json", "tree.jsonl"
MAX_MANIFEST, MAX_LINE = 64 * 2**20, 256 * 2**20
MAX_TREE = 64 * 2**30
MAX_RATIO = 1100
"""Deflate cannot compress much better than this; a larger claim is a lie."""
MAX_DEPTH = 32
"""JSON nesting; honest files have less than 10."""
MAX_DIGITS = 18
"""Of an integer: positions and counts."""


class Clock:
    """Stops a check that takes too long."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.seconds = seconds

    def check(self) -> None:
        if time.monotonic() > self.end:
            raise Rejected(f"not decided within the limit of {self.seconds:g} seconds")


class Archive:
    """The two members; the tree is read line by line."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
            infos = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
            raise Rejected(f"not a readable zip archive: {error}") from None
        names = sorted(info.filename for info in infos)
        if names not in ([MANIFEST], [MANIFEST, TREE]):
            shown = ", ".join(name[:40] for name in names[:5])
            raise Rejected(f"members [{shown}]: expected {MANIFEST} and, for proofs, {TREE}")
        if self._zip.comment:
            raise Rejected("the archive has a comment")
        self._infos = {info.filename: info for info in infos}
        size = path.stat().st_size
        packed = sum(info.compress_size for info in infos)
        if packed > size or size - packed > 4096:
            raise Rejected("bytes that belong to no member")
        for info, limit in (
            (self._infos.get(MANIFEST), MAX_MANIFEST),
            (self._infos.get(TREE), MAX_TREE),
        ):
            if info is None:
                continue
            if info.flag_bits & 1 or info.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise Rejected(
                    f"{info.filename}: expected a member stored or deflated, not encrypted"
                )
            if info.file_size > limit or info.file_size > MAX_RATIO * info.compress_size + 1024:
                raise Rejected(f"{info.filename}: {info.file_size} bytes unpacked are too many")

    @property
    def has_tree(self) -> bool:
        return TREE in self._infos

    def manifest(self) -> dict[str, Any]:
        found = parsed(b"".join(self._lines(MANIFEST, MAX_MANIFEST, whole=True)), MANIFEST)
        conform(found, _schema("manifest"), MANIFEST)
        return found

    def nodes(self) -> Iterator[dict[str, Any]]:
        schema = _schema("node")
        for number, line in enumerate(self._lines(TREE, MAX_LINE), start=1):
            where = f"{TREE} line {number}"
            found = parsed(line, where)
            conform(found, schema, where)
            yield found

    def _lines(self, name: str, limit: int, whole: bool = False) -> Iterator[bytes]:
        try:
            with self._zip.open(self._infos[name]) as member:
                while line := member.readline(limit + 1):
                    if len(line) > limit:
                        raise Rejected(f"{name}: a line of more than {limit} bytes")
                    if not whole and not line.endswith(b"\n"):
                        raise Rejected(f"{name}: the last line is cut off")
                    yield line
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise Rejected(f"{name}: {error}") from None


def parsed(raw: bytes, where: str) -> dict[str, Any]:
    """An object of JSON: unique keys, integers of few digits as only numbers, nested a little."""
    depth = most = 0
    for character in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", raw):
        depth += (character in b"[{") - (character in b"]}")
        most = max(most, depth)
    if most > MAX_DEPTH:
        raise Rejected(f"{where}: nested {most} deep, allowed are {MAX_DEPTH}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise Rejected(f"{where}: a key is there twice")
        return dict(pairs)

    def integer(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise Rejected(f"{where}: a number of {len(digits)} digits")
        return int(digits)

    def refuse(text: str) -> None:
        raise Rejected(
            f"{where}: {text[:40]}: plain numbers are integers, others hexadecimal strings"
        )

    try:
        found = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=unique,
            parse_int=integer,
            parse_float=refuse,
            parse_constant=refuse,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Rejected(f"{where}: no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Rejected(f"{where}: expected an object")
    return found


_SCHEMAS: dict[str, dict[str, Any]] = {}
_TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def _schema(name: str) -> dict[str, Any]:
    if name not in _SCHEMAS:
        text = (Path(__file__).parent / f"{name}.schema.json").read_text(encoding="utf-8")
        _SCHEMAS[name] = json.loads(text)
    return _SCHEMAS[name]


def conform(
    value: Any, schema: dict[str, Any], where: str, root: dict[str, Any] | None = None
) -> None:
    """The part of JSON Schema that the two published schemas use."""
    root = root or schema
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "oneOf" in schema:
        for choice in schema["oneOf"]:
            try:
                return conform(value, choice, where, root)
            except Rejected:
                pass
        raise Rejected(f"{where}: none of the forms allowed here")
    if "const" in schema and (value != schema["const"] or type(value) is not type(schema["const"])):
        raise Rejected(f"{where}: expected {schema['const']!r}")
    if "enum" in schema and (not isinstance(value, str) or value not in schema["enum"]):
        raise Rejected(f"{where}: expected one of {', '.join(schema['enum'])}")
    kind = schema.get("type")
    if kind and (
        not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool))
    ):
        raise Rejected(f"{where}: expected {kind}")
    if kind == "integer" and not schema.get("minimum", value) <= value <= schema.get(
        "maximum", value
    ):
        raise Rejected(f"{where}: {value} is out of range")
    if kind == "string":
        if len(value) > schema.get("maxLength", len(value)):
            raise Rejected(f"{where}: a text of {len(value)} characters")
        if "pattern" in schema and not re.search(schema["pattern"], value) or value.endswith("\n"):
            raise Rejected(f"{where}: {value[:40]!r} is not of the form {schema.get('pattern')}")
    if kind == "array":
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            raise Rejected(f"{where}: {len(value)} entries")
        for index, item in enumerate(value):
            conform(item, schema["items"], f"{where}[{index}]", root)
    if kind == "object":
        known: dict[str, Any] = schema.get("properties", {})
        rest: Any = schema.get("additionalProperties", True)
        for key in schema.get("required", ()):
            if key not in value:
                raise Rejected(f"{where}: lacks {key!r}")
        for key, item in value.items():  # type: ignore[union-attr]
            if key not in known and rest is False:
                raise Rejected(f"{where}: unknown key {key[:40]!r}")
            conform(item, known.get(key, rest), f"{where}.{key[:40]}", root)
