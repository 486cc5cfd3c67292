"""The brackets and words of VNN-LIB files, with their lines."""

import gzip
import io
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from lipverify.errors import SpecError

MOST_BYTES = 2**31
"""More than this in one file, unpacked, is refused."""


DEEPEST = 200
"""Brackets within brackets. Readers call themselves, and where a library has raised Python's own
limit of that, a deeper file would end the process."""


class Word(NamedTuple):
    """A name or a number; `X[0,1]`, `[1,5]` and `"node"` are one word each."""

    text: str
    line: int


class Group(NamedTuple):
    """What stands between brackets."""

    items: "tuple[Expression, ...]"
    line: int

    @property
    def head(self) -> str:
        """Its first word; "" where it starts otherwise."""
        first = self.items[0] if self.items else None
        return first.text if isinstance(first, Word) else ""


Expression = Word | Group

_TOKEN = re.compile(
    r"""\n | ;[^\n]* | [()] | "[^"\n]*" | \[[^\]]*\] | [^\s()";\[\]]+(?:\[[^\]]*\])? | \S""",
    re.VERBOSE,
)


def read_text(path: Path) -> str:
    """What the file holds; one named *.gz is unpacked. `SpecError` if that fails."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise SpecError("does not exist; expected a VNN-LIB file", path) from error
    except IsADirectoryError as error:
        raise SpecError("is a folder; expected a VNN-LIB file", path) from error
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", path) from error
    if path.suffix.lower() == ".gz":
        try:
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise SpecError(f"is not packed by gzip, or is cut off ({error})", path) from error
        if len(content) > MOST_BYTES:
            raise SpecError(f"holds more than {MOST_BYTES} bytes, unpacked", path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError("is no text in UTF-8; expected a VNN-LIB file", path) from error


def read_expressions(text: str, path: Path) -> list[Group]:
    """The expressions of a file, in order; `SpecError` where brackets do not match."""
    top: list[Group] = []
    opened: list[tuple[list[Expression], int]] = []
    line = 1
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == "\n":
            line += 1
        elif token == "(":
            if len(opened) == DEEPEST:
                raise SpecError(f"is nested too deeply: over {DEEPEST} open brackets", path, line)
            opened.append(([], line))
        elif token == ")":
            if not opened:
                raise SpecError("a bracket ')' closes nothing; remove it", path, line)
            items, began = opened.pop()
            group = Group(tuple(items), began)
            (opened[-1][0] if opened else top).append(group)
        elif not token.startswith(";"):
            if not opened:
                raise SpecError(f"expected a bracket '(', found {token[:40]!r}", path, line)
            opened[-1][0].append(Word(token, line))
            line += token.count("\n")
    if opened:
        raise SpecError("the bracket '(' opened here is never closed", path, opened[-1][1])
    return top
