"""The certificate's file, which may be hostile: a zip with limits, JSON with limits, a schema."""

import json
import re
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from lipverify.checker.errors import Rejected

MANIFEST, TREE = "manifest.json", "tree.jsonl"
LIMITS = {MANIFEST: 64 * 2**20, TREE: 64 * 2**30}
MAX_LINE = 256 * 2**20
MAX_RATIO = 1100
"""Deflate cannot compress much better than this; a larger claim is a lie."""
MAX_DEPTH = 32
"""JSON nesting; honest files have less than 10."""
MAX_DIGITS = 18
"""Of an integer: positions and counts."""


class Clock:
    """Stops a check that takes too long."""

    def __init__(self, seconds: float) -> None:
        self.end, self.seconds = time.monotonic() + seconds, seconds

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
            raise Rejected(f"members {names[:5]}: expected {MANIFEST} and, for proofs, {TREE}")
        self.has_tree = TREE in names
        rest = path.stat().st_size - sum(info.compress_size for info in infos)
        if self._zip.comment or not 0 <= rest <= 4096:
            raise Rejected("a comment, or bytes that belong to no member")
        for info in infos:
            name, size = info.filename, info.file_size
            if info.flag_bits & 1 or info.compress_type not in (0, zipfile.ZIP_DEFLATED):
                raise Rejected(f"{name}: expected a member stored or deflated, not encrypted")
            if size > min(LIMITS[name], MAX_RATIO * info.compress_size + 1024):
                raise Rejected(f"{name}: {size} bytes unpacked are too many")

    def manifest(self) -> dict[str, Any]:
        return parsed(b"".join(self._lines(MANIFEST)), "manifest", MANIFEST)

    def nodes(self) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(self._lines(TREE), start=1):
            if not line.endswith(b"\n"):
                raise Rejected(f"{TREE}: the last line is cut off")
            yield parsed(line, "node", f"{TREE} line {number}")

    def _lines(self, name: str) -> Iterator[bytes]:
        try:
            with self._zip.open(name) as member:
                while line := member.readline(MAX_LINE + 1):
                    if len(line) > MAX_LINE:
                        raise Rejected(f"{name}: a line of more than {MAX_LINE} bytes")
                    yield line
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise Rejected(f"{name}: {error}") from None


def parsed(raw: bytes, schema: str, where: str) -> dict[str, Any]:
    """JSON of a schema: unique keys, integers of few digits as only numbers, nested a little."""

    def refused(text: str) -> Any:
        raise ValueError(f"{text[:40]}: numbers are integers of few digits, or hexadecimal strings")

    def integer(digits: str) -> int:
        return int(digits) if len(digits) <= MAX_DIGITS else refused(digits)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        return found if len(found) == len(pairs) else refused("a key that is there twice")

    depth = most = 0
    for character in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", raw):
        depth += (character in b"[{") - (character in b"]}")
        most = max(most, depth)
    if most > MAX_DEPTH:
        raise Rejected(f"{where}: nested {most} deep, allowed are {MAX_DEPTH}")
    try:
        found = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=unique,
            parse_int=integer,
            parse_float=refused,
            parse_constant=refused,
        )
    except (ValueError, RecursionError) as error:
        raise Rejected(f"{where}: no JSON of a certificate: {error}") from None
    for error in VALIDATORS[schema].iter_errors(found):
        raise Rejected(f"{where}{error.json_path[1:80]}: {error.message[:200]}")
    return found


def _inlined(part: Any, shared: dict[str, Any]) -> Any:
    """A schema without references: looking them up would take most of a validation's time."""
    if isinstance(part, list):
        return [_inlined(item, shared) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(shared[part["$ref"].removeprefix("#/$defs/")], shared)
    return {key: _inlined(item, shared) for key, item in part.items() if key != "$defs"}


def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((Path(__file__).parent / f"{name}.schema.json").read_text("utf-8"))
    return Draft202012Validator(_inlined(schema, schema["$defs"]))


VALIDATORS = {name: _validator(name) for name in ("manifest", "node")}
